//! Joins the parts: the order in which they start, and the order in which they stop.
//!
//! Start: store, catalog, registry, then DNS and HTTP, so that whatever listens can already answer. Stop:
//! no new peers, held sockets told to go, what is left to write written; DNS answers until the last.
//! Owns nothing but that order.

use crate::config::{self, ConfigError, Settings, StoreSettings};
use crate::dashboard;
use crate::ops;
use crate::sidecar::probe::Probe;
use crate::sidecar::{Sidecar, SidecarHealth};
use skyhound_core::catalog::follow::{COMPARE_EVERY, Follow};
use skyhound_core::catalog::{Catalog, Health, Keyspace, SnapshotFile, snapshot_file};
use skyhound_core::events::Events;
use skyhound_core::registry::{REGISTER_DEADLINE, Registry, RegistrySettings};
use skyhound_core::topics::Topics;
use skyhound_dns::DnsServer;
use skyhound_frontends::app::{App, RegistrationPermits};
use skyhound_frontends::micro::broker;
use skyhound_frontends::{self as frontends, hound_dog, seaport};
use skyhound_model::Naming;
use skyhound_model::instance::InvalidParameter;
use skyhound_net::metrics::Metrics;
use skyhound_net::tls::{self, Tls, TlsError};
use skyhound_net::{self as net, HttpServer, HttpSettings, Limits, Routes};
use skyhound_store::embedded::{Embedded, OpenError};
use skyhound_store::etcd::{Etcd, SettingsError};
use skyhound_store::{Revision, Store};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{info, warn};

/// How long start-up waits for the first reading of the store before it listens all the same. A store that
/// answers is read by then; without it, DNS says SERVFAIL until the store is there.
pub const FIRST_LOAD_TIMEOUT: Duration = Duration::from_secs(5);

/// The file of the embedded store, in `--data-dir`.
pub const STORE_FILE: &str = "skyhound.redb";

