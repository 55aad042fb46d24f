//! Where a daemon is: `http://host:port`, `https://…`, `ws://…`, `wss://…`, or `host:port` alone.
//!
//! Owns: which texts are a server, and the defaults. Does not own: the query ([`super::provide`]) nor
//! the connection.

use std::fmt;
use std::str::FromStr;
use tokio_tungstenite::tungstenite::http::uri::{Authority, PathAndQuery};

/// The port of a server that was given as a host alone: the daemon's default.
pub const DEFAULT_PORT: u16 = 8053;
/// The server of a client that was given none.
pub const DEFAULT_SERVER: &str = "http://127.0.0.1:8053";

/// Where a daemon is. Shown as the `http` or `https` URL, however it was written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Server {
    tls: bool,
    host: String,
    port: u16,
    /// What stands before `/provide` when a proxy serves the daemon below a path: empty, or `/…`.
    path: String,
}

/// Why a text is not a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// Another scheme.
    #[error("{0:?} is no scheme of a skyhound server; use http://, https://, ws:// or wss://")]
    Scheme(String),
    /// No host, or one that is none.
    #[error("{0:?} is no host and port; write it such as http://127.0.0.1:8053")]
    Authority(String),
    /// `user@` before the host: the daemon knows no users, and a password would end up in logs.
    #[error("a server's URL cannot have a user; remove what stands before the '@'")]
    User,
    /// A query or a fragment, or characters that no path has.
    #[error("{0:?} is no path of a server; write it such as http://127.0.0.1:8053")]
    Path(String),
}

impl Server {
    /// Whether the connection is TLS.
    pub fn tls(&self) -> bool {
        self.tls
    }

    /// The host: a name or an address, without brackets.
    pub fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A path of the daemon's, as it has to be asked for here.
    pub(super) fn target(&self, path: &str) -> String {
        format!("{}{path}", self.path)
    }

    /// `host:port`, as the `Host` header has it.
    pub(super) fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The websocket URL for a handshake; `query` is encoded already.
    pub(super) fn provide_url(&self, query: &str) -> String {
        let scheme = if self.tls { "wss" } else { "ws" };
        format!("{scheme}://{}:{}{}/provide?{query}", self.host, self.port, self.path)
    }
}

impl Default for Server {
    /// [`DEFAULT_SERVER`].
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
        let bad = || ServerError::Authority(authority.to_owned());
        let parsed = Authority::from_str(authority).map_err(|_| bad())?;
        let port = match parsed.port() {
            // The text behind the colon: `host:` and `host:70000` have a colon and no port.
            Some(_) => parsed.port_u16().filter(|port| *port != 0).ok_or_else(bad)?,
            None if authority.ends_with(':') || parsed.host().len() != authority.len() => return Err(bad()),
            None => default_port,
        };
        if parsed.host().is_empty() {
            return Err(bad());
        }
        Ok(Self { tls, host: parsed.host().to_owned(), port, path: prefix(path)? })
    }
}

/// The path without its slash at the end and without the endpoint's own name, which people copy with it.
fn prefix(path: &str) -> Result<String, ServerError> {
    let bad = || ServerError::Path(path.to_owned());
    if path.contains(['?', '#']) {
        return Err(bad());
    }
    let trimmed = path.trim_end_matches('/');
    let trimmed = trimmed.strip_suffix("/provide").unwrap_or(trimmed);
    if !trimmed.is_empty() {
        PathAndQuery::from_str(trimmed).map_err(|_| bad())?;
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
    fn invalid_servers_are_refused_with_a_reason() {
        for (text, why) in [
            ("ftp://a", "\"ftp\" is no scheme"),
            ("", "\"\" is no host and port"),
            ("http://", "\"\" is no host and port"),
            (":8053", "\":8053\" is no host and port"),
            ("a:", "\"a:\" is no host and port"),
            ("a:70000", "\"a:70000\" is no host and port"),
            ("a:0", "\"a:0\" is no host and port"),
            ("::1", "\"::1\" is no host and port"),
            ("a b", "\"a b\" is no host and port"),
            ("http://me:secret@a", "a server's URL cannot have a user"),
            ("http://a/?x=y", "\"/?x=y\" is no path"),
        ] {
            let error = text.parse::<Server>().unwrap_err().to_string();
            assert!(error.starts_with(why), "{text}: {error}");
        }
    }
}
