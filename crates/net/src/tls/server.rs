//! The server side of TLS.
//!
//! Owns: the current certificate. A renewed certificate is used from the next handshake on, without a restart.
//! Handshakes check the files, at most once per [`CHECK_INTERVAL`]: no file is watched while no client connects. An
//! unusable file is logged once, and the previous certificate stays in use. Does not own: the sockets.

use super::{TlsError, authorities, certificates, crypto_provider, private_key};
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{info, warn};

/// Interval at which handshakes check the files for changes. A renewal has days of time; three calls of `stat` per
/// second cost nothing.
pub const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// ALPN of HTTP: version 2, which DNS over HTTPS prefers, and 1.1, which a WebSocket needs.
pub const HTTP: &[&[u8]] = &[b"h2", b"http/1.1"];
/// ALPN of DNS over TLS (RFC 7858; the name is registered).
pub const DOT: &[&[u8]] = &[b"dot"];

/// The certificate files of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificate of the server and its chain.
    pub cert: PathBuf,
    /// Private key of the certificate.
    pub key: PathBuf,
    /// Authorities of client certificates. If set, every client needs a certificate.
    pub client_ca: Option<PathBuf>,
}

/// Modification time and length of each of a listener's files.
type FileStamps = [Option<(SystemTime, u64)>; 3];

/// The TLS configuration of a listener.
pub struct Tls {
    files: TlsFiles,
    alpn: &'static [&'static [u8]],
    loaded: Mutex<LoadedConfig>,
}

struct LoadedConfig {
    config: Arc<ServerConfig>,
    stamps: FileStamps,
    checked_at: Instant,
}

impl Tls {
    /// Reads the files.
    pub fn load(files: TlsFiles, alpn: &'static [&'static [u8]]) -> Result<Arc<Self>, TlsError> {
        // In this order: a file that is written in between is read again.
        let stamps = files.stamps();
        let config = files.config(alpn)?;
        Ok(Arc::new(Self {
            files,
            alpn,
            loaded: Mutex::new(LoadedConfig { config, stamps, checked_at: Instant::now() }),
        }))
    }

    /// Performs the handshake on an accepted connection.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsAcceptor::from(self.config()).accept(stream).await
    }

    /// The current configuration. Blocking reads are acceptable here: small local files, once per renewal.
    fn config(&self) -> Arc<ServerConfig> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if loaded.checked_at.elapsed() >= CHECK_INTERVAL {
            loaded.checked_at = Instant::now();
            let stamps = self.files.stamps();
            if stamps != loaded.stamps {
                loaded.stamps = stamps;
                match self.files.config(self.alpn) {
                    Ok(config) => {
                        info!(file = %self.files.cert.display(), "reloaded the certificate");
                        loaded.config = config;
                    }
                    Err(error) => {
                        let source = std::error::Error::source(&error).map(ToString::to_string);
                        warn!(%error, source, "the new certificate cannot be used; the previous one stays in use");
                    }
                }
            }
        }
        Arc::clone(&loaded.config)
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

impl TlsFiles {
    fn stamps(&self) -> FileStamps {
        let stamp = |path: &Path| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        };
        [stamp(&self.cert), stamp(&self.key), self.client_ca.as_deref().and_then(stamp)]
    }

    fn config(&self, alpn: &[&[u8]]) -> Result<Arc<ServerConfig>, TlsError> {
        let (certs, key) = (certificates("tls-cert-file", &self.cert)?, private_key("tls-key-file", &self.key)?);
        let mismatch = |problem: rustls::Error| TlsError::Mismatch {
            certs: "tls-cert-file",
            keys: "tls-key-file",
            problem: problem.to_string(),
        };
        let config = ServerConfig::builder_with_provider(crypto_provider())
            .with_safe_default_protocol_versions()
            .map_err(mismatch)?;
        let config = match &self.client_ca {
            None => config.with_no_client_auth(),
            Some(path) => {
                let roots = Arc::new(authorities("tls-client-ca", path)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, crypto_provider()).build();
                config.with_client_cert_verifier(verifier.map_err(|_| TlsError::NotPem {
                    setting: "tls-client-ca",
                    path: path.clone(),
                    wanted: "certificate",
                })?)
            }
        };
        let mut config = config.with_single_cert(certs, key).map_err(mismatch)?;
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Arc::new(config))
    }
}
