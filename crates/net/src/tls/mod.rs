//! TLS with certificates from PEM files, for listeners and for this project's clients.
//!
//! Owns: reading the files, reading them again after a change, and the handshake. Does not own: the protocol inside TLS
//! (the caller names it, ALPN), nor the timeout of a handshake.

mod client;
#[cfg(feature = "server")]
mod server;

pub use client::{ClientFiles, client_config};
#[cfg(feature = "server")]
pub use server::{CHECK_INTERVAL, DOT, HTTP, Tls, TlsFiles};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, crypto::CryptoProvider};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An unusable certificate or key file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read.
    #[error("--{setting} {} cannot be read", path.display())]
    Unreadable {
        /// Flag that names the file.
        setting: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The file has no usable content.
    #[error("--{setting} {} holds no usable {wanted} in PEM format", path.display())]
    NotPem {
        /// Flag that names the file.
        setting: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// Expected content.
        wanted: &'static str,
    },
    /// The files are valid, but do not belong together.
    #[error("--{certs} and --{keys} cannot be used together: {problem}")]
    Mismatch {
        /// Flag of the certificate.
        certs: &'static str,
        /// Flag of the key.
        keys: &'static str,
        /// Error of the TLS library.
        problem: String,
    },
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
