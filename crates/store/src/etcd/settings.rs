//! The settings of the etcd client: defaults and validation.
//!
//! Owns: the detection, before the first call, of every error that can be found without etcd. Does not own: connections.

use etcd_client::{Certificate, ConnectOptions, Identity, TlsOptions};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Default endpoint.
const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:2379";
/// Default of [`EtcdSettings::connect_timeout`].
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Default of [`EtcdSettings::request_timeout`].
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Default of [`EtcdSettings::probe_interval`].
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// Interval of pings on a connection with open streams. etcd closes the connection of a client that pings more often than
/// its `--grpc-keepalive-min-time` (5 s), or without streams.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// The settings of a connection to etcd.
#[derive(Clone, PartialEq, Eq)]
pub struct EtcdSettings {
    /// Client URLs of the members, `http://host:port` or `https://host:port`; by default `http://127.0.0.1:2379`. The
    /// default scheme is `https` if certificates are set, otherwise `http`. One endpoint is used until it fails.
    pub endpoints: Vec<String>,
    /// PEM file with the certificate authorities for etcd's certificate. By default those of the system.
    pub ca_cert: Option<PathBuf>,
    /// PEM file with the client certificate and its chain. Requires `key`.
    pub cert: Option<PathBuf>,
    /// PEM file with the private key of `cert`.
    pub key: Option<PathBuf>,
    /// User of etcd. Requires `password`.
    pub username: Option<String>,
    /// Password of `username`.
    pub password: Option<String>,
    /// Time limit for opening a connection; by default 2 s.
    pub connect_timeout: Duration,
    /// Time limit of one request, including retries at other endpoints; by default 5 s.
    pub request_timeout: Duration,
    /// Interval of the progress requests that probe a feed; by default 5 s. The feed ends if nothing arrives for this
    /// interval and a `request_timeout`.
    pub probe_interval: Duration,
}

impl Default for EtcdSettings {
    fn default() -> Self {
        Self {
            endpoints: vec![DEFAULT_ENDPOINT.into()],
            ca_cert: None,
            cert: None,
            key: None,
            username: None,
            password: None,
            connect_timeout: CONNECT_TIMEOUT,
            request_timeout: REQUEST_TIMEOUT,
            probe_interval: PROBE_INTERVAL,
        }
    }
}

// By hand, because a log must not contain the password.
impl fmt::Debug for EtcdSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdSettings")
            .field("endpoints", &self.endpoints)
            .field("ca_cert", &self.ca_cert)
            .field("cert", &self.cert)
            .field("key", &self.key)
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "…"))
            .field("connect_timeout", &self.connect_timeout)
            .field("request_timeout", &self.request_timeout)
            .field("probe_interval", &self.probe_interval)
            .finish()
    }
}

/// The reason why [`EtcdSettings`] cannot work, with the remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The list of endpoints is empty.
    #[error("no etcd endpoint is set: set at least one, such as {DEFAULT_ENDPOINT}")]
    NoEndpoint,
    /// An endpoint is not a URL with a host and a port.
    #[error("the etcd endpoint {endpoint:?} {problem}: write http://host:port or https://host:port")]
    Endpoint {
        /// Endpoint as it was set.
        endpoint: String,
        /// Predicate that describes the problem.
        problem: String,
    },
    /// Certificates are set, but an endpoint does not use them.
    #[error("the etcd endpoint {0:?} is plain http, but certificates are set: write https://, or set no certificates")]
    PlainEndpoint(String),
    /// Only one setting of a pair is set.
    #[error("etcd's {given} is set without its {missing}: set both or neither")]
    Unpaired {
        /// Setting that is set.
        given: &'static str,
        /// Setting that is missing.
        missing: &'static str,
    },
    /// A file cannot be read.
    #[error("etcd's {setting} {} cannot be read", path.display())]
    Unreadable {
        /// Setting.
        setting: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// Error of the system.
        source: std::io::Error,
    },
    /// A file does not contain a usable certificate or key.
    #[error("etcd's {setting} {} holds no usable {expected} in PEM format", path.display())]
    NotPem {
        /// Setting.
        setting: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// Expected content.
        expected: &'static str,
    },
    /// A time limit is zero.
    #[error("etcd's {0} is zero: set a positive duration")]
    Zero(&'static str),
    /// The files are valid, but do not form a TLS configuration.
    #[error("etcd's certificates (ca-cert, cert and key) cannot be used together: {0}")]
    Tls(String),
}

