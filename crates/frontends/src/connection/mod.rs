//! The connection handler of websockets: it owns one from its 101 to its close, for every frontend with websockets.
//!
//! Owns: the select loop ([`serve`]), whose decisions are made in `liveness` (a state machine without I/O) and whose end
//! is in `close`. Does not own: the meaning of a message and the messages to send, which are the frontend's
//! ([`ConnectionHandler`]).
//!
//! A daemon runs 10,000 to 100,000 of these tasks. They are kept small (a rare future is boxed) and quiet: one wake-up
//! each half of the timeout, spread over that time, from tokio's timer wheel.

mod close;
mod liveness;

use crate::app::App;
use bytes::Bytes;
use close::CloseCause;
use futures_util::FutureExt;
use liveness::{Action, Liveness};
use skyhound_core::registry::Claim;
use skyhound_net::ConnectionPermit;
use skyhound_net::websocket::{CloseCode, Socket, SocketEvent, Upgrade, Utf8Bytes};
use std::pin::pin;
use std::sync::Arc;
use tokio::time::{Instant, sleep_until};

/// A frontend's part of a held websocket.
pub trait ConnectionHandler: Send + 'static {
    /// The frontend's name in counters and logs.
    const FRONTEND: &'static str;

    /// Handles a text. `Ok` is the reply, if any; `Err` is a reply as well, and counts as a bad message, of which
    /// [`skyhound_net::limits::BAD_FRAMES_MAX`] are allowed between two pings.
    fn on_text(&mut self, text: Utf8Bytes) -> impl Future<Output = Result<Option<Bytes>, Bytes>> + Send;

    /// Handles a binary message in the same way; `None` where binary messages are not supported.
    fn on_binary(&mut self, _: Bytes) -> impl Future<Output = Option<Result<Option<Bytes>, Bytes>>> + Send {
        std::future::ready(None)
    }

    /// The next message to the peer that is no reply. Safe to cancel.
    fn next_message(&mut self) -> impl Future<Output = Outgoing> + Send {
        std::future::pending()
    }

    /// The claim that lives as long as the socket, if there is one.
    fn into_claim(self) -> Option<Claim>;
}

/// The result of [`ConnectionHandler::next_message`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outgoing {
    /// A message, in UTF-8.
    Text(Bytes),
    /// Messages were lost because the peer's queue was full.
    Lagged,
}

/// Serves a socket until it ends, and then releases the handler's claim. The handler is boxed because a future keeps
/// room for its arguments twice.
pub async fn serve<T: ConnectionHandler>(
    app: Arc<App>,
    mut handler: Box<T>,
    upgrade: Upgrade,
    permit: Arc<ConnectionPermit>,
) {
    let Some(mut socket) = Box::pin(upgrade.socket(app.limits.frame_bytes)).await else {
        // The client left while its 101 was being sent. Dropping the claim would release it too, but not count it.
        return close::abandon::<T>(&app, handler.into_claim()).await;
    };
    let _held = app.metrics.websocket();
    let cause = run(&app, &mut *handler, &mut socket, &permit).await;
    close::end(&app, *handler, socket, cause).await;
    drop(permit);
}

/// Carries out the actions of [`Liveness`] until one of them closes the connection.
async fn run<T: ConnectionHandler>(
    app: &App,
    handler: &mut T,
    socket: &mut Socket,
    permit: &ConnectionPermit,
) -> CloseCause {
    let mut liveness = Liveness::new(Instant::now(), app.timeout, fastrand::f64());
    let mut timer = pin!(sleep_until(liveness.ping_at()));
    let mut stopping = pin!(permit.stopping());
    loop {
        let action = if liveness.take_outgoing_turn(socket.send_blocked_for()) {
            if let Some(outgoing) = handler.next_message().now_or_never() {
                send_message(outgoing, socket, &liveness)
            } else {
                liveness.on_nothing_ready();
                Action::Wait
            }
        } else {
            tokio::select! {
                // Frames before the clock: after a stall of this process (or its machine) the pongs that came in
                // time are read before a ping timeout is noticed.
                biased;
                () = &mut stopping => liveness.on_stop(),
                event = socket.next_event() => match event {
                    SocketEvent::PingPong => liveness.on_frame(),
                    SocketEvent::TextSent => liveness.on_text_sent(),
                    message @ (SocketEvent::Text(_) | SocketEvent::Binary(_)) => {
                        liveness.on_message();
                        match Box::pin(dispatch(handler, message, &mut liveness)).await {
                            Ok(Some(reply)) => send_text(reply, socket, &liveness),
                            Ok(None) => Action::Wait,
                            Err(cause) => Action::Close(cause),
                        }
                    }
                    SocketEvent::Closed => Action::Close(CloseCause::Closed),
                    SocketEvent::Disconnected => Action::Close(CloseCause::ConnectionLost),
                    SocketEvent::ProtocolViolation(code, reason) => {
                        Action::Close(CloseCause::ProtocolViolation(code, reason))
                    }
                },
                () = timer.as_mut() => liveness.on_tick(Instant::now(), socket.send_blocked_for()),
                outgoing = handler.next_message(), if socket.send_blocked_for().is_none() => {
                    send_message(outgoing, socket, &liveness)
                }
            }
        };
        match action {
            Action::Wait => {}
            Action::WakeAt(at) => timer.as_mut().reset(at),
            Action::Ping(next_at) => {
                socket.ping();
                timer.as_mut().reset(next_at);
            }
            Action::Close(cause) => return cause,
        }
    }
}

fn send_message(outgoing: Outgoing, socket: &mut Socket, liveness: &Liveness) -> Action {
    match outgoing {
        Outgoing::Text(text) => send_text(text, socket, liveness),
        Outgoing::Lagged => Action::Close(CloseCause::Lagged),
    }
}

fn send_text(text: Bytes, socket: &mut Socket, liveness: &Liveness) -> Action {
    let complete = socket.send_text(text);
    liveness.on_send(Instant::now(), complete)
}

/// Passes a message to the handler. Returns the reply, and counts bad messages.
async fn dispatch<T: ConnectionHandler>(
    handler: &mut T,
    message: SocketEvent,
    liveness: &mut Liveness,
) -> Result<Option<Bytes>, CloseCause> {
    let outcome = match message {
        SocketEvent::Text(text) => Some(handler.on_text(text).await),
        SocketEvent::Binary(bytes) => handler.on_binary(bytes).await,
        _ => return Ok(None),
    };
    match outcome {
        None => {
            let reason = "binary frames are not supported; send JSON in text frames";
            Err(CloseCause::ProtocolViolation(CloseCode::Unsupported, reason.into()))
        }
        Some(Err(reply)) => liveness.on_bad_message().map(|()| Some(reply)),
        Some(Ok(reply)) => Ok(reply),
    }
}
