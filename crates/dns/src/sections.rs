//! The records of an answer while they are collected.
//!
//! Owns: no record twice, one TTL for a section, the names that other servers have to complete, and the rotation of a
//! set. Does not own: which records ([`super::rrset`], [`super::alias`]).

use hickory_proto::rr::{Name as WireName, RData, Record, RecordType};
use std::collections::HashMap;
use std::collections::hash_map::Entry as Seen;

/// The answer and the additional section of a response, with the stored weight of each SRV record.
#[derive(Default)]
pub(super) struct Sections {
    pub answers: SectionRecords,
    pub additional: SectionRecords,
    pub stored_weights: Vec<u16>,
}

/// Records of a section, each once (RFC 2181 section 5).
#[derive(Default)]
pub(super) struct SectionRecords {
    records: Vec<Record>,
    /// The index of each record in `records`.
    seen: HashMap<(WireName, RData), usize>,
    upstream_needs: Vec<(WireName, RecordType)>,
}

impl SectionRecords {
    /// Adds a record; returns whether it was new. Of two records that differ in their TTL only, the shorter TTL
    /// counts, whichever came first: their order depends on the rotation.
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

    /// Notes a name and type of which other servers have records for this section.
    pub(super) fn need_upstream(&mut self, name: &WireName, rtype: RecordType) {
        if !self.upstream_needs.iter().any(|(needed, of)| needed == name && *of == rtype) {
            self.upstream_needs.push((name.clone(), rtype));
        }
    }

    /// Takes the names and types that were noted.
    pub(super) fn take_upstream_needs(&mut self) -> Vec<(WireName, RecordType)> {
        std::mem::take(&mut self.upstream_needs)
    }

    /// Drops all records but the first `max`.
    pub(super) fn truncate(&mut self, max: usize) {
        self.records.truncate(max);
    }

    pub(super) fn records(&self) -> &[Record] {
        &self.records
    }

    /// The records, all with the smallest TTL of the section, as in `SkyDNS`. `CoreDNS` sends the TTL of each entry;
    /// but records of one set have to agree (RFC 2181 section 5.2), and a resolver that caches one record longer
    /// than another one has half a service after the shorter TTL.
    pub(super) fn with_uniform_ttl(mut self) -> Vec<Record> {
        let smallest = self.records.iter().map(|record| record.ttl).min().unwrap_or_default();
        for record in &mut self.records {
            record.ttl = smallest;
        }
        self.records
    }
}

/// Rotates a set to the left, so that clients which take the first record spread.
pub(super) fn rotate<T>(set: &mut [T], rotation: u64) {
    if !set.is_empty() {
        set.rotate_left(usize::try_from(rotation % set.len() as u64).unwrap_or(0));
    }
}