impl EtcdSettings {
    /// Returns the endpoints as URLs.
    pub(super) fn urls(&self) -> Result<Vec<String>, SettingsError> {
        if self.endpoints.is_empty() {
            return Err(SettingsError::NoEndpoint);
        }
        self.endpoints.iter().map(|endpoint| self.url(endpoint)).collect()
    }

    fn url(&self, endpoint: &str) -> Result<String, SettingsError> {
        let invalid = |problem: &str| SettingsError::Endpoint { endpoint: endpoint.into(), problem: problem.into() };
        let (scheme, rest) = match endpoint.split_once("://") {
            Some((scheme @ ("http" | "https"), rest)) => (scheme, rest),
            Some(_) => return Err(invalid("is neither http nor https")),
            None if self.has_certificates() => ("https", endpoint),
            None => ("http", endpoint),
        };
        if scheme == "http" && self.has_certificates() {
            return Err(SettingsError::PlainEndpoint(endpoint.into()));
        }
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#', '@']) {
            return Err(invalid("has more than a host and a port"));
        }
        // etcd has no default port that a URL could imply: port 80 would fail later with a less specific error.
        match authority.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0) => {
                Ok(format!("{scheme}://{authority}"))
            }
            _ => Err(invalid("lacks a host or a port")),
        }
    }

    fn has_certificates(&self) -> bool {
        self.ca_cert.is_some() || self.cert.is_some() || self.key.is_some()
    }

    /// Rejects a time limit of zero.
    pub(super) fn check_times(&self) -> Result<(), SettingsError> {
        let times = [
            ("connect-timeout", self.connect_timeout),
            ("request-timeout", self.request_timeout),
            ("probe-interval", self.probe_interval),
        ];
        match times.into_iter().find(|(_, time)| time.is_zero()) {
            Some((name, _)) => Err(SettingsError::Zero(name)),
            None => Ok(()),
        }
    }

    /// Returns the user and the password, if they are set.
    pub(super) fn user(&self) -> Result<Option<(String, String)>, SettingsError> {
        pair(self.username.as_ref(), self.password.as_ref(), "username", "password")
            .map(|user| user.map(|(name, password)| (name.clone(), password.clone())))
    }

    /// Returns the client's options for one endpoint. Reads the certificate files.
    pub(super) fn options(&self, url: &str) -> Result<ConnectOptions, SettingsError> {
        // Without a user: the client would log in while it connects, and fail if etcd is unreachable.
        let options = ConnectOptions::new()
            .with_require_leader(true)
            .with_connect_timeout(self.connect_timeout)
            .with_keep_alive(PING_INTERVAL, self.request_timeout)
            .with_keep_alive_while_idle(false);
        if url.starts_with("https:") { Ok(options.with_tls(self.tls()?)) } else { Ok(options) }
    }

    fn tls(&self) -> Result<TlsOptions, SettingsError> {
        let mut tls = TlsOptions::new();
        tls = match &self.ca_cert {
            Some(path) => tls.ca_certificate(Certificate::from_pem(certificates("ca-cert", path)?)),
            None => tls.with_native_roots(),
        };
        if let Some((cert, key)) = pair(self.cert.as_ref(), self.key.as_ref(), "cert", "key")? {
            tls = tls.identity(Identity::from_pem(certificates("cert", cert)?, private_key("key", key)?));
        }
        Ok(tls)
    }

    /// Returns the modification time of each certificate file, which differs after a rotation.
    pub(super) fn certificates_modified(&self) -> [Option<SystemTime>; 3] {
        let modified = |path: &Option<PathBuf>| std::fs::metadata(path.as_ref()?).ok()?.modified().ok();
        [modified(&self.ca_cert), modified(&self.cert), modified(&self.key)]
    }
}

