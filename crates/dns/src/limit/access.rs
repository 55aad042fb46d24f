//! The networks with permission to query (`--dns-allow`, `--dns-deny`).
//!
//! Clients without permission receive REFUSED, with "prohibited" of RFC 8914, over UDP and over HTTPS, as from Knot,
//! NSD and Unbound: an operator who mistyped a network sees it at once instead of looking for a lost packet, and the
//! response is the question again, so that a forged one is not amplified. A TCP or TLS connection is closed when it is
//! accepted: otherwise it would hold a connection permit until its first question.

use super::super::network::Network;
use std::net::IpAddr;

/// The access lists. By default all clients have permission.
///
/// The lists are searched linearly, at a nanosecond or two for each network: they are for a few dozen networks. Use a
/// firewall for more.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Access {
    /// The networks with permission; all if it is empty.
    pub allow: Vec<Network>,
    /// The networks without permission, even if `allow` contains them too: an exception does not require splitting a
    /// network.
    pub deny: Vec<Network>,
}

impl Access {
    /// Returns whether a client has permission to query. A stream is checked when it is accepted, a datagram before it
    /// is read.
    pub fn allows(&self, client: IpAddr) -> bool {
        let contains = |networks: &[Network]| networks.iter().any(|network| network.contains(client));
        !contains(&self.deny) && (self.allow.is_empty() || contains(&self.allow))
    }

    /// Returns whether every client has permission.
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
        let allows = |access: &Access, client: &str| access.allows(client.parse().unwrap());
        assert!(allows(&access(&[], &[]), "203.0.113.9") && access(&[], &[]).is_open());
        let both_lists = access(&["10.0.0.0/8", "2001:db8::/32"], &["10.9.0.0/16"]);
        assert!(
            allows(&both_lists, "10.1.2.3")
                && allows(&both_lists, "::ffff:10.1.2.3")
                && allows(&both_lists, "2001:db8::1")
        );
        assert!(
            !allows(&both_lists, "10.9.0.1")
                && !allows(&both_lists, "192.0.2.1")
                && !allows(&both_lists, "2001:db9::1")
        );
        let deny_only = access(&[], &["192.0.2.0/24"]);
        assert!(!allows(&deny_only, "192.0.2.1") && allows(&deny_only, "192.0.3.1") && !deny_only.is_open());
        assert!(!allows(&access(&["any"], &["any"]), "127.0.0.1"));
    }
}
