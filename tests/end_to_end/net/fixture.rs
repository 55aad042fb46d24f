//! A daemon without DNS, in this process, with a store in memory.

use crate::net::raw::Raw;
use skyhound::ops::gauges;
use skyhound::server::routes;
use skyhound_core::catalog::follow::{COMPARE_EVERY, Follow};
use skyhound_core::catalog::{Catalog, Keyspace};
use skyhound_core::events::Events;
use skyhound_core::registry::OnStop;
use skyhound_core::registry::{MAX_PERSISTENT, REGISTER_DEADLINE, Registry, RegistrySettings};
use skyhound_core::topics::Topics;
use skyhound_frontends::app::{App, RegistrationPermits};
use skyhound_model::{Entry, Layout, Name, Naming};
use skyhound_net::metrics::Metrics;
use skyhound_net::{HttpServer, HttpSettings, Limits, Routes};
use skyhound_store::Store;
use skyhound_store::embedded::Embedded;
use skyhound_test_support::wait::{SOON, wait_until};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::{WebSocketStream, client_async};

/// The settings of a daemon.
pub struct How {
    pub timeout: Duration,
    pub on_stop: OnStop,
    pub limits: Limits,
    /// The time limit of a registration.
    pub deadline: Duration,
    /// The catalog follows the store; without this nothing is ever read, and nothing becomes visible.
    pub follow: bool,
}

impl Default for How {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            on_stop: OnStop::Keep,
            limits: Limits::default(),
            deadline: REGISTER_DEADLINE,
            follow: true,
        }
    }
}

pub struct Daemon {
    pub app: Arc<App>,
    pub store: Arc<dyn Store>,
    pub http: HttpServer,
    pub addr: SocketAddr,
    follower: Option<JoinHandle<()>>,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.follower.take().inspect(JoinHandle::abort);
    }
}

impl Daemon {
    pub async fn start() -> Self {
        Self::started(How::default()).await
    }

    pub async fn started(how: How) -> Self {
        let layout = Layout::new("/skydns");
        let store: Arc<dyn Store> = Arc::new(Embedded::in_memory().expect("a store in memory"));
        let settings = RegistrySettings {
            ttl: how.timeout,
            deadline: how.deadline,
            max_persistent: MAX_PERSISTENT,
            layout: layout.clone(),
        };
        let naming = Naming {
            root: Name::parse("skydns.local.").expect("a name"),
            layout,
            default_category: "services".into(),
            default_ttl: 30,
        };
        let catalog = Catalog::new(Arc::new(Keyspace::new(naming.clone(), None)));
        let registry = Registry::start(Arc::clone(&store), Arc::clone(&catalog), settings);
        let metrics = Arc::new(Metrics::new());
        let app = Arc::new(App {
            registry,
            events: Events::start(Arc::clone(&catalog)),
            topics: Topics::new(Arc::clone(&store), "topics", how.timeout, None),
            catalog: Arc::clone(&catalog),
            event_topics: Topics::new(Arc::clone(&store), "event", how.timeout, None),
            naming,
            timeout: how.timeout,
            on_stop: how.on_stop,
            limits: how.limits,
            metrics: Arc::clone(&metrics),
            registration_permits: RegistrationPermits::default(),
        });
        gauges::watch(&app);
        let settings = HttpSettings { limits: how.limits, ..HttpSettings::default() };
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let http = HttpServer::bind(&[any], &settings, routes(&app), &metrics).expect("a free port");
        let addr = http.local_addrs()[0];
        let mut follower = None;
        if how.follow {
            let follow = Follow { store: Arc::clone(&store), compare_every: COMPARE_EVERY };
            follower = Some(tokio::spawn(follow.run(Arc::clone(&catalog))));
            catalog.ready().await;
        }
        Self { app, store, http, addr, follower }
    }

    /// A connection that nothing was said on.
    pub async fn connect(&self) -> Raw {
        Raw::new(TcpStream::connect(self.addr).await.expect("it listens"))
    }

    /// A websocket on `/provide?…`, by a real client.
    pub async fn provide(&self, query: &str) -> Result<WebSocketStream<TcpStream>, Error> {
        let stream = TcpStream::connect(self.addr).await.expect("it listens");
        let url = format!("ws://{}/provide?{query}", self.addr);
        client_async(url, stream).await.map(|(socket, _)| socket)
    }

    /// The entries of a service, as this node answers them now.
    pub fn entries(&self, service: &str) -> Vec<Entry> {
        let name = Name::parse(&format!("{service}.services.skydns.local.")).expect("a name");
        let snapshot = self.app.catalog.snapshot();
        let Some(node) = snapshot.node(&name) else { return Vec::new() };
        node.children().flat_map(|(_, child)| child.own().map(|stored| stored.entry.clone())).collect()
    }

    /// The number of entries in the zone, all in all. The tombstone of removals is outside of it.
    pub fn count(&self) -> usize {
        let snapshot = self.app.catalog.snapshot();
        snapshot.node(&Name::parse("local.").expect("a name")).map_or(0, skyhound_core::catalog::Node::entries)
    }

    /// Waits until there are so many entries and claims.
    pub async fn holds(&self, entries: usize, claims: usize) {
        wait_until(SOON, async || match (self.count(), self.app.registry.claims()) {
            now if now == (entries, claims) => Ok(()),
            now => Err(format!("entries and claims: {now:?}, not {:?}", (entries, claims))),
        })
        .await;
    }

    /// Waits until the metrics have this line.
    pub async fn counted(&self, line: &str) {
        wait_until(SOON, async || {
            let text = self.app.metrics.render();
            if text.lines().any(|there| there == line) { Ok(()) } else { Err(format!("no {line} in\n{text}")) }
        })
        .await;
    }
}

/// A server that nobody asks.
pub fn idle() -> HttpServer {
    HttpServer::bind(&[], &HttpSettings::default(), Routes::default(), &Arc::new(Metrics::new()))
        .expect("nothing to bind")
}
