//! Listening: sockets bound before anything runs, accepting that outlives a shortage, a seat for each connection.
//!
//! Owns: what every server of connections needs, whatever they speak. Does not own: what becomes of a connection
//! ([`super::server`], [`super::lines`]).

use super::drain::{Drain, Peer};
use super::limits::{ACCEPT_PAUSE, BACKLOG};
use crate::metrics::Metrics;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

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

/// Listeners that accept, and who came in through them. No more are accepted once it is dropped or shut down.
#[derive(Debug)]
pub(super) struct Listener {
    drain: Arc<Drain>,
    metrics: Arc<Metrics>,
    acceptors: JoinSet<()>,
}

impl Listener {
    /// No listener yet. All of them have `most` seats together, which are measured under this name.
    pub(super) fn new(max: usize, metrics: &Arc<Metrics>, metric: String, help: &'static str) -> Self {
        let drain = Drain::new(max);
        let connections = Arc::clone(&drain);
        metrics.collect(move |scrape| {
            scrape.gauge_count(&metric, help, connections.in_use());
            scrape.gauge_count(&format!("{metric}_limit"), "Limit of open TCP connections", connections.max());
        });
        Self { drain, metrics: Arc::clone(metrics), acceptors: JoinSet::new() }
    }

    /// Listens on all addresses or on none, and says where. `on_connection` is called with each connection and must not block;
    /// there is no peer when all seats are taken.
    pub(super) fn listen(
        &mut self,
        addrs: &[SocketAddr],
        on_connection: impl Fn(TcpStream, Option<Peer>) + Clone + Send + 'static,
    ) -> Result<Vec<SocketAddr>, BindError> {
        let only_v6 = addrs.iter().any(SocketAddr::is_ipv4);
        let bind = |addr: &SocketAddr| {
            let socket = bind_socket(*addr, only_v6)?;
            Ok((socket.local_addr()?, socket))
        };
        let bound: Result<Vec<_>, _> =
            addrs.iter().map(|addr| bind(addr).map_err(|source| BindError { addr: *addr, source })).collect();
        let (local_addrs, listeners): (Vec<_>, Vec<_>) = bound?.into_iter().unzip();
        for listener in listeners {
            self.acceptors.spawn(accept(
                listener,
                Arc::clone(&self.drain),
                Arc::clone(&self.metrics),
                on_connection.clone(),
            ));
        }
        Ok(local_addrs)
    }

    pub(super) fn drain(&self) -> &Arc<Drain> {
        &self.drain
    }

    /// Accepts for ever. Returns only if an acceptor failed, which is a bug.
    pub(super) async fn run_until_done(&mut self) {
        while self.acceptors.join_next().await.is_some_and(|ended| ended.is_ok()) {}
    }

    /// Stops accepting, tells every connection, and waits for them to end, at most for `deadline`. Returns how many
    /// did not.
    pub(super) async fn shutdown(mut self, deadline: Duration) -> usize {
        self.acceptors.shutdown().await;
        self.drain.stop();
        self.drain.wait_until_idle(deadline).await
    }
}

/// A listener. `SO_REUSEADDR`, so that a restart need not wait for the connections of before to be
/// forgotten. An IPv6 socket takes IPv4 peers too unless `only_v6`.
fn bind_socket(addr: SocketAddr, only_v6: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts for ever; drop the future to stop.
async fn accept(
    listener: TcpListener,
    drain: Arc<Drain>,
    metrics: Arc<Metrics>,
    on_connection: impl Fn(TcpStream, Option<Peer>),
) {
    let mut exhausted = false;
    loop {
        match listener.accept().await {
            Ok((stream, addr)) => {
                exhausted = false;
                on_connection(stream, drain.try_acquire().map(|permit| Peer { addr, permit }));
            }
            Err(error) if is_peer_error(&error) => {}
            // EMFILE, ENFILE, ENOBUFS, ENOMEM: the connection stays in the backlog and accept would fail at
            // once, again and again. Connections that end free what is missing, so wait for that.
            Err(error) => {
                if !std::mem::replace(&mut exhausted, true) {
                    tracing::warn!(%error, connections = drain.in_use(), "cannot accept connections; pausing between attempts");
                }
                metrics.accept_failed();
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The peer was gone before it was accepted (accept(2), "Error handling").
fn is_peer_error(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}
