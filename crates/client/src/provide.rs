//! What a process says of itself, and how that is spelt in the handshake.
//!
//! Owns: the fields, the query, the settings of time. Does not own: what is allowed in a field. The daemon
//! checks everything ([`skyhound_model::instance`]) and answers with a sentence; a second opinion here would
//! only differ from it one day.

use super::server::Server;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use skyhound_base::{Backoff, Jitter};
use skyhound_net::tls::ClientFiles;
use std::collections::BTreeMap;
use std::time::Duration;

/// The longest time for a TCP connection to one server, over all of its addresses.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The bound of the first pause before a retry: short enough that a restart is hardly noticed.
pub const RETRY_MIN: Duration = Duration::from_millis(100);
/// The bound of every pause before a retry.
pub const RETRY_MAX: Duration = Duration::from_secs(10);
/// The longest time from there to the answer. Longer than the daemon's own patience with its store: who
/// gives up while the daemon is still writing makes it write twice.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(15);
/// How often to ping (the original client's interval).
pub const PING_INTERVAL: Duration = Duration::from_secs(10);
/// The longest silence: two pings that nobody answered, and a while for the second.
pub const LIVENESS_TIMEOUT: Duration = Duration::from_secs(25);
/// The longest time for the daemon's part of a close.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection that held this long was lost by chance, and the waits begin anew.
pub const STABLE_AFTER: Duration = Duration::from_secs(10);

/// What a process says of itself, and to whom.
///
/// Begin with [`Provide::new`] and set what differs: `Provide { weight: Some(10), ..Provide::new("web", 8080) }`.
/// A field that is `None` or empty is not sent; the daemon's default stands beside each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provide {
    /// The daemons, the first one preferred: the others are tried in turn while it is away. None means
    /// [`Server::default`].
    pub servers: Vec<Server>,
    /// The service: one label, or several with dots between.
    pub service: String,
    /// The port that the service listens on, 1 to 65535.
    pub port: u16,
    /// Where it is: an address or a name. Default: the address that the daemon sees.
    pub host: Option<String>,
    /// The categories, as in the name from left to right. Default: the daemon's `--default-category`.
    pub category: Vec<String>,
    /// Begins the instance's id.
    pub prefix: Option<String>,
    /// SRV priority; the lowest is tried first. Default: 1.
    pub priority: Option<u16>,
    /// SRV weight: the share of the load within a priority. Default: 100.
    pub weight: Option<u16>,
    /// Semantic version.
    pub version: Option<String>,
    /// The longest time to cache it, in seconds. Default: the daemon's.
    pub ttl: Option<u32>,
    /// What TXT answers, up to 4096 bytes.
    pub text: Option<String>,
    /// SkyDNS's group.
    pub group: Option<String>,
    /// What else it says of itself: up to 64 values of up to 1024 bytes.
    pub meta: BTreeMap<String, String>,
    /// Certificates for servers with `https://`; read for each connection. Default: the system's authorities.
    pub tls: ClientFiles,
    /// How long to wait for what.
    pub timing: Timing,
}

/// How long to wait for what. The default is right for a network of machines; tests shorten it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// See [`CONNECT_TIMEOUT`].
    pub connect: Duration,
    /// See [`RESPONSE_TIMEOUT`].
    pub response: Duration,
    /// See [`PING_INTERVAL`].
    pub ping_interval: Duration,
    /// See [`LIVENESS_TIMEOUT`]. Keep it above two `ping_interval`.
    pub liveness_timeout: Duration,
    /// See [`CLOSE_TIMEOUT`].
    pub close: Duration,
    /// See [`RETRY_MIN`].
    pub retry_min: Duration,
    /// See [`RETRY_MAX`].
    pub retry_max: Duration,
    /// See [`STABLE_AFTER`].
    pub stable_after: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            connect: CONNECT_TIMEOUT,
            response: RESPONSE_TIMEOUT,
            ping_interval: PING_INTERVAL,
            liveness_timeout: LIVENESS_TIMEOUT,
            close: CLOSE_TIMEOUT,
            retry_min: RETRY_MIN,
            retry_max: RETRY_MAX,
            stable_after: STABLE_AFTER,
        }
    }
}

impl Timing {
    /// The pauses between attempts to reach a server.
    pub(super) const fn backoff(&self) -> Backoff {
        Backoff::new(self.retry_min, self.retry_max).with_jitter(Jitter::Full)
    }
}

/// What RFC 3986 lets stand unescaped anywhere. A space becomes `%20` and not `+`: every decoder reads it.
pub(super) const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

impl Provide {
    /// `service` on `port`, with all defaults.
    pub fn new(service: impl Into<String>, port: u16) -> Self {
        Self {
            servers: Vec::new(),
            service: service.into(),
            port,
            host: None,
            category: Vec::new(),
            prefix: None,
            priority: None,
            weight: None,
            version: None,
            ttl: None,
            text: None,
            group: None,
            meta: BTreeMap::new(),
            tls: ClientFiles::default(),
            timing: Timing::default(),
        }
    }

    /// The handshake's query, encoded.
    pub(super) fn query(&self) -> String {
        let number = |n: Option<u32>| n.map(|n| n.to_string());
        let category = (!self.category.is_empty()).then(|| self.category.join(","));
        let fields = [
            ("service", Some(self.service.clone())),
            ("port", Some(self.port.to_string())),
            ("host", self.host.clone()),
            ("category", category),
            ("prefix", self.prefix.clone()),
            ("priority", number(self.priority.map(Into::into))),
            ("weight", number(self.weight.map(Into::into))),
            ("version", self.version.clone()),
            ("ttl", number(self.ttl)),
            ("text", self.text.clone()),
            ("group", self.group.clone()),
        ];
        let fields = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        let meta = self.meta.iter().map(|(name, value)| (format!("meta.{name}"), value.clone()));
        let pairs: Vec<_> = fields.chain(meta).map(|(n, v)| format!("{}={}", escape(&n), escape(&v))).collect();
        pairs.join("&")
    }
}

fn escape(text: &str) -> impl std::fmt::Display {
    utf8_percent_encode(text, ESCAPED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_fields_are_not_sent() {
        assert_eq!(Provide::new("web", 80).query(), "service=web&port=80");
    }

    #[test]
    fn all_fields_are_sent_and_escaped() {
        let provide = Provide {
            host: Some("::1".into()),
            category: vec!["services".into(), "production".into()],
            prefix: Some("blue".into()),
            priority: Some(0),
            weight: Some(65_535),
            version: Some("1.2.3-rc.1+build".into()),
            ttl: Some(5),
            text: Some("a=b & c%d+é\n".into()),
            group: Some("g".into()),
            meta: [("zone id".into(), "eu/1".into())].into(),
            ..Provide::new("web", 80)
        };
        assert_eq!(
            provide.query(),
            "service=web&port=80&host=%3A%3A1&category=services%2Cproduction&prefix=blue&priority=0&weight=65535\
             &version=1.2.3-rc.1%2Bbuild&ttl=5&text=a%3Db%20%26%20c%25d%2B%C3%A9%0A&group=g&meta.zone%20id=eu%2F1"
        );
    }
}
