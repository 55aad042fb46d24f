//! Entries become records: SRV, MX, NS, CNAME, PTR, and what goes into the additional section.
//!
//! Owns: priorities, weights, targets, order within a set, no duplicates, one TTL for a section. Does not
//! own: which entries ([`super::search`]), following names to addresses ([`super::alias`]).

use super::alias;
use super::search::{Hit, Search};
use super::settings::SrvWeights;
use super::wire;
use hickory_proto::rr::rdata::{CNAME, MX, NS, PTR, SRV};
use hickory_proto::rr::{Name as WireName, RData, Record, RecordType};
use skyhound_core::catalog::StoredEntry;
use skyhound_model::{Entry, Host, Name};
use std::collections::HashMap;
use std::collections::hash_map::Entry as Seen;

/// The priority of an entry that says none (`SkyDNS`, `CoreDNS`).
const PRIORITY: u16 = 10;
/// The weight of an entry that says none (`SkyDNS`, `CoreDNS`).
const WEIGHT: u16 = 100;

/// Records of a section, each once (RFC 2181 section 5).
#[derive(Default)]
pub(super) struct SectionRecords {
    records: Vec<Record>,
    /// Where each stands in `records`.
    seen: HashMap<(WireName, RData), usize>,
    upstream_needs: Vec<(WireName, RecordType)>,
}

impl SectionRecords {
    /// Adds a record; says whether it was new. Of two that differ in their TTL the shorter one counts, whichever
    /// came first: that is where the rotation began.
    pub(super) fn push(&mut self, owner: &WireName, ttl: u32, data: RData) -> bool {
        match self.seen.entry((owner.clone(), data.clone())) {
            Seen::Vacant(slot) => {
                slot.insert(self.records.len());
                self.records.push(Record::from_rdata(owner.clone(), ttl, data));
                true
            }
            Seen::Occupied(slot) => {
                if let Some(existing) = self.records.get_mut(*slot.get()) {
                    existing.ttl = existing.ttl.min(ttl);
                }
                false
            }
        }
    }

    pub(super) fn append(&mut self, other: Self) {
        for record in other.records {
            self.push(&record.name, record.ttl, record.data);
        }
        for (name, rtype) in other.upstream_needs {
            self.need_upstream(&name, rtype);
        }
    }

    /// Notes that other servers know more that belongs here.
    pub(super) fn need_upstream(&mut self, name: &WireName, rtype: RecordType) {
        if !self.upstream_needs.iter().any(|(needed, of)| needed == name && *of == rtype) {
            self.upstream_needs.push((name.clone(), rtype));
        }
    }

    /// What other servers know that belongs here.
    pub(super) fn take_upstream_needs(&mut self) -> Vec<(WireName, RecordType)> {
        std::mem::take(&mut self.upstream_needs)
    }

    /// Keeps the first `max`.
    pub(super) fn truncate(&mut self, max: usize) {
        self.records.truncate(max);
    }

    pub(super) fn records(&self) -> &[Record] {
        &self.records
    }

    /// The records, all with the smallest TTL of the section, as `SkyDNS` has it. `CoreDNS` keeps each entry's
    /// own; but records of one set have to agree (RFC 2181 section 5.2), and a resolver that got a long
    /// one beside a short one keeps half a service when the short one has gone.
    pub(super) fn with_uniform_ttl(mut self) -> Vec<Record> {
        let smallest = self.records.iter().map(|record| record.ttl).min().unwrap_or_default();
        for record in &mut self.records {
            record.ttl = smallest;
        }
        self.records
    }
}

/// The sections that a question is answered with.
#[derive(Default)]
pub(super) struct Sections {
    pub answers: SectionRecords,
    pub additional: SectionRecords,
    /// Beside each SRV record of `answers` the weight of its entry before any rounding.
    pub stored_weights: Vec<u16>,
}

/// SRV (RFC 2782): one record for each entry that has a host, lowest priority first; within a priority the
/// rotation says who comes first.
pub(super) fn srv<'s>(search: &Search<'s>, owner: &WireName, mut hits: Vec<Hit<'s>>) -> Sections {
    hits.retain(|hit| hit.stored.entry.host.is_some());
    hits.sort_by_key(|hit| priority(&hit.stored.entry));
    let mut sums: HashMap<u16, u64> = HashMap::new();
    for hit in &hits {
        *sums.entry(priority(&hit.stored.entry)).or_default() += u64::from(weight(&hit.stored.entry));
    }
    let mut sections = Sections::default();
    for tier in hits.chunk_by_mut(|a, b| priority(&a.stored.entry) == priority(&b.stored.entry)) {
        rotate(tier, search.rotation);
        for hit in tier {
            if sections.answers.records().len() >= search.answers_max {
                return sections;
            }
            let (priority, stored) = (priority(&hit.stored.entry), weight(&hit.stored.entry));
            let weight = match search.settings.srv_weights {
                SrvWeights::Exact => stored,
                SrvWeights::Skydns => share(stored, sums[&priority]),
            };
            let target = target(search, hit, &mut sections.additional);
            let data = RData::SRV(SRV::new(priority, weight, hit.stored.entry.port, target));
            if sections.answers.push(owner, search.settings.ttl_of(hit.stored), data) {
                sections.stored_weights.push(stored);
            }
        }
    }
    sections
}

