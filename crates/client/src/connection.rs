//! One websocket to one server: the handshake, and holding it.
//!
//! Owns: the bytes, the pings, the deadlines of one connection, and what an answer means that was not asked for. Does
//! not own: what comes after it ([`super::hold`]).

use super::hold::{End, Share, closed};
use super::provide::{Provide, Timing};
use super::provider::{Loss, Refusal};
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
const BUFFER: usize = 4 * 1024;
const FRAME_MAX: usize = 64 * 1024;
/// The longest URL that the `http` crate takes, in bytes.
const URL_MAX: usize = 65_534;
/// The answers that no waiting changes: what is said is wrong, or too long.
const FINAL: [http::StatusCode; 3] =
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
    pub(super) async fn open(server: &Server, query: &str, tls: &ClientFiles, timing: Timing) -> Result<Self, End> {
        let lost = |loss| End::Lost(loss);
        let url = server.provide_url(query);
        if url.len() > URL_MAX {
            let sentence = format!("text and meta make a URL of {} bytes; {URL_MAX} is the most", url.len());
            let status = http::StatusCode::URI_TOO_LONG.as_u16();
            return Err(End::Refused(Refusal { server: server.clone(), status, sentence }));
        }
        let connector = connector(server, tls).map_err(|e| lost(Loss::Unreachable(with_sources(&e))))?;
        let tcp = connect(server, timing.connect).await.map_err(|e| lost(Loss::Unreachable(e.to_string())))?;
        let limits = WebSocketConfig::default()
            .read_buffer_size(BUFFER)
            .write_buffer_size(0)
            .max_write_buffer_size(FRAME_MAX)
            .max_message_size(Some(FRAME_MAX))
            .max_frame_size(Some(FRAME_MAX));
        let shake = client_async_tls_with_config(url, tcp, Some(limits), connector);
        match timeout(timing.answer, shake).await {
            Ok(Ok((socket, _))) => Ok(Self { socket, timing }),
            Ok(Err(Error::Http(response))) => {
                Err(Failed::answered(server, &response.map(Option::unwrap_or_default)).into())
            }
            Ok(Err(Error::Io(error))) if server.tls() => Err(lost(Loss::Unreachable(error.to_string()))),
            Ok(Err(error)) => Err(lost(broken(error))),
            Err(_) => Err(lost(Loss::NoAnswer(timing.answer))),
        }
    }

    /// Holds it until it ends. `said` has what is said by now; a change of it is sent as an update.
    pub(super) async fn hold(
        mut self,
        share: &Share,
        server: &Server,
        mut said: watch::Receiver<Provide>,
        mut closing: watch::Receiver<bool>,
    ) -> End {
        let mut ping = interval_at(Instant::now() + self.timing.ping_every, self.timing.ping_every);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut silent_at = Instant::now() + self.timing.silence;
        loop {
            let frame = tokio::select! {
                heard = self.socket.next() => match heard {
                    Some(Ok(message)) => {
                        silent_at = Instant::now() + self.timing.silence;
                        if let Some(loss) = heard_loss(message, share, server) {
                            return End::Lost(loss);
                        }
                        continue;
                    }
                    Some(Err(error)) => return End::Lost(broken(error)),
                    None => return End::Lost(Loss::Closed { code: None, reason: String::new() }),
                },
                _ = ping.tick() => Message::Ping(Vec::new().into()),
                // The sender lives in `share`: an error cannot be.
                Ok(()) = said.changed() => update(&said.borrow_and_update()),
                () = closed(&mut closing) => {
                    self.close().await;
                    return End::Closed;
                }
                () = tokio::time::sleep_until(silent_at) => return End::Lost(Loss::Silent(self.timing.silence)),
            };
            // A peer that takes no more bytes is as silent as one that sends none.
            match timeout_at(silent_at, self.socket.send(frame)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return End::Lost(broken(error)),
                Err(_) => return End::Lost(Loss::Silent(self.timing.silence)),
            }
        }
    }

    /// The close handshake, within its deadline. Whatever it comes to, the socket is gone afterwards.
    async fn close(mut self) {
        let farewell = async {
            let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
            let mut heard = self.socket.close(Some(frame)).await.is_ok();
            // The peer's frame is its word. It should end the TCP connection as well; that is not waited for.
            while heard {
                heard = matches!(self.socket.next().await, Some(Ok(frame)) if !frame.is_close());
            }
        };
        let _ = timeout(self.timing.close, farewell).await;
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
    let addresses: Vec<_> = found.map_err(|_| slow("looking up its address took", within))??.collect();
    let share = within / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{} has no address", server.host()));
    for address in addresses {
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Ok(Err(error)) => last = error,
            Err(_) => last = slow("no TCP connection within", share),
        }
    }
    Err(last)
}

fn slow(what: &str, within: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("{what} {within:?}"))
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failed {
    /// No waiting would change it.
    Refused(Refusal),
    /// Another server, or another time, may answer.
    Lost(Loss),
}

impl Failed {
    /// What an answer means that is not the one that was asked for.
    pub(super) fn answered(server: &Server, response: &http::Response<impl AsRef<[u8]>>) -> Self {
        let status = response.status();
        let sentence = match sentence(&String::from_utf8_lossy(response.body().as_ref())) {
            empty if empty.is_empty() => status.canonical_reason().unwrap_or("it gave no reason").to_owned(),
            said => said,
        };
        if FINAL.contains(&status) {
            return Self::Refused(Refusal { server: server.clone(), status: status.as_u16(), sentence });
        }
        let retry_after = response.headers().get(http::header::RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        Self::Lost(Loss::Unavailable { status: status.as_u16(), sentence, retry_after })
    }
}

/// The first line, short, and without anything that a terminal would obey.
pub(super) fn sentence(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default().trim();
    line.chars().filter(|c| !c.is_control()).take(SENTENCE_MAX).collect()
}

/// What a frame means for the connection; complaints are passed on.
fn heard_loss(message: Message, share: &Share, server: &Server) -> Option<Loss> {
    match message {
        Message::Text(text) => {
            // A daemon says nothing but errors. Something else is a later daemon's, and not for us.
            if let Some(error) = text.as_str().strip_prefix("ERROR: ") {
                share.complain(server, sentence(error));
            }
            None
        }
        Message::Close(frame) => Some(match frame {
            Some(frame) => Loss::Closed { code: Some(frame.code.into()), reason: sentence(&frame.reason) },
            None => Loss::Closed { code: None, reason: String::new() },
        }),
        _ => None,
    }
}

/// The library's "IO error: " says nothing that the error itself does not.
fn broken(error: Error) -> Loss {
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
    fn a_sentence_is_one_short_line_that_no_terminal_obeys() {
        assert_eq!(sentence("port is 0\nand more"), "port is 0");
        assert_eq!(sentence(" \u{1b}[2Jred\u{7} "), "[2Jred");
        assert_eq!(sentence(&"x".repeat(9000)).len(), SENTENCE_MAX);
    }

    #[test]
    fn an_update_says_what_is_known() {
        let said = Provide { weight: Some(10), priority: Some(2), ..Provide::new("web", 80) };
        assert_eq!(update(&said).to_string(), r#"{"op":"update","weight":10,"priority":2}"#);
        let said = Provide { weight: Some(10), ..Provide::new("web", 80) };
        assert_eq!(update(&said).to_string(), r#"{"op":"update","weight":10}"#);
    }
}
