//! What is kept, and when: asks the general path as if over TCP, and takes its records apart.
//!
//! Owns: the rule for what may be kept. An answer is kept with the node of its name when that node's subtree
//! decides it alone: no entry below has a name as its host (such an answer has addresses from elsewhere),
//! there are few enough that none is left out (which ones would change with every answer), and the order
//! within a tier is free to turn. Everything else is kept as "ask the general path".

use super::super::wire::HEADER;
use super::query::{CACHED_TYPES, Query};
use super::rendered::{AnswerBuilder, CachedKind};
use super::soa::SoaTemplate;
use super::{FastPath, Location, SnapshotView, wire};
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
const CACHED_ENTRIES_MAX: usize = 1024;

impl FastPath {
    /// What to keep for a question.
    pub(super) fn render_for_cache(
        &self,
        view: &SnapshotView<'_>,
        node: &Node,
        query: &Query,
        apex: bool,
    ) -> Box<[u8]> {
        let max = if apex { self.settings.apex_max } else { self.settings.entries_max };
        let few = node.entries() <= max.min(CACHED_ENTRIES_MAX);
        let cached = if few && is_self_contained(node) { self.render(view, query) } else { None };
        cached.unwrap_or_else(|| AnswerBuilder::general(self.cache_id.0))
    }

    fn render(&self, view: &SnapshotView<'_>, query: &Query) -> Option<Box<[u8]>> {
        let message = self.ask_general_path(view, query)?;
        if message.metadata.response_code != ResponseCode::NoError || !message.metadata.authoritative {
            return None;
        }
        let no_data = matches!(&message.authorities[..], [soa] if soa.record_type() == RecordType::SOA);
        if message.answers.is_empty() && message.additionals.is_empty() && no_data {
            return AnswerBuilder::default().finish(self.cache_id.0, CachedKind::NoData);
        }
        answer_from(&message, query)?.finish(self.cache_id.0, CachedKind::Records)
    }

    /// The SOA of the zone, from the first negative answer that needs it.
    pub(super) fn soa(&self, view: &SnapshotView<'_>, query: &Query, location: &Location<'_>) -> Option<&SoaTemplate> {
        let zone = &self.zones[location.zone];
        if zone.soa.get().is_none() {
            let message = self.ask_general_path(view, query)?;
            let [record] = &message.authorities[..] else { return None };
            let _ = zone.soa.set(SoaTemplate::of(record, &zone.wire, view.serial)?);
        }
        zone.soa.get()
    }

    /// Asks the general path for all that it says to who wants no signatures.
    fn ask_general_path(&self, view: &SnapshotView<'_>, query: &Query) -> Option<Message> {
        // About the view's snapshot: the current one may be another by now. With counters of its own, since
        // nobody asked *us* that.
        let general = Handler::new(Catalog::fixed(Arc::clone(view.snapshot)), self.settings.clone());
        let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let general::ResponseState::Ready(Some(bytes)) =
            general::respond(&general, &query.to_message(), nobody, Transport::Tcp)
        else {
            // Not from the tree.
            return None;
        };
        // Over TCP nothing is left out, but for what this counts.
        let whole = general.stats().subset() == 0;
        Message::from_vec(&bytes).ok().filter(|_| whole)
    }
}

/// Whether no host at a node or below it is a name.
fn is_self_contained(node: &Node) -> bool {
    let named = |host: &Option<Host>| matches!(host, Some(Host::Name(_)));
    !node.own().any(|stored| named(&stored.entry.host)) && node.children().all(|(_, child)| is_self_contained(child))
}

/// The records in their kept form; `None` for what has none.
fn answer_from(message: &Message, query: &Query) -> Option<AnswerBuilder> {
    let mut builder = AnswerBuilder::default();
    let mut targets: Vec<(&Name, usize)> = Vec::new();
    let mut last = None;
    let mut tier = 0;
    for record in &message.answers {
        if record.record_type() != CACHED_TYPES[query.cell] || wire::lowercase(&record.name)? != query.name() {
            return None;
        }
        if let RData::SRV(srv) = &record.data {
            // Lowest priority first; within one, any order.
            tier += usize::from(last.replace(srv.priority).is_some_and(|last| last != srv.priority));
            targets.push((&srv.target, tier));
        }
        builder.answer(&encoded(record, query)?, tier)?;
    }
    for record in &message.additionals {
        let (_, tier) = targets.iter().find(|(target, _)| **target == record.name)?;
        builder.additional(&encoded(record, query)?, *tier)?;
    }
    Some(builder)
}

/// A record in wire form, its owner compressed against the question and the rest not at all: of these types
/// only SRV has a name in it, and that must not be compressed (RFC 2782, "Target").
fn encoded(record: &Record, query: &Query) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    wire::write_compressed(&wire::lowercase(&record.name)?, query.name(), HEADER, &mut bytes);
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
