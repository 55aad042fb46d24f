//! What an operator can choose about DNS, each with its default and the reason for it.
//!
//! Owns: defaults, limits, and which zone a name belongs to. Does not own: flags and files
//! (`crate::config` fills this in), nor the addresses to listen on ([`super::server`]).

use crate::model::Name;
use std::time::Duration;

/// How long an entry without a `ttl` and without a lease may be cached. `CoreDNS`' default (`SkyDNS` has
/// 3600): such an entry is maintained by hand, and a correction should be seen within minutes.
pub const TTL_S: u32 = 300;
/// How long an entry that hangs on a lease may be cached when it has no `ttl` of its own. Its owner may be
/// gone at any time, so the default for entries that stay is wrong for it; the lowest term that `CoreDNS`
/// gives a leased entry. What is left of the lease is not known here, and is renewed all the time.
pub const LEASED_TTL_S: u32 = 30;
/// The longest that anything may be cached, whatever its `ttl` says. Resolvers cap at a day to a week by
/// themselves; a number typed wrong must not stay in caches for years (CVE-2025-58063 of `CoreDNS`).
pub const TTL_MAX_S: u32 = 604_800;
/// How long an answer may be cached that was given while the store was away: long enough to carry clients
/// through, short enough that nobody keeps it once the store is back (RFC 8767 section 4 says 30).
pub const STALE_TTL_S: u32 = 10;
/// How long "no such name" may be cached (RFC 2308 section 5). A service that registers must be found soon
/// after, also by those who asked too early; `CoreDNS` has 30 and `SkyDNS` 60.
pub const NEGATIVE_TTL_S: u32 = 15;
/// The largest UDP answer, and the size of the UDP questions we say we take: what passes every path without
/// fragments (DNS flag day 2020; RFC 9715 section 3 has 1400 at most).
pub const UDP_PAYLOAD_MAX: u16 = 1232;
/// The most addresses that the zone's own name answers with. Everyone can ask for it without knowing any
/// service, and by the subtree rule it stands for all of them: the cheapest question with the largest answer.
pub const APEX_MAX: usize = 50;
/// The most entries that one question looks at. 64 KiB hold about 4,000 A records; beyond that a larger set
/// only makes the choice fairer. Larger sets are seen through a window that moves with the rotation.
pub const ENTRIES_MAX: usize = 16_384;
/// How long a TCP connection may be silent. RFC 7766 section 6.2.3 asks for "a few seconds".
pub const TCP_IDLE: Duration = Duration::from_secs(10);
/// How many answers wait in memory for a TCP peer that does not read.
pub const TCP_BACKLOG: usize = 32;

/// How the weight in an SRV record follows from the weight of the entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SrvWeights {
    /// The share of 100 within the priority, rounded down, at least 1: what `SkyDNS` and `CoreDNS` answer, and
    /// what their users' dashboards and balancers are set up for. Above 100 instances all become 1.
    #[default]
    Skydns,
    /// The weight as it was registered (RFC 2782).
    Exact,
}

impl std::str::FromStr for SrvWeights {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "skydns" => Ok(Self::Skydns),
            "exact" => Ok(Self::Exact),
            _ => Err(format!("{text:?} is neither skydns nor exact")),
        }
    }
}

/// The effective settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsSettings {
    /// The zones that are answered for (`--dns-root`). Everything else is refused.
    pub zones: Vec<Name>,
    /// See [`TTL_S`].
    pub ttl_s: u32,
    /// See [`LEASED_TTL_S`].
    pub leased_ttl_s: u32,
    /// See [`TTL_MAX_S`].
    pub ttl_max_s: u32,
    /// See [`STALE_TTL_S`].
    pub stale_ttl_s: u32,
    /// See [`NEGATIVE_TTL_S`].
    pub negative_ttl_s: u32,
    /// See [`SrvWeights`].
    pub srv_weights: SrvWeights,
    /// Who answers for the zone, as the SOA says it: a mail address with its `@` as a dot
    /// (RFC 1035 section 3.3.13). `None` is `hostmaster.<zone>`.
    pub hostmaster: Option<Name>,
    /// See [`UDP_PAYLOAD_MAX`]. Never below 512 in effect (RFC 6891 section 6.2.3).
    pub udp_payload_max: u16,
    /// See [`APEX_MAX`].
    pub apex_max: usize,
    /// See [`ENTRIES_MAX`].
    pub entries_max: usize,
    /// See [`TCP_IDLE`].
    pub tcp_idle: Duration,
    /// See [`TCP_BACKLOG`].
    pub tcp_backlog: usize,
}

impl DnsSettings {
    /// The defaults for these zones.
    pub fn new(zones: Vec<Name>) -> Self {
        Self {
            zones,
            ttl_s: TTL_S,
            leased_ttl_s: LEASED_TTL_S,
            ttl_max_s: TTL_MAX_S,
            stale_ttl_s: STALE_TTL_S,
            negative_ttl_s: NEGATIVE_TTL_S,
            srv_weights: SrvWeights::default(),
            hostmaster: None,
            udp_payload_max: UDP_PAYLOAD_MAX,
            apex_max: APEX_MAX,
            entries_max: ENTRIES_MAX,
            tcp_idle: TCP_IDLE,
            tcp_backlog: TCP_BACKLOG,
        }
    }

    /// The zone that a name belongs to: the longest that holds it.
    pub fn zone_of(&self, name: &Name) -> Option<&Name> {
        self.zones.iter().filter(|zone| name.is_within(zone)).max_by_key(|zone| zone.labels().len())
    }

    /// How long an entry may be cached: its own `ttl`, or else the default for its kind.
    pub(super) fn ttl_of(&self, stored: &crate::catalog::Stored) -> u32 {
        let ttl = match (stored.entry.ttl, stored.lease) {
            (0, None) => self.ttl_s,
            (0, Some(_)) => self.leased_ttl_s,
            (own, _) => own,
        };
        ttl.min(self.ttl_max_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_zone_holds_a_name() {
        let name = |text: &str| Name::parse(text).unwrap();
        let settings = DnsSettings::new(vec![name("local"), name("skydns.local"), name("test")]);
        let zone = |text: &str| settings.zone_of(&name(text)).map(ToString::to_string);
        assert_eq!(zone("a.skydns.local").as_deref(), Some("skydns.local."));
        assert_eq!(zone("skydns.local").as_deref(), Some("skydns.local."));
        assert_eq!(zone("xskydns.local").as_deref(), Some("local."));
        assert_eq!(zone("example.org"), None);
        assert_eq!(zone("."), None);
    }

    #[test]
    fn weights_are_named() {
        assert_eq!("exact".parse(), Ok(SrvWeights::Exact));
        assert_eq!("Skydns".parse::<SrvWeights>(), Err("\"Skydns\" is neither skydns nor exact".to_owned()));
    }
}
