//! The listeners of one server: its acceptors, with one limit of connections for all of them.
//!
//! Owns: the acceptors' tasks and the permit of each connection. Does not own: the protocol of a connection
//! ([`super::server`], [`super::lines`]).

use super::accept::{Acceptor, BindError, Shortage};
use super::drain::{Drain, Peer};
use crate::metrics::Metrics;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Acceptors, and the connections that they accepted. Dropped or shut down, they accept no more.
#[derive(Debug)]
pub(super) struct Listener {
    drain: Arc<Drain>,
    metrics: Arc<Metrics>,
    acceptors: JoinSet<()>,
}

impl Listener {
    /// A listener without addresses. All addresses share the limit of `max` connections; the count is exported as
    /// `metric`.
    pub(super) fn new(max: usize, metrics: &Arc<Metrics>, metric: String, help: &'static str) -> Self {
        let drain = Drain::new(max);
        let connections = Arc::clone(&drain);
        metrics.collect(move |scrape| {
            scrape.gauge_count(&metric, help, connections.in_use());
            scrape.gauge_count(&format!("{metric}_limit"), "Limit of open TCP connections", connections.max());
        });
        Self { drain, metrics: Arc::clone(metrics), acceptors: JoinSet::new() }
    }

    /// Listens on all addresses or on none, and returns the bound ones. `on_connection` is called with each connection
    /// and must not block; over the limit, there is no peer.
    pub(super) fn listen(
        &mut self,
        protocol: &'static str,
        addrs: &[SocketAddr],
        on_connection: impl Fn(TcpStream, Option<Peer>) + Clone + Send + 'static,
    ) -> Result<Vec<SocketAddr>, BindError> {
        let only_v6 = addrs.iter().any(SocketAddr::is_ipv4);
        let bind = |&addr| Acceptor::bind(addr, only_v6).map_err(|source| BindError { protocol, addr, source });
        let acceptors = addrs.iter().map(bind).collect::<Result<Vec<_>, _>>()?;
        let local_addrs = acceptors.iter().map(Acceptor::local_addr).collect();
        for acceptor in acceptors {
            let (drain, metrics) = (Arc::clone(&self.drain), Arc::clone(&self.metrics));
            self.acceptors.spawn(accept(acceptor, drain, metrics, on_connection.clone()));
        }
        Ok(local_addrs)
    }

    pub(super) fn drain(&self) -> &Arc<Drain> {
        &self.drain
    }

    /// Accepts without end. Returns only if an acceptor failed, which is a bug.
    pub(super) async fn run_until_done(&mut self) {
        while self.acceptors.join_next().await.is_some_and(|ended| ended.is_ok()) {}
    }

    /// Stops accepting, signals all connections to stop, and waits for their end, at most for `deadline`. Returns the
    /// number of connections that are left.
    pub(super) async fn shutdown(mut self, deadline: Duration) -> usize {
        self.acceptors.shutdown().await;
        self.drain.stop();
        self.drain.wait_until_idle(deadline).await
    }
}

/// Accepts without end; drop the future to stop.
async fn accept(
    mut acceptor: Acceptor,
    drain: Arc<Drain>,
    metrics: Arc<Metrics>,
    on_connection: impl Fn(TcpStream, Option<Peer>),
) {
    loop {
        match acceptor.accept().await {
            Ok((stream, addr)) => on_connection(stream, drain.try_acquire().map(|permit| Peer { addr, permit })),
            Err(Shortage) => metrics.accept_failed(),
        }
    }
}
