//! The HTTP server: bind, run, shut down.

use super::drain::Drain;
use super::http::Service;
use super::limits::Limits;
use super::listen;
use super::route::Routes;
use crate::metrics::Metrics;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// How the HTTP server runs.
#[derive(Debug, Clone, Default)]
pub struct HttpSettings {
    /// What its peers may ask of it.
    pub limits: Limits,
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
    acceptors: JoinSet<()>,
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
        let only_v6 = addrs.iter().any(SocketAddr::is_ipv4);
        let listen_on = |addr: &SocketAddr| {
            let listener = listen::listener(*addr, only_v6)?;
            Ok((listener.local_addr()?, listener))
        };
        let bound = addrs
            .iter()
            .map(|addr| listen_on(addr).map_err(|source| BindError { addr: *addr, source }))
            .collect::<Result<Vec<_>, _>>()?;

        let limits = settings.limits.fitted();
        let drain = Drain::new(limits.connections);
        let service = Service::new(routes, limits, Arc::clone(metrics));
        let seats = Arc::clone(&drain);
        metrics.collect(move |scrape| {
            let of = [("taken", seats.taken()), ("most", seats.most())];
            scrape.gauges("skyhound_connections", "TCP connections of the HTTP side, and their limit", "of", of);
        });
        let mut acceptors = JoinSet::new();
        let mut at = Vec::with_capacity(bound.len());
        for (addr, listener) in bound {
            at.push(addr);
            acceptors.spawn(listen::accept(listener, Arc::clone(&service), Arc::clone(&drain)));
        }
        Ok(Self { addrs: at, drain, acceptors })
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
