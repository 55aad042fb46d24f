//! One websocket to one server: the handshake, and holding it.
//!
//! Owns: the bytes, the pings, the deadlines of one connection, and what an answer means that was not asked for. Does
//! not own: what comes after it ([`super::provider_task`]).

use super::provide::{Provide, Timing};
use super::provider::{Loss, Refusal};
use super::provider_task::{AttemptEnd, SharedState, closed};
use super::server::Server;
use futures_util::{SinkExt, StreamExt};
use skyhound_base::errors::with_sources;
use skyhound_net::tls::{ClientFiles, TlsError};
use std::io;
use std::time::Duration;
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout, timeout_at};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, http};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, client_async_tls_with_config};

/// Frames are pings and sentences. The library's own defaults hold 128 KiB per connection and take 64 MiB.
const BUFFER_BYTES: usize = 4 * 1024;
const FRAME_BYTES_MAX: usize = 64 * 1024;
/// The longest URL that the `http` crate takes, in bytes.
const URL_MAX: usize = 65_534;
/// The answers that no waiting changes: what is said is wrong, or too long.
const FINAL_STATUSES: [http::StatusCode; 3] =
    [http::StatusCode::BAD_REQUEST, http::StatusCode::URI_TOO_LONG, http::StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE];
/// The longest sentence of a server that is shown to somebody, in characters.
const SENTENCE_MAX: usize = 500;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

pub(super) struct Connection {
    socket: Socket,
    timing: Timing,
}

