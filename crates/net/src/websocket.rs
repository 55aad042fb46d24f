//! The WebSocket protocol (RFC 6455): the handshake in two steps, and the socket after it.
//!
//! A route acts between the steps: [`Handshake::read`] checks the request, the route does what the 101 confirms, and
//! [`Handshake::accept`] creates the 101. Owns: the protocol, its buffers and close codes, and that the unsent data of
//! a slow reader is one text, whose bytes are shared with all other recipients. Does not own: the liveness of a peer,
//! the timeout of a slow consumer, and the meaning of texts.
//!
//! hyper's buffers end with the handshake: the bare [`Stream`] is taken back from it and given to tokio-tungstenite
//! with small buffers (its default read buffer alone is 128 KiB per socket).

use super::error::HttpError;
use super::http::linger;
use super::limits::LINGER;
use super::route::{Reply, Request, reply};
use super::stream::Stream;
use bytes::Bytes;
use futures_util::{FutureExt, SinkExt, StreamExt};
use hyper::body::Body;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::upgrade::OnUpgrade;
use hyper::{Method, StatusCode, Version};
use hyper_util::rt::TokioIo;
use std::borrow::Cow;
use std::future::poll_fn;
use std::io::IoSlice;
use std::pin::Pin;
use std::time::Duration;
use tokio::io::AsyncWrite;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
pub use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_tungstenite::tungstenite::error::{Error, ProtocolError};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
pub use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role, WebSocketConfig};

/// Bytes that are read at a time. Peers send mostly pongs, of 6 bytes; a longer frame gets a buffer of its length.
const READ_BUFFER: usize = 256;
/// Limit of unsent pings, pongs and closes, in bytes; with more the socket fails. Texts are not buffered there: see
/// [`PendingText`].
const WRITE_BUFFER_MAX: usize = 16 * 1024;
/// First byte of a text in one frame: FIN, and the opcode (RFC 6455 section 5.2).
const TEXT: u8 = 0x81;
/// Limit of the reason in a close frame, in bytes (RFC 6455 section 5.5: 125 with the code).
const REASON_MAX: usize = 123;

/// A valid handshake request. Every `Origin` is accepted: there are no cookies that a foreign page could abuse.
#[derive(Debug)]
pub struct Handshake {
    accept: HeaderValue,
    upgrade: OnUpgrade,
}

impl Handshake {
    /// Checks the client's request (RFC 6455 section 4.2.1).
    pub fn read(request: &mut Request) -> Result<Self, HttpError> {
        if request.method() != Method::GET {
            return Err(HttpError::new(StatusCode::METHOD_NOT_ALLOWED, "a WebSocket handshake requires GET")
                .with(header::ALLOW, HeaderValue::from_static("GET")));
        }
        let headers = request.headers();
        if !has_token(headers, &header::UPGRADE, "websocket") || !has_token(headers, &header::CONNECTION, "upgrade") {
            return Err(HttpError::upgrade_required(
                "this path is a WebSocket: send Connection: Upgrade and Upgrade: websocket",
            ));
        }
        if request.version() != Version::HTTP_11 {
            return Err(HttpError::bad_request("a WebSocket handshake requires HTTP/1.1"));
        }
        if !request.body().is_end_stream() {
            return Err(HttpError::bad_request("a WebSocket handshake must not have a body"));
        }
        if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
            return Err(HttpError::upgrade_required("Sec-WebSocket-Version must be 13")
                .with(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")));
        }
        let accept = accept_key(headers)?;
        Ok(Self { accept, upgrade: hyper::upgrade::on(request) })
    }

    /// The 101 response, which the route returns, and the socket that exists after it is sent.
    pub fn accept(self) -> (Reply, Upgrade) {
        let mut response = reply(StatusCode::SWITCHING_PROTOCOLS, "", Bytes::new());
        let headers = response.headers_mut();
        headers.remove(header::CONTENT_TYPE);
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, self.accept);
        (response, Upgrade(self.upgrade))
    }
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|one| one.trim().eq_ignore_ascii_case(token))
}

/// The accept key for a request's key, which must be 16 bytes in base64.
fn accept_key(headers: &HeaderMap) -> Result<HeaderValue, HttpError> {
    let key = headers.get(header::SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes).unwrap_or_default();
    let base64 = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'/');
    if key.len() != 24 || !key.ends_with(b"==") || !key[..22].iter().all(base64) {
        return Err(HttpError::bad_request("Sec-WebSocket-Key must be 16 random bytes in base64"));
    }
    HeaderValue::from_str(&derive_accept_key(key)).map_err(|_| {
        HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, "the handshake's accept key is not a valid header")
    })
}

/// A socket that exists after the 101 is sent.
#[derive(Debug)]
pub struct Upgrade(OnUpgrade);

