//! The id records of one slot, which let any node look up an id that it does not hold ([`super::ids`]).
//!
//! Synchronous, without store and clock, like the slot. A record is attached to a lease of its own kind, with a much
//! longer TTL than its entry's. That lease shows which node holds the id: the node that received its last heartbeat has
//! put the record on a lease of its own. After another node has written the entry, the records show whether that node
//! took over a claim of this one, or holds a claim of its own.
//!
//! | record | due |
//! |---|---|
//! | wanted, not present | a put on its lease, unguarded |
//! | wanted, present | nothing |
//! | wanted, uncertain | a read of its key |
//! | not wanted | a delete, guarded by its lease: on another node's lease it belongs to that node |

use super::ClaimId;
use super::leases::Leases;
use bytes::Bytes;
use skyhound_model::Key;
use skyhound_store::{Expect, Guard, LeaseId, Op, Outcome, Write};

/// The limit of record writes of one slot in one commit, so that many ids on one entry leave room for other slots.
const RECORDS_PER_COMMIT: usize = 32;

#[derive(Debug)]
struct Record {
    claim: ClaimId,
    key: Key,
    value: Bytes,
    /// The lease on which capacity is reserved. The record may exist as soon as it has one.
    lease: Option<LeaseId>,
    present: bool,
    wanted: bool,
    /// Another node has written the entry, so the record may be that node's by now.
    uncertain: bool,
}

/// The purpose of one write of a record.
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
    /// Sets the record of a claim, which replaces another claim's record of the same id.
    pub(super) fn set(&mut self, claim: ClaimId, key: Key, value: Bytes) {
        let lease = match self.0.iter().position(|record| record.key == key) {
            Some(at) => self.0.swap_remove(at).lease,
            None => None,
        };
        self.0.push(Record { claim, key, value, lease, present: false, wanted: true, uncertain: false });
    }

    /// Makes the put of a claim's record due again.
    pub(super) fn mark_dirty(&mut self, claim: ClaimId) {
        for record in self.0.iter_mut().filter(|record| record.claim == claim) {
            (record.present, record.uncertain) = (false, false);
        }
    }

    /// Ends a claim, whose record is then not wanted any more.
    pub(super) fn end(&mut self, claim: ClaimId) {
        for record in self.0.iter_mut().filter(|record| record.claim == claim) {
            record.wanted = false;
        }
        self.drop_unwritten();
    }

    /// Forgets the record of a claim without a write: another claim owns it from now on. Returns the lease whose
    /// capacity is free.
    pub(super) fn forget(&mut self, claim: ClaimId) -> Option<LeaseId> {
        let at = self.0.iter().position(|record| record.claim == claim)?;
        self.0.swap_remove(at).lease
    }

    /// Drops records that are neither wanted nor possibly in the store.
    fn drop_unwritten(&mut self) {
        self.0.retain(|record| record.wanted || record.lease.is_some());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether the store holds exactly the wanted records.
    pub(super) fn is_synced(&self) -> bool {
        self.0.iter().all(|record| record.wanted && record.present)
    }

    pub(super) fn is_present(&self, claim: ClaimId) -> bool {
        self.0.iter().any(|record| record.claim == claim && record.present)
    }

    /// The number of records that need capacity on a lease for the next commit.
    pub(super) fn leases_needed(&self) -> usize {
        self.0.iter().filter(|record| record.wanted && record.lease.is_none()).count().min(RECORDS_PER_COMMIT)
    }

    /// Reserves that capacity. Returns whether there was enough.
    pub(super) fn reserve_leases(&mut self, leases: &mut Leases) -> bool {
        let without_lease = self.0.iter_mut().filter(|record| record.wanted && record.lease.is_none());
        for record in without_lease.take(RECORDS_PER_COMMIT) {
            record.lease = leases.reserve();
            if record.lease.is_none() {
                return false;
            }
        }
        true
    }

    /// Marks the present records as uncertain: another node has written the entry.
    pub(super) fn mark_uncertain(&mut self) {
        for record in self.0.iter_mut().filter(|record| record.wanted && record.present) {
            record.uncertain = true;
        }
    }

    /// The keys to read before anything else can be done.
    pub(super) fn keys_to_read(&self) -> impl Iterator<Item = &Key> {
        self.0.iter().filter(|record| record.uncertain && record.wanted).map(|record| &record.key)
    }

    /// Applies the result of reading a record's key: the lease that it is attached to. Returns the claim that another
    /// node took over or ended, and the lease whose capacity is free.
    pub(super) fn observe(&mut self, key: &Key, found: Option<LeaseId>) -> Option<(ClaimId, Option<LeaseId>)> {
        let at = self.0.iter().position(|record| record.key == *key && record.uncertain && record.wanted)?;
        if found.is_some() && found == self.0[at].lease {
            self.0[at].uncertain = false;
            return None;
        }
        let removed = self.0.swap_remove(at);
        Some((removed.claim, removed.lease))
    }

    /// The lease is gone, together with the records on it. Returns whether this slot had one there.
    pub(super) fn lease_lost(&mut self, lease: LeaseId) -> bool {
        let mut lost = false;
        for record in self.0.iter_mut().filter(|record| record.lease == Some(lease)) {
            (record.lease, record.present, lost) = (None, false, true);
        }
        self.drop_unwritten();
        lost
    }

    /// The writes that are due.
    pub(super) fn writes(&self) -> impl Iterator<Item = (RecordWrite, Write)> {
        let due = self.0.iter().filter(|record| !(record.wanted && record.present));
        due.filter_map(|record| Some((record, record.lease?))).take(RECORDS_PER_COMMIT).map(|(record, lease)| {
            let key = record.key.clone();
            if record.wanted {
                let put = Op::Put { key: key.clone(), value: record.value.clone(), lease: Some(lease) };
                (RecordWrite::Put(key), Write { guards: Vec::new(), ops: vec![put] })
            } else {
                let guards = vec![Guard { key: key.clone(), expect: Expect::OnLease(lease) }];
                let ops = vec![Op::Delete { key: key.clone() }];
                (RecordWrite::Delete(key), Write { guards, ops })
            }
        })
    }

    /// Applies the outcome of a write. Returns the lease whose capacity is free.
    pub(super) fn complete(&mut self, write: &RecordWrite, outcome: Outcome) -> Option<LeaseId> {
        let at = self.0.iter().position(|record| record.key == *write.key())?;
        match write {
            RecordWrite::Put(_) => {
                self.0[at].present = outcome == Outcome::Done;
                None
            }
            // A claim may want it again by now.
            RecordWrite::Delete(_) if self.0[at].wanted => None,
            RecordWrite::Delete(_) => self.0.swap_remove(at).lease,
        }
    }
}
