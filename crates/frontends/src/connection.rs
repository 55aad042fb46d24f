//! The life of one websocket, from its 101 to its close, for every dialect that holds some.
//!
//! Owns: pings and the verdict on silence, the verdict on a peer that does not read, and that whatever ends the
//! socket ends the claim that hangs on it in the right way. What a text means and what there is to say is the
//! dialect's ([`ConnectionHandler`]). 10,000 to 100,000 of these tasks are held at a time, so that they are kept small (what is
//! rare is boxed) and quiet: one wake-up each half of the timeout, spread over that time, from tokio's timer wheel.

use crate::app::App;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use skyhound_core::registry::Claim;
use skyhound_core::registry::OnStop;
use skyhound_model::removal::RemovalReason;
use skyhound_net::ConnectionPermit;
use skyhound_net::limits::{BAD_FRAMES_MAX, SEND_TIMEOUT};
use skyhound_net::websocket::{CloseCode, Socket, SocketEvent, Upgrade, Utf8Bytes};
use std::borrow::Cow;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// How long a peer that closed waits for our answer to its close while its entry is being removed. With it
/// the answer says, nearly always, that the entry is gone.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(1);
/// How much is said after each message of a peer's before the next one is read: who talks without a pause hears what
/// others say meanwhile, and what he said himself.
const OUTGOING_PER_MESSAGE: u8 = 32;

/// What a dialect makes of a held socket.
pub trait ConnectionHandler: Send + 'static {
    /// The name that counters say the dialect by.
    const FRONTEND: &'static str;

    /// Does what a text says. `Ok` is what is answered, if anything; `Err` is answered as well, and counts as a
    /// frame that means nothing here.
    fn on_text(&mut self, text: Utf8Bytes) -> impl Future<Output = Result<Option<Bytes>, Bytes>> + Send;

    /// The same for a message that need not be text; `None` where those mean nothing.
    fn on_binary(&mut self, _: Bytes) -> impl Future<Output = Option<Result<Option<Bytes>, Bytes>>> + Send {
        std::future::ready(None)
    }

    /// What there is to say unasked. Safe to cancel.
    fn next_message(&mut self) -> impl Future<Output = Outgoing> + Send {
        std::future::pending()
    }

    /// The claim that lives as long as the socket does, if there is one.
    fn into_claim(self) -> Option<Claim>;
}

/// See [`ConnectionHandler::next_message`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outgoing {
    /// Something to say, in UTF-8.
    Text(Bytes),
    /// There was more to say than could be kept for this peer.
    Lagged,
}

/// Why a socket ends.
#[derive(Debug)]
enum CloseCause {
    /// The peer closed it in order.
    Closed,
    /// The connection is gone.
    ConnectionLost,
    /// No frame came from ping to ping.
    PingTimeout,
    /// The daemon stops.
    Shutdown,
    /// The peer did what it may not.
    ProtocolViolation(CloseCode, Cow<'static, str>),
    /// It took nothing of what it was sent.
    SendTimeout,
    /// It takes less than there is to say.
    Lagged,
}

impl CloseCause {
    /// In one word, for [`skyhound_net::metrics::Metrics::release`].
    fn as_str(&self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::ConnectionLost => "connection_lost",
            Self::PingTimeout => "ping_timeout",
            Self::Shutdown => "shutdown",
            Self::ProtocolViolation(..) => "protocol_violation",
            Self::SendTimeout => "send_timeout",
            Self::Lagged => "lagged",
        }
    }
}

/// Holds a socket, and the claim that the talk has, until either ends. The talk is boxed because a future keeps
/// room for its arguments twice.
pub async fn serve<T: ConnectionHandler>(
    app: Arc<App>,
    mut handler: Box<T>,
    upgrade: Upgrade,
    permit: Arc<ConnectionPermit>,
) {
    let Some(mut socket) = Box::pin(upgrade.socket(app.limits.frame_bytes)).await else {
        // The client left while its 101 was on the way. Dropping the claim would do the same unseen.
        return abandon::<T>(&app, handler.into_claim()).await;
    };
    let _held = app.metrics.websocket();
    let cause = run(&app, &mut *handler, &mut socket, &permit).await;
    end(&app, *handler, socket, cause).await;
    drop(permit);
}

