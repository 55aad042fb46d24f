//! Where a peer says that it is, in any of the forms that the dialects have: `10.0.0.5:8080`, `[::1]:80`,
//! `http://host`, `http://host:8080/path`.
//!
//! Owns: taking a host and a port out of such a text, and joining them to one. Does not own: whether the host is one
//! that DNS can say ([`super::entry::Host`]). The text itself stays what the peer said; this is what DNS makes of it.

use std::fmt::Display;
use std::net::Ipv6Addr;

/// Schemes whose port is known.
const SCHEMES: [(&str, u16); 8] = [
    ("http", 80),
    ("https", 443),
    ("ws", 80),
    ("wss", 443),
    ("grpc", 80),
    ("redis", 6379),
    ("postgres", 5432),
    ("amqp", 5672),
];

/// The host (an IPv6 address without its brackets) and the port of an address; `None` when it has none of them.
pub fn host_and_port(address: &str) -> Option<(&str, u16)> {
    let (scheme, rest) = match address.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, address),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host_port = authority.rsplit_once('@').map_or(authority, |(_, host_port)| host_port);
    let (host, port) = split(host_port)?;
    let port = match port {
        Some(port) => port.parse().ok().filter(|port| *port != 0)?,
        None => SCHEMES.iter().find(|(known, _)| scheme.is_some_and(|s| s.eq_ignore_ascii_case(known)))?.1,
    };
    (!host.is_empty()).then_some((host, port))
}

/// A host and a port, however that was said, as one text: `10.0.0.5:8080`, `[::1]:80`.
pub fn join_host_port(host: &str, port: impl Display) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Host and port as they are written.
fn split(host_port: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = host_port.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        host.parse::<Ipv6Addr>().ok()?;
        return match after {
            "" => Some((host, None)),
            _ => after.strip_prefix(':').map(|port| (host, Some(port))),
        };
    }
    match host_port.rsplit_once(':') {
        // More than one colon without brackets: an IPv6 address, and no telling where a port would begin.
        Some((host, _)) if host.contains(':') => host_port.parse::<Ipv6Addr>().ok().map(|_| (host_port, None)),
        Some((host, port)) => Some((host, Some(port))),
        None => Some((host_port, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_addresses_split_again() {
        for (host, joint) in [("10.0.0.5", "10.0.0.5:80"), ("::1", "[::1]:80"), ("a.example", "a.example:80")] {
            assert_eq!(join_host_port(host, 80), joint);
            assert_eq!(host_and_port(joint), Some((host, 80)));
        }
    }

    #[test]
    fn all_address_forms_are_split() {
        for (address, host_port) in [
            ("10.0.0.5:8080", Some(("10.0.0.5", 8080))),
            ("http://10.0.0.5:8080", Some(("10.0.0.5", 8080))),
            ("http://host.example/path?x=a:1", Some(("host.example", 80))),
            ("HTTPS://user:word@host/", Some(("host", 443))),
            ("[::1]:80", Some(("::1", 80))),
            ("http://[2001:db8::1]", Some(("2001:db8::1", 80))),
            ("http://::1", Some(("::1", 80))),
            ("localhost:5000", Some(("localhost", 5000))),
            ("321.123.321.123:4321", Some(("321.123.321.123", 4321))),
            ("localhost", None),
            ("::1", None),
            ("host:0", None),
            ("host:65536", None),
            ("host:", None),
            (":80", None),
            ("[::1]80", None),
            ("[host]:80", None),
            ("unix:///run/x.sock", None),
            ("", None),
        ] {
            assert_eq!(host_and_port(address), host_port, "{address:?}");
        }
    }
}
