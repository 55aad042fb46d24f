//! Settings of the seaport hub.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How seaport's peers are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeaportSettings {
    /// Addresses for them.
    pub listen: Vec<SocketAddr>,
    /// Files with keys.
    pub keys: Vec<PathBuf>,
    /// Between two heartbeats.
    pub heartbeat: Duration,
    /// Other hubs, HOST:PORT.
    pub peers: Vec<String>,
    /// Where other hubs' clients are sent.
    pub advertise: Advertise,
}

/// Where others find a hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advertise {
    /// Nowhere.
    Off,
    /// Where it listens, if others can come there.
    Listening,
    /// At this host, and this port or the one where it listens.
    At(String, Option<u16>),
}
