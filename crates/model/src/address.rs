//! Addresses in the notations that the frontends accept: `10.0.0.5:8080`, `[::1]:80`, `http://host`,
//! `http://host:8080/path`.
//!
//! Owns: splitting such an address into host and port, and joining the two. Does not own: validation of the host
//! ([`Host`](crate::Host)). An entry stores the address as the client sent it; DNS uses the host and port found here.

use std::fmt::Display;
use std::net::Ipv6Addr;

/// Schemes with their default ports.
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

/// Returns the host (an IPv6 address without its brackets) and the port of an address; `None` if one of them is missing
/// or malformed.
///
/// ```
/// use skyhound_model::address::host_and_port;
///
/// assert_eq!(host_and_port("http://[::1]/path"), Some(("::1", 80)));
/// assert_eq!(host_and_port("10.0.0.5"), None);
/// ```
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
        None => SCHEMES.iter().find(|(name, _)| scheme.is_some_and(|s| s.eq_ignore_ascii_case(name)))?.1,
    };
    (!host.is_empty()).then_some((host, port))
}

/// Joins a host and a port: `10.0.0.5:8080`, `[::1]:80`.
pub fn join_host_port(host: &str, port: impl Display) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Splits an authority without user information into its host and its port, both unvalidated.
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
        // More than one colon without brackets is an IPv6 address; a port in it would be ambiguous.
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