/// NS, from the entries below `ns.dns.<zone>`.
pub(super) fn ns<'s>(search: &Search<'s>, owner: &WireName, mut hits: Vec<Hit<'s>>) -> Sections {
    hits.retain(|hit| hit.stored.entry.host.is_some());
    rotate(&mut hits, search.rotation);
    let mut sections = Sections::default();
    for hit in &hits {
        // A host that is a name is the name server's name. Both originals stumble over it: CoreDNS fails
        // the question, SkyDNS loses all name servers of the zone.
        let target = target(search, hit, &mut sections.additional);
        sections.answers.push(owner, search.settings.ttl_of(hit.stored), RData::NS(NS(target)));
    }
    sections
}

/// MX (RFC 5321 section 5.1): entries that are mail exchangers, the priority as preference. The group rule holds
/// here too (`CoreDNS`): a mail exchanger of another group is as little asked for as any other instance of it.
pub(super) fn mx<'s>(search: &Search<'s>, owner: &WireName, mut hits: Vec<Hit<'s>>) -> Sections {
    hits.retain(|hit| hit.stored.entry.mail && hit.stored.entry.host.is_some());
    rotate(&mut hits, search.rotation);
    hits.sort_by_key(|hit| priority(&hit.stored.entry));
    let mut sections = Sections::default();
    for hit in &hits {
        let target = target(search, hit, &mut sections.additional);
        let data = RData::MX(MX::new(priority(&hit.stored.entry), target));
        sections.answers.push(owner, search.settings.ttl_of(hit.stored), data);
    }
    sections
}

/// CNAME: the entry exactly at the name, when its host is a name. One at most (RFC 1034 section 3.6.2).
pub(super) fn cname(search: &Search<'_>, owner: &WireName, name: &Name) -> Sections {
    let mut sections = Sections::default();
    if let Some((stored, host)) = named(search, name).next() {
        sections.answers.push(owner, search.settings.ttl_of(stored), RData::CNAME(CNAME(host)));
    }
    sections
}

/// Whether an entry answers a type with something of its own, or not at all.
pub(super) fn is_no_alias(entry: &Entry, qtype: RecordType) -> bool {
    match qtype {
        RecordType::A | RecordType::AAAA => !matches!(entry.host, Some(Host::Name(_))),
        RecordType::TXT => !matches!(entry.host, Some(Host::Name(_))) || !entry.text.is_empty(),
        _ => true,
    }
}

/// PTR: every entry exactly at the name whose host is a name. An address is not what a PTR can say.
pub(super) fn ptr(search: &Search<'_>, owner: &WireName, name: &Name) -> Sections {
    let mut sections = Sections::default();
    for (stored, host) in named(search, name) {
        sections.answers.push(owner, search.settings.ttl_of(stored), RData::PTR(PTR(host)));
    }
    sections
}

/// The entries exactly at a name whose host is a name, with that name.
fn named<'s>(search: &Search<'s>, name: &Name) -> impl Iterator<Item = (&'s StoredEntry, WireName)> + use<'s> {
    search.own(name).filter_map(|stored| match &stored.entry.host {
        Some(Host::Name(host)) => Some((stored, wire::from_labels(host.labels().iter()))),
        _ => None,
    })
}

/// The name that stands for an entry in SRV and NS records; its addresses go into `additional`.
fn target<'s>(search: &Search<'s>, hit: &Hit<'s>, additional: &mut SectionRecords) -> WireName {
    match &hit.stored.entry.host {
        Some(Host::Name(host)) => {
            alias::add_target_addresses(search, host, additional);
            wire::from_labels(host.labels().iter())
        }
        Some(Host::Addr(addr)) => {
            let target = wire::from_labels(stripped(hit).iter().copied());
            additional.push(&target, search.settings.ttl_of(hit.stored), alias::address(*addr));
            target
        }
        None => WireName::root(),
    }
}

/// The entry's own name, `targetstrip` labels cut from its left if that leaves a name.
fn stripped<'h, 's>(hit: &'h Hit<'s>) -> &'h [&'s skyhound_model::Label] {
    let remaining = hit.path.len().saturating_sub(usize::from(hit.stored.entry.targetstrip));
    if remaining == 0 { &hit.path } else { &hit.path[..remaining] }
}

/// Begins a set where the rotation says, so that clients which take the first spread.
pub(super) fn rotate<T>(set: &mut [T], rotation: u64) {
    if !set.is_empty() {
        set.rotate_left(usize::try_from(rotation % set.len() as u64).unwrap_or(0));
    }
}

pub(super) fn priority(entry: &Entry) -> u16 {
    if entry.priority == 0 { PRIORITY } else { entry.priority }
}

fn weight(entry: &Entry) -> u16 {
    if entry.weight == 0 { WEIGHT } else { entry.weight }
}

/// The share of 100, rounded down, at least 1. In floating point and in this order of operations, as both
/// originals compute it: two of weight 97 give 49 each.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn share(weight: u16, sum: u64) -> u16 {
    // The weight is part of the sum, so that the share is within 0 to 100.
    ((100.0 / sum as f64) * f64::from(weight)).floor().max(1.0) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_computed_as_the_originals_do() {
        for (weight, sum, expected) in
            [(97, 194, 49), (100, 300, 33), (130, 360, 36), (1, 1001, 1), (1000, 1001, 99), (7, 7, 100)]
        {
            assert_eq!(share(weight, sum), expected, "{weight} of {sum}");
        }
    }
}
