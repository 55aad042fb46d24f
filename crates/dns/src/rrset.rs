//! Entries become records: SRV, MX, NS, CNAME, PTR, and the additional records of their targets.
//!
//! Owns: weights, targets and the order within a set. Does not own: which entries ([`super::search`]), the addresses of
//! targets that are names ([`super::alias`]), nor what holds for every section ([`super::sections`]).

use super::alias;
use super::search::{Hit, Search};
use super::sections::{SectionRecords, Sections, rotate};
use super::settings::SrvWeights;
use super::wire;
use hickory_proto::rr::rdata::{CNAME, MX, NS, PTR, SRV};
use hickory_proto::rr::{Name as WireName, RData, RecordType};
use skyhound_core::catalog::StoredEntry;
use skyhound_model::{Entry, Host, Label, Name};
use std::collections::HashMap;

/// The weight of an entry without one (`SkyDNS`, `CoreDNS`).
const WEIGHT: u16 = 100;

/// SRV (RFC 2782): one record for each entry that has a host, lowest priority first; within a priority the rotation
/// determines the order.
pub(super) fn srv<'s>(search: &Search<'s>, owner: &WireName, mut hits: Vec<Hit<'s>>) -> Sections {
    hits.retain(|hit| hit.stored.entry.host.is_some());
    hits.sort_by_key(Hit::priority);
    let mut sums: HashMap<u16, u64> = HashMap::new();
    for hit in &hits {
        *sums.entry(hit.priority()).or_default() += u64::from(weight(&hit.stored.entry));
    }
    hits.chunk_by_mut(|a, b| a.priority() == b.priority()).for_each(|tier| rotate(tier, search.rotation));
    let mut sections = Sections::default();
    for hit in &hits {
        if sections.answers.records().len() >= search.answers_max {
            break;
        }
        let (priority, stored) = (hit.priority(), weight(&hit.stored.entry));
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
    sections
}

/// NS, from the entries below `ns.dns.<zone>`.
pub(super) fn ns<'s>(search: &Search<'s>, owner: &WireName, mut hits: Vec<Hit<'s>>) -> Sections {
    hits.retain(|hit| hit.stored.entry.host.is_some());
    rotate(&mut hits, search.rotation);
    let mut sections = Sections::default();
    for hit in &hits {
        // A host that is a name is the name server's name. Both originals fail on it: CoreDNS fails the question,
        // SkyDNS loses all name servers of the zone.
        let target = target(search, hit, &mut sections.additional);
        sections.answers.push(owner, search.settings.ttl_of(hit.stored), RData::NS(NS(target)));
    }
    sections
}

/// MX (RFC 5321 section 5.1): entries that are mail exchangers, the priority as preference. The group rule holds here
/// too (`CoreDNS`): a mail exchanger of another group is excluded like any other instance of it.
pub(super) fn mx<'s>(search: &Search<'s>, owner: &WireName, mut hits: Vec<Hit<'s>>) -> Sections {
    hits.retain(|hit| hit.stored.entry.mail && hit.stored.entry.host.is_some());
    rotate(&mut hits, search.rotation);
    hits.sort_by_key(Hit::priority);
    let mut sections = Sections::default();
    for hit in &hits {
        let target = target(search, hit, &mut sections.additional);
        let data = RData::MX(MX::new(hit.priority(), target));
        sections.answers.push(owner, search.settings.ttl_of(hit.stored), data);
    }
    sections
}

/// CNAME: the entry exactly at the name, when its host is a name. At most one (RFC 1034 section 3.6.2).
pub(super) fn cname(search: &Search<'_>, owner: &WireName, name: &Name) -> Sections {
    let mut sections = Sections::default();
    if let Some((stored, host)) = hosts_that_are_names(search, name).next() {
        sections.answers.push(owner, search.settings.ttl_of(stored), RData::CNAME(CNAME(host)));
    }
    sections
}

/// Returns whether an entry answers a type with its own data or not at all, instead of by an alias.
pub(super) fn is_no_alias(entry: &Entry, qtype: RecordType) -> bool {
    match qtype {
        RecordType::A | RecordType::AAAA => !matches!(entry.host, Some(Host::Name(_))),
        RecordType::TXT => !matches!(entry.host, Some(Host::Name(_))) || !entry.text.is_empty(),
        _ => true,
    }
}

/// PTR: every entry exactly at the name whose host is a name. A PTR record cannot hold an address.
pub(super) fn ptr(search: &Search<'_>, owner: &WireName, name: &Name) -> Sections {
    let mut sections = Sections::default();
    for (stored, host) in hosts_that_are_names(search, name) {
        sections.answers.push(owner, search.settings.ttl_of(stored), RData::PTR(PTR(host)));
    }
    sections
}

/// The entries exactly at a name whose host is a name, with that host.
fn hosts_that_are_names<'s>(
    search: &Search<'s>,
    name: &Name,
) -> impl Iterator<Item = (&'s StoredEntry, WireName)> + use<'s> {
    search.entries_at(name).filter_map(|stored| match &stored.entry.host {
        Some(Host::Name(host)) => Some((stored, wire::from_labels(host.labels().iter()))),
        _ => None,
    })
}

/// The target of an entry in SRV, MX and NS records. Its addresses are added to `additional`.
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

/// The entry's name without its `targetstrip` leftmost labels, if that leaves a name.
fn stripped<'h, 's>(hit: &'h Hit<'s>) -> &'h [&'s Label] {
    let remaining = hit.path.len().saturating_sub(usize::from(hit.stored.entry.targetstrip));
    if remaining == 0 { &hit.path } else { &hit.path[..remaining] }
}

fn weight(entry: &Entry) -> u16 {
    if entry.weight == 0 { WEIGHT } else { entry.weight }
}

/// The share of 100, rounded down, at least 1. In floating point and in this order of operations, as both originals
/// compute it: two of weight 97 give 49 each.
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
