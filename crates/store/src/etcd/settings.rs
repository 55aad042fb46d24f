//! How etcd is reached: what may be set, its defaults, and what is wrong with it.
//!
//! Everything that can be known to be wrong without asking etcd is found here, before the first call.

use etcd_client::{Certificate, ConnectOptions, Identity, TlsOptions};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Where etcd is when nothing else is said.
pub const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:2379";
/// How long a connection may take to come up.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long one request may take, other endpoints tried included.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a silent feed is asked whether it still lives.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// How often a connection with open streams is pinged. etcd hangs up on who pings more often than its
/// `--grpc-keepalive-min-time` (5 s), or pings a connection without streams.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// How etcd is reached.
#[derive(Clone, PartialEq, Eq)]
pub struct EtcdSettings {
    /// The members' client URLs, `http://host:port` or `https://host:port`. Without a scheme it is `https`
    /// when certificates are set and `http` when not. One is used at a time; another when it fails.
    pub endpoints: Vec<String>,
    /// A PEM file with the authorities that may have signed etcd's certificate. Without it, the system's.
    pub ca_cert: Option<PathBuf>,
    /// A PEM file with our certificate and its chain. Needs `key`.
    pub cert: Option<PathBuf>,
    /// A PEM file with the private key of `cert`.
    pub key: Option<PathBuf>,
    /// The etcd user. Needs `password`.
    pub username: Option<String>,
    /// The password of `username`.
    pub password: Option<String>,
    /// How long a connection may take to come up: [`CONNECT_TIMEOUT`].
    pub connect_timeout: Duration,
    /// How long one request may take: [`REQUEST_TIMEOUT`].
    pub request_timeout: Duration,
    /// How often a silent feed is asked whether it still lives: [`PROBE_INTERVAL`]. It ends when nothing
    /// was heard for this and a `request_timeout`.
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

// By hand, because a log must not hold the password.
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

/// What is wrong with [`EtcdSettings`], and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// No endpoint at all.
    #[error("no etcd endpoint is set: name at least one, such as {DEFAULT_ENDPOINT}")]
    NoEndpoint,
    /// An endpoint that is not a URL of a host and port.
    #[error("the etcd endpoint {endpoint:?} {problem}: write http://host:port or https://host:port")]
    Endpoint {
        /// As it was set.
        endpoint: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Certificates are set, but an endpoint does not use them.
    #[error("the etcd endpoint {0:?} is plain http, but certificates are set: write https://, or drop them")]
    PlainEndpoint(String),
    /// One of a pair is missing.
    #[error("etcd's {given} is set without its {missing}: set both or neither")]
    Half {
        /// The setting that is there.
        given: &'static str,
        /// The setting that is not.
        missing: &'static str,
    },
    /// A file cannot be read.
    #[error("etcd's {setting} {} cannot be read", path.display())]
    Unreadable {
        /// The setting.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("etcd's {setting} {} holds no usable {wanted} in PEM format", path.display())]
    NotPem {
        /// The setting.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What it should hold.
        wanted: &'static str,
    },
    /// A time limit of nothing.
    #[error("etcd's {0} is zero: nothing would ever be in time")]
    Zero(&'static str),
    /// The files are each what they should be, but do not make a TLS configuration.
    #[error("etcd's certificates (ca-cert, cert and key) cannot be used together: {0}")]
    Tls(String),
}

impl EtcdSettings {
    /// The endpoints as URLs.
    pub(super) fn urls(&self) -> Result<Vec<String>, SettingsError> {
        if self.endpoints.is_empty() {
            return Err(SettingsError::NoEndpoint);
        }
        self.endpoints.iter().map(|endpoint| self.url(endpoint)).collect()
    }

    fn url(&self, endpoint: &str) -> Result<String, SettingsError> {
        let wrong = |problem: &str| SettingsError::Endpoint { endpoint: endpoint.into(), problem: problem.into() };
        let (scheme, rest) = match endpoint.split_once("://") {
            Some((scheme @ ("http" | "https"), rest)) => (scheme, rest),
            Some(_) => return Err(wrong("is neither http nor https")),
            None if self.wants_certificates() => ("https", endpoint),
            None => ("http", endpoint),
        };
        if scheme == "http" && self.wants_certificates() {
            return Err(SettingsError::PlainEndpoint(endpoint.into()));
        }
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#', '@']) {
            return Err(wrong("has more than a host and a port"));
        }
        // etcd has no default port that a URL could imply: 80 would only fail later, and elsewhere.
        match authority.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0) => {
                Ok(format!("{scheme}://{authority}"))
            }
            _ => Err(wrong("lacks a host or a port")),
        }
    }

    fn wants_certificates(&self) -> bool {
        self.ca_cert.is_some() || self.cert.is_some() || self.key.is_some()
    }

