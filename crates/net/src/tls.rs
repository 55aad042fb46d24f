//! TLS: certificates from PEM files, for listeners and for clients of ours.
//!
//! Owns: reading the files, reading them again when they change, the handshake. Does not own: which protocol
//! is spoken within (the caller names it, ALPN), nor how long a handshake may take.
//!
//! A certificate that is renewed is used from the next handshake on, without a restart. Files are looked at
//! by handshakes, at most once in [`CHECK_INTERVAL`]: nothing watches them while nobody comes. What cannot be
//! used is logged once, and the certificate of before goes on.

use rustls::client::WantsClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, ServerConfig, crypto::CryptoProvider};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{info, warn};

/// How often handshakes look whether the files have changed. A renewal has days of time; three calls of
/// `stat` a second cost nothing.
pub const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// HTTP over TLS: version 2, which DNS over HTTPS wants, and 1.1, which websockets need.
pub const HTTP: &[&[u8]] = &[b"h2", b"http/1.1"];
/// DNS over TLS (RFC 7858; the name is registered).
pub const DOT: &[&[u8]] = &[b"dot"];

/// The files of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Our certificate and its chain.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authorities of clients' certificates. With it every client has to have one.
    pub client_ca: Option<PathBuf>,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// It cannot be read.
    #[error("--{setting} {} cannot be read", path.display())]
    Unreadable {
        /// The flag.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It does not hold what it should.
    #[error("--{setting} {} holds no usable {wanted} in PEM format", path.display())]
    NotPem {
        /// The flag.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What it should hold.
        wanted: &'static str,
    },
    /// Each is what it should be, but they do not belong together.
    #[error("--{certs} and --{keys} cannot be used together: {problem}")]
    Mismatch {
        /// The certificate's flag.
        certs: &'static str,
        /// The key's flag.
        keys: &'static str,
        /// Why.
        problem: String,
    },
}

/// When each of a listener's files was written, and how long it is.
type FileStamps = [Option<(SystemTime, u64)>; 3];

/// The server's side of TLS.
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
        // In this order: what is written in between is read again.
        let stamps = files.stamps();
        let config = files.config(alpn)?;
        Ok(Arc::new(Self {
            files,
            alpn,
            loaded: Mutex::new(LoadedConfig { config, stamps, checked_at: Instant::now() }),
        }))
    }

    /// Shakes hands.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsAcceptor::from(self.config()).accept(stream).await
    }

    /// The certificate of now. Small files of this machine are read where they are needed: once a renewal.
    fn config(&self) -> Arc<ServerConfig> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if loaded.checked_at.elapsed() >= CHECK_INTERVAL {
            loaded.checked_at = Instant::now();
            let stamps = self.files.stamps();
            if stamps != loaded.stamps {
                loaded.stamps = stamps;
                match self.files.config(self.alpn) {
                    Ok(config) => {
                        info!(file = %self.files.cert.display(), "the certificate was read again");
                        loaded.config = config;
                    }
                    Err(error) => {
                        let source = std::error::Error::source(&error).map(ToString::to_string);
                        warn!(%error, source, "the new certificate cannot be used; the one of before goes on");
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

/// The files of a client.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientFiles {
    /// The authorities that may have signed the server's certificate. Without it, the system's.
    pub ca_cert: Option<PathBuf>,
    /// Our own certificate and its key, for servers that ask for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl ClientFiles {
    /// Whether there is anything to read.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Reads them.
    pub fn config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let config = client_with_roots("cacert", self.ca_cert.as_deref())?;
        let Some((cert, key)) = &self.identity else { return Ok(Arc::new(config.with_no_client_auth())) };
        let identity = config.with_client_auth_cert(certificates("cert", cert)?, private_key("key", key)?);
        identity.map(Arc::new).map_err(|problem| TlsError::Mismatch {
            certs: "cert",
            keys: "key",
            problem: problem.to_string(),
        })
    }
}

/// A client without a certificate of its own, of servers that these authorities vouch for: those in the file that a
/// setting names, or the system's.
pub fn client_config(setting: &'static str, ca_cert: Option<&Path>) -> Result<Arc<ClientConfig>, TlsError> {
    Ok(Arc::new(client_with_roots(setting, ca_cert)?.with_no_client_auth()))
}

fn client_with_roots(
    setting: &'static str,
    ca_cert: Option<&Path>,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, TlsError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca_cert {
        roots = authorities(setting, path)?;
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let config = ClientConfig::builder_with_provider(crypto_provider()).with_safe_default_protocol_versions();
    let problem =
        |problem: rustls::Error| TlsError::Mismatch { certs: setting, keys: setting, problem: problem.to_string() };
    Ok(config.map_err(problem)?.with_root_certificates(roots))
}

fn crypto_provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn read_file(setting: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Unreadable { setting, path: path.into(), source })
}

fn not_pem(setting: &'static str, path: &Path, wanted: &'static str) -> TlsError {
    TlsError::NotPem { setting, path: path.into(), wanted }
}

fn certificates(setting: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let content = read_file(setting, path)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&content).collect();
    all.ok().filter(|all| !all.is_empty()).ok_or_else(|| not_pem(setting, path, "certificate"))
}

fn authorities(setting: &'static str, path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for one in certificates(setting, path)? {
        roots.add(one).map_err(|_| not_pem(setting, path, "certificate"))?;
    }
    Ok(roots)
}

fn private_key(setting: &'static str, path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&read_file(setting, path)?).map_err(|_| not_pem(setting, path, "private key"))
}