impl Upgrade {
    /// Waits until the 101 is sent, and returns the socket; `None` if the client disconnected before.
    pub async fn socket(self, frame_bytes: usize) -> Option<Socket> {
        let parts = self.0.await.ok()?.downcast::<TokioIo<Stream>>().ok()?;
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_write_buffer_size(WRITE_BUFFER_MAX)
            .max_message_size(Some(frame_bytes))
            .max_frame_size(Some(frame_bytes));
        let (stream, early) = (parts.io.into_inner(), parts.read_buf.to_vec());
        let inner = WebSocketStream::from_partially_read(stream, early, Role::Server, Some(config)).await;
        Some(Socket { inner: Box::new(inner), frame_bytes, pending: None })
    }
}

/// An event of a socket.
#[derive(Debug, PartialEq, Eq)]
pub enum SocketEvent {
    /// The peer sent a text.
    Text(Utf8Bytes),
    /// The peer sent a binary message.
    Binary(Bytes),
    /// The peer sent a ping (which is answered) or a pong.
    PingPong,
    /// The rest of a text that was not sent at once is sent. The next text may be sent.
    TextSent,
    /// The peer sent a close frame.
    Closed,
    /// The connection ended or was reset without a close frame.
    Disconnected,
    /// The peer violated the protocol; close with this code and reason.
    ProtocolViolation(CloseCode, Cow<'static, str>),
}

/// A WebSocket. Its writes never wait. A text that the peer does not accept at once is sent by
/// [`Socket::next_event`], and until then nothing else is read or sent ([`Socket::send_blocked_for`] returns the time
/// without progress).
#[derive(Debug)]
pub struct Socket {
    /// Boxed because every future that a value moves through contains a copy of it.
    inner: Box<WebSocketStream<Stream>>,
    frame_bytes: usize,
    pending: Option<Box<PendingText>>,
}

/// A text that is not completely sent. It bypasses tungstenite, which would copy it into a buffer of each socket and
/// keep that buffer: 10,000 sockets are sent the same bytes.
#[derive(Debug)]
struct PendingText {
    head: ([u8; 10], usize),
    text: Bytes,
    /// Number of sent bytes of head and text.
    sent: usize,
    /// Time of the last progress.
    last_progress: Instant,
}

impl Socket {
    /// Waits for the next event. Cancel safe. After any event but `Text`, `Binary`, `PingPong` and `TextSent`, the
    /// socket can only be closed.
    pub async fn next_event(&mut self) -> SocketEvent {
        if self.pending.is_some() {
            // Boxed because it is rare: the future of every socket would contain it.
            return if Box::pin(self.flush_pending()).await {
                SocketEvent::TextSent
            } else {
                SocketEvent::Disconnected
            };
        }
        match self.inner.next().await {
            Some(Ok(Message::Text(text))) => SocketEvent::Text(text),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => SocketEvent::PingPong,
            Some(Ok(Message::Binary(bytes))) => SocketEvent::Binary(bytes),
            Some(Ok(Message::Frame(_))) => {
                SocketEvent::ProtocolViolation(CloseCode::Protocol, "unexpected frame".into())
            }
            Some(Ok(Message::Close(_))) => SocketEvent::Closed,
            Some(Err(error)) => self.error_event(&error),
            None => SocketEvent::Disconnected,
        }
    }

    fn error_event(&self, error: &Error) -> SocketEvent {
        match error {
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) | Error::Io(_) => SocketEvent::Disconnected,
            Error::Capacity(_) => SocketEvent::ProtocolViolation(
                CloseCode::Size,
                format!("a frame exceeds the limit of {} bytes", self.frame_bytes).into(),
            ),
            Error::Utf8(_) => SocketEvent::ProtocolViolation(CloseCode::Invalid, "a text is not UTF-8".into()),
            other => SocketEvent::ProtocolViolation(CloseCode::Protocol, other.to_string().into()),
        }
    }

    /// Sends a ping, unless a text is partly sent.
    pub fn ping(&mut self) {
        if self.pending.is_none() {
            self.send_frame(Message::Ping(Bytes::new()));
        }
    }

    /// Sends a text in UTF-8. Returns false if the peer does not accept all of it at once; the next text must wait for
    /// [`SocketEvent::TextSent`] then, and would be dropped before.
    pub fn send_text(&mut self, text: impl Into<Bytes>) -> bool {
        debug_assert!(self.pending.is_none(), "one text at a time");
        if self.pending.is_some() {
            return false;
        }
        let text = text.into();
        self.pending = Some(Box::new(PendingText {
            head: text_frame_head(text.len()),
            text,
            sent: 0,
            last_progress: Instant::now(),
        }));
        let _ = self.flush_pending().now_or_never();
        self.pending.is_none()
    }

    /// The time without progress of a partly sent text; `None` if everything is sent.
    pub fn send_blocked_for(&self) -> Option<Duration> {
        self.pending.as_ref().map(|pending| pending.last_progress.elapsed())
    }

