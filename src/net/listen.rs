//! Listening: sockets bound before anything runs, and accepting that outlives a shortage.

use super::drain::{Drain, Peer};
use super::http::{self, Service};
use super::limits::{ACCEPT_PAUSE, BACKLOG};
use super::tls::Tls;
use crate::metrics::Metrics;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};

/// A listener. `SO_REUSEADDR`, so that a restart need not wait for the connections of before to be
/// forgotten. An IPv6 socket takes IPv4 peers too unless `only_v6`.
pub(super) fn listener(addr: SocketAddr, only_v6: bool) -> io::Result<TcpListener> {
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
pub(super) async fn accept(listener: TcpListener, tls: Option<Arc<Tls>>, service: Arc<Service>, drain: Arc<Drain>) {
    let metrics = Arc::clone(service.metrics());
    accept_each(listener, &metrics, &drain, |stream, addr| begin(stream, addr, tls.as_ref(), &service, &drain)).await;
}

/// The same for any protocol: `begin` is called with each connection and must not block.
pub(super) async fn accept_each(
    listener: TcpListener,
    metrics: &Metrics,
    drain: &Drain,
    begin: impl Fn(TcpStream, SocketAddr),
) {
    let mut short = false;
    loop {
        match listener.accept().await {
            Ok((stream, addr)) => {
                short = false;
                begin(stream, addr);
            }
            Err(error) if is_the_peers(&error) => {}
            // EMFILE, ENFILE, ENOBUFS, ENOMEM: the connection stays in the backlog and accept would fail at
            // once, again and again. Connections that end free what is missing, so wait for that.
            Err(error) => {
                if !std::mem::replace(&mut short, true) {
                    tracing::warn!(%error, connections = drain.taken(), "cannot accept connections; pausing between attempts");
                }
                metrics.accept_failed();
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The peer was gone before it was accepted (accept(2), "Error handling").
fn is_the_peers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

fn begin(stream: TcpStream, addr: SocketAddr, tls: Option<&Arc<Tls>>, service: &Arc<Service>, drain: &Arc<Drain>) {
    // Answers are small and whole; Nagle's algorithm would hold them back. Fails only if the peer is gone.
    let _ = stream.set_nodelay(true);
    match drain.seat() {
        Some(seat) => {
            let (peer, tls, service) = (Peer { addr, seat }, tls.cloned(), Arc::clone(service));
            tokio::spawn(async move {
                if let Some(stream) = http::secured(stream, tls, &peer, &service).await {
                    http::serve(stream, peer, service).await;
                }
            });
        }
        None => http::refuse(stream, tls.is_some(), service, drain.most()),
    }
}
