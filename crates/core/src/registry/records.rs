//! The records of one slot's ids: what any node reads that is told an id it does not know ([`super::ids`]).
//!
//! Synchronous, without store and clock, as the slot. A record hangs on a lease of its own kind, much longer than its
//! entry's; that lease says whose it is: the node that was last told the id has it on its own. When another has
//! written the entry, the records show whether that node took over a claim of ours, or has one of its own.

use super::session::Leases;
use super::slot::ClaimId;
use bytes::Bytes;
use skyhound_model::Key;
use skyhound_store::{Expect, Guard, LeaseId, Op, Outcome, Write};

/// The most records of one slot in one commit: so that many ids on one entry leave room for others.
const RECORDS_PER_COMMIT: usize = 32;

#[derive(Debug)]
struct Record {
    claim: ClaimId,
    key: Key,
    value: Bytes,
    /// Where it has a place. It may stand there as soon as it has one.
    lease: Option<LeaseId>,
    present: bool,
    wanted: bool,
    /// Another node has written the entry: the record may be its by now.
    uncertain: bool,
}

/// One write about a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RecordWrite {
    Put(Key),
    Delete(Key),
}

impl RecordWrite {
    pub(super) fn key(&self) -> &Key {
        match self {
            Self::Put(key) | Self::Delete(key) => key,
        }
    }
}

/// The records of one slot.
#[derive(Debug, Default)]
pub(super) struct Records(Vec<Record>);

impl Records {
    /// A claim wants a record, for the first time or anew.
    pub(super) fn set(&mut self, claim: ClaimId, key: Key, value: Bytes) {
        let lease = match self.0.iter().position(|record| record.key == key) {
            Some(at) => self.0.swap_remove(at).lease,
            None => None,
        };
        self.0.push(Record { claim, key, value, lease, present: false, wanted: true, uncertain: false });
    }

    /// A claim wants its record put anew.
    pub(super) fn mark_dirty(&mut self, claim: ClaimId) {
        for record in self.0.iter_mut().filter(|record| record.claim == claim) {
            (record.present, record.uncertain) = (false, false);
        }
    }

    /// A claim ends, and its record with it.
    pub(super) fn end(&mut self, claim: ClaimId) {
        for record in self.0.iter_mut().filter(|record| record.claim == claim) {
            record.wanted = false;
        }
        self.0.retain(|record| record.wanted || record.lease.is_some());
    }

    /// The record is another claim's from now on. Returns the place that is free.
    pub(super) fn forget(&mut self, claim: ClaimId) -> Option<LeaseId> {
        let at = self.0.iter().position(|record| record.claim == claim)?;
        self.0.swap_remove(at).lease
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the store has what is wanted.
    pub(super) fn is_synced(&self) -> bool {
        self.0.iter().all(|record| record.wanted && record.present)
    }

    pub(super) fn is_present(&self, claim: ClaimId) -> bool {
        self.0.iter().any(|record| record.claim == claim && record.present)
    }

    fn without_lease(&mut self) -> impl Iterator<Item = &mut Record> {
        self.0.iter_mut().filter(|record| record.wanted && record.lease.is_none()).take(RECORDS_PER_COMMIT)
    }

    /// How many places the next commit needs.
    pub(super) fn leases_needed(&self) -> usize {
        self.0.iter().filter(|record| record.wanted && record.lease.is_none()).count().min(RECORDS_PER_COMMIT)
    }

    /// Takes these places. Says whether there were enough.
    pub(super) fn assign_leases(&mut self, leases: &mut Leases) -> bool {
        for record in self.without_lease() {
            record.lease = leases.reserve();
            if record.lease.is_none() {
                return false;
            }
        }
        true
    }

    pub(super) fn mark_uncertain(&mut self) {
        for record in self.0.iter_mut().filter(|record| record.wanted && record.present) {
            record.uncertain = true;
        }
    }

    /// The keys to read before anything can be done.
    pub(super) fn keys_to_read(&self) -> impl Iterator<Item = &Key> {
        self.0.iter().filter(|record| record.uncertain && record.wanted).map(|record| &record.key)
    }

    /// Reading a record's key showed this. Returns the claim that another node took over, or ended, and the place
    /// that is free.
    pub(super) fn observe(&mut self, key: &Key, found: Option<LeaseId>) -> Option<(ClaimId, Option<LeaseId>)> {
        let at = self.0.iter().position(|record| record.key == *key && record.uncertain && record.wanted)?;
        if found.is_some() && found == self.0[at].lease {
            self.0[at].uncertain = false;
            return None;
        }
        let removed = self.0.swap_remove(at);
        Some((removed.claim, removed.lease))
    }

    pub(super) fn lease_lost(&mut self, lease: LeaseId) -> bool {
        let mut lost = false;
        for record in self.0.iter_mut().filter(|record| record.lease == Some(lease)) {
            (record.lease, record.present, lost) = (None, false, true);
        }
        self.0.retain(|record| record.wanted || record.lease.is_some());
        lost
    }

    pub(super) fn writes(&self) -> Vec<(RecordWrite, Write)> {
        let due = self.0.iter().filter(|record| !(record.wanted && record.present));
        due.filter_map(|record| Some((record, record.lease?)))
            .take(RECORDS_PER_COMMIT)
            .map(|(record, lease)| {
                let key = record.key.clone();
                if record.wanted {
                    let put = Op::Put { key: key.clone(), value: record.value.clone(), lease: Some(lease) };
                    (RecordWrite::Put(key), Write { guards: Vec::new(), ops: vec![put] })
                } else {
                    // On another node's lease it is that node's.
                    let guards = vec![Guard { key: key.clone(), expect: Expect::OnLease(lease) }];
                    let ops = vec![Op::Delete { key: key.clone() }];
                    (RecordWrite::Delete(key), Write { guards, ops })
                }
            })
            .collect()
    }

    /// What became of a write. Returns the place that is free.
    pub(super) fn complete(&mut self, write: &RecordWrite, outcome: Outcome) -> Option<LeaseId> {
        let at = self.0.iter().position(|record| record.key == *write.key())?;
        match write {
            RecordWrite::Put(_) => {
                self.0[at].present = outcome == Outcome::Done;
                None
            }
            // Unless it is wanted again by now.
            RecordWrite::Delete(_) if self.0[at].wanted => None,
            RecordWrite::Delete(_) => self.0.swap_remove(at).lease,
        }
    }
}
