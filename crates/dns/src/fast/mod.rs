//! The fast path: common questions that the tree alone decides, answered from the answer cache.
//!
//! ```text
//! datagram ─▶ query ─▶ node of the name ─▶ cached answer ─▶ patched into the datagram itself
//!              │             │                 └ answer_cache: queries the general path once, and caches its answer
//!              └─────────────┴──▶ `None`: the general path answers
//! ```
//!
//! Owns: the choice of those questions, and the conversion of a cached answer into a response. Does not own: any rule
//! of DNS, because every record and every rcode comes from the general path. An answer is cached only if the subtree
//! below its name decides it (`answer_cache` has the rule), and in the node of that subtree: a change replaces the
//! node. Each thread has one [`FastPath`]; the state that threads share is in the tree.
//!
//! Its correctness depends on the questions that it does *not* take; `FastPath::locate` is the one place for that.

mod answer_cache;
mod query;
mod rendered;
mod soa;
mod wire;

#[cfg(test)]
mod tests;

use super::handler::UDP_PAYLOAD_DEFAULT;
use super::settings::DnsSettings;
use super::stats::{DnsStats, RCODES, ThreadCounters};
use super::upstream;
use super::wire::HEADER;
use super::wire::bits::{
    AUTHORITATIVE, CHECKING_DISABLED, DNSSEC_OK, OPT, RECURSION_AVAILABLE, RECURSION_DESIRED, RESPONSE, TRUNCATED,
};
use hickory_proto::op::ResponseCode;
use query::Query;
use rendered::{CachedKind, RenderedAnswer, ResponseBuffer};
use skyhound_core::catalog::{Health, Node, Snapshot};
use skyhound_model::{Name, version::VersionLabel};
use soa::SoaTemplate;
use std::cell::OnceCell;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The identity of the settings that an answer in the tree was rendered with: the same entries give other answers under
/// other settings.
#[derive(Debug, Clone, Copy)]
pub struct CacheId(u32);

impl CacheId {
    /// Creates an id that differs from all others.
    #[allow(clippy::new_without_default, reason = "no two are the same")]
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Self(NEXT.fetch_add(1, Relaxed))
    }
}

/// One thread's fast path.
#[derive(Debug)]
pub struct FastPath {
    settings: DnsSettings,
    zones: Vec<Zone>,
    cache_id: CacheId,
    counters: Arc<ThreadCounters>,
}

#[derive(Debug)]
struct Zone {
    /// The name in wire form and lower case.
    wire: Vec<u8>,
    labels: usize,
    /// True if it, or a zone within it, has a key: the general path answers questions with DO there.
    signed: bool,
    /// True for a static zone, which the general path answers.
    is_static: bool,
    /// True if a static zone is below it.
    covers_static: bool,
    soa: OnceCell<SoaTemplate>,
}

/// The snapshot that a batch of questions is answered from: one revision for all of them.
#[derive(Debug)]
pub struct SnapshotView<'s> {
    snapshot: &'s Arc<Snapshot>,
    serial: u32,
}

/// The zone and the node of a name.
struct Location<'s> {
    zone: usize,
    /// The offset of the zone in the name.
    zone_at: usize,
    /// The node of the name; `None` if there are no entries at it or below it.
    node: Option<&'s Node>,
}

impl FastPath {
    /// Creates the fast path of one more thread, which has its own counters.
    pub fn new(settings: DnsSettings, cache_id: CacheId, stats: &DnsStats) -> Self {
        let all = settings.zones.iter().chain(settings.static_zones.names());
        let mut zones: Vec<Zone> = all.map(|zone| Zone::new(zone, &settings)).collect();
        // The zone of a name is the longest that contains it.
        zones.sort_by_key(|zone| std::cmp::Reverse(zone.labels));
        Self { settings, zones, cache_id, counters: stats.thread_counters() }
    }

    /// Counts a response that could not be sent.
    pub(super) fn count_unsent(&self) {
        self.counters.count_unsent();
    }

