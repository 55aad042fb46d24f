//! The address of a daemon: `http://host:port`, `https://…`, `ws://…`, `wss://…`, or `host:port` alone.
//!
//! Owns: the valid texts, and the defaults. Does not own: the query (`provide`), nor the connection.

use std::fmt;
use std::str::FromStr;
use tokio_tungstenite::tungstenite::http::uri::{Authority, PathAndQuery};

/// Port of a server that is given as a host alone: the daemon's default.
const DEFAULT_PORT: u16 = 8053;
/// The server of a client that is given none; see [`Server::default`].
pub const DEFAULT_SERVER: &str = "http://127.0.0.1:8053";

/// The address of a daemon. Displayed as the `http` or `https` URL, however it was written.
///
/// ```
/// use skyhound_client::{Server, ServerError};
///
/// let server: Server = "wss://node1.example/provide".parse()?;
/// assert_eq!(server.to_string(), "https://node1.example:443");
/// assert_eq!("node1".parse::<Server>()?.port(), 8053);
/// assert!(matches!("ftp://node1".parse::<Server>(), Err(ServerError::Scheme(_))));
/// # Ok::<_, ServerError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Server {
    tls: bool,
    host: String,
    port: u16,
    /// Path before `/provide`, for a proxy that serves the daemon below a path: empty, or `/…`.
    path: String,
}

/// The reason why a text is not the address of a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// Unsupported scheme.
    #[error("unsupported scheme {0:?}; use http://, https://, ws:// or wss://")]
    Scheme(String),
    /// Missing or invalid host or port.
    #[error("invalid host and port {0:?}; use the form http://127.0.0.1:8053")]
    Authority(String),
    /// `user@` before the host: the daemon has no users, and a password would end up in logs.
    #[error("a server URL must not contain a user; remove the part before '@'")]
    User,
    /// A query, a fragment, or characters that a path cannot contain.
    #[error("invalid path {0:?}; use the form http://127.0.0.1:8053")]
    Path(String),
}

impl Server {
    /// Returns true if connections use TLS.
    pub fn tls(&self) -> bool {
        self.tls
    }

    /// The host: a name, or an address without brackets.
    pub fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The request target of a path of the daemon.
    pub(crate) fn target(&self, path: &str) -> String {
        format!("{}{path}", self.path)
    }

    /// `host:port`, the value of the `Host` header.
    pub(crate) fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The WebSocket URL of a handshake with an encoded query.
    pub(crate) fn provide_url(&self, query: &str) -> String {
        let scheme = if self.tls { "wss" } else { "ws" };
        format!("{scheme}://{}:{}{}/provide?{query}", self.host, self.port, self.path)
    }
}

impl Default for Server {
    /// The server at [`DEFAULT_SERVER`].
    fn default() -> Self {
        Self { tls: false, host: "127.0.0.1".into(), port: DEFAULT_PORT, path: String::new() }
    }
}

impl FromStr for Server {
    type Err = ServerError;

    fn from_str(text: &str) -> Result<Self, ServerError> {
        let (tls, default_port, rest) = match text.split_once("://") {
            None => (false, DEFAULT_PORT, text),
            Some((scheme, rest)) => match scheme.to_ascii_lowercase().as_str() {
                "http" | "ws" => (false, 80, rest),
                "https" | "wss" => (true, 443, rest),
                _ => return Err(ServerError::Scheme(scheme.to_owned())),
            },
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(ServerError::User);
        }
        let invalid = || ServerError::Authority(authority.to_owned());
        let parsed = Authority::from_str(authority).map_err(|_| invalid())?;
        let port = match parsed.port() {
            // The text after the colon: `host:` and `host:70000` have a colon and no port.
            Some(_) => parsed.port_u16().filter(|port| *port != 0).ok_or_else(invalid)?,
            None if authority.ends_with(':') || parsed.host().len() != authority.len() => return Err(invalid()),
            None => default_port,
        };
        if parsed.host().is_empty() {
            return Err(invalid());
        }
        Ok(Self { tls, host: parsed.host().to_owned(), port, path: prefix(path)? })
    }
}

/// The path without its final slash and without the name of the endpoint, which users copy with it.
fn prefix(path: &str) -> Result<String, ServerError> {
    let invalid = || ServerError::Path(path.to_owned());
    if path.contains(['?', '#']) {
        return Err(invalid());
    }
    let trimmed = path.trim_end_matches('/');
    let trimmed = trimmed.strip_suffix("/provide").unwrap_or(trimmed);
    if !trimmed.is_empty() {
        PathAndQuery::from_str(trimmed).map_err(|_| invalid())?;
    }
    Ok(trimmed.to_owned())
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}{}", self.host, self.port, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_normalised_to_a_url() {
        for (text, url) in [
            ("http://127.0.0.1:8053", "http://127.0.0.1:8053"),
            ("ws://node1:8053/provide", "http://node1:8053"),
            ("WSS://node1", "https://node1:443"),
            ("https://gate.example/sky/", "https://gate.example:443/sky"),
            ("http://node1", "http://node1:80"),
            ("node1:9000", "http://node1:9000"),
            ("node1", "http://node1:8053"),
            ("[::1]:9000", "http://[::1]:9000"),
            ("http://[::1]", "http://[::1]:80"),
        ] {
            assert_eq!(text.parse::<Server>().unwrap().to_string(), url, "{text}");
        }
        assert_eq!(Server::default(), DEFAULT_SERVER.parse().unwrap());
        assert_eq!("[::1]".parse::<Server>().unwrap().host(), "::1");
        let below = "https://gate.example/sky".parse::<Server>().unwrap();
        assert_eq!(below.provide_url("service=a"), "wss://gate.example:443/sky/provide?service=a");
    }

    #[test]
    fn invalid_servers_are_rejected_with_a_reason() {
        for (text, expected) in [
            ("ftp://a", "unsupported scheme \"ftp\""),
            ("", "invalid host and port \"\""),
            ("http://", "invalid host and port \"\""),
            (":8053", "invalid host and port \":8053\""),
            ("a:", "invalid host and port \"a:\""),
            ("a:70000", "invalid host and port \"a:70000\""),
            ("a:0", "invalid host and port \"a:0\""),
            ("::1", "invalid host and port \"::1\""),
            ("a b", "invalid host and port \"a b\""),
            ("http://me:secret@a", "a server URL must not contain a user"),
            ("http://a/?x=y", "invalid path \"/?x=y\""),
        ] {
            let error = text.parse::<Server>().unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
