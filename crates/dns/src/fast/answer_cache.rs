//! Rendering of answers for the cache: queries the general path as over TCP, and splits its answer into records.
//!
//! Owns: the rule for which answers are cached. An answer is cached in the node of its name if that node's subtree
//! alone decides it: no entry below has a name as its host (such an answer contains addresses from other subtrees),
//! there are few enough entries that none is omitted (the subset would change with every answer), and the order within
//! a tier may rotate. Everything else is cached as "answered by the general path".

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

/// The maximum number of entries of a cached answer. A thousand SRV records are 40 KiB; of a larger answer, most
/// records would not fit into any datagram.
const CACHED_ENTRIES_MAX: usize = 1024;

impl FastPath {
    /// Renders the bytes to cache for a question.
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
        let message = self.query_general_path(view, query)?;
        if message.metadata.response_code != ResponseCode::NoError || !message.metadata.authoritative {
            return None;
        }
        let no_data = matches!(&message.authorities[..], [soa] if soa.record_type() == RecordType::SOA);
        if message.answers.is_empty() && message.additionals.is_empty() && no_data {
            return AnswerBuilder::default().finish(self.cache_id.0, CachedKind::NoData);
        }
        answer_from(&message, query)?.finish(self.cache_id.0, CachedKind::Records)
    }

    /// Returns the SOA of the zone, which is taken from the first negative answer that needs it.
    pub(super) fn soa(&self, view: &SnapshotView<'_>, query: &Query, location: &Location<'_>) -> Option<&SoaTemplate> {
        let zone = &self.zones[location.zone];
        if zone.soa.get().is_none() {
            let message = self.query_general_path(view, query)?;
            let [record] = &message.authorities[..] else { return None };
            let _ = zone.soa.set(SoaTemplate::of(record, &zone.wire, view.serial)?);
        }
        zone.soa.get()
    }

    /// Queries the general path for the complete answer without signatures.
    fn query_general_path(&self, view: &SnapshotView<'_>, query: &Query) -> Option<Message> {
        // From the view's snapshot, because the current one may be newer by now. With its own counters, because no
        // client sent this question.
        let general = Handler::new(Catalog::fixed(Arc::clone(view.snapshot)), self.settings.clone());
        let no_client = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let general::ResponseState::Ready(Some(bytes)) =
            general::respond(&general, &query.to_message(), no_client, Transport::Tcp)
        else {
            // The tree alone does not answer it.
            return None;
        };
        // Over TCP no record is omitted, except for those that this counts.
        let is_complete = general.stats().subset() == 0;
        Message::from_vec(&bytes).ok().filter(|_| is_complete)
    }
}

/// Returns whether no entry at a node or below it has a name as its host.
fn is_self_contained(node: &Node) -> bool {
    let is_name = |host: &Option<Host>| matches!(host, Some(Host::Name(_)));
    !node.own().any(|stored| is_name(&stored.entry.host)) && node.children().all(|(_, child)| is_self_contained(child))
}

/// Returns the records in their cached form; `None` for records that have none.
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
            // The lowest priority is first; within one, the order is arbitrary.
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

/// Encodes a record in wire form, with its owner compressed against the question and no other compression: of these
/// types only SRV contains a name, which must not be compressed (RFC 2782, "Target").
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
