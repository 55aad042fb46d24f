//! Reasons for which the daemon cannot start.

use crate::config::ConfigError;
use skyhound_frontends::seaport;
use skyhound_model::instance::InvalidParameter;
use skyhound_net as net;
use skyhound_net::tls::TlsError;
use skyhound_store::embedded::OpenError;
use skyhound_store::etcd::SettingsError;

/// The error of a daemon that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The embedded store cannot be opened.
    #[error("cannot open the embedded store")]
    Store(#[from] OpenError),
    /// The settings of etcd are invalid.
    #[error("the settings of etcd are invalid")]
    Etcd(#[from] SettingsError),
    /// The settings that a SkyDNS stored in etcd are invalid.
    #[error(transparent)]
    Stored(#[from] ConfigError),
    /// The application beside this daemon cannot be registered.
    #[error("--server-name and --server-address cannot be registered")]
    Sidecar(#[source] InvalidParameter),
    /// An address cannot be bound.
    #[error(transparent)]
    Bind(#[from] net::BindError),
    /// The seaport hub cannot start.
    #[error(transparent)]
    Seaport(#[from] seaport::HubError),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}
