//! The end of a websocket: its cause, the counters of that cause, and the release of the claim that depends on the
//! socket.
//!
//! | cause | close frame | the claim's removal reason |
//! |---|---|---|
//! | closed by the peer | the answer, after the release (at most [`RELEASE_TIMEOUT`]) | deregistered |
//! | connection lost | none | deregistered |
//! | ping timeout | 1011 | expired |
//! | send timeout, lagged | 1013 | expired |
//! | protocol violation | its code | deregistered |
//! | shutdown | 1001 | deregistered, or left to its lease ([`OnStop::Keep`]) |
//!
//! A release starts before or together with the close, because it does not depend on a peer that may not read.

use super::ConnectionHandler;
use crate::app::App;
use futures_util::future::BoxFuture;
use skyhound_core::registry::Claim;
use skyhound_core::registry::OnStop;
use skyhound_model::removal::RemovalReason;
use skyhound_net::websocket::{CloseCode, Socket};
use std::borrow::Cow;
use std::time::Duration;
use tokio::time::timeout;

/// The time that a peer that closed waits for the answer to its close while its entry is removed. Nearly always the
/// answer then means that the entry is removed.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(1);
/// The close code of an endpoint that stops (RFC 6455 section 7.4.1).
const GOING_AWAY: u16 = 1001;

/// The cause of a socket's end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CloseCause {
    /// The peer closed it in order.
    Closed,
    /// The connection ended without a close frame.
    ConnectionLost,
    /// No frame came between two pings.
    PingTimeout,
    /// The daemon stops.
    Shutdown,
    /// The peer violated the protocol or a limit.
    ProtocolViolation(CloseCode, Cow<'static, str>),
    /// The peer took nothing of a text within the send timeout.
    SendTimeout,
    /// The peer reads more slowly than its messages arrive.
    Lagged,
}

impl CloseCause {
    /// The label of [`skyhound_net::metrics::Metrics::release`].
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

/// Counts the end of a socket, and returns the future that ends the claim and the socket.
pub(super) fn end<T: ConnectionHandler>(app: &App, handler: T, socket: Socket, cause: CloseCause) -> BoxFuture<'_, ()> {
    let claim = handler.into_claim();
    let name = claim.as_ref().map(|claim| claim.instance().name.to_string());
    tracing::debug!(frontend = T::FRONTEND, name, ?cause, "websocket ended");
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

/// Releases the claim of a socket whose client went away before the 101 was sent.
pub(super) fn abandon<T: ConnectionHandler>(app: &App, claim: Option<Claim>) -> BoxFuture<'static, ()> {
    if claim.is_some() {
        app.metrics.release(T::FRONTEND, CloseCause::ConnectionLost.as_str());
    }
    Box::pin(release(claim, RemovalReason::Deregistered))
}

/// Ends the claim and the socket by the table of the module.
///
/// Each future is boxed by itself, with no more than it needs: when a machine dies, thousands of sockets are lost at
/// one moment, and the memory that they take then stays with the daemon.
fn finish(app: &App, claim: Option<Claim>, socket: Socket, cause: CloseCause) -> BoxFuture<'_, ()> {
    match cause {
        CloseCause::ConnectionLost => {
            drop(socket);
            Box::pin(release(claim, RemovalReason::Deregistered))
        }
        CloseCause::Closed => Box::pin(async {
            // After the timeout the registry continues the release by itself.
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
            let reason =
                "slow consumer: nothing was read within the send timeout; reconnect and request the current state";
            let _ =
                tokio::join!(release(claim, RemovalReason::Expired), socket.close(Some((CloseCode::Again, reason))));
        }),
        CloseCause::Lagged => Box::pin(async {
            let reason = "slow consumer: too many messages were not read; reconnect and request the current state";
            let _ =
                tokio::join!(release(claim, RemovalReason::Expired), socket.close(Some((CloseCode::Again, reason))));
        }),
        CloseCause::Shutdown => Box::pin(async {
            let close = socket.close(Some((CloseCode::from(GOING_AWAY), "going away: this daemon is stopping")));
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

async fn release(claim: Option<Claim>, reason: RemovalReason) {
    if let Some(claim) = claim {
        // No peer remains to receive an error; the registry retries.
        drop(claim.release(reason).await);
    }
}
