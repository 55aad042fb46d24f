//! Failures of a request or a connection to one server.
//!
//! Owns: the two kinds of failure, [`Loss`] (another attempt may succeed) and [`Refusal`] (no attempt will), and the
//! rule that assigns an HTTP response to one of them. Does not own: the errors of an operation, which are defined
//! beside it.

use crate::server::Server;
use std::time::Duration;
use tokio_tungstenite::tungstenite::http::{Response, StatusCode, header::RETRY_AFTER};

/// Statuses that no retry changes: the request is invalid or too long.
const FINAL_STATUSES: [StatusCode; 3] =
    [StatusCode::BAD_REQUEST, StatusCode::URI_TOO_LONG, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE];
/// Limit of a server's message that is shown to a user, in characters.
const MESSAGE_MAX: usize = 500;

/// The reason why an attempt or a connection failed. Its text continues a sentence that names the server.
///
/// ```
/// use skyhound_client::Loss;
///
/// let loss = Loss::Closed { code: Some(1012), reason: "restarting".into() };
/// assert_eq!(loss.to_string(), "it closed the connection with code 1012: restarting");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Loss {
    /// The TCP or TLS connection failed.
    #[error("cannot connect: {0}")]
    Unreachable(String),
    /// The connection was established, but no response to the request arrived.
    #[error("no response within {0:?}")]
    NoResponse(Duration),
    /// The server responded with another status than the expected one.
    #[error("it answered {status}: {message}")]
    Unavailable {
        /// HTTP status.
        status: u16,
        /// First line of the response body.
        message: String,
        /// Value of `Retry-After`, in seconds.
        retry_after: Option<u32>,
    },
    /// The server closed the connection.
    #[error("it closed the connection{}", close_details(*.code, .reason))]
    Closed {
        /// Close code (RFC 6455 section 7.4), if the server sent one.
        code: Option<u16>,
        /// Close reason, possibly empty.
        reason: String,
    },
    /// No data arrived for the liveness timeout, not even a pong.
    #[error("no data received for {0:?}")]
    Timeout(Duration),
    /// The connection broke, or the server does not follow the protocol.
    #[error("the connection broke: {0}")]
    Broken(String),
}

fn close_details(code: Option<u16>, reason: &str) -> String {
    match (code, reason) {
        (None, _) => String::new(),
        (Some(code), "") => format!(" with code {code}"),
        (Some(code), reason) => format!(" with code {code}: {reason}"),
    }
}

/// A daemon's final rejection of a request: no retry of the same request succeeds.
///
/// ```
/// use skyhound_client::{Refusal, Server};
///
/// let refusal = Refusal { server: Server::default(), status: 400, message: "port is 0".into() };
/// assert_eq!(refusal.to_string(), "http://127.0.0.1:8053 rejected the request: port is 0");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{server} rejected the request: {message}")]
pub struct Refusal {
    /// The server that rejected the request.
    pub server: Server,
    /// HTTP status: 400, or 414 or 431 for a request that is too long.
    pub status: u16,
    /// The daemon's message, which names the invalid parameter.
    pub message: String,
}

/// The failure of one request.
#[derive(Debug)]
pub(crate) enum RequestError {
    /// No retry changes it.
    Refused(Refusal),
    /// Another server, or a later attempt, may succeed.
    Lost(Loss),
}

impl RequestError {
    /// Classifies a response with an unexpected status.
    pub(crate) fn from_response(server: &Server, response: &Response<impl AsRef<[u8]>>) -> Self {
        let status = response.status();
        let message = match first_line(&String::from_utf8_lossy(response.body().as_ref())) {
            empty if empty.is_empty() => status.canonical_reason().unwrap_or("no reason given").to_owned(),
            message => message,
        };
        if FINAL_STATUSES.contains(&status) {
            return Self::Refused(Refusal { server: server.clone(), status: status.as_u16(), message });
        }
        let retry_after = response.headers().get(RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        Self::Lost(Loss::Unavailable { status: status.as_u16(), message, retry_after })
    }

    /// Rejects a request before it is sent, because its URL exceeds a limit.
    pub(crate) fn url_too_long(server: &Server, message: String) -> Self {
        Self::Refused(Refusal { server: server.clone(), status: StatusCode::URI_TOO_LONG.as_u16(), message })
    }
}

impl From<Loss> for RequestError {
    fn from(loss: Loss) -> Self {
        Self::Lost(loss)
    }
}

/// The first line of a server's text, shortened, without control characters that a terminal would interpret.
pub(crate) fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default().trim();
    line.chars().filter(|c| !c.is_control()).take(MESSAGE_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_short_line_without_control_characters() {
        assert_eq!(first_line("port is 0\nand more"), "port is 0");
        assert_eq!(first_line(" \u{1b}[2Jred\u{7} "), "[2Jred");
        assert_eq!(first_line(&"x".repeat(9000)).len(), MESSAGE_MAX);
    }
}
