//! The client side of TLS.
//!
//! Owns: the choice of the trusted authorities, and the client's certificate. Does not own: the connection.

use super::{TlsError, authorities, certificates, crypto_provider, private_key};
use rustls::client::WantsClientCert;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The certificate files of a client. The default trusts the system's authorities and has no certificate.
///
/// ```
/// use skyhound_net::tls::ClientFiles;
///
/// let files = ClientFiles { ca_cert: Some("/etc/skyhound/ca.pem".into()), ..ClientFiles::default() };
/// assert!(!files.is_empty());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientFiles {
    /// Authorities of the server's certificate. Default: the system's.
    pub ca_cert: Option<PathBuf>,
    /// Certificate of the client and its key, for servers that require one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl ClientFiles {
    /// Returns true if no file is named.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`] if a file cannot be read or used; it names the file and the flags `--cacert`, `--cert` and `--key`.
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

/// The configuration of a client without a certificate. It trusts the authorities in the file that `setting` names, or
/// else the system's.
///
/// # Errors
/// [`TlsError`] if the file cannot be read or used.
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
