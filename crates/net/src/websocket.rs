//! Websockets (RFC 6455): the handshake in two halves, and the socket behind it.
//!
//! The halves leave room between them: [`Handshake::read`] checks what the client asks, the route does
//! what the 101 will promise, [`Handshake::accept`] makes the promise. Owns: the protocol, its buffers, its
//! close codes, and that what is being sent to a slow reader is one message, shared with all others who are sent
//! it. Does not own: when a peer is dead or too slow, and what its texts mean.
//!
//! hyper's buffers end with the handshake: the bare [`Stream`] is taken back from it and given to
//! tokio-tungstenite with small buffers of its own (its default is 128 KiB a socket to read alone).

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

/// Bytes read at a time. What peers send is mostly pongs, of 6 bytes; a longer frame gets a buffer of its length.
const READ_BUFFER: usize = 256;
/// Bytes of pings, pongs and closes that wait for a peer that does not read; with more the socket fails. Texts do
/// not wait there: see [`Sending`].
const WRITE_BUFFER_MAX: usize = 16 * 1024;
/// The first byte of a text in one frame: FIN, and the opcode (RFC 6455 section 5.2).
const TEXT: u8 = 0x81;
/// The longest reason of a close frame (RFC 6455 section 5.5: 125 with the code).
const REASON_MAX: usize = 123;

/// A handshake that was asked for rightly. Any `Origin` is: registering is not a browser's privilege to
/// abuse, as there are no cookies here to ride on.
#[derive(Debug)]
pub struct Handshake {
    accept: HeaderValue,
    upgrade: OnUpgrade,
}

impl Handshake {
    /// Checks what the client asks (RFC 6455 section 4.2.1).
    pub fn read(request: &mut Request) -> Result<Self, HttpError> {
        if request.method() != Method::GET {
            return Err(HttpError::new(StatusCode::METHOD_NOT_ALLOWED, "a websocket begins with GET")
                .with(header::ALLOW, HeaderValue::from_static("GET")));
        }
        let headers = request.headers();
        if !has_token(headers, &header::UPGRADE, "websocket") || !has_token(headers, &header::CONNECTION, "upgrade") {
            return Err(HttpError::upgrade_required(
                "this is a websocket: send Connection: Upgrade and Upgrade: websocket, and hold what you get",
            ));
        }
        if request.version() != Version::HTTP_11 {
            return Err(HttpError::bad_request("a websocket begins with HTTP/1.1"));
        }
        if !request.body().is_end_stream() {
            return Err(HttpError::bad_request("a websocket's request has no body"));
        }
        if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
            return Err(HttpError::upgrade_required("Sec-WebSocket-Version has to be 13")
                .with(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")));
        }
        let accept = accept_key(headers)?;
        Ok(Self { accept, upgrade: hyper::upgrade::on(request) })
    }

    /// The 101, to be sent by returning it, and the socket that there will be once it is sent.
    pub fn accept(self) -> (Reply, Upgrade) {
        let mut switch = reply(StatusCode::SWITCHING_PROTOCOLS, "", Bytes::new());
        let headers = switch.headers_mut();
        headers.remove(header::CONTENT_TYPE);
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, self.accept);
        (switch, Upgrade(self.upgrade))
    }
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|one| one.trim().eq_ignore_ascii_case(token))
}

/// The answer to the key, which has to be 16 bytes in base64.
fn accept_key(headers: &HeaderMap) -> Result<HeaderValue, HttpError> {
    let key = headers.get(header::SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes).unwrap_or_default();
    let base64 = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'/');
    if key.len() != 24 || !key.ends_with(b"==") || !key[..22].iter().all(base64) {
        return Err(HttpError::bad_request("Sec-WebSocket-Key has to be 16 random bytes in base64"));
    }
    HeaderValue::from_str(&derive_accept_key(key))
        .map_err(|_| HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, "the handshake's answer is no header"))
}

/// A socket to come.
#[derive(Debug)]
pub struct Upgrade(OnUpgrade);

impl Upgrade {
    /// The socket, once the 101 is sent; `None` if the client went away before.
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
        Some(Socket { inner: Box::new(inner), frame_bytes, sending: None })
    }
}