/// What becomes of all that the socket held.
fn end<T: ConnectionHandler>(app: &App, handler: T, socket: Socket, cause: CloseCause) -> BoxFuture<'_, ()> {
    let claim = handler.into_claim();
    let name = claim.as_ref().map(|claim| claim.instance().name.to_string());
    tracing::debug!(dialect = T::FRONTEND, name, ?cause, "socket ended");
    match cause {
        CloseCause::SendTimeout | CloseCause::Lagged => app.metrics.slow_consumer(T::FRONTEND, cause.as_str()),
        CloseCause::ProtocolViolation(code, _) => app.metrics.websocket_error(code.into()),
        _ => {}
    }
    if claim.is_some() {
        app.metrics.release(T::FRONTEND, cause.as_str());
    }
    finish(app, claim, socket, cause)
}

fn abandon<T: ConnectionHandler>(app: &App, claim: Option<Claim>) -> BoxFuture<'static, ()> {
    if claim.is_some() {
        app.metrics.release(T::FRONTEND, "connection_lost");
    }
    Box::pin(release(claim, RemovalReason::Deregistered))
}

/// Listens, talks and pings until there is a reason to end.
async fn run<T: ConnectionHandler>(
    app: &App,
    handler: &mut T,
    socket: &mut Socket,
    permit: &ConnectionPermit,
) -> CloseCause {
    let ping_interval = app.timeout / 2;
    // The first one at a random point, and so all that follow: 10,000 peers that came back together are not
    // pinged together.
    let mut ping_at = Instant::now() + ping_interval.mul_f64(fastrand::f64());
    let mut timer = pin!(sleep(ping_at - Instant::now()));
    let mut stopping = pin!(permit.stopping());
    let (mut awaiting_pong, mut bad, mut outgoing_budget) = (false, 0, 0);
    let send_timeout = SEND_TIMEOUT.min(ping_interval);
    loop {
        if outgoing_budget > 0 && socket.send_blocked_for().is_none() {
            outgoing_budget -= 1;
            match handler.next_message().now_or_never() {
                Some(Outgoing::Lagged) => return CloseCause::Lagged,
                Some(Outgoing::Text(text)) => {
                    if !socket.send_text(text) {
                        timer.as_mut().reset(Instant::now() + send_timeout);
                    }
                    continue;
                }
                None => outgoing_budget = 0,
            }
        }
        let text = tokio::select! {
            // Frames before the clock: after a stall of this process (or its machine) the pongs that came in
            // time are read before anybody is found silent.
            biased;
            () = &mut stopping => return CloseCause::Shutdown,
            heard = socket.next_event() => match heard {
                SocketEvent::PingPong => {
                    awaiting_pong = false;
                    continue;
                }
                message @ (SocketEvent::Text(_) | SocketEvent::Binary(_)) => {
                    (awaiting_pong, outgoing_budget) = (false, OUTGOING_PER_MESSAGE);
                    match Box::pin(dispatch(handler, message, &mut bad)).await {
                        Ok(Some(answer)) => answer,
                        Ok(None) => continue,
                        Err(cause) => return cause,
                    }
                }
                SocketEvent::TextSent => {
                    timer.as_mut().reset(ping_at);
                    continue;
                }
                SocketEvent::Closed => return CloseCause::Closed,
                SocketEvent::Disconnected => return CloseCause::ConnectionLost,
                SocketEvent::ProtocolViolation(code, reason) => return CloseCause::ProtocolViolation(code, reason),
            },
            () = timer.as_mut() => {
                match socket.send_blocked_for() {
                    Some(time) if time >= send_timeout => return CloseCause::SendTimeout,
                    // Nothing is read meanwhile, so that no pong is missed.
                    Some(time) => timer.as_mut().reset(Instant::now() + send_timeout.saturating_sub(time)),
                    None if awaiting_pong => return CloseCause::PingTimeout,
                    None => {
                        (awaiting_pong, bad) = (true, 0);
                        socket.ping();
                        ping_at = Instant::now() + ping_interval;
                        timer.as_mut().reset(ping_at);
                    }
                }
                continue;
            }
            message = handler.next_message(), if socket.send_blocked_for().is_none() => match message {
                Outgoing::Text(text) => text,
                Outgoing::Lagged => return CloseCause::Lagged,
            },
        };
        if !socket.send_text(text) {
            timer.as_mut().reset(Instant::now() + send_timeout);
        }
    }
}