impl Connection {
    /// Connects and shakes hands; done when the daemon has committed.
    pub(super) async fn open(
        server: &Server,
        query: &str,
        tls: &ClientFiles,
        timing: Timing,
    ) -> Result<Self, AttemptEnd> {
        let lost = |loss| AttemptEnd::Lost(loss);
        let url = server.provide_url(query);
        if url.len() > URL_MAX {
            let message = format!("text and meta make a URL of {} bytes; {URL_MAX} is the most", url.len());
            let status = http::StatusCode::URI_TOO_LONG.as_u16();
            return Err(AttemptEnd::Refused(Refusal { server: server.clone(), status, message }));
        }
        let connector = connector(server, tls).map_err(|e| lost(Loss::Unreachable(with_sources(&e))))?;
        let tcp = connect(server, timing.connect).await.map_err(|e| lost(Loss::Unreachable(e.to_string())))?;
        let limits = WebSocketConfig::default()
            .read_buffer_size(BUFFER_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(FRAME_BYTES_MAX)
            .max_message_size(Some(FRAME_BYTES_MAX))
            .max_frame_size(Some(FRAME_BYTES_MAX));
        let shake = client_async_tls_with_config(url, tcp, Some(limits), connector);
        match timeout(timing.response, shake).await {
            Ok(Ok((socket, _))) => Ok(Self { socket, timing }),
            Ok(Err(Error::Http(response))) => {
                Err(RequestError::from_response(server, &response.map(Option::unwrap_or_default)).into())
            }
            Ok(Err(Error::Io(error))) if server.tls() => Err(lost(Loss::Unreachable(error.to_string()))),
            Ok(Err(error)) => Err(lost(broken_connection(error))),
            Err(_) => Err(lost(Loss::NoResponse(timing.response))),
        }
    }

    /// Holds it until it ends. `said` has what is said by now; a change of it is sent as an update.
    pub(super) async fn hold(
        mut self,
        shared: &SharedState,
        server: &Server,
        mut provide: watch::Receiver<Provide>,
        mut closing: watch::Receiver<bool>,
    ) -> AttemptEnd {
        let mut ping = interval_at(Instant::now() + self.timing.ping_interval, self.timing.ping_interval);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut deadline = Instant::now() + self.timing.liveness_timeout;
        loop {
            let frame = tokio::select! {
                received = self.socket.next() => match received {
                    Some(Ok(message)) => {
                        deadline = Instant::now() + self.timing.liveness_timeout;
                        if let Some(loss) = loss_of(message, shared, server) {
                            return AttemptEnd::Lost(loss);
                        }
                        continue;
                    }
                    Some(Err(error)) => return AttemptEnd::Lost(broken_connection(error)),
                    None => return AttemptEnd::Lost(Loss::Closed { code: None, reason: String::new() }),
                },
                _ = ping.tick() => Message::Ping(Vec::new().into()),
                // The sender lives in `share`: an error cannot be.
                Ok(()) = provide.changed() => update(&provide.borrow_and_update()),
                () = closed(&mut closing) => {
                    self.close().await;
                    return AttemptEnd::Closed;
                }
                () = tokio::time::sleep_until(deadline) => return AttemptEnd::Lost(Loss::Timeout(self.timing.liveness_timeout)),
            };
            // A peer that takes no more bytes is as silent as one that sends none.
            match timeout_at(deadline, self.socket.send(frame)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return AttemptEnd::Lost(broken_connection(error)),
                Err(_) => return AttemptEnd::Lost(Loss::Timeout(self.timing.liveness_timeout)),
            }
        }
    }

    /// The close handshake, within its deadline. Whatever it comes to, the socket is gone afterwards.
    async fn close(mut self) {
        let closing = async {
            let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
            let mut received = self.socket.close(Some(frame)).await.is_ok();
            // The peer's frame is its word. It should end the TCP connection as well; that is not waited for.
            while received {
                received = matches!(self.socket.next().await, Some(Ok(frame)) if !frame.is_close());
            }
        };
        let _ = timeout(self.timing.close, closing).await;
    }
}

/// TLS by the files that were named. Without any, the library's own: the system's authorities.
fn connector(server: &Server, tls: &ClientFiles) -> Result<Option<Connector>, TlsError> {
    let own = server.tls() && !tls.is_empty();
    own.then(|| tls.config().map(Connector::Rustls)).transpose()
}

/// Tries all addresses of the server in turn; each gets an equal share of the time, so that one that
/// swallows packets does not hide the next.
pub(super) async fn connect(server: &Server, within: Duration) -> io::Result<TcpStream> {
    let found = timeout(within, lookup_host((server.host(), server.port()))).await;
    let addresses: Vec<_> = found.map_err(|_| timed_out("looking up its address took", within))??.collect();
    let per_address = within / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{} has no address", server.host()));
    for address in addresses {
        match timeout(per_address, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Ok(Err(error)) => last = error,
            Err(_) => last = timed_out("no TCP connection within", per_address),
        }
    }
    Err(last)
}

fn timed_out(what: &str, within: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("{what} {within:?}"))
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum RequestError {
    /// No waiting would change it.
    Refused(Refusal),
    /// Another server, or another time, may answer.
    Lost(Loss),
}

impl RequestError {
    /// What an answer means that is not the one that was asked for.
    pub(super) fn from_response(server: &Server, response: &http::Response<impl AsRef<[u8]>>) -> Self {
        let status = response.status();
        let message = match first_line(&String::from_utf8_lossy(response.body().as_ref())) {
            empty if empty.is_empty() => status.canonical_reason().unwrap_or("it gave no reason").to_owned(),
            provide => provide,
        };
        if FINAL_STATUSES.contains(&status) {
            return Self::Refused(Refusal { server: server.clone(), status: status.as_u16(), message });
        }
        let retry_after = response.headers().get(http::header::RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        Self::Lost(Loss::Unavailable { status: status.as_u16(), message, retry_after })
    }
}

/// The first line, short, and without anything that a terminal would obey.
pub(super) fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default().trim();
    line.chars().filter(|c| !c.is_control()).take(SENTENCE_MAX).collect()
}

/// What a frame means for the connection; complaints are passed on.
fn loss_of(message: Message, shared: &SharedState, server: &Server) -> Option<Loss> {
    match message {
        Message::Text(text) => {
            // A daemon says nothing but errors. Something else is a later daemon's, and not for us.
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

/// The library's "IO error: " says nothing that the error itself does not.
fn broken_connection(error: Error) -> Loss {
    match error {
        Error::Io(error) => Loss::Broken(error.to_string()),
        Error::ConnectionClosed => Loss::Closed { code: None, reason: String::new() },
        other => Loss::Broken(other.to_string()),
    }
}

/// The frame of an update: both numbers as they are now, so that the last frame is the whole truth.
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
    fn a_message_is_one_short_line_without_control_characters() {
        assert_eq!(first_line("port is 0\nand more"), "port is 0");
        assert_eq!(first_line(" \u{1b}[2Jred\u{7} "), "[2Jred");
        assert_eq!(first_line(&"x".repeat(9000)).len(), SENTENCE_MAX);
    }

    #[test]
    fn an_update_holds_the_known_numbers() {
        let provide = Provide { weight: Some(10), priority: Some(2), ..Provide::new("web", 80) };
        assert_eq!(update(&provide).to_string(), r#"{"op":"update","weight":10,"priority":2}"#);
        let provide = Provide { weight: Some(10), ..Provide::new("web", 80) };
        assert_eq!(update(&provide).to_string(), r#"{"op":"update","weight":10}"#);
    }
}
