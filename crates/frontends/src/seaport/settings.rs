//! Settings of the seaport hub.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The resolved settings of the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeaportSettings {
    /// Addresses of the listeners.
    pub listen: Vec<SocketAddr>,
    /// Key files.
    pub keys: Vec<PathBuf>,
    /// Interval between two heartbeats.
    pub heartbeat: Duration,
    /// Other hubs, HOST:PORT.
    pub peers: Vec<String>,
    /// The advertised address of this hub.
    pub advertise: Advertise,
}

/// The address that a hub advertises to clients of other hubs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advertise {
    /// None.
    Off,
    /// The listener's address, if other hosts can reach it.
    Listening,
    /// This host, with this port or the listener's.
    At(String, Option<u16>),
}
