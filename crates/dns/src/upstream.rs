//! The queries that other servers have to answer, as values, so that [`super::answer()`] has no I/O.
//!
//! Owns: which names are queried upstream, at which servers, and how many for one question. Does not own: sending the
//! queries ([`super::forwarder`]) nor the clients for which they are sent.
//!
//! Stub zones: entries below `stub.dns.<zone>` name the servers of another zone. For `internal.example.com` their names
//! are `<label>.internal.example.com.stub.dns.<zone>`, the host an address, the port 53 by default. `SkyDNS` queries
//! them before it reads the store. Here the store comes first: of a stub zone within a zone of this server only the
//! names that are not in the store are delegated, so that one wrong key hides nothing.

use super::response::{Question, ResponsePart, UpstreamQuery};
use super::sections::Sections;
use super::settings::DnsSettings;
use hickory_proto::rr::Name as WireName;
use skyhound_core::catalog::{Node, Snapshot};
use skyhound_model::{Host, Label, Name};
use std::net::SocketAddr;

/// The limit of upstream queries that complete one response. A subtree of a hundred names out of the zones must not
/// turn one datagram into two hundred.
pub const UPSTREAM_QUERIES_MAX: usize = 8;
/// The default port of a stub zone's server.
const PORT: u16 = 53;

/// The query for a question whose name is in none of the zones; `None` if no server may be queried for it.
pub(super) fn whole_question(
    snapshot: &Snapshot,
    settings: &DnsSettings,
    question: &Question,
) -> Option<UpstreamQuery> {
    if settings.forward.disabled {
        return None;
    }
    let servers = stub_servers(snapshot, settings, question.tree_name.labels(), 0);
    if servers.is_none() && !is_forwardable(settings, &question.name) {
        return None;
    }
    Some(UpstreamQuery { name: question.name.clone(), qtype: question.qtype, servers, part: ResponsePart::Whole })
}

/// The relation of a name that is not in the store to the stub zones within the zone.
pub(super) enum StubZone {
    /// The name is in a stub zone, whose servers are queried.
    Delegated(UpstreamQuery),
    /// The name is above a stub zone: NXDOMAIN would deny that too (RFC 8020).
    EmptyNonTerminal,
}

/// The stub zone that a question in `zone` is about. A signed zone has none, because upstream records in it would be
/// unsigned.
pub(super) fn stub_zone(
    snapshot: &Snapshot,
    settings: &DnsSettings,
    zone: &Name,
    question: &Question,
) -> Option<StubZone> {
    if settings.forward.disabled || settings.keys_of(zone).next().is_some() {
        return None;
    }
    let name = question.tree_name.labels();
    if let Some(servers) = stub_servers(snapshot, settings, name, zone.labels().len()) {
        let (name, qtype) = (question.name.clone(), question.qtype);
        return Some(StubZone::Delegated(UpstreamQuery {
            name,
            qtype,
            servers: Some(servers),
            part: ResponsePart::Whole,
        }));
    }
    let leads_to_stub =
        |root: &Node| name.iter().try_fold(root, |node, label| Some(&**node.child(label.as_bytes())?)).is_some();
    stub_roots(snapshot, settings).any(leads_to_stub).then_some(StubZone::EmptyNonTerminal)
}

/// The nodes `stub.dns.<zone>` of all zones that have one.
pub(super) fn stub_roots<'s>(snapshot: &'s Snapshot, settings: &'s DnsSettings) -> impl Iterator<Item = &'s Node> {
    settings.zones.iter().filter_map(|zone| Some(&**snapshot.node(zone)?.child(b"dns")?.child(b"stub")?))
}

/// The queries that complete an answer: for aliases and targets out of the zones.
pub(super) fn completing_queries(settings: &DnsSettings, sections: &mut Sections) -> Vec<UpstreamQuery> {
    let answers = sections.answers.take_upstream_needs().into_iter().map(|need| (need, ResponsePart::Answer));
    let additional = sections.additional.take_upstream_needs().into_iter().map(|need| (need, ResponsePart::Additional));
    answers
        .chain(additional)
        .filter(|((name, _), _)| is_forwardable(settings, name))
        .take(UPSTREAM_QUERIES_MAX)
        .map(|((name, qtype), part)| UpstreamQuery { name, qtype, servers: None, part })
        .collect()
}

/// Returns whether the servers of `--nameserver` are queried for a name.
fn is_forwardable(settings: &DnsSettings, name: &WireName) -> bool {
    settings.forward.is_enabled() && name.iter().len() >= usize::from(settings.forward.ndots)
}

/// The servers of the longest stub zone that holds a name, of those with more than `min_labels` labels.
fn stub_servers(
    snapshot: &Snapshot,
    settings: &DnsSettings,
    name: &[Label],
    min_labels: usize,
) -> Option<Vec<SocketAddr>> {
    let mut best: Option<(usize, Vec<SocketAddr>)> = None;
    for mut node in stub_roots(snapshot, settings) {
        for (at, label) in name.iter().enumerate() {
            let Some(next) = node.child(label.as_bytes()) else { break };
            node = next;
            let servers = if at < min_labels { Vec::new() } else { servers(node) };
            if !servers.is_empty() && best.as_ref().is_none_or(|(depth, _)| *depth <= at) {
                best = Some((at, servers));
            }
        }
    }
    best.map(|(_, servers)| servers)
}

/// The servers of a stub zone: the entries one label below its name.
fn servers(zone: &Node) -> Vec<SocketAddr> {
    let entries = zone.children().flat_map(|(_, server)| server.own());
    let address = |entry: &skyhound_model::Entry| match entry.host {
        Some(Host::Addr(addr)) => Some(SocketAddr::new(addr, if entry.port == 0 { PORT } else { entry.port })),
        _ => None,
    };
    entries.filter_map(|stored| address(&stored.entry)).take(UPSTREAM_QUERIES_MAX).collect()
}
