//! DNS over TCP (RFC 7766) and over TLS (RFC 7858): the listeners, and who may stay.
//!
//! ```text
//! accept ─▶ may it ask ─▶ admit ─▶ (TLS) ─▶ connection: frames ─▶ general path ─▶ frames
//!                          └ over a limit: who was idle longest goes
//! ```
//! Owns: accepting, every limit on a connection ([`StreamLimits`]), and the way out. Does not own: TLS
//! ([`skyhound_net::tls`]), nor what is answered (`general`).
//!
//! Not hickory-server's: it takes any number of connections, each with any number of questions, and a frame may
//! take as long as it likes.

mod connection;
mod places;

use super::handler::Handler;
use super::message::Transport;
use super::settings::StreamLimits;
use connection::Connection;
use places::{Place, Places};
use skyhound_net::tls::Tls;
use socket2::SockRef;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, warn};

/// The pause of a listener that the system gives no descriptor (or no memory) to accept with.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long connections may take to end when the daemon stops: time for the answers that are under way.
const STOP_WITHIN: Duration = Duration::from_secs(1);

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The client closed it, or it broke.
    Closed,
    /// Nothing was asked for as long as [`StreamLimits::idle`].
    Idle,
    /// A message (or the TLS handshake) did not arrive within [`StreamLimits::message`].
    Slow,
    /// What was sent was not read within [`StreamLimits::take`].
    Unread,
    /// It was idle, and its place was needed for another.
    Crowded,
    /// There was no place for it, and nobody idle.
    Refused,
    /// Its client may not ask (`--dns-allow`, `--dns-deny`).
    Denied,
    /// There was no TLS with it.
    Handshake,
    /// What it sent is no DNS.
    Garbled,
    /// The daemon stopped.
    Stopped,
}

impl End {
    /// All of them, in the order in which they are counted.
    pub const ALL: [Self; 10] = [
        Self::Closed,
        Self::Idle,
        Self::Slow,
        Self::Unread,
        Self::Crowded,
        Self::Refused,
        Self::Denied,
        Self::Handshake,
        Self::Garbled,
        Self::Stopped,
    ];

    /// As metrics name it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Idle => "idle",
            Self::Slow => "slow",
            Self::Unread => "unread",
            Self::Crowded => "crowded",
            Self::Refused => "refused",
            Self::Denied => "denied",
            Self::Handshake => "handshake",
            Self::Garbled => "garbled",
            Self::Stopped => "stopped",
        }
    }
}

/// All listeners for streams. Dropped, they end at once.
pub(super) struct Streams {
    shared: Shared,
    stop: watch::Sender<()>,
    listeners: JoinSet<()>,
}

/// What all connections share.
#[derive(Clone)]
struct Shared {
    handler: Handler,
    limits: StreamLimits,
    places: Arc<Places>,
    /// Ends with its sender.
    stop: watch::Receiver<()>,
}

impl Streams {
    /// No listener yet.
    pub(super) fn new(handler: Handler, limits: StreamLimits) -> Self {
        let (stop, stopped) = watch::channel(());
        let places = Places::new(limits.most, limits.per_client);
        Self { shared: Shared { handler, limits, places, stop: stopped }, stop, listeners: JoinSet::new() }
    }

    /// Answers on one more listener. Call it within a tokio runtime.
    pub(super) fn listen(&mut self, listener: TcpListener, tls: Option<Arc<Tls>>) {
        self.listeners.spawn(accept(listener, tls, self.shared.clone()));
    }

    /// Waits until a listener has ended, which it does only when told or by a bug.
    pub(super) async fn ended(&mut self) {
        if self.listeners.join_next().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// Closes the listeners and all connections. Returns when they are closed.
    pub(super) async fn stop(mut self) {
        drop(self.stop);
        while self.listeners.join_next().await.is_some() {}
    }
}

/// Accepts until told to stop, then waits for the connections to end.
async fn accept(listener: TcpListener, tls: Option<Arc<Tls>>, shared: Shared) {
    let mut connections = JoinSet::new();
    let mut stop = shared.stop.clone();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => begin(stream, from, tls.as_ref(), &shared, &mut connections),
                Err(error) => short(&error, &shared).await,
            },
            Some(_) = connections.join_next() => {}
            _ = stop.changed() => break,
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    let _ = timeout(STOP_WITHIN, ended).await;
    connections.shutdown().await;
}

/// Gives a connection its place and its task. Whoever is not to be answered at all is turned away here.
fn begin(stream: TcpStream, from: SocketAddr, tls: Option<&Arc<Tls>>, shared: &Shared, connections: &mut JoinSet<()>) {
    let stats = shared.handler.stats();
    // Closed and not told REFUSED, as over UDP: to be told it would have to hold a place until it asks, and TLS
    // would have to be made with it.
    if !shared.handler.may_ask(from.ip()) {
        stats.streams().refused(End::Denied);
        return;
    }
    let Some(place) = shared.places.admit(from.ip()) else {
        stats.streams().refused(End::Refused);
        return;
    };
    // Answers are whole messages. Both fail only if the peer is gone.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_send_buffer_size(shared.limits.unread);
    let (tls, shared) = (tls.cloned(), shared.clone());
    connections.spawn(async move {
        stats.streams().opened();
        let end = serve(stream, from, tls, place, shared).await;
        stats.streams().closed(end);
        debug!(%from, end = end.word(), "a DNS connection ended");
    });
}

/// One connection, to its end.
async fn serve(stream: TcpStream, from: SocketAddr, tls: Option<Arc<Tls>>, place: Place, shared: Shared) -> End {
    let Some(tls) = tls else { return hold(stream, from, Transport::Tcp, place, shared).await };
    let shaken = tokio::select! {
        shaken = timeout(shared.limits.message, tls.accept(stream)) => shaken,
        () = place.wanted() => return End::Crowded,
    };
    match shaken {
        Ok(Ok(stream)) => hold(stream, from, Transport::Tls, place, shared).await,
        Ok(Err(error)) => {
            debug!(%from, %error, "no TLS with a DNS client");
            End::Handshake
        }
        Err(_) => End::Slow,
    }
}

async fn hold<S: AsyncRead + AsyncWrite>(
    stream: S,
    from: SocketAddr,
    over: Transport,
    place: Place,
    shared: Shared,
) -> End {
    let Shared { handler, limits, stop, .. } = shared;
    Connection::new(stream, connection::Peer { from, over, handler }, limits, place).run(stop).await
}

/// What to do about a connection that could not be accepted.
async fn short(error: &io::Error, shared: &Shared) {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    // The peer was gone before (accept(2), "Error handling").
    if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
        return;
    }
    warn!(%error, "cannot accept DNS connections; closing one that is idle");
    shared.places.make_room();
    tokio::time::sleep(ACCEPT_PAUSE).await;
}