/// What a peer did.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// It sent a text.
    Text(Utf8Bytes),
    /// It sent bytes that need not be text.
    Bytes(Bytes),
    /// It sent a ping (which is answered) or a pong.
    Alive,
    /// It has taken the rest of a text that it did not take at once. The next one may be said.
    Taken,
    /// It closed in order.
    Closed,
    /// It is gone: the connection ended or was reset without a close frame.
    Gone,
    /// It did what it may not; close with this code and sentence.
    Broke(CloseCode, Cow<'static, str>),
}

/// A websocket. Its writes never wait. A text that the peer does not take at once is sent on while it is listened
/// to, and until then nothing else is read or said ([`Socket::stalled`] says for how long it takes nothing).
#[derive(Debug)]
pub struct Socket {
    /// Boxed because the compiler keeps a copy of whatever moves in every future that it moves through.
    inner: Box<WebSocketStream<Stream>>,
    frame_bytes: usize,
    sending: Option<Box<Sending>>,
}

/// A text that is not wholly sent. It goes past tungstenite, which would copy it into a buffer of each socket and
/// keep that buffer: 10,000 sockets are sent the same bytes.
#[derive(Debug)]
struct Sending {
    head: ([u8; 10], usize),
    text: Bytes,
    /// Bytes of head and text that are sent.
    sent: usize,
    /// When the peer took some last.
    since: Instant,
}

impl Socket {
    /// What the peer does next. Safe to cancel. After anything but `Text`, `Bytes`, `Alive` and `Taken` only
    /// [`Socket::close`] makes sense.
    pub async fn hear(&mut self) -> Heard {
        if self.sending.is_some() {
            // Boxed because it is rare: what it takes would be every socket's.
            return if Box::pin(self.send_on()).await { Heard::Taken } else { Heard::Gone };
        }
        match self.inner.next().await {
            Some(Ok(Message::Text(text))) => Heard::Text(text),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Heard::Alive,
            Some(Ok(Message::Binary(bytes))) => Heard::Bytes(bytes),
            Some(Ok(Message::Frame(_))) => Heard::Broke(CloseCode::Protocol, "a frame that is no message".into()),
            Some(Ok(Message::Close(_))) => Heard::Closed,
            Some(Err(error)) => self.failed(&error),
            None => Heard::Gone,
        }
    }

    fn failed(&self, error: &Error) -> Heard {
        match error {
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) | Error::Io(_) => Heard::Gone,
            Error::Capacity(_) => Heard::Broke(
                CloseCode::Size,
                format!("a frame is over {} bytes, and that is the most", self.frame_bytes).into(),
            ),
            Error::Utf8(_) => Heard::Broke(CloseCode::Invalid, "a text is not UTF-8".into()),
            other => Heard::Broke(CloseCode::Protocol, other.to_string().into()),
        }
    }

    /// Sends a ping; not into the middle of a text.
    pub fn ping(&mut self) {
        if self.sending.is_none() {
            self.send(Message::Ping(Bytes::new()));
        }
    }

    /// Sends a text, which is UTF-8; `false` if the peer does not take all of it at once. Not to be called before
    /// [`Heard::Taken`] then: the text would be dropped.
    pub fn say(&mut self, text: impl Into<Bytes>) -> bool {
        debug_assert!(self.sending.is_none(), "one text at a time");
        if self.sending.is_some() {
            return false;
        }
        let text = text.into();
        self.sending = Some(Box::new(Sending { head: head(text.len()), text, sent: 0, since: Instant::now() }));
        let _ = self.send_on().now_or_never();
        self.sending.is_none()
    }

    /// For how long the peer has taken nothing of what it is being sent; `None` when it has taken everything.
    pub fn stalled(&self) -> Option<Duration> {
        self.sending.as_ref().map(|sending| sending.since.elapsed())
    }

    /// Sends the rest of the text; `false` if the connection is gone. Safe to cancel.
    async fn send_on(&mut self) -> bool {
        let Self { inner, sending, .. } = self;
        let Some(rest) = sending else { return true };
        // What tungstenite still has goes first. It gets nothing more before the text is out, as nothing is read.
        if rest.sent == 0 && inner.flush().await.is_err() {
            return false;
        }
        let stream = inner.get_mut();
        while let Some(left) = rest.left() {
            match poll_fn(|cx| Pin::new(&mut *stream).poll_write_vectored(cx, &left)).await {
                Ok(0) | Err(_) => return false,
                Ok(taken) => {
                    rest.sent += taken;
                    rest.since = Instant::now();
                }
            }
        }
        // TLS keeps what is not flushed.
        if poll_fn(|cx| Pin::new(&mut *stream).poll_flush(cx)).await.is_err() {
            return false;
        }
        *sending = None;
        true
    }

    /// Closes with a code and a sentence, or answers the peer's own close; waits a moment for the peer to
    /// see it. Who does not take the rest of a text in that moment cannot be told anything.
    pub async fn close(mut self, frame: Option<(CloseCode, &str)>) {
        if self.sending.is_some() && !matches!(timeout(LINGER, self.send_on()).await, Ok(true)) {
            return;
        }
        match frame {
            Some((code, reason)) => {
                let reason = Utf8Bytes::from(fitting(reason));
                self.send(Message::Close(Some(CloseFrame { code, reason })));
            }
            // tungstenite has the answer ready.
            None => drop(self.inner.flush().now_or_never()),
        }
        // The server closes first (RFC 6455 section 7.1.1), so that TIME-WAIT stays here.
        linger(self.inner.into_inner()).await;
    }

    /// What cannot be written at once stays in the buffer, up to [`WRITE_BUFFER_MAX`]; an error shows again
    /// when the socket is read next.
    fn send(&mut self, message: Message) {
        drop(self.inner.send(message).now_or_never());
    }
}