/// Returns both values of a pair, or none if neither is set.
fn pair<T>(
    one: Option<T>,
    two: Option<T>,
    name: &'static str,
    name_two: &'static str,
) -> Result<Option<(T, T)>, SettingsError> {
    match (one, two) {
        (Some(one), Some(two)) => Ok(Some((one, two))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(SettingsError::Unpaired { given: name, missing: name_two }),
        (None, Some(_)) => Err(SettingsError::Unpaired { given: name_two, missing: name }),
    }
}

fn read(setting: &'static str, path: &Path) -> Result<Vec<u8>, SettingsError> {
    std::fs::read(path).map_err(|source| SettingsError::Unreadable { setting, path: path.into(), source })
}

/// Reads a PEM file of certificates. The client ignores those that it cannot parse and accepts a file without any: the
/// first handshake would fail then, with an error that blames etcd.
fn certificates(setting: &'static str, path: &Path) -> Result<Vec<u8>, SettingsError> {
    let content = read(setting, path)?;
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&content).collect();
    let usable = parsed.is_ok_and(|all| {
        let mut roots = RootCertStore::empty();
        !all.is_empty() && all.into_iter().all(|certificate| roots.add(certificate).is_ok())
    });
    if usable {
        Ok(content)
    } else {
        Err(SettingsError::NotPem { setting, path: path.into(), expected: "certificate" })
    }
}

/// Reads a PEM file with a private key.
fn private_key(setting: &'static str, path: &Path) -> Result<Vec<u8>, SettingsError> {
    let content = read(setting, path)?;
    match PrivateKeyDer::from_pem_slice(&content) {
        Ok(_) => Ok(content),
        Err(_) => Err(SettingsError::NotPem { setting, path: path.into(), expected: "private key" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(endpoint: &str) -> EtcdSettings {
        EtcdSettings { endpoints: vec![endpoint.into()], ..EtcdSettings::default() }
    }

    #[test]
    fn endpoints_become_urls() {
        for (endpoint, url) in [
            ("127.0.0.1:2379", "http://127.0.0.1:2379"),
            ("http://etcd:2379/", "http://etcd:2379"),
            ("https://[::1]:2379", "https://[::1]:2379"),
        ] {
            assert_eq!(with(endpoint).urls().unwrap(), [url]);
        }
        let tls = EtcdSettings { ca_cert: Some("ca.pem".into()), ..with("etcd:2379") };
        assert_eq!(tls.urls().unwrap(), ["https://etcd:2379"]);
    }

    #[test]
    fn invalid_endpoints_are_rejected_with_a_remedy() {
        for (endpoint, problem) in [
            ("ftp://etcd:2379", "is neither http nor https"),
            ("http://etcd", "lacks a host or a port"),
            ("http://:2379", "lacks a host or a port"),
            ("http://etcd:70000", "lacks a host or a port"),
            ("http://etcd:0", "lacks a host or a port"),
            ("http://etcd:2379/v3", "has more than a host and a port"),
            ("http://user:pass@etcd:2379", "has more than a host and a port"),
        ] {
            let error = with(endpoint).urls().unwrap_err().to_string();
            assert!(error.contains(problem) && error.contains("write http://host:port"), "{endpoint}: {error}");
        }
        let tls = EtcdSettings { ca_cert: Some("ca.pem".into()), ..with("http://etcd:2379") };
        assert!(matches!(tls.urls(), Err(SettingsError::PlainEndpoint(_))));
        let none = EtcdSettings { endpoints: Vec::new(), ..EtcdSettings::default() };
        assert!(matches!(none.urls(), Err(SettingsError::NoEndpoint)));
    }

    #[test]
    fn debug_omits_the_password() {
        let settings = EtcdSettings { password: Some("hush".into()), ..EtcdSettings::default() };
        assert!(!format!("{settings:?}").contains("hush"));
    }
}
