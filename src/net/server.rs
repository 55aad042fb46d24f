//! The HTTP server: bind, run, shut down.

use super::drain::Drain;
use super::http::Service;
use super::limits::Limits;
use super::listen;
use super::route::Routes;
use super::tls::Tls;
use crate::metrics::Metrics;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// How the HTTP server runs.
#[derive(Debug, Clone, Default)]
pub struct HttpSettings {
    /// What its peers may ask of it.
    pub limits: Limits,
    /// TLS on all of its addresses.
    pub tls: Option<Arc<Tls>>,
}

/// An address that could not be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {addr}{}", remedy(.source))]
pub struct BindError {
    /// The address.
    pub addr: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

/// What to do about it. What it is stands in the source.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; stop the process that listens there, or choose another port",
        io::ErrorKind::AddrNotAvailable => "; choose an address that an interface of this machine has",
        io::ErrorKind::PermissionDenied => "; choose a port from 1024 up, or grant CAP_NET_BIND_SERVICE",
        _ => "",
    }
}

/// The HTTP server. It accepts as soon as it is bound, and no more once it is dropped or shut down.
#[derive(Debug)]
pub struct HttpServer {
    addrs: Vec<SocketAddr>,
    drain: Arc<Drain>,
    limits: Limits,
    metrics: Arc<Metrics>,
    acceptors: JoinSet<()>,
}

/// A listener, and where it is.
type Bound = (SocketAddr, TcpListener);

/// Listeners on all addresses or on none.
pub(super) fn listeners(addrs: &[SocketAddr]) -> Result<Vec<Bound>, BindError> {
    let only_v6 = addrs.iter().any(SocketAddr::is_ipv4);
    let listen_on = |addr: &SocketAddr| {
        let listener = listen::listener(*addr, only_v6)?;
        Ok((listener.local_addr()?, listener))
    };
    addrs.iter().map(|addr| listen_on(addr).map_err(|source| BindError { addr: *addr, source })).collect()
}

impl HttpServer {
    /// Listens on all addresses or on none. Port 0 takes any free port, another one for each address. IPv6
    /// addresses take IPv4 peers too (`[::]` is everybody) unless IPv4 addresses are listed as well.
    ///
    /// Must be called in a tokio runtime.
    pub fn bind(
        addrs: &[SocketAddr],
        settings: &HttpSettings,
        routes: Routes,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, BindError> {
        let bound = listeners(addrs)?;
        let limits = settings.limits.fitted();
        let drain = Drain::new(limits.connections);
        let seats = Arc::clone(&drain);
        metrics.collect(move |scrape| {
            let of = [("taken", seats.taken()), ("most", seats.most())];
            scrape.gauges("skyhound_connections", "TCP connections of the HTTP side, and their limit", "of", of);
        });
        let mut server =
            Self { addrs: Vec::new(), drain, limits, metrics: Arc::clone(metrics), acceptors: JoinSet::new() };
        server.addrs = server.accept(bound, settings.tls.as_ref(), routes);
        Ok(server)
    }

    /// Listens on further addresses, with routes of their own and seats from the same count. Says where.
    pub fn also(
        &mut self,
        addrs: &[SocketAddr],
        tls: Option<&Arc<Tls>>,
        routes: Routes,
    ) -> Result<Vec<SocketAddr>, BindError> {
        Ok(self.accept(listeners(addrs)?, tls, routes))
    }

    fn accept(&mut self, bound: Vec<Bound>, tls: Option<&Arc<Tls>>, routes: Routes) -> Vec<SocketAddr> {
        let service = Service::new(routes, self.limits, Arc::clone(&self.metrics));
        let mut addrs = Vec::with_capacity(bound.len());
        for (addr, listener) in bound {
            addrs.push(addr);
            let (service, drain) = (Arc::clone(&service), Arc::clone(&self.drain));
            self.acceptors.spawn(listen::accept(listener, tls.cloned(), service, drain));
        }
        addrs
    }

    /// Where it listens, in the order asked for, ports filled in.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// Who is connected.
    pub fn drain(&self) -> &Arc<Drain> {
        &self.drain
    }

    /// Serves for ever. Returns only if an acceptor failed, which is a bug; drop the future to go on to
    /// [`HttpServer::shutdown`].
    pub async fn run_until_done(&mut self) {
        while self.acceptors.join_next().await.is_some_and(|ended| ended.is_ok()) {}
    }

    /// Stops accepting, tells every connection and every held socket, and waits for them to end, at most for
    /// `deadline`. Returns how many did not.
    pub async fn shutdown(mut self, deadline: Duration) -> usize {
        self.acceptors.shutdown().await;
        self.drain.stop();
        self.drain.empty(deadline).await
    }
}