impl Sending {
    /// What is not sent yet, of the head and of the text; `None` when all is.
    fn left(&self) -> Option<[IoSlice<'_>; 2]> {
        let (head, text) = (&self.head.0[..self.head.1], &self.text[..]);
        let of_head = self.sent.min(head.len());
        let (head, text) = (&head[of_head..], &text[self.sent - of_head..]);
        (!head.is_empty() || !text.is_empty()).then(|| [IoSlice::new(head), IoSlice::new(text)])
    }
}

/// The head of a text of this length in one frame, and its own length. A server masks nothing (RFC 6455 section 5.1).
fn head(length: usize) -> ([u8; 10], usize) {
    let mut head = [0; 10];
    head[0] = TEXT;
    let length = length as u64;
    let [.., high, low] = length.to_be_bytes();
    let own = match length {
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
    (head, own)
}

/// As much of a reason as a close frame takes, in whole characters.
fn fitting(reason: &str) -> &str {
    let most = reason.len().min(REASON_MAX);
    (0..=most).rev().find_map(|end| reason.get(..end)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_answered_as_the_rfc_has_it_or_refused() {
        let key = |text: &'static str| {
            accept_key(&HeaderMap::from_iter([(header::SEC_WEBSOCKET_KEY, HeaderValue::from_static(text))]))
        };
        assert_eq!(key("dGhlIHNhbXBsZSBub25jZQ==").unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        for bad in ["", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZQ=!", "dGhlIHNhbXBsZSBub25 ZQ=="] {
            assert!(key(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_length_of_a_text_is_said_in_one_three_or_nine_bytes() {
        let said = |length| {
            let (head, own) = head(length);
            head[..own].to_vec()
        };
        assert_eq!(said(0), [0x81, 0]);
        assert_eq!(said(125), [0x81, 125]);
        assert_eq!(said(126), [0x81, 126, 0, 126]);
        assert_eq!(said(0xffff), [0x81, 126, 0xff, 0xff]);
        assert_eq!(said(0x1_0000), [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn a_reason_is_cut_between_characters() {
        assert_eq!(fitting("short"), "short");
        assert_eq!(fitting(&"é".repeat(100)), "é".repeat(61));
    }

    #[test]
    fn tokens_are_found_in_lists_whatever_their_case() {
        let headers = HeaderMap::from_iter([(header::CONNECTION, HeaderValue::from_static("keep-alive, UPGRADE"))]);
        assert!(has_token(&headers, &header::CONNECTION, "upgrade"));
        assert!(!has_token(&headers, &header::CONNECTION, "up"));
        assert!(!has_token(&headers, &header::UPGRADE, "upgrade"));
    }
}
