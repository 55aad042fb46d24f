//! What an operator can choose about DNS, each with its default and the reason for it.
//!
//! Owns: defaults, limits, and which zone a name belongs to. Does not own: flags and files
//! (`crate::config` fills this in), nor the addresses to listen on ([`super::server`]).

use super::dnssec::key::ZoneKey;
use super::limit::{Access, RateSettings};
use super::network::Network;
use super::static_zones::StaticZones;
use skyhound_model::{Label, Name};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// How long an entry without a `ttl` and without a lease may be cached. `CoreDNS`' default (`SkyDNS` has
/// 3600): such an entry is maintained by hand, and a correction should be seen within minutes.
pub const TTL_S: u32 = 300;
/// The least that a lease makes an entry be cached (`CoreDNS`' number), and what counts until its term is
/// known. Its owner may be gone at any time, so the default for entries that stay is wrong for it.
pub const LEASED_TTL_S: u32 = 30;
/// The most that a lease makes an entry be cached (`CoreDNS`' number).
pub const LEASED_TTL_MAX_S: u32 = 86_400;
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
pub const TCP_IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections of TCP and TLS at a time. Each costs a descriptor, of those that the HTTP side leaves alone
/// ([`skyhound_net::limits::DESCRIPTORS_SPARE`]). Whoever comes then takes the place of who was idle longest.
pub const STREAMS_MAX: usize = 384;
/// Connections of one client (an IPv4 address, an IPv6 /64): a third, so that no one of them has all.
pub const STREAMS_PER_CLIENT_MAX: usize = 128;
/// How long a message may take from its first byte to its last, and a TLS handshake from end to end. One that
/// is not there in one packet comes within a few round trips; who feeds it byte by byte wants the place.
pub const STREAM_MESSAGE_TIMEOUT: Duration = Duration::from_secs(5);
/// Questions of one connection that wait for other servers at a time; more are not read until then. Resolvers
/// that share a connection among their clients have a few dozen open (RFC 7766 section 6.2.1.1).
pub const STREAM_QUESTIONS_MAX: usize = 64;
/// Bytes that one connection has unread here before no more of its questions are read: two of the largest
/// answers. The kernel keeps about as much again.
pub const STREAM_UNSENT_MAX: usize = 128 * 1024;
/// How long a client may take to read what is there for it. All of [`STREAM_UNSENT_MAX`] in this time is 13 KB/s;
/// slower than that a connection costs more than it gives.
pub const STREAM_SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// What a client may ask of a connection, over TCP or TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamLimits {
    /// See [`STREAMS_MAX`].
    pub max_connections: usize,
    /// See [`STREAMS_PER_CLIENT_MAX`].
    pub max_per_client: usize,
    /// See [`TCP_IDLE_TIMEOUT`].
    pub idle_timeout: Duration,
    /// See [`STREAM_MESSAGE_TIMEOUT`].
    pub message_timeout: Duration,
    /// See [`STREAM_QUESTIONS_MAX`].
    pub max_questions: usize,
    /// See [`STREAM_UNSENT_MAX`].
    pub max_unsent_bytes: usize,
    /// See [`STREAM_SEND_TIMEOUT`].
    pub send_timeout: Duration,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self {
            max_connections: STREAMS_MAX,
            max_per_client: STREAMS_PER_CLIENT_MAX,
            idle_timeout: TCP_IDLE_TIMEOUT,
            message_timeout: STREAM_MESSAGE_TIMEOUT,
            max_questions: STREAM_QUESTIONS_MAX,
            max_unsent_bytes: STREAM_UNSENT_MAX,
            send_timeout: STREAM_SEND_TIMEOUT,
        }
    }
}

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

/// Whose addresses A and AAAA answer with, of entries with different priorities. SRV says the priority, and who asks
/// for that needs no choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AddressSelection {
    /// Everybody's: what `SkyDNS` and `CoreDNS` answer.
    #[default]
    All,
    /// Those of the best priority that has any: a client that knows addresses alone goes to a spare instance only when
    /// there is no other.
    Best,
}

impl std::str::FromStr for AddressSelection {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self::All),
            "best" => Ok(Self::Best),
            _ => Err(format!("{text:?} is neither all nor best")),
        }
    }
}

/// The dots that a name must have to be asked elsewhere (`SkyDNS`): a bare `host` or `host.lan` that fell out of
/// a search list is no business of the world's servers.
pub const NDOTS: u8 = 2;
/// How long one server may take before the next one is asked.
pub const FORWARD_ATTEMPT: Duration = Duration::from_millis(1500);
/// How long all of them may take together. A stub resolver gives up after 5 s and asks again.
pub const FORWARD_DEADLINE: Duration = Duration::from_secs(4);
/// How many questions are asked elsewhere at a time. More are answered SERVFAIL: a server that stopped
/// answering must not fill the memory of this one.
pub const FORWARD_MAX: usize = 1024;

