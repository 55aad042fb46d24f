//! DNS over TCP (RFC 7766) and over TLS (RFC 7858): the listeners, and the admission of connections.
//!
//! ```text
//! accept ─▶ access list ─▶ admission ─▶ (TLS) ─▶ connection: frames ─▶ general path ─▶ frames
//!                           └ over a limit: evicts the connection that has been idle longest
//! ```
//! Owns: every limit on a connection ([`StreamLimits`]), and the graceful shutdown. Does not own: accepting
//! ([`skyhound_net::accept`]), the choice of an evicted connection ([`skyhound_net::admission`]), TLS
//! ([`skyhound_net::tls`]), nor the response (`general`).
//!
//! hickory-server's listeners are not used: they accept any number of connections, each with any number of questions,
//! and set no deadline for a frame.

mod connection;

pub use super::close_reason::CloseReason;
use super::handler::Handler;
use super::message::Transport;
use super::settings::StreamLimits;
use connection::Connection;
use skyhound_net::accept::{Acceptor, Shortage};
use skyhound_net::admission::{Admission, AdmissionPermit};
use skyhound_net::tls::Tls;
use socket2::SockRef;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::debug;

/// The time that connections have to end on a shutdown: for the responses in flight.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// All listeners for streams. If it is dropped, they end at once.
pub(super) struct StreamListeners {
    context: StreamContext,
    stop: watch::Sender<()>,
    listeners: JoinSet<()>,
}

/// The state that all connections share.
#[derive(Clone)]
struct StreamContext {
    handler: Handler,
    limits: StreamLimits,
    admission: Arc<Admission>,
    /// Changes when its sender is dropped.
    stop: watch::Receiver<()>,
}

impl StreamListeners {
    /// Creates the state without a listener.
    pub(super) fn new(handler: Handler, limits: StreamLimits) -> Self {
        let (stop, stopped) = watch::channel(());
        let admission = Admission::new(limits.max_connections, limits.max_per_client);
        Self { context: StreamContext { handler, limits, admission, stop: stopped }, stop, listeners: JoinSet::new() }
    }

    /// Starts one more listener. It has to be called within a tokio runtime.
    pub(super) fn listen(&mut self, acceptor: Acceptor, tls: Option<Arc<Tls>>) {
        self.listeners.spawn(accept(acceptor, tls, self.context.clone()));
    }

    /// Waits until a listener has ended, which without [`Self::stop`] only a bug causes.
    pub(super) async fn finished(&mut self) {
        if self.listeners.join_next().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// Closes the listeners and all connections and waits until they are closed.
    pub(super) async fn stop(mut self) {
        drop(self.stop);
        while self.listeners.join_next().await.is_some() {}
    }
}

/// Accepts connections until the shutdown, then waits for them to end.
async fn accept(mut acceptor: Acceptor, tls: Option<Arc<Tls>>, context: StreamContext) {
    let mut connections = JoinSet::new();
    let mut stop = context.stop.clone();
    loop {
        tokio::select! {
            accepted = acceptor.accept() => match accepted {
                Ok((stream, from)) => start_connection(stream, from, tls.as_ref(), &context, &mut connections),
                // The new connection needs the descriptor of an idle one.
                Err(Shortage) => context.admission.evict_idle(),
            },
            Some(_) = connections.join_next() => {}
            _ = stop.changed() => break,
        }
    }
    drop(acceptor);
    let finished = async { while connections.join_next().await.is_some() {} };
    let _ = timeout(SHUTDOWN_TIMEOUT, finished).await;
    connections.shutdown().await;
}

/// Starts the task of a connection, if it is admitted.
fn start_connection(
    stream: TcpStream,
    from: SocketAddr,
    tls: Option<&Arc<Tls>>,
    context: &StreamContext,
    connections: &mut JoinSet<()>,
) {
    let stats = context.handler.stats();
    // Closed and not answered with REFUSED, as over UDP: for that it would have to hold a permit until its first
    // question, and a TLS handshake would be necessary.
    if !context.handler.allows_client(from.ip()) {
        stats.streams().refused(CloseReason::Denied);
        return;
    }
    let Some(permit) = context.admission.try_acquire(from.ip()) else {
        stats.streams().refused(CloseReason::Refused);
        return;
    };
    // Responses are written as whole messages. Both calls fail only if the peer has closed.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_send_buffer_size(context.limits.max_unsent_bytes);
    let (tls, context) = (tls.cloned(), context.clone());
    connections.spawn(async move {
        stats.streams().opened();
        let reason = serve(stream, from, tls, permit, context).await;
        stats.streams().closed(reason);
        debug!(%from, reason = reason.as_str(), "closed a DNS connection");
    });
}

/// Serves one connection until it ends.
async fn serve(
    stream: TcpStream,
    from: SocketAddr,
    tls: Option<Arc<Tls>>,
    permit: AdmissionPermit,
    context: StreamContext,
) -> CloseReason {
    let Some(tls) = tls else { return run_connection(stream, from, Transport::Tcp, permit, context).await };
    let handshake = tokio::select! {
        handshake = timeout(context.limits.message_timeout, tls.accept(stream)) => handshake,
        () = permit.evicted() => return CloseReason::Evicted,
    };
    match handshake {
        Ok(Ok(stream)) => run_connection(stream, from, Transport::Tls, permit, context).await,
        Ok(Err(error)) => {
            debug!(%from, %error, "TLS handshake with a DNS client failed");
            CloseReason::Handshake
        }
        Err(_) => CloseReason::ReceiveTimeout,
    }
}

async fn run_connection<S: AsyncRead + AsyncWrite>(
    stream: S,
    from: SocketAddr,
    transport: Transport,
    permit: AdmissionPermit,
    context: StreamContext,
) -> CloseReason {
    let StreamContext { handler, limits, stop, .. } = context;
    Connection::new(stream, connection::ConnectionContext { from, transport, handler }, limits, permit).run(stop).await
}
