//! Composition of the daemon: the order in which its parts start and stop.
//!
//! Start: TLS material, store, stored settings, catalog, registry, DNS, HTTP, seaport, sidecar. A part that listens
//! can therefore answer from the beginning, and nothing is opened with a certificate that cannot be used. Stop
//! (`shutdown`): the reverse for clients, but DNS answers until the end.
//!
//! Owns: that order. Does not own: the parts. `open` opens the store and starts the parts that depend on it alone,
//! `listen` binds the sockets, `material` loads the TLS files.

mod error;
mod listen;
mod material;
mod open;
mod shutdown;

pub use error::StartError;
pub use listen::routes;
pub use open::{FIRST_LOAD_TIMEOUT, STORE_FILE};

use crate::config::{self, Settings};
use crate::ops;
use crate::sidecar::{Sidecar, SidecarHealth};
use listen::Listeners;
use material::TlsMaterial;
use open::SnapshotSaver;
use skyhound_core::catalog::Catalog;
use skyhound_core::events::Events;
use skyhound_core::registry::Registry;
use skyhound_core::topics::Topics;
use skyhound_dns::DnsServer;
use skyhound_frontends::app::{App, RegistrationPermits};
use skyhound_frontends::micro::broker;
use skyhound_frontends::{hound_dog, seaport};
use skyhound_net::metrics::Metrics;
use skyhound_net::{HttpServer, Limits};
use skyhound_store::Store;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// A running daemon.
#[derive(Debug)]
pub struct Server {
    http: HttpServer,
    seaport: Option<seaport::HubServer>,
    dns: Option<DnsServer>,
    dns_https: Vec<SocketAddr>,
    registry: Arc<Registry>,
    follower: JoinHandle<()>,
    snapshot_saver: Option<SnapshotSaver>,
    sidecar: Option<Sidecar>,
    topics: Arc<Topics>,
    store_location: String,
    settings: Settings,
}

impl Server {
    /// Starts every part. When it returns, every socket listens.
    ///
    /// # Errors
    /// [`StartError`] if the settings cannot be used, the embedded store cannot be opened, or an address cannot be
    /// bound. An etcd that does not respond is no error.
    pub async fn bind(settings: &Settings) -> Result<Self, StartError> {
        let tls = TlsMaterial::load(settings)?;
        let (store, store_location) = open::open_store(&settings.store).await?;
        let settings = config::with_skydns_settings(settings, &store).await?;
        let keyspace = Arc::new(open::keyspace(&settings));
        let catalog = Catalog::new(Arc::clone(&keyspace));
        let snapshot_file = open::snapshot_file(&settings, &store_location, &keyspace);
        if let Some(snapshot_file) = &snapshot_file {
            catalog.set_snapshot_file(snapshot_file.clone());
        }
        let registry = open::start_registry(&settings, &store, &catalog);
        let follower = open::follow(&store, &catalog).await;
        let metrics = Arc::new(Metrics::default());
        let dns = listen::bind_dns(&settings, &catalog, &metrics, tls.dot.as_ref()).await?;
        let app = app(&settings, store, catalog, registry, metrics);
        ops::gauges::watch(&app);
        let health = Arc::<SidecarHealth>::default();
        let sidecar = settings.sidecar.as_ref().map(|sidecar| sidecar.instance(&app)).transpose();
        let sidecar = sidecar.map_err(StartError::Sidecar)?;
        let Listeners { http, dns_https } =
            listen::bind_http(&settings, &app, dns.as_ref(), tls.http.as_ref(), &health)?;
        let seaport = listen::start_seaport(&settings, &app)?;
        let sidecar = sidecar.map(|instance| Sidecar::start(Arc::clone(&app), instance, tls.probe, health));
        Ok(Self {
            http,
            seaport,
            dns,
            dns_https,
            registry: Arc::clone(&app.registry),
            follower,
            snapshot_saver: snapshot_file.map(|file| SnapshotSaver::start(file, &app.catalog)),
            sidecar,
            topics: Arc::clone(&app.topics),
            store_location,
            settings,
        })
    }

    /// Addresses of HTTP and websockets.
    pub fn http_addrs(&self) -> &[SocketAddr] {
        self.http.local_addrs()
    }

    /// Addresses of seaport; none if it is off.
    pub fn seaport_addrs(&self) -> &[SocketAddr] {
        self.seaport.as_ref().map_or(&[], seaport::HubServer::local_addrs)
    }

    /// Addresses of DNS over UDP and TCP; none if it is off.
    pub fn dns_addrs(&self) -> &[SocketAddr] {
        self.dns.as_ref().map_or(&[], DnsServer::local_addrs)
    }

    /// Addresses of DNS over TLS.
    pub fn dns_tls_addrs(&self) -> &[SocketAddr] {
        self.dns.as_ref().map_or(&[], DnsServer::tls_addrs)
    }

    /// Addresses of DNS over HTTPS alone, without `http_addrs`.
    pub fn dns_https_addrs(&self) -> &[SocketAddr] {
        &self.dns_https
    }

    /// The effective settings, with those that a SkyDNS stored in etcd.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The location of the store in words, for logs.
    pub fn store_location(&self) -> &str {
        &self.store_location
    }

    /// Serves until a part fails for good, and returns the name of that part; drop the future to go on to
    /// [`Server::shutdown`]. A daemon that answers from a catalog which it cannot renew any more must not live on.
    pub async fn run_until_done(&mut self) -> &'static str {
        let Self { http, seaport, dns, registry, follower, .. } = self;
        let seaport = async {
            match seaport {
                Some(seaport) => seaport.run_until_done().await,
                None => std::future::pending().await,
            }
        };
        let dns = async {
            match dns {
                Some(dns) => dns.join().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = http.run_until_done() => "the HTTP server",
            () = seaport => "the seaport hub",
            () = dns => "the DNS server",
            () = registry.run_until_done() => "the registry",
            _ = follower => "the catalog's feed",
        }
    }
}

/// Joins the parts that the frontends use.
fn app(
    settings: &Settings,
    store: Arc<dyn Store>,
    catalog: Arc<Catalog>,
    registry: Arc<Registry>,
    metrics: Arc<Metrics>,
) -> Arc<App> {
    let topics = Topics::new(Arc::clone(&store), broker::TOPICS_PREFIX, settings.timeout, Some(broker::MESSAGE_TTL));
    Arc::new(App {
        registry,
        events: Events::start(Arc::clone(&catalog)),
        topics,
        event_topics: Topics::new(store, hound_dog::EVENT_NAMESPACE, settings.timeout, None),
        catalog,
        naming: open::naming(settings),
        timeout: settings.timeout,
        on_stop: settings.on_stop,
        limits: Limits::default(),
        metrics,
        registration_permits: RegistrationPermits::default(),
    })
}