/// Why the daemon cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The embedded store cannot be opened.
    #[error("cannot open the embedded store")]
    Store(#[from] OpenError),
    /// The settings of etcd are wrong.
    #[error("the settings of etcd are wrong")]
    Etcd(#[from] SettingsError),
    /// The settings that the store holds are wrong.
    #[error(transparent)]
    Stored(#[from] ConfigError),
    /// The app beside this daemon cannot be registered.
    #[error("--server-name and --server-address cannot be registered")]
    Sidecar(#[source] InvalidParameter),
    /// An address cannot be bound.
    #[error(transparent)]
    Bind(#[from] net::BindError),
    /// Seaport's side cannot be had.
    #[error(transparent)]
    Seaport(#[from] seaport::HubError),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

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

/// The copies of what is known, in a file.
#[derive(Debug)]
struct SnapshotSaver {
    snapshot_file: SnapshotFile,
    catalog: Arc<Catalog>,
    writer: JoinHandle<()>,
}

impl SnapshotSaver {
    /// The last one.
    async fn finish(self) {
        self.writer.abort();
        if self.catalog.health() == Health::Current {
            snapshot_file::save(&self.snapshot_file, self.catalog.snapshot()).await;
        }
    }
}

impl Server {
    /// Starts every part. When it returns, everything listens.
    pub async fn bind(settings: &Settings) -> Result<Self, StartError> {
        let tls = Certificates::load(settings)?;
        let (store, store_location) = open_store(&settings.store).await?;
        let settings = &config::with_skydns_settings(settings, &store).await?;
        let keyspace = Arc::new(keyspace(settings));
        let catalog = Catalog::new(Arc::clone(&keyspace));
        let of = format!("{store_location}{}", settings.layout.prefix());
        let snapshot_file =
            settings.snapshot_file.clone().map(|path| SnapshotFile::new(path, &of, Arc::clone(&keyspace)));
        if let Some(snapshot_file) = &snapshot_file {
            catalog.set_snapshot_file(snapshot_file.clone());
        }
        let registry = Registry::start(
            Arc::clone(&store),
            Arc::clone(&catalog),
            RegistrySettings {
                ttl: settings.timeout,
                deadline: REGISTER_DEADLINE,
                max_persistent: settings.max_persistent,
                layout: settings.layout.clone(),
            },
        );
        let follower = follow(&store, &catalog).await;
        let topics =
            Topics::new(Arc::clone(&store), broker::TOPICS_PREFIX, settings.timeout, Some(broker::MESSAGE_TTL));
        let metrics = Arc::new(Metrics::default());
        let dns = bind_dns(settings, &catalog, &metrics, tls.dot.as_ref()).await?;
        let app = Arc::new(App {
            registry: Arc::clone(&registry),
            events: Events::start(Arc::clone(&catalog)),
            topics: Arc::clone(&topics),
            event_topics: Topics::new(store, hound_dog::EVENT_NAMESPACE, settings.timeout, None),
            catalog,
            naming: naming(settings),
            timeout: settings.timeout,
            on_stop: settings.on_stop,
            limits: Limits::default(),
            metrics: Arc::clone(&metrics),
            registration_permits: RegistrationPermits::default(),
        });
        ops::gauges::watch(&app);
        let health = Arc::<SidecarHealth>::default();
        let sidecar = settings.sidecar.as_ref().map(|of| of.instance(&app)).transpose();
        let sidecar = sidecar.map_err(StartError::Sidecar)?;
        let (http, dns_https) = bind_http(settings, &app, dns.as_ref(), tls.http.as_ref(), &health)?;
        let seaport = start_seaport(settings, &app)?;
        let sidecar = sidecar.map(|instance| Sidecar::start(Arc::clone(&app), instance, tls.probe, health));
        let snapshot_saver = snapshot_file.map(|snapshot_file| SnapshotSaver {
            writer: tokio::spawn(snapshot_file::save_periodically(snapshot_file.clone(), Arc::clone(&app.catalog))),
            catalog: Arc::clone(&app.catalog),
            snapshot_file,
        });
        let settings = settings.clone();
        Ok(Self {
            http,
            seaport,
            dns,
            dns_https,
            registry,
            follower,
            snapshot_saver,
            sidecar,
            topics,
            store_location,
            settings,
        })
    }

    /// Where HTTP and websockets are served.
    pub fn http_addrs(&self) -> &[SocketAddr] {
        self.http.local_addrs()
    }

    /// Where seaport's peers are served; nowhere when they are not.
    pub fn seaport_addrs(&self) -> &[SocketAddr] {
        self.seaport.as_ref().map_or(&[], seaport::HubServer::local_addrs)
    }

    /// Where DNS is served; nowhere when it is off.
    pub fn dns_addrs(&self) -> &[SocketAddr] {
        self.dns.as_ref().map_or(&[], DnsServer::local_addrs)
    }

    /// Where DNS over TLS is served.
    pub fn dns_tls_addrs(&self) -> &[SocketAddr] {
        self.dns.as_ref().map_or(&[], DnsServer::tls_addrs)
    }

    /// Where DNS over HTTPS is served, `http_addrs` not counted.
    pub fn dns_https_addrs(&self) -> &[SocketAddr] {
        &self.dns_https
    }

    /// The settings in force: those given, and what the store holds in SkyDNS's way.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Where entries are kept, for people.
    pub fn store_location(&self) -> &str {
        &self.store_location
    }

    /// Serves for ever. Returns only when a part failed for good, and says which; drop the future to go on
    /// to [`Server::shutdown`]. A daemon that answers from what it cannot renew any more must not live on.
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
            () = http.run_until_done() => "HTTP",
            () = seaport => "seaport",
            () = dns => "DNS",
            () = registry.run_until_done() => "the registry",
            _ = follower => "the following of the store",
        }
    }

    /// Stops in order, within `--stop-deadline`. Entries stay or go as `--on-stop` says.
    pub async fn shutdown(self) {
        let until = Instant::now() + self.settings.stop_deadline;
        let deadline = self.settings.stop_deadline;
        if let Some(sidecar) = self.sidecar
            && tokio::time::timeout(deadline / 2, sidecar.stop()).await.is_err()
        {
            warn!("the app beside this daemon could not be removed in time; its lease removes it");
        }
        // While their sockets are open: what was theirs until then still reaches them.
        if tokio::time::timeout(deadline / 4, self.topics.leave_queues()).await.is_err() {
            warn!("members of queues could not leave in time; the lease removes them");
        }
        let seaport = async {
            match self.seaport {
                Some(seaport) => seaport.shutdown(deadline).await,
                None => 0,
            }
        };
        let (open, more) = tokio::join!(self.http.shutdown(deadline), seaport);
        let open = open + more;
        if open > 0 {
            warn!(open, "connections did not end in time");
        }
        self.registry.stop(until.saturating_duration_since(Instant::now()).max(Duration::from_millis(100))).await;
        if let Some(snapshot_saver) = self.snapshot_saver {
            snapshot_saver.finish().await;
        }
        self.follower.abort();
        if let Some(dns) = self.dns {
            dns.shutdown().await;
        }
        info!("stopped");
    }
}

/// Everything that HTTP answers.
pub fn routes(app: &Arc<App>) -> Routes {
    Routes::default().with(frontends::routes(app)).with(ops::routes(app))
}

/// What is read of the store. Nobody else writes into the embedded one, and so no peer of hound-dog's.
fn keyspace(settings: &Settings) -> Keyspace {
    let shared = matches!(settings.store, StoreSettings::Etcd(_));
    Keyspace::new(naming(settings), settings.hound_dog_namespace.as_deref().filter(|_| shared))
}

fn naming(settings: &Settings) -> Naming {
    Naming {
        root: settings.dns_root.clone(),
        layout: settings.layout.clone(),
        default_category: settings.default_category.clone(),
        default_ttl: u32::try_from(settings.timeout.as_secs()).unwrap_or(u32::MAX),
    }
}

/// The store, and where it is in words.
async fn open_store(settings: &StoreSettings) -> Result<(Arc<dyn Store>, String), StartError> {
    Ok(match settings {
        StoreSettings::Memory => (Arc::new(Embedded::in_memory_after(Revision(unix_micros()))?), "memory only".into()),
        StoreSettings::Disk(dir) => {
            let file: PathBuf = dir.join(STORE_FILE);
            (Arc::new(Embedded::open(&file)?), file.display().to_string())
        }
        StoreSettings::Etcd(etcd) => {
            let place = format!("etcd at {}", etcd.endpoints.join(", "));
            (Arc::new(Etcd::connect(etcd.clone()).await?), place)
        }
    })
}

/// Microseconds since 1970: more of them pass between two starts than a store has revisions. JSON holds them exactly.
fn unix_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or_default()
}

/// Starts following, and waits a while for the first reading.
async fn follow(store: &Arc<dyn Store>, catalog: &Arc<Catalog>) -> JoinHandle<()> {
    let follow = Follow { store: Arc::clone(store), compare_every: COMPARE_EVERY };
    let follower = tokio::spawn(follow.run(Arc::clone(catalog)));
    if tokio::time::timeout(FIRST_LOAD_TIMEOUT, catalog.ready()).await.is_err() {
        warn!("the store could not be read yet: DNS says SERVFAIL and nobody can register until it can");
    }
    follower
}

/// One certificate, for each protocol that is spoken within TLS; and the question to the app, which may be within TLS.
struct Certificates {
    http: Option<Arc<Tls>>,
    dot: Option<Arc<Tls>>,
    probe: Option<Probe>,
}

impl Certificates {
    /// First of all: a certificate that cannot be used is found before anything is opened.
    fn load(settings: &Settings) -> Result<Self, TlsError> {
        let load = |alpn| settings.tls.clone().map(|files| Tls::load(files, alpn)).transpose();
        let probe = settings.sidecar.as_ref().and_then(|sidecar| sidecar.probe.clone());
        Ok(Self { http: load(tls::HTTP)?, dot: load(tls::DOT)?, probe: probe.map(Probe::new).transpose()? })
    }
}

/// HTTP and websockets, with DNS over HTTPS where there is TLS, and DNS over HTTPS alone. Says where the latter
/// is.
fn bind_http(
    settings: &Settings,
    app: &Arc<App>,
    dns: Option<&DnsServer>,
    tls: Option<&Arc<Tls>>,
    health: &Arc<SidecarHealth>,
) -> Result<(HttpServer, Vec<SocketAddr>), StartError> {
    let over_https = || dns.map(DnsServer::https_routes).unwrap_or_default();
    let mut all = routes(app).with(ops::explain::routes(&app.catalog, settings.dns.clone()));
    all = all.with(dashboard::routes(app, dns.map(DnsServer::stats)));
    all = all.with(settings.sidecar.as_ref().map(|_| health.route()));
    if settings.enable_tls {
        all = all.with(over_https());
    }
    let of_http = HttpSettings { tls: tls.filter(|_| settings.enable_tls).cloned(), ..HttpSettings::default() };
    let mut http = HttpServer::bind(&settings.listen, &of_http, all, &app.metrics)?;
    let dns_https = http.bind_more(&settings.dns_https_listen, tls, Routes::default().with(over_https()))?;
    Ok((http, dns_https))
}

fn start_seaport(settings: &Settings, app: &Arc<App>) -> Result<Option<seaport::HubServer>, StartError> {
    let shared = matches!(settings.store, StoreSettings::Etcd(_));
    Ok(settings.seaport.as_ref().map(|ours| seaport::HubServer::start(ours, app, shared)).transpose()?)
}

/// DNS; `None` when it is off on every transport.
async fn bind_dns(
    settings: &Settings,
    catalog: &Arc<Catalog>,
    metrics: &Arc<Metrics>,
    tls: Option<&Arc<Tls>>,
) -> Result<Option<DnsServer>, StartError> {
    let listens = [&settings.dns_listen, &settings.dns_tls_listen, &settings.dns_https_listen];
    if listens.iter().all(|addrs| addrs.is_empty()) {
        return Ok(None);
    }
    let dns_settings = settings.dns.clone();
    let mut dns = DnsServer::bind(&settings.dns_listen, dns_settings, Arc::clone(catalog)).await?;
    if let Some(tls) = tls {
        dns.listen_tls(&settings.dns_tls_listen, tls)?;
    }
    dns.collect(metrics);
    Ok(Some(dns))
}
