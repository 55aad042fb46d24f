//! Which networks may ask (`--dns-allow`, `--dns-deny`).
//!
//! Who may not is told so (REFUSED, with "prohibited" of RFC 8914), over UDP and over HTTPS, as Knot, NSD and Unbound
//! do it: an operator who mistyped a network sees it at once instead of looking for a lost packet, and what is
//! said is the question again, so that a forged one is not multiplied. A connection of DNS's own is closed when it is
//! accepted: it would take somebody's place until it asks.

use super::super::network::Network;
use std::net::IpAddr;

/// Who may ask. Everybody by default.
///
/// The lists are walked, at a nanosecond or two each: they are for a few dozen networks, and a firewall is
/// for more.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Access {
    /// Who may; everybody when it is empty.
    pub allow: Vec<Network>,
    /// Who may not, even if `allow` contains them too: an exception is said without splitting a network.
    pub deny: Vec<Network>,
}

impl Access {
    /// Whether this client may ask. For a stream, when it is accepted; for a datagram, before it is read.
    pub fn allows(&self, client: IpAddr) -> bool {
        let contains = |networks: &[Network]| networks.iter().any(|network| network.contains(client));
        !contains(&self.deny) && (self.allow.is_empty() || contains(&self.allow))
    }

    /// Whether there is nobody who may not.
    pub fn is_open(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(allow: &[&str], deny: &[&str]) -> Access {
        let networks = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        Access { allow: networks(allow), deny: networks(deny) }
    }

    #[test]
    fn deny_wins_over_allow() {
        let may = |access: &Access, client: &str| access.allows(client.parse().unwrap());
        assert!(may(&access(&[], &[]), "203.0.113.9") && access(&[], &[]).is_open());
        let some = access(&["10.0.0.0/8", "2001:db8::/32"], &["10.9.0.0/16"]);
        assert!(may(&some, "10.1.2.3") && may(&some, "::ffff:10.1.2.3") && may(&some, "2001:db8::1"));
        assert!(!may(&some, "10.9.0.1") && !may(&some, "192.0.2.1") && !may(&some, "2001:db9::1"));
        let but = access(&[], &["192.0.2.0/24"]);
        assert!(!may(&but, "192.0.2.1") && may(&but, "192.0.3.1") && !but.is_open());
        assert!(!may(&access(&["any"], &["any"]), "127.0.0.1"));
    }
}
