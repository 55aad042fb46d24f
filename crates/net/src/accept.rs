//! The acceptor of TCP connections: a bound socket, and an accept loop that survives a shortage of descriptors.
//!
//! | error of accept(2) | meaning | reaction |
//! |---|---|---|
//! | `ECONNABORTED`, `ECONNRESET`, `EINTR` | the peer left before it was accepted | the next connection |
//! | any other (`EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM`) | the system has no resources | [`Shortage`], a pause |
//!
//! Owns: the socket options, the classification of errors, the pause, and the error of an address that cannot be bound.
//! Does not own: limits of connections (`super::listen` for HTTP and lines, [`super::admission`] for DNS), nor the
//! tasks that serve them.

use super::limits::{ACCEPT_PAUSE, BACKLOG};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until};

/// An address that cannot be bound. The text ends with the remedy; the source names the cause.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen for {protocol} on {addr}{}", remedy(*.addr, .source))]
pub struct BindError {
    /// Protocol of the listener, such as `HTTP` or `DNS over UDP`.
    pub protocol: &'static str,
    /// Configured address.
    pub addr: SocketAddr,
    /// Error of the operating system.
    pub source: io::Error,
}

fn remedy(addr: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "; stop the process that listens there (`ss -lunpt 'sport = :{}'` names it), or choose another port",
            addr.port()
        ),
        io::ErrorKind::AddrNotAvailable => "; choose an address that an interface of this machine has".to_owned(),
        io::ErrorKind::PermissionDenied if addr.port() < 1024 => {
            "; choose a port from 1024 up, or grant CAP_NET_BIND_SERVICE".to_owned()
        }
        _ => String::new(),
    }
}

/// A listening TCP socket.
#[derive(Debug)]
pub struct Acceptor {
    listener: TcpListener,
    addr: SocketAddr,
    /// End of the pause after a shortage.
    paused_until: Option<Instant>,
    /// True from the first failed attempt of a shortage to the next connection.
    in_shortage: bool,
}

/// A failed attempt to accept, because the system has no descriptor or no memory. The connection stays in the backlog.
#[derive(Debug)]
pub struct Shortage;

impl Acceptor {
    /// Binds an address. With `SO_REUSEADDR`, so that a restart does not wait until the connections of the previous
    /// process are forgotten. An IPv6 socket accepts IPv4 peers too unless `only_v6`.
    ///
    /// Must be called in a tokio runtime.
    pub fn bind(addr: SocketAddr, only_v6: bool) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        if addr.is_ipv6() {
            socket.set_only_v6(only_v6)?;
        }
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from_std(socket.into())?;
        let addr = listener.local_addr()?;
        Ok(Self { listener, addr, paused_until: None, in_shortage: false })
    }

    /// The bound address, with the port that the system chose for port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Waits for the next connection. Cancel safe.
    ///
    /// After a [`Shortage`] the next call pauses first: accept(2) would fail at once, again and again. Connections that
    /// end free the resource. The log reports each shortage once.
    pub async fn accept(&mut self) -> Result<(TcpStream, SocketAddr), Shortage> {
        if let Some(until) = self.paused_until {
            sleep_until(until).await;
            self.paused_until = None;
        }
        loop {
            match self.listener.accept().await {
                Ok(connection) => {
                    self.in_shortage = false;
                    return Ok(connection);
                }
                Err(error) if is_peer_error(&error) => {}
                Err(error) => {
                    self.paused_until = Some(Instant::now() + ACCEPT_PAUSE);
                    if !std::mem::replace(&mut self.in_shortage, true) {
                        tracing::warn!(%error, listener = %self.addr, "cannot accept connections; pausing between attempts");
                    }
                    return Err(Shortage);
                }
            }
        }
    }
}

/// Returns true if the peer left before it was accepted (accept(2), "Error handling").
fn is_peer_error(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}
