//! What other servers have to be asked: as values, so that [`super::answer()`] stays without I/O.
//!
//! Owns: which names are asked outside, of whom, and how many for one question. Does not own: asking
//! ([`super::forward`]) nor for which clients.
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
pub const ASK_MAX: usize = 8;
/// The port of DNS.
const PORT: u16 = 53;

/// One question for other servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outside {
    /// The name.
    pub name: WireName,
    /// The type.
    pub qtype: RecordType,
    /// Whom: the servers of a stub zone, or `None` for those of `--nameserver`.
    pub servers: Option<Vec<SocketAddr>>,
    /// What becomes of what they say.
    pub place: Place,
}

/// What becomes of what other servers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It is the answer.
    Whole,
    /// It goes behind the alias that led there.
    Answer,
    /// It goes into the additional section.
    Additional,
}

/// The question as a whole, when its name is in none of the zones.
pub(super) fn whole(snapshot: &Snapshot, settings: &DnsSettings, question: &Question) -> Option<Outside> {
    if settings.forward.off {
        return None;
    }
    let servers = stub(snapshot, settings, question.place.labels(), 0);
    if servers.is_none() && !may_ask(settings, &question.name) {
        return None;
    }
    Some(Outside { name: question.name.clone(), qtype: question.qtype, servers, place: Place::Whole })
}

/// What a stub zone within one of ours makes of a name that is not in the store.
pub(super) enum Within {
    /// It is for the stub zone's servers to say.
    Theirs(Outside),
    /// It is there, for the stub zone that is below it: NXDOMAIN would deny that too (RFC 8020).
    Above,
}

/// What that is for a question in `zone`. In a signed zone there is none: what others say there is signed by nobody.
pub(super) fn within(snapshot: &Snapshot, settings: &DnsSettings, zone: &Name, question: &Question) -> Option<Within> {
    if settings.forward.off || settings.keys_of(zone).next().is_some() {
        return None;
    }
    let name = question.place.labels();
    if let Some(servers) = stub(snapshot, settings, name, zone.labels().len()) {
        let (name, qtype) = (question.name.clone(), question.qtype);
        return Some(Within::Theirs(Outside { name, qtype, servers: Some(servers), place: Place::Whole }));
    }
    let leads_on =
        |stubs: &Node| name.iter().try_fold(stubs, |node, label| Some(&**node.child(label.as_bytes())?)).is_some();
    stubs(snapshot, settings).any(leads_on).then_some(Within::Above)
}

/// Where the stub zones stand, if there are any.
pub(super) fn stubs<'s>(snapshot: &'s Snapshot, settings: &'s DnsSettings) -> impl Iterator<Item = &'s Node> {
    settings.zones.iter().filter_map(|zone| Some(&**snapshot.node(zone)?.child(b"dns")?.child(b"stub")?))
}

/// What is missing from an answer of ours: what is behind aliases and targets that lead out of the zones.
pub(super) fn completing(settings: &DnsSettings, sections: &mut Sections) -> Vec<Outside> {
    let answers = sections.answers.take_asks().into_iter().map(|ask| (ask, Place::Answer));
    let additional = sections.additional.take_asks().into_iter().map(|ask| (ask, Place::Additional));
    answers
        .chain(additional)
        .filter(|((name, _), _)| may_ask(settings, name))
        .take(ASK_MAX)
        .map(|((name, qtype), place)| Outside { name, qtype, servers: None, place })
        .collect()
}

/// Whether the servers of `--nameserver` are asked for a name.
fn may_ask(settings: &DnsSettings, name: &WireName) -> bool {
    settings.forward.asks() && name.iter().len() >= usize::from(settings.forward.ndots)
}

/// The servers of the longest stub zone that holds a name, of those with more than `above` labels.
fn stub(snapshot: &Snapshot, settings: &DnsSettings, name: &[Label], above: usize) -> Option<Vec<SocketAddr>> {
    let mut best: Option<(usize, Vec<SocketAddr>)> = None;
    for mut node in stubs(snapshot, settings) {
        for (at, label) in name.iter().enumerate() {
            let Some(next) = node.child(label.as_bytes()) else { break };
            node = next;
            let servers = if at < above { Vec::new() } else { servers(node) };
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
    entries.filter_map(|stored| address(&stored.entry)).take(ASK_MAX).collect()
}
