//! What other servers have to be asked: as values, so that [`super::answer()`] stays without I/O.
//!
//! Owns: which names are asked outside, of whom, and how many for one question. Does not own: asking
//! ([`super::forwarder`]) nor for which clients.
//!
//! Stub zones: entries below `stub.dns.<zone>` name the servers of another zone. For `internal.example.com`
//! they stand at `<label>.internal.example.com.stub.dns.<zone>`, the host an address, the port 53 unless said.
//! `SkyDNS` asks them before it looks into the store. Here the store comes first: of a stub zone within one of ours
//! only the names that are not in the store are theirs, so that one key written wrong hides nothing.

use super::answer::Question;
use super::rrset::Sections;
use super::settings::DnsSettings;
use hickory_proto::rr::{Name as WireName, RecordType};
use skyhound_core::catalog::{Node, Snapshot};
use skyhound_model::{Host, Label, Name};
use std::net::SocketAddr;

/// How many names and types are asked outside to make one answer whole. A subtree of a hundred names that
/// lead out must not make one datagram into two hundred.
pub const UPSTREAM_QUERIES_MAX: usize = 8;
/// The port of DNS.
const PORT: u16 = 53;

/// One question for other servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamQuery {
    /// The name.
    pub name: WireName,
    /// The type.
    pub qtype: RecordType,
    /// Whom: the servers of a stub zone, or `None` for those of `--nameserver`.
    pub servers: Option<Vec<SocketAddr>>,
    /// What becomes of what they say.
    pub part: ResponsePart,
}

/// What becomes of what other servers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponsePart {
    /// It is the answer.
    Whole,
    /// It goes behind the alias that led there.
    Answer,
    /// It goes into the additional section.
    Additional,
}

/// The question as a whole, when its name is in none of the zones.
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

/// What a stub zone within one of ours makes of a name that is not in the store.
pub(super) enum StubZone {
    /// It is for the stub zone's servers to say.
    Delegated(UpstreamQuery),
    /// It is there, for the stub zone that is below it: NXDOMAIN would deny that too (RFC 8020).
    EmptyNonTerminal,
}

/// What that is for a question in `zone`. In a signed zone there is none: what others say there is signed by nobody.
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

/// Where the stub zones stand, if there are any.
pub(super) fn stub_roots<'s>(snapshot: &'s Snapshot, settings: &'s DnsSettings) -> impl Iterator<Item = &'s Node> {
    settings.zones.iter().filter_map(|zone| Some(&**snapshot.node(zone)?.child(b"dns")?.child(b"stub")?))
}

/// What is missing from an answer of ours: what is behind aliases and targets that lead out of the zones.
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

/// Whether the servers of `--nameserver` are asked for a name.
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

/// The servers that stand one label below a stub zone's name.
fn servers(zone: &Node) -> Vec<SocketAddr> {
    let entries = zone.children().flat_map(|(_, server)| server.own());
    let address = |entry: &skyhound_model::Entry| match entry.host {
        Some(Host::Addr(addr)) => Some(SocketAddr::new(addr, if entry.port == 0 { PORT } else { entry.port })),
        _ => None,
    };
    entries.filter_map(|stored| address(&stored.entry)).take(UPSTREAM_QUERIES_MAX).collect()
}
