//! Joins the parts: the order in which they start, and the order in which they stop.
//!
//! Start: store, catalog, registry, then DNS and HTTP, so that whatever listens can already answer. Stop:
//! no new peers, the sockets told to go, what is left to write written; DNS answers until the last.
//! Owns nothing but that order.

use crate::catalog::{Catalog, follow};
use crate::config::{OnStop, Settings, StoreSettings};
use crate::dns::{DnsServer, DnsSettings};
use crate::model::Naming;
use crate::net::{App, HttpServer, HttpSettings};
use crate::registry::{REGISTER_DEADLINE, Registry, RegistrySettings};
use crate::store::Store;
use crate::store::embedded::Embedded;
use crate::store::etcd::Etcd;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// How long start-up waits for the first reading of the store before it listens all the same. A local store
/// is read in it; without one that answers, DNS says SERVFAIL until it is there.
pub const FIRST_READ: Duration = Duration::from_secs(2);

/// The file of the embedded store, in `--data-dir`.
pub const STORE_FILE: &str = "skyhound.redb";

/// A running daemon.
#[derive(Debug)]
pub struct Server {
    http: HttpServer,
    dns: Option<DnsServer>,
    registry: Arc<Registry>,
    follower: JoinHandle<()>,
    place: String,
    on_stop: OnStop,
    deadline: Duration,
}