    /// Sends the rest of the text. Returns false if the connection broke. Cancel safe.
    async fn flush_pending(&mut self) -> bool {
        let Self { inner, pending, .. } = self;
        let Some(pending_text) = pending else { return true };
        // tungstenite's buffer goes first. It stays empty until the text is sent, as nothing is read.
        if pending_text.sent == 0 && inner.flush().await.is_err() {
            return false;
        }
        let stream = inner.get_mut();
        while let Some(unsent) = pending_text.unsent() {
            match poll_fn(|cx| Pin::new(&mut *stream).poll_write_vectored(cx, &unsent)).await {
                Ok(0) | Err(_) => return false,
                Ok(written) => {
                    pending_text.sent += written;
                    pending_text.last_progress = Instant::now();
                }
            }
        }
        // TLS buffers until it is flushed.
        if poll_fn(|cx| Pin::new(&mut *stream).poll_flush(cx)).await.is_err() {
            return false;
        }
        *pending = None;
        true
    }

    /// Closes with a code and a reason, or answers the peer's own close, and waits a moment for the peer to receive it.
    /// A peer that does not accept the rest of a text in that moment receives no close frame.
    pub async fn close(mut self, frame: Option<(CloseCode, &str)>) {
        if self.pending.is_some() && !matches!(timeout(LINGER, self.flush_pending()).await, Ok(true)) {
            return;
        }
        match frame {
            Some((code, reason)) => {
                let reason = Utf8Bytes::from(truncate_reason(reason));
                self.send_frame(Message::Close(Some(CloseFrame { code, reason })));
            }
            // tungstenite has buffered the answer.
            None => drop(self.inner.flush().now_or_never()),
        }
        // The server closes first (RFC 6455 section 7.1.1), so that TIME-WAIT stays here.
        linger(self.inner.into_inner()).await;
    }

    /// Sends a frame. Unwritten bytes stay in the buffer, up to [`WRITE_BUFFER_MAX`]; the next read reports an error.
    fn send_frame(&mut self, message: Message) {
        drop(self.inner.send(message).now_or_never());
    }
}

impl PendingText {
    /// The unsent parts of head and text; `None` if all is sent.
    fn unsent(&self) -> Option<[IoSlice<'_>; 2]> {
        let (head, text) = (&self.head.0[..self.head.1], &self.text[..]);
        let head_sent = self.sent.min(head.len());
        let (head, text) = (&head[head_sent..], &text[self.sent - head_sent..]);
        (!head.is_empty() || !text.is_empty()).then(|| [IoSlice::new(head), IoSlice::new(text)])
    }
}

/// The head of a text of this length in one frame, and the length of the head. A server does not mask (RFC 6455
/// section 5.1).
fn text_frame_head(length: usize) -> ([u8; 10], usize) {
    let mut head = [0; 10];
    head[0] = TEXT;
    let length = length as u64;
    let [.., high, low] = length.to_be_bytes();
    let length_bytes = match length {
        short @ 0..126 => {
            head[1] = short.to_be_bytes()[7];
            2
        }
        126..=0xffff => {
            head[1..4].copy_from_slice(&[126, high, low]);
            4
        }
        _ => {
            head[1] = 127;
            head[2..].copy_from_slice(&length.to_be_bytes());
            10
        }
    };
    (head, length_bytes)
}

/// The part of a reason that fits into a close frame, in complete characters.
fn truncate_reason(reason: &str) -> &str {
    let limit = reason.len().min(REASON_MAX);
    (0..=limit).rev().find_map(|end| reason.get(..end)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accept_key_follows_the_rfc_or_is_rejected() {
        let key = |text: &'static str| {
            accept_key(&HeaderMap::from_iter([(header::SEC_WEBSOCKET_KEY, HeaderValue::from_static(text))]))
        };
        assert_eq!(key("dGhlIHNhbXBsZSBub25jZQ==").unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        for bad in ["", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZQ=!", "dGhlIHNhbXBsZSBub25 ZQ=="] {
            assert!(key(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_frame_length_takes_one_three_or_nine_bytes() {
        let encoded_length = |length| {
            let (head, length_bytes) = text_frame_head(length);
            head[..length_bytes].to_vec()
        };
        assert_eq!(encoded_length(0), [0x81, 0]);
        assert_eq!(encoded_length(125), [0x81, 125]);
        assert_eq!(encoded_length(126), [0x81, 126, 0, 126]);
        assert_eq!(encoded_length(0xffff), [0x81, 126, 0xff, 0xff]);
        assert_eq!(encoded_length(0x1_0000), [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn a_reason_is_truncated_between_characters() {
        assert_eq!(truncate_reason("short"), "short");
        assert_eq!(truncate_reason(&"é".repeat(100)), "é".repeat(61));
    }

    #[test]
    fn tokens_are_found_in_lists_in_any_case() {
        let headers = HeaderMap::from_iter([(header::CONNECTION, HeaderValue::from_static("keep-alive, UPGRADE"))]);
        assert!(has_token(&headers, &header::CONNECTION, "upgrade"));
        assert!(!has_token(&headers, &header::CONNECTION, "up"));
        assert!(!has_token(&headers, &header::UPGRADE, "upgrade"));
    }
}