/// What is asked of other servers, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardSettings {
    /// Where (`--nameserver`). Empty: nowhere, stub zones excepted.
    pub servers: Vec<SocketAddr>,
    /// Nothing, stub zones included (`--no-rec`).
    pub disabled: bool,
    /// See [`NDOTS`].
    pub ndots: u8,
    /// For whom (`--forward-allow`). An open resolver is used to flood others.
    pub allow: Vec<Network>,
}

impl ForwardSettings {
    /// Whether the `nameservers` are asked at all.
    pub fn is_enabled(&self) -> bool {
        !self.disabled && !self.servers.is_empty()
    }
}

impl Default for ForwardSettings {
    fn default() -> Self {
        Self { servers: Vec::new(), disabled: false, ndots: NDOTS, allow: Network::private_ranges() }
    }
}

/// A server as typed: `ADDRESS` for port 53, or `ADDRESS:PORT`.
pub fn parse_nameserver(text: &str) -> Result<SocketAddr, String> {
    let bare = || text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53));
    text.parse().or_else(|_| bare()).map_err(|_| format!("{text:?} is no address such as 10.0.0.2 or 10.0.0.2:53"))
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
    /// See [`AddressSelection`].
    pub addresses: AddressSelection,
    /// Who answers for the zone, as the SOA says it: a mail address with its `@` as a dot
    /// (RFC 1035 section 3.3.13). `None` is `hostmaster.<zone>`.
    pub hostmaster: Option<Name>,
    /// See [`UDP_PAYLOAD_MAX`]. Never below 512 in effect (RFC 6891 section 6.2.3).
    pub udp_payload_max: u16,
    /// See [`APEX_MAX`].
    pub apex_max: usize,
    /// See [`ENTRIES_MAX`].
    pub entries_max: usize,
    /// Who answers, as `id.server` in class CH says it (RFC 4892): the name of this host.
    pub server_id: String,
    /// What `local.dns.<zone>` stands for (`--local`).
    pub local: Option<Name>,
    /// What is asked of other servers.
    pub forward: ForwardSettings,
    /// What zones are signed with (`--dnssec-key`). A zone without a key is not signed.
    pub keys: Vec<Arc<ZoneKey>>,
    /// Zones from files (`--zone`), beside `zones`.
    pub static_zones: Arc<StaticZones>,
    /// Who may ask (`--dns-allow`, `--dns-deny`).
    pub access: Access,
    /// How often, over UDP (`--dns-rate`).
    pub rate: RateSettings,
    /// What a client may ask of a connection.
    pub streams: StreamLimits,
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
            addresses: AddressSelection::default(),
            hostmaster: None,
            udp_payload_max: UDP_PAYLOAD_MAX,
            apex_max: APEX_MAX,
            entries_max: ENTRIES_MAX,
            server_id: String::new(),
            local: None,
            forward: ForwardSettings::default(),
            keys: Vec::new(),
            static_zones: Arc::default(),
            access: Access::default(),
            rate: RateSettings::default(),
            streams: StreamLimits::default(),
        }
    }

    /// The zone that a name belongs to: the longest that holds it.
    pub fn zone_of(&self, name: &Name) -> Option<&Name> {
        self.zones.iter().filter(|zone| name.is_within(zone)).max_by_key(|zone| zone.labels().len())
    }

    /// What a zone is signed with: nothing, a key, or while one takes the place of another both.
    pub(super) fn keys_of(&self, zone: &Name) -> impl Iterator<Item = &ZoneKey> {
        self.keys.iter().filter(move |key| key.zone() == zone).map(AsRef::as_ref)
    }

    /// What `local.dns.<zone>` stands for, if `name` is that.
    pub(super) fn local_of(&self, zone: &Name, name: &Name) -> Option<&Name> {
        let is_local = |labels: &[Label]| matches!(labels, [dns, local] if dns.as_bytes() == b"dns" && local.as_bytes() == b"local");
        let local = self.local.as_ref()?;
        is_local(&name.labels()[zone.labels().len()..]).then_some(local)
    }

    /// How long an entry may be cached: its own `ttl`, but no longer than its lease runs; without either the
    /// default for its kind.
    pub(super) fn ttl_of(&self, stored: &skyhound_core::catalog::StoredEntry) -> u32 {
        let lease_ttl =
            stored.lease_ttl_s.map(|ttl| ttl.get().clamp(self.leased_ttl_s, LEASED_TTL_MAX_S.max(self.leased_ttl_s)));
        let ttl = match (stored.entry.ttl, stored.lease) {
            (0, None) => self.ttl_s,
            (0, Some(_)) => lease_ttl.unwrap_or(self.leased_ttl_s),
            (own, _) => own.min(lease_ttl.unwrap_or(own)),
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
    fn enum_settings_parse_by_name() {
        assert_eq!("exact".parse(), Ok(SrvWeights::Exact));
        assert_eq!("best".parse(), Ok(AddressSelection::Best));
        assert_eq!("Best".parse::<AddressSelection>(), Err("\"Best\" is neither all nor best".to_owned()));
        assert_eq!("Skydns".parse::<SrvWeights>(), Err("\"Skydns\" is neither skydns nor exact".to_owned()));
    }
}
