//! HTTP errors: a status and a message.
//!
//! Owns: the form of an error response. Does not own: the messages of a route.

use super::limits::RETRY_AFTER_MAX;
use super::route::{Reply, text};
use hyper::StatusCode;
use hyper::header::{CONNECTION, HeaderName, HeaderValue, RETRY_AFTER, UPGRADE};
use std::borrow::Cow;

/// An error response. The message is its body, as plain text.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{status}: {message}")]
pub struct HttpError {
    status: StatusCode,
    message: Cow<'static, str>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl HttpError {
    /// An error with a status and a message.
    pub fn new(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, message: message.into(), headers: Vec::new() }
    }

    /// Status 400: the request has to be changed.
    pub fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// Status 503: the same request may succeed later. `Retry-After` is drawn anew for each error.
    pub fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        let seconds = HeaderValue::from(fastrand::u16(1..=RETRY_AFTER_MAX));
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message).with(RETRY_AFTER, seconds)
    }

    /// Status 426: the path requires a WebSocket (RFC 9110 section 15.5.22 requires the `Upgrade` header).
    pub fn upgrade_required(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UPGRADE_REQUIRED, message)
            .with(UPGRADE, HeaderValue::from_static("websocket"))
            .with(CONNECTION, HeaderValue::from_static("Upgrade"))
    }

    /// Adds a header.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The message, without a line end.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The response to the peer.
    pub fn into_reply(self) -> Reply {
        let mut reply = text(self.status, &format!("{}\n", self.message));
        reply.headers_mut().extend(self.headers);
        reply
    }
}
