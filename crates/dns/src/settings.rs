//! The settings of DNS, each with its default and the reason for it.
//!
//! Owns: defaults, limits, and the zone of a name. Does not own: flags and files (the binary's `config` resolves those),
//! nor the addresses of the listeners ([`super::server`]).

use super::dnssec::key::ZoneKey;
use super::limit::{Access, RateSettings};
use super::network::Network;
use super::static_zones::StaticZones;
use skyhound_model::{Label, Name};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// The TTL of an entry without a `ttl` and without a lease. `CoreDNS`' default (`SkyDNS` has 3600): such an entry is
/// maintained by hand, and a correction should be visible within minutes.
pub const TTL_S: u32 = 300;
/// The minimum TTL that follows from a lease (`CoreDNS`' number), and the TTL until the lease TTL is known. The owner of
/// a lease may end at any time, so that the default for entries without one is wrong.
pub const LEASED_TTL_S: u32 = 30;
/// The maximum TTL that follows from a lease (`CoreDNS`' number).
pub const LEASED_TTL_MAX_S: u32 = 86_400;
/// The maximum TTL of any record, including an entry's own `ttl`. Resolvers cap at a day to a week; a mistyped number
/// must not stay in caches for years (CVE-2025-58063 of `CoreDNS`).
pub const TTL_MAX_S: u32 = 604_800;
/// The maximum TTL while the store is unavailable: long enough for clients to bridge the outage, short enough that no
/// cache holds the answer once the store is back (RFC 8767 section 4 recommends 30).
pub const STALE_TTL_S: u32 = 10;
/// The TTL of negative answers (RFC 2308 section 5). A service must be found soon after its registration, also by
/// clients that queried it too early; `CoreDNS` has 30 and `SkyDNS` 60.
pub const NEGATIVE_TTL_S: u32 = 15;
/// The limit of UDP responses, and the announced limit of UDP requests: a size that passes every path without fragments
/// (DNS flag day 2020; RFC 9715 section 3 has at most 1400).
pub const UDP_PAYLOAD_MAX: u16 = 1232;
/// The limit of answer records at the apex of a zone. Every client can query it without knowing a service, and by the
/// subtree rule it includes all of them: the cheapest question with the largest answer.
pub const APEX_MAX: usize = 50;
/// The limit of entries that one question reads. 64 KiB hold about 4,000 A records; beyond that a larger set only makes
/// the choice fairer. Of larger sets a window is read, which moves with the rotation.
pub const ENTRIES_MAX: usize = 16_384;
/// The idle timeout of a TCP connection. RFC 7766 section 6.2.3 recommends "a few seconds".
pub const TCP_IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// The limit of concurrent connections over TCP and TLS. Each costs a descriptor of those that the HTTP side does not
/// use (`skyhound_net::limits::DESCRIPTORS_SPARE`). A connection beyond the limit evicts the longest idle one.
pub const STREAMS_MAX: usize = 384;
/// The limit of connections of one client (an IPv4 address, an IPv6 /64): a third, so that no single client holds all.
pub const STREAMS_PER_CLIENT_MAX: usize = 128;
/// The timeout of a message from its first byte to its last, and of a TLS handshake. A message of more than one packet
/// arrives within a few round trips; a client that sends it byte by byte wants to occupy the permit.
pub const STREAM_MESSAGE_TIMEOUT: Duration = Duration::from_secs(5);
/// The limit of questions of one connection that wait for upstream servers; no more are read while it is reached.
/// Resolvers that share a connection among their clients have a few dozen open (RFC 7766 section 6.2.1.1).
pub const STREAM_QUESTIONS_MAX: usize = 64;
/// The limit of bytes that wait to be sent on one connection before no more of its questions are read: two of the
/// largest responses. The kernel buffers about as much again.
pub const STREAM_UNSENT_MAX: usize = 128 * 1024;
/// The timeout for a client to read the responses that wait for it. All of [`STREAM_UNSENT_MAX`] in this time is
/// 13 KB/s; a slower connection costs more than it is worth.
pub const STREAM_SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// The limits of connections over TCP and TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamLimits {
    /// Concurrent connections, by default [`STREAMS_MAX`].
    pub max_connections: usize,
    /// Connections of one client, by default [`STREAMS_PER_CLIENT_MAX`].
    pub max_per_client: usize,
    /// The time without a question, by default [`TCP_IDLE_TIMEOUT`].
    pub idle_timeout: Duration,
    /// The time for one message to arrive, by default [`STREAM_MESSAGE_TIMEOUT`].
    pub message_timeout: Duration,
    /// Questions that wait for upstream servers, by default [`STREAM_QUESTIONS_MAX`].
    pub max_questions: usize,
    /// Bytes that wait to be sent, by default [`STREAM_UNSENT_MAX`].
    pub max_unsent_bytes: usize,
    /// The time for the client to read them, by default [`STREAM_SEND_TIMEOUT`].
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

/// The rule by which the weight in an SRV record follows from the weight of the entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SrvWeights {
    /// The share of 100 within the priority, rounded down, at least 1: the weights of `SkyDNS` and `CoreDNS`, which their
    /// users' dashboards and balancers expect. Above 100 instances all become 1.
    #[default]
    Skydns,
    /// The registered weight (RFC 2782).
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

/// The choice of addresses for A and AAAA among entries with different priorities. SRV states the priority, and its
/// clients need no choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AddressSelection {
    /// All addresses, as in `SkyDNS` and `CoreDNS`.
    #[default]
    All,
    /// The addresses of the best priority that has any: a client that reads addresses only uses a spare instance only
    /// when there is no other.
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

