//! One WebSocket to one server: the handshake, and the connection that holds a registration.
//!
//! Owns: the frames, the pings and the deadlines of one connection. Does not own: the next attempt (`provider_task`).

use crate::connect::connect;
use crate::error::{Loss, Refusal, RequestError, first_line};
use crate::provide::Provide;
use crate::server::Server;
use crate::state::SharedState;
use crate::timing::Timing;
use futures_util::{SinkExt, StreamExt};
use skyhound_base::errors::with_sources;
use skyhound_net::tls::{ClientFiles, TlsError};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout, timeout_at};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, client_async_tls_with_config};

/// Frames are pings and short messages. The library's own defaults hold 128 KiB per connection and accept 64 MiB.
const BUFFER_BYTES: usize = 4 * 1024;
const FRAME_BYTES_MAX: usize = 64 * 1024;
/// Limit of a URL in the `http` crate, in bytes.
const URL_MAX: usize = 65_534;

/// The end of an attempt or a connection.
pub(crate) enum AttemptEnd {
    /// By [`Provider::close`](crate::Provider::close).
    Closed,
    /// By a response that no retry changes.
    Refused(Refusal),
    /// By anything else.
    Lost(Loss),
}

impl From<RequestError> for AttemptEnd {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Refused(refusal) => Self::Refused(refusal),
            RequestError::Lost(loss) => Self::Lost(loss),
        }
    }
}

pub(crate) struct Connection {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    timing: Timing,
}

impl Connection {
    /// Connects and performs the handshake, which completes when the daemon has committed the registration.
    pub(crate) async fn open(
        server: &Server,
        query: &str,
        tls: &ClientFiles,
        timing: Timing,
    ) -> Result<Self, RequestError> {
        let url = server.provide_url(query);
        if url.len() > URL_MAX {
            let message = format!("text and meta make a URL of {} bytes; the limit is {URL_MAX}", url.len());
            return Err(RequestError::url_too_long(server, message));
        }
        let connector = connector(server, tls).map_err(|error| Loss::Unreachable(with_sources(&error)))?;
        let tcp = connect(server, timing.connect).await.map_err(|error| Loss::Unreachable(error.to_string()))?;
        let limits = WebSocketConfig::default()
            .read_buffer_size(BUFFER_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(FRAME_BYTES_MAX)
            .max_message_size(Some(FRAME_BYTES_MAX))
            .max_frame_size(Some(FRAME_BYTES_MAX));
        let handshake = client_async_tls_with_config(url, tcp, Some(limits), connector);
        match timeout(timing.response, handshake).await {
            Ok(Ok((socket, _))) => Ok(Self { socket, timing }),
            Ok(Err(Error::Http(response))) => {
                Err(RequestError::from_response(server, &response.map(Option::unwrap_or_default)))
            }
            Ok(Err(Error::Io(error))) if server.tls() => Err(Loss::Unreachable(error.to_string()).into()),
            Ok(Err(error)) => Err(loss_of_error(error).into()),
            Err(_) => Err(Loss::NoResponse(timing.response).into()),
        }
    }

    /// Holds the connection until it ends. Each change of `provide` is sent as an update.
    pub(crate) async fn hold(
        mut self,
        shared: &SharedState,
        server: &Server,
        mut provide: watch::Receiver<Provide>,
    ) -> AttemptEnd {
        let Timing { ping_interval, liveness_timeout, .. } = self.timing;
        let mut ping = interval_at(Instant::now() + ping_interval, ping_interval);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut deadline = Instant::now() + liveness_timeout;
        loop {
            let frame = tokio::select! {
                received = self.socket.next() => match received {
                    Some(Ok(message)) => {
                        deadline = Instant::now() + liveness_timeout;
                        if let Some(loss) = handle_message(message, shared, server) {
                            return AttemptEnd::Lost(loss);
                        }
                        continue;
                    }
                    Some(Err(error)) => return AttemptEnd::Lost(loss_of_error(error)),
                    None => return AttemptEnd::Lost(Loss::Closed { code: None, reason: String::new() }),
                },
                _ = ping.tick() => Message::Ping(Vec::new().into()),
                // The sender lives in `shared`, so that this cannot fail.
                Ok(()) = provide.changed() => update(&provide.borrow_and_update()),
                () = shared.closed() => {
                    self.close().await;
                    return AttemptEnd::Closed;
                }
                () = tokio::time::sleep_until(deadline) => return AttemptEnd::Lost(Loss::Timeout(liveness_timeout)),
            };
            // A peer that accepts no bytes is as dead as one that sends none.
            match timeout_at(deadline, self.socket.send(frame)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return AttemptEnd::Lost(loss_of_error(error)),
                Err(_) => return AttemptEnd::Lost(Loss::Timeout(liveness_timeout)),
            }
        }
    }

    /// Performs the close handshake within its deadline, and drops the socket whatever its outcome.
    async fn close(mut self) {
        let closing = async {
            let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
            let mut open = self.socket.close(Some(frame)).await.is_ok();
            // The peer's close frame confirms the close. It should end the TCP connection as well; that is not
            // waited for.
            while open {
                open = matches!(self.socket.next().await, Some(Ok(frame)) if !frame.is_close());
            }
        };
        let _ = timeout(self.timing.close, closing).await;
    }
}

/// A TLS connector with the configured files. `None` selects the library's default: the system's authorities.
fn connector(server: &Server, tls: &ClientFiles) -> Result<Option<Connector>, TlsError> {
    let configured = server.tls() && !tls.is_empty();
    configured.then(|| tls.config().map(Connector::Rustls)).transpose()
}

/// Handles a message of the daemon: forwards an error report, and returns the loss that a close frame means.
fn handle_message(message: Message, shared: &SharedState, server: &Server) -> Option<Loss> {
    match message {
        Message::Text(text) => {
            // The daemon sends no texts but errors. Others come from a later version and are ignored.
            if let Some(error) = text.as_str().strip_prefix("ERROR: ") {
                shared.report_error(server, first_line(error));
            }
            None
        }
        Message::Close(frame) => Some(match frame {
            Some(frame) => Loss::Closed { code: Some(frame.code.into()), reason: first_line(&frame.reason) },
            None => Loss::Closed { code: None, reason: String::new() },
        }),
        _ => None,
    }
}

/// Converts an error without the library's prefix "IO error: ", which adds nothing to the error itself.
fn loss_of_error(error: Error) -> Loss {
    match error {
        Error::Io(error) => Loss::Broken(error.to_string()),
        Error::ConnectionClosed => Loss::Closed { code: None, reason: String::new() },
        other => Loss::Broken(other.to_string()),
    }
}

/// The frame of an update: both current numbers, so that the last frame is complete.
fn update(provide: &Provide) -> Message {
    let mut frame = serde_json::json!({ "op": "update" });
    if let Some(weight) = provide.weight {
        frame["weight"] = weight.into();
    }
    if let Some(priority) = provide.priority {
        frame["priority"] = priority.into();
    }
    Message::text(frame.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_holds_the_configured_numbers() {
        let provide = Provide { weight: Some(10), priority: Some(2), ..Provide::new("web", 80) };
        assert_eq!(update(&provide).to_string(), r#"{"op":"update","weight":10,"priority":2}"#);
        let provide = Provide { weight: Some(10), ..Provide::new("web", 80) };
        assert_eq!(update(&provide).to_string(), r#"{"op":"update","weight":10}"#);
    }
}