/// Passes a message on. Says what is answered, and counts those that mean nothing.
async fn dispatch<T: ConnectionHandler>(
    handler: &mut T,
    message: SocketEvent,
    bad: &mut u32,
) -> Result<Option<Bytes>, CloseCause> {
    let outcome = match message {
        SocketEvent::Text(text) => Some(handler.on_text(text).await),
        SocketEvent::Binary(bytes) => handler.on_binary(bytes).await,
        _ => return Ok(None),
    };
    match outcome {
        None => {
            let reason = "binary frames mean nothing here; send JSON as text";
            Err(CloseCause::ProtocolViolation(CloseCode::Unsupported, reason.into()))
        }
        Some(Err(_)) if *bad == BAD_FRAMES_MAX => {
            Err(CloseCause::ProtocolViolation(CloseCode::Policy, "too many frames that mean nothing here".into()))
        }
        Some(Err(reason)) => {
            *bad += 1;
            Ok(Some(reason))
        }
        Some(Ok(answer)) => Ok(answer),
    }
}

/// Ends the claim and the socket. The claim is given up first, whatever the socket still takes.
///
/// Each way of ending is boxed by itself, with no more than it needs: when a machine dies, thousands of sockets
/// are gone at one moment, and what they take then is what the daemon keeps.
fn finish(app: &App, claim: Option<Claim>, socket: Socket, cause: CloseCause) -> BoxFuture<'_, ()> {
    match cause {
        CloseCause::ConnectionLost => {
            drop(socket);
            Box::pin(release(claim, RemovalReason::Deregistered))
        }
        CloseCause::Closed => Box::pin(async {
            // Past the wait the registry goes on with it alone.
            let _ = timeout(RELEASE_TIMEOUT, release(claim, RemovalReason::Deregistered)).await;
            socket.close(None).await;
        }),
        CloseCause::PingTimeout => Box::pin(async {
            let reason = format!("no pong within {:?}", app.timeout / 2);
            let _ =
                tokio::join!(release(claim, RemovalReason::Expired), socket.close(Some((CloseCode::Error, &reason))));
        }),
        CloseCause::ProtocolViolation(code, reason) => Box::pin(async move {
            let _ = tokio::join!(release(claim, RemovalReason::Deregistered), socket.close(Some((code, &reason))));
        }),
        CloseCause::SendTimeout => Box::pin(async {
            let reason = "what this socket is sent is not read; read faster, and ask anew for what is known";
            let _ =
                tokio::join!(release(claim, RemovalReason::Expired), socket.close(Some((CloseCode::Again, reason))));
        }),
        CloseCause::Lagged => Box::pin(async {
            let reason =
                "too much has happened since what was read last; connect again, and ask anew for what is known";
            let _ =
                tokio::join!(release(claim, RemovalReason::Expired), socket.close(Some((CloseCode::Again, reason))));
        }),
        CloseCause::Shutdown => Box::pin(async {
            let close = socket.close(Some((CloseCode::Away, "going away: this daemon is stopping")));
            match (app.on_stop, claim) {
                (OnStop::Keep, Some(claim)) => {
                    claim.leave_to_lease();
                    close.await;
                }
                (_, claim) => drop(tokio::join!(release(claim, RemovalReason::Deregistered), close)),
            }
        }),
    }
}

async fn release(claim: Option<Claim>, why: RemovalReason) {
    if let Some(claim) = claim {
        // Nobody is left to hear that it failed; the registry goes on with it.
        drop(claim.release(why).await);
    }
}
