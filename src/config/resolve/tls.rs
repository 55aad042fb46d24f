//! The certificate of all listeners with TLS.

use super::{ConfigError, RawSettings, invalid, reject_given};
use skyhound_net::tls::TlsFiles;

impl RawSettings {
    /// Returns the files of the certificate; `None` if no listener has TLS.
    pub(super) fn tls(&self) -> Result<Option<TlsFiles>, ConfigError> {
        let listeners = [
            ("enable-tls", self.enable_tls == Some(true)),
            ("dns-tls-listen", !self.dns_tls_listen.is_empty()),
            ("dns-https-listen", !self.dns_https_listen.is_empty()),
        ];
        let Some((listener, _)) = listeners.into_iter().find(|(_, is_given)| *is_given) else {
            let given = [
                ("tls-cert-file", self.tls_cert_file.is_some()),
                ("tls-key-file", self.tls_key_file.is_some()),
                ("tls-client-ca", self.tls_client_ca.is_some()),
            ];
            return reject_given(&given, "--enable-tls, --dns-tls-listen or --dns-https-listen").map(|()| None);
        };
        match (&self.tls_cert_file, &self.tls_key_file) {
            (Some(cert), Some(key)) => {
                Ok(Some(TlsFiles { cert: cert.clone(), key: key.clone(), client_ca: self.tls_client_ca.clone() }))
            }
            (None, _) => Err(invalid(listener, "requires a certificate: give --tls-cert-file FILE")),
            (_, None) => Err(invalid(listener, "requires the key of the certificate: give --tls-key-file FILE")),
        }
    }
}
