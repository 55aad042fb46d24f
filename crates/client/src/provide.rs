//! A registration as its process describes it, and its encoding as the query of the handshake.
//!
//! Owns: the fields and the query. Does not own: the validation of a field. The daemon checks everything
//! (`skyhound_model::instance`) and returns a message; a second implementation here would diverge from it.

use crate::server::Server;
use crate::timing::Timing;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use skyhound_net::tls::ClientFiles;
use std::collections::BTreeMap;

/// A registration, and the servers that receive it.
///
/// Start from [`Provide::new`] and set the fields that differ. A field that is `None` or empty is not sent; each
/// field names the daemon's default.
///
/// ```
/// use skyhound_client::Provide;
///
/// # fn main() -> Result<(), skyhound_client::ServerError> {
/// let provide = Provide {
///     servers: vec!["http://node1:8053".parse()?, "http://node2:8053".parse()?],
///     category: vec!["services".into(), "production".into()],
///     version: Some("1.2.3".into()),
///     ..Provide::new("web", 8080)
/// };
/// assert_eq!((provide.service.as_str(), provide.weight), ("web", None));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provide {
    /// The daemons, the first one preferred: the others are tried in turn while it is unavailable. An empty list means
    /// [`Server::default`].
    pub servers: Vec<Server>,
    /// Service: one label, or several separated by dots.
    pub service: String,
    /// Port of the service, 1 to 65535.
    pub port: u16,
    /// Address or host name of the instance. Default: the address from which the daemon is reached.
    pub host: Option<String>,
    /// Categories, in the order of the name from left to right. Default: the daemon's `--default-category`.
    pub category: Vec<String>,
    /// Prefix of the instance's id.
    pub prefix: Option<String>,
    /// SRV priority; the lowest is tried first. Default: 1.
    pub priority: Option<u16>,
    /// SRV weight: the share of the load within a priority. Default: 100.
    pub weight: Option<u16>,
    /// Semantic version.
    pub version: Option<String>,
    /// TTL of the records, in seconds. Default: the daemon's.
    pub ttl: Option<u32>,
    /// Content of the TXT record, up to 4096 bytes.
    pub text: Option<String>,
    /// Group, as in `SkyDNS`.
    pub group: Option<String>,
    /// Metadata: up to 64 values of up to 1024 bytes.
    pub meta: BTreeMap<String, String>,
    /// Certificates for servers with `https://`; read for each connection. Default: the system's authorities.
    pub tls: ClientFiles,
    /// Timeouts and retry intervals.
    pub timing: Timing,
}

/// All bytes except the unreserved ones of RFC 3986. A space becomes `%20` and not `+`: every decoder reads it.
pub(crate) const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

impl Provide {
    /// A registration of `service` on `port`, with all defaults.
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

    /// The encoded query of the handshake.
    pub(crate) fn query(&self) -> String {
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