/// The minimum number of labels of a forwarded name (`SkyDNS`): a bare `host` that comes from a search list must not
/// reach public servers.
pub const NDOTS: u8 = 2;
/// The timeout of one server, after which the next one is queried.
pub const FORWARD_ATTEMPT: Duration = Duration::from_millis(1500);
/// The deadline of all servers together. A stub resolver gives up after 5 s and repeats its query.
pub const FORWARD_DEADLINE: Duration = Duration::from_secs(4);
/// The limit of questions that are forwarded at a time. Further ones are answered with SERVFAIL: an upstream that stopped
/// responding must not fill the memory of this server.
pub const FORWARD_MAX: usize = 1024;

/// The settings of forwarding to upstream servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardSettings {
    /// The upstream servers (`--nameserver`). Without any, only stub zones are forwarded.
    pub servers: Vec<SocketAddr>,
    /// Forwards nothing, stub zones included (`--no-rec`).
    pub disabled: bool,
    /// The minimum number of labels, by default [`NDOTS`].
    pub ndots: u8,
    /// The clients with permission (`--forward-allow`). An open resolver can be abused to flood third parties.
    pub allow: Vec<Network>,
}

impl ForwardSettings {
    /// Returns whether questions are forwarded to `servers`.
    pub fn is_enabled(&self) -> bool {
        !self.disabled && !self.servers.is_empty()
    }
}

impl Default for ForwardSettings {
    fn default() -> Self {
        Self { servers: Vec::new(), disabled: false, ndots: NDOTS, allow: Network::private_ranges() }
    }
}

/// Parses a server: `ADDRESS` for port 53, or `ADDRESS:PORT`.
pub fn parse_nameserver(text: &str) -> Result<SocketAddr, String> {
    let bare = || text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53));
    text.parse().or_else(|_| bare()).map_err(|_| format!("{text:?} is not an address such as 10.0.0.2 or 10.0.0.2:53"))
}

/// The resolved settings of DNS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsSettings {
    /// The zones that this server is an authority for (`--dns-root`).
    pub zones: Vec<Name>,
    /// The TTL of entries without a `ttl` and without a lease, by default [`TTL_S`].
    pub ttl_s: u32,
    /// The minimum TTL that follows from a lease, by default [`LEASED_TTL_S`].
    pub leased_ttl_s: u32,
    /// The maximum TTL, by default [`TTL_MAX_S`].
    pub ttl_max_s: u32,
    /// The maximum TTL while the store is unavailable, by default [`STALE_TTL_S`].
    pub stale_ttl_s: u32,
    /// The TTL of negative answers, by default [`NEGATIVE_TTL_S`].
    pub negative_ttl_s: u32,
    /// The weights in SRV records.
    pub srv_weights: SrvWeights,
    /// The addresses in A and AAAA answers.
    pub addresses: AddressSelection,
    /// The mail address in the SOA, with its `@` as a dot (RFC 1035 section 3.3.13). `None` is `hostmaster.<zone>`.
    pub hostmaster: Option<Name>,
    /// The limit of UDP messages, by default [`UDP_PAYLOAD_MAX`]; at least 512 in effect (RFC 6891 section 6.2.3).
    pub udp_payload_max: u16,
    /// The limit of answer records at the apex, by default [`APEX_MAX`].
    pub apex_max: usize,
    /// The limit of entries that one question reads, by default [`ENTRIES_MAX`].
    pub entries_max: usize,
    /// The answer to `id.server` in class CH (RFC 4892): the name of this host.
    pub server_id: String,
    /// The name that `local.dns.<zone>` is answered with (`--local`).
    pub local: Option<Name>,
    /// Forwarding to upstream servers.
    pub forward: ForwardSettings,
    /// The keys that zones are signed with (`--dnssec-key`). A zone without a key is not signed.
    pub keys: Vec<Arc<ZoneKey>>,
    /// Zones from files (`--zone`), beside `zones`.
    pub static_zones: Arc<StaticZones>,
    /// The clients with permission to query (`--dns-allow`, `--dns-deny`).
    pub access: Access,
    /// The rate limit over UDP (`--dns-rate`).
    pub rate: RateSettings,
    /// The limits of connections.
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

    /// The zone of a name: the longest one that holds it.
    pub fn zone_of(&self, name: &Name) -> Option<&Name> {
        self.zones.iter().filter(|zone| name.is_within(zone)).max_by_key(|zone| zone.labels().len())
    }

    /// The keys of a zone: none, one, or two during a rollover.
    pub(super) fn keys_of(&self, zone: &Name) -> impl Iterator<Item = &ZoneKey> {
        self.keys.iter().filter(move |key| key.zone() == zone).map(AsRef::as_ref)
    }

    /// The name that `local.dns.<zone>` is answered with, if `name` is that.
    pub(super) fn local_of(&self, zone: &Name, name: &Name) -> Option<&Name> {
        let is_local = |labels: &[Label]| matches!(labels, [dns, local] if dns.as_bytes() == b"dns" && local.as_bytes() == b"local");
        let local = self.local.as_ref()?;
        is_local(&name.labels()[zone.labels().len()..]).then_some(local)
    }

    /// The TTL of an entry's records: its `ttl`, but at most its lease TTL; without either the default of its kind.
    pub(super) fn ttl_of(&self, stored: &skyhound_core::catalog::StoredEntry) -> u32 {
        let lease_ttl =
            stored.lease_ttl_s.map(|ttl| ttl.get().clamp(self.leased_ttl_s, LEASED_TTL_MAX_S.max(self.leased_ttl_s)));
        let ttl = match (stored.entry.ttl, stored.lease) {
            (0, None) => self.ttl_s,
            (0, Some(_)) => lease_ttl.unwrap_or(self.leased_ttl_s),
            (entry_ttl, _) => entry_ttl.min(lease_ttl.unwrap_or(entry_ttl)),
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
