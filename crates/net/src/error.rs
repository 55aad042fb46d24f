//! What a peer hears when it does not get what it asked for: a status and a sentence.

use super::limits::RETRY_AFTER_MAX;
use super::route::{Reply, text};
use hyper::StatusCode;
use hyper::header::{CONNECTION, HeaderName, HeaderValue, RETRY_AFTER, UPGRADE};
use std::borrow::Cow;

/// An answer that is not the one asked for. The sentence is the body, as plain text.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{status}: {message}")]
pub struct HttpError {
    status: StatusCode,
    message: Cow<'static, str>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl HttpError {
    /// A status and the sentence that goes with it.
    pub fn new(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, message: message.into(), headers: Vec::new() }
    }

    /// 400: the peer has to ask differently.
    pub fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 503: the same question is right a little later. `Retry-After` says when, each time anew.
    pub fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        let seconds = HeaderValue::from(fastrand::u16(1..=RETRY_AFTER_MAX));
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message).with(RETRY_AFTER, seconds)
    }

    /// 426: this is for websockets (RFC 9110 section 15.5.22 wants the `Upgrade` header).
    pub fn upgrade_required(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UPGRADE_REQUIRED, message)
            .with(UPGRADE, HeaderValue::from_static("websocket"))
            .with(CONNECTION, HeaderValue::from_static("Upgrade"))
    }

    /// With one more header.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The sentence, without the line's end.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// As it goes to the peer.
    pub fn into_reply(self) -> Reply {
        let mut reply = text(self.status, &format!("{}\n", self.message));
        reply.headers_mut().extend(self.headers);
        reply
    }
}