    /// Returns the view that this may answer from; `None` if the general path has to answer all questions: while the
    /// store is unavailable, answers have a short TTL and an extended error.
    pub fn view<'s>(&self, snapshot: &'s Arc<Snapshot>, health: Health) -> Option<SnapshotView<'s>> {
        (health == Health::Current).then(|| SnapshotView { snapshot, serial: serial(snapshot) })
    }

    /// Answers the question of `from` in the first `length` bytes of `message`, in their place, and returns the length
    /// of the response. `None` leaves `message` unchanged, for the general path.
    pub fn answer(
        &self,
        view: &SnapshotView<'_>,
        message: &mut [u8],
        length: usize,
        from: IpAddr,
        rotation: u32,
    ) -> Option<usize> {
        let query = Query::read(message.get(..length)?)?;
        let location = self.locate(view, &query)?;
        if self.zones[location.zone].signed && query.edns.as_ref().is_some_and(|edns| edns.dnssec_ok) {
            return None;
        }
        let (rendered, rcode) = match location.node {
            Some(node) => match self.rendered(view, node, &query, location.zone_at == 0)? {
                cached if cached.kind() == CachedKind::Records => (Some(cached), ResponseCode::NoError),
                cached if cached.kind() == CachedKind::NoData => (None, ResponseCode::NoError),
                _ => return None,
            },
            // The apex exists even if the zone has no entries.
            None if location.zone_at == 0 => return None,
            // It may be in a stub zone.
            None if upstream::stub_roots(view.snapshot, &self.settings).next().is_some() => return None,
            // It may be an empty non-terminal above a static zone.
            None if self.zones[location.zone].covers_static => return None,
            None => (None, ResponseCode::NXDomain),
        };
        let soa = match rendered {
            None => Some(self.soa(view, &query, &location)?),
            Some(_) => None,
        };
        let limit = self.limit(&query);
        let opt = if query.edns.is_some() { OPT } else { 0 };
        let mut out = ResponseBuffer { message, at: HEADER + query.question(), limit: limit - opt };
        let mut counts = [0; 3];
        if let Some(cached) = rendered {
            counts[0] = cached.write_answers(&mut out, rotation);
            if counts[0] == cached.answers() {
                counts[2] = cached.write_additionals(&mut out, rotation);
            }
        }
        if let Some(soa) = soa {
            // A name of 255 bytes and a SOA with its two names fit into 512 bytes only with compression, which they
            // have here.
            counts[1] = usize::from(soa.write(&mut out, HEADER + location.zone_at, view.serial));
        }
        let truncated = rendered.map_or(counts[1] == 0, |cached| counts[0] < cached.answers());
        out.limit = limit;
        out.message[3] = out.message[3] & CHECKING_DISABLED | self.recursion_available(from) | rcode.low();
        let end = self.finish(out, &query, counts, truncated);
        self.counters.answered(query.type_index(), rcode_index(rcode), truncated);
        Some(end)
    }

    /// Returns the location of a name; `None` if the tree alone does not decide the response. Wildcards are answered
    /// from many nodes, names with `_` may be another form of a service's name (RFC 2782), and names below `dns.<zone>`
    /// are about the server itself.
    fn locate<'s>(&self, view: &SnapshotView<'s>, query: &Query) -> Option<Location<'s>> {
        let (zone, zone_at) =
            self.zones.iter().enumerate().find_map(|(at, zone)| Some((at, query.zone_at(&zone.wire)?)))?;
        if self.zones[zone].is_static {
            return None;
        }
        let (mut node, mut last) = (Some(view.snapshot.root()), &[][..]);
        for (depth, label) in query.labels().enumerate() {
            let special = matches!(label, b"*" | b"any") || label.starts_with(b"_");
            if special || (label == b"dns" && depth == self.zones[zone].labels) {
                return None;
            }
            node = node.and_then(|node| node.child(label)).map(AsRef::as_ref);
            last = label;
        }
        if node.is_none() && VersionLabel::parse(last).is_some() {
            return None;
        }
        Some(Location { zone, zone_at, node })
    }

    /// Returns the cached answer, and renders it for the first question.
    fn rendered<'s>(
        &self,
        view: &SnapshotView<'s>,
        node: &'s Node,
        query: &Query,
        apex: bool,
    ) -> Option<RenderedAnswer<'s>> {
        if node.answer_slot().get(query.cell).is_none() {
            node.answer_slot().set(query.cell, self.render_for_cache(view, node, query, apex));
        }
        RenderedAnswer::of(node.answer_slot().get(query.cell)?, self.cache_id.0)
    }

    /// The size limit of the response.
    fn limit(&self, query: &Query) -> usize {
        let payload =
            query.edns.as_ref().map_or(UDP_PAYLOAD_DEFAULT, |edns| edns.payload.min(self.settings.udp_payload_max));
        usize::from(payload.max(UDP_PAYLOAD_DEFAULT))
    }

    /// Returns the RA bit, which is set if queries are forwarded for this client, as the general path sets it in every
    /// response.
    fn recursion_available(&self, from: IpAddr) -> u8 {
        let forward = &self.settings.forward;
        if forward.is_enabled() && forward.allow.iter().any(|network| network.contains(from)) {
            RECURSION_AVAILABLE
        } else {
            0
        }
    }

    /// Writes the header and the OPT record and returns the length of the response.
    fn finish(&self, mut out: ResponseBuffer<'_>, query: &Query, counts: [usize; 3], truncated: bool) -> usize {
        let [answers, authority, mut additional] = counts;
        if let Some(edns) = &query.edns {
            let [high, low] = self.settings.udp_payload_max.max(UDP_PAYLOAD_DEFAULT).to_be_bytes();
            let flags = if edns.dnssec_ok { DNSSEC_OK } else { 0 };
            additional += usize::from(out.put(&[0, 0, 41, high, low, 0, 0, flags, 0, 0, 0]));
        }
        let header = &mut out.message[..HEADER];
        header[2] = RESPONSE | AUTHORITATIVE | header[2] & RECURSION_DESIRED;
        header[2] |= if truncated { TRUNCATED } else { 0 };
        for (at, count) in [(6, answers), (8, authority), (10, additional)] {
            // Each count is below the number of bytes of a datagram.
            header[at..at + 2].copy_from_slice(&u16::try_from(count).unwrap_or(0).to_be_bytes());
        }
        out.at
    }
}

impl Zone {
    fn new(name: &Name, settings: &DnsSettings) -> Self {
        let wire = wire::lowercase(&super::wire::from_labels(name.labels().iter())).unwrap_or_default();
        let signed = settings.keys.iter().any(|key| key.zone().is_within(name));
        let statics = &settings.static_zones;
        let (is_static, covers_static) = (!settings.zones.contains(name), statics.is_empty_non_terminal(name));
        Self { wire, labels: name.labels().len(), signed, is_static, covers_static, soa: OnceCell::new() }
    }
}

/// The serial of a snapshot's zones. It is compared with that of the general path before it is used.
fn serial(snapshot: &Snapshot) -> u32 {
    u32::try_from(snapshot.revision().0 & u64::from(u32::MAX)).unwrap_or(u32::MAX).max(1)
}

/// The index of an rcode in [`RCODES`].
fn rcode_index(rcode: ResponseCode) -> usize {
    RCODES.iter().position(|(_, counted)| *counted == Some(rcode)).unwrap_or(RCODES.len() - 1)
}
