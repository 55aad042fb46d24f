//! What is kept, and when: asks the general path as if over TCP, and takes its records apart.
//!
//! Owns: the rule for what may be kept. An answer is kept with the node of its name when that node's subtree
//! decides it alone: no entry below has a name as its host (such an answer has addresses from elsewhere),
//! there are few enough that none is left out (which ones would change with every answer), and the order
//! within a tier is free to turn. Everything else is kept as "ask the general path".

use super::super::wire::HEADER;
use super::query::{Query, TYPES_KEPT};
use super::rendered::{Draft, Kind};
use super::soa::Soa;
use super::{Fast, Place, View, wire};
use crate::general;
use crate::handler::Handler;
use crate::message::Transport;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder, NameEncoding};
use skyhound_core::catalog::{Catalog, Node};
use skyhound_model::Host;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// The most entries whose answer is kept. A thousand SRV records are 40 KiB; beyond that most of what was
/// rendered would not fit into any datagram.
const KEPT_MAX: usize = 1024;

impl Fast {
    /// What to keep for a question.
    pub(super) fn keep(&self, view: &View<'_>, node: &Node, query: &Query, apex: bool) -> Box<[u8]> {
        let most = if apex { self.settings.apex_max } else { self.settings.entries_max };
        let few = node.entries() <= most.min(KEPT_MAX);
        let kept = if few && decides_alone(node) { self.kept(view, query) } else { None };
        kept.unwrap_or_else(|| Draft::general(self.keeper.0))
    }

    fn kept(&self, view: &View<'_>, query: &Query) -> Option<Box<[u8]>> {
        let message = self.ask(view, query)?;
        if message.metadata.response_code != ResponseCode::NoError || !message.metadata.authoritative {
            return None;
        }
        let no_data = matches!(&message.authorities[..], [soa] if soa.record_type() == RecordType::SOA);
        if message.answers.is_empty() && message.additionals.is_empty() && no_data {
            return Draft::default().finish(self.keeper.0, Kind::NoData);
        }
        rendered(&message, query)?.finish(self.keeper.0, Kind::Records)
    }

    /// The SOA of the zone, from the first negative answer that needs it.
    pub(super) fn soa(&self, view: &View<'_>, query: &Query, place: &Place<'_>) -> Option<&Soa> {
        let zone = &self.zones[place.zone];
        if zone.soa.get().is_none() {
            let message = self.ask(view, query)?;
            let [record] = &message.authorities[..] else { return None };
            let _ = zone.soa.set(Soa::of(record, &zone.wire, view.serial)?);
        }
        zone.soa.get()
    }

    /// Asks the general path for all that it says to who wants no signatures.
    fn ask(&self, view: &View<'_>, query: &Query) -> Option<Message> {
        // About the view's snapshot: the current one may be another by now. With counters of its own, since
        // nobody asked *us* that.
        let general = Handler::new(Catalog::fixed(Arc::clone(view.snapshot)), self.settings.clone());
        let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let general::Said::Now(Some(bytes)) = general::respond(&general, &query.alone(), nobody, Transport::Tcp) else {
            // Not from the tree.
            return None;
        };
        // Over TCP nothing is left out, but for what this counts.
        let whole = general.stats().subset() == 0;
        Message::from_vec(&bytes).ok().filter(|_| whole)
    }
}

/// Whether no host at a node or below it is a name.
fn decides_alone(node: &Node) -> bool {
    let named = |host: &Option<Host>| matches!(host, Some(Host::Name(_)));
    !node.own().any(|stored| named(&stored.entry.host)) && node.children().all(|(_, child)| decides_alone(child))
}

/// The records in their kept form; `None` for what has none.
fn rendered(message: &Message, query: &Query) -> Option<Draft> {
    let mut draft = Draft::default();
    let mut targets: Vec<(&Name, usize)> = Vec::new();
    let mut last = None;
    let mut tier = 0;
    for record in &message.answers {
        if record.record_type() != TYPES_KEPT[query.cell] || wire::lower(&record.name)? != query.name() {
            return None;
        }
        if let RData::SRV(srv) = &record.data {
            // Lowest priority first; within one, any order.
            tier += usize::from(last.replace(srv.priority).is_some_and(|last| last != srv.priority));
            targets.push((&srv.target, tier));
        }
        draft.answer(&encoded(record, query)?, tier)?;
    }
    for record in &message.additionals {
        let (_, tier) = targets.iter().find(|(target, _)| **target == record.name)?;
        draft.additional(&encoded(record, query)?, *tier)?;
    }
    Some(draft)
}

/// A record in wire form, its owner compressed against the question and the rest not at all: of these types
/// only SRV has a name in it, and that must not be compressed (RFC 2782, "Target").
fn encoded(record: &Record, query: &Query) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    wire::compressed(&wire::lower(&record.name)?, query.name(), HEADER, &mut bytes);
    bytes.extend(u16::from(record.record_type()).to_be_bytes());
    bytes.extend(u16::from(record.dns_class).to_be_bytes());
    bytes.extend(record.ttl.to_be_bytes());
    let mut data = Vec::new();
    let mut encoder = BinEncoder::new(&mut data);
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    record.data.emit(&mut encoder).ok()?;
    bytes.extend(u16::try_from(data.len()).ok()?.to_be_bytes());
    bytes.extend(data);
    Some(bytes)
}