    /// Finds a time limit that lets nothing happen.
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

    /// User and password, if there are any.
    pub(super) fn user(&self) -> Result<Option<(String, String)>, SettingsError> {
        pair(self.username.as_ref(), self.password.as_ref(), "username", "password")
            .map(|user| user.map(|(name, password)| (name.clone(), password.clone())))
    }

    /// The client's options for one endpoint. Reads the certificate files.
    pub(super) fn options(&self, url: &str) -> Result<ConnectOptions, SettingsError> {
        // Without a user: the client would authenticate while it connects, and fail when etcd is away.
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

    /// When each certificate file was written: differs after a rotation.
    pub(super) fn certificates_modified(&self) -> [Option<SystemTime>; 3] {
        let modified = |path: &Option<PathBuf>| std::fs::metadata(path.as_ref()?).ok()?.modified().ok();
        [modified(&self.ca_cert), modified(&self.cert), modified(&self.key)]
    }
}

/// Both of a pair, or none of it.
fn pair<T>(
    one: Option<T>,
    two: Option<T>,
    name: &'static str,
    name_two: &'static str,
) -> Result<Option<(T, T)>, SettingsError> {
    match (one, two) {
        (Some(one), Some(two)) => Ok(Some((one, two))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(SettingsError::Half { given: name, missing: name_two }),
        (None, Some(_)) => Err(SettingsError::Half { given: name_two, missing: name }),
    }
}

fn read(setting: &'static str, path: &Path) -> Result<Vec<u8>, SettingsError> {
    std::fs::read(path).map_err(|source| SettingsError::Unreadable { setting, path: path.into(), source })
}

/// A PEM file of certificates. The client passes over those that it cannot parse, and a file without any is
/// an empty set to it: that would only show when the first handshake fails, as etcd's fault.
fn certificates(setting: &'static str, path: &Path) -> Result<Vec<u8>, SettingsError> {
    let content = read(setting, path)?;
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&content).collect();
    let usable = parsed.is_ok_and(|all| {
        let mut roots = RootCertStore::empty();
        !all.is_empty() && all.into_iter().all(|one| roots.add(one).is_ok())
    });
    if usable { Ok(content) } else { Err(SettingsError::NotPem { setting, path: path.into(), wanted: "certificate" }) }
}

/// A PEM file with a private key.
fn private_key(setting: &'static str, path: &Path) -> Result<Vec<u8>, SettingsError> {
    let content = read(setting, path)?;
    match PrivateKeyDer::from_pem_slice(&content) {
        Ok(_) => Ok(content),
        Err(_) => Err(SettingsError::NotPem { setting, path: path.into(), wanted: "private key" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(endpoint: &str) -> EtcdSettings {
        EtcdSettings { endpoints: vec![endpoint.into()], ..EtcdSettings::default() }
    }

    #[test]
    fn endpoints_as_people_write_them() {
        for (typed, url) in [
            ("127.0.0.1:2379", "http://127.0.0.1:2379"),
            ("http://etcd:2379/", "http://etcd:2379"),
            ("https://[::1]:2379", "https://[::1]:2379"),
        ] {
            assert_eq!(with(typed).urls().unwrap(), [url]);
        }
        let tls = EtcdSettings { ca_cert: Some("ca.pem".into()), ..with("etcd:2379") };
        assert_eq!(tls.urls().unwrap(), ["https://etcd:2379"]);
    }

    #[test]
    fn endpoints_that_lead_nowhere() {
        for (typed, problem) in [
            ("ftp://etcd:2379", "is neither http nor https"),
            ("http://etcd", "lacks a host or a port"),
            ("http://:2379", "lacks a host or a port"),
            ("http://etcd:70000", "lacks a host or a port"),
            ("http://etcd:0", "lacks a host or a port"),
            ("http://etcd:2379/v3", "has more than a host and a port"),
            ("http://user:pass@etcd:2379", "has more than a host and a port"),
        ] {
            let error = with(typed).urls().unwrap_err().to_string();
            assert!(error.contains(problem) && error.contains("write http://host:port"), "{typed}: {error}");
        }
        let tls = EtcdSettings { ca_cert: Some("ca.pem".into()), ..with("http://etcd:2379") };
        assert!(matches!(tls.urls(), Err(SettingsError::PlainEndpoint(_))));
        let none = EtcdSettings { endpoints: Vec::new(), ..EtcdSettings::default() };
        assert!(matches!(none.urls(), Err(SettingsError::NoEndpoint)));
    }

    #[test]
    fn debug_does_not_tell_the_password() {
        let settings = EtcdSettings { password: Some("hush".into()), ..EtcdSettings::default() };
        assert!(!format!("{settings:?}").contains("hush"));
    }
}
