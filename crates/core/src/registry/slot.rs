//! One entry of this node as a state machine: the value that its clients want, and the observed state of the store.
//!
//! Synchronous, without store and clock. The [`writer`](super::writer) asks every changed slot for its [`Step`],
//! executes it and reports the outcome. A step is derived from the state and not from the call that caused it, so a
//! retry, a burst and a release that coincides with a new registration are one case.
//!
//! # Steps
//! A slot is *dirty* from a client's registration or update until the next write. The value of a dirty slot replaces
//! any stored value; without a client's wish a write only restores, and must not replace anything newer.
//!
//! | claims | observed | not dirty | dirty |
//! |---|---|---|---|
//! | some | absent | put | put |
//! | some | present at `r`, the wanted value | idle | confirm at `r` |
//! | some | present at `r`, another value | put, not after `r` | put |
//! | some | lost at `r` | put, not after `r` | put |
//! | some | superseded | idle | put |
//! | some | unknown | read | put |
//! | none | present at `r` | delete, at `r` | – |
//! | none | unknown, on a lease of this slot | delete, on that lease | – |
//! | none | otherwise | forget | – |
//!
//! Three rules about companions precede the table: a slot with an uncertain id record reads it first; a slot without
//! claims is idle, and not forgotten, while a record or a mirror key is left; and an idle slot whose mirror key was
//! refused reads that key.
//!
//! # Transitions of the observed state
//! Outcomes of writes and results of reads determine the state alone:
//!
//! | event | state |
//! |---|---|
//! | put done at `e` | present at `e`; the last event of the feed, if it is newer |
//! | put or confirmation refused by its guard | superseded |
//! | delete done at `e` | absent; present, if the feed delivered a newer put of this node |
//! | outcome unknown, or history of the store lost | unknown |
//! | read: no such key | lost |
//! | read: on the slot's lease | present |
//! | read: on a former lease of this node | present with another value, so that it moves to a new lease |
//! | read: on any other lease, or on none | superseded |
//!
//! The others depend on it. An event is newer if its revision is above that of the state; an empty cell is no
//! transition:
//!
//! | event | absent | present | lost | superseded | unknown |
//! |---|---|---|---|---|---|
//! | delete refused, same step still | | absent | | | absent |
//! | lease lost | | lost | | | lost |
//! | feed: deleted | | lost, if newer | | lost, if newer | |
//! | feed: put by this node | present, if no claims | present, if newer | present, if newer | present, if newer | present |
//! | feed: put by another writer | | superseded, if newer | | | |
//!
//! A state that becomes superseded makes id records and the mirror key uncertain: the other node may own them now.

use super::ClaimId;
use super::leases::Leases;
use super::mirror::{MirrorState, MirrorWrite};
use super::records::{RecordWrite, Records};
use super::waiter::Waiter;
use bytes::Bytes;
use skyhound_model::removal::RemovalReason;
use skyhound_model::{Key, MirrorKey};
use skyhound_store::{Expect, Guard, Item, LeaseId, Op, Outcome, Revision, Write};

/// The stored state of an entry, as far as this node knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Observed {
    /// Never written by this node.
    Absent,
    /// Put by this node at this revision.
    Present { revision: Revision, value: Bytes },
    /// Gone although no claim released it: its lease expired, or another client of the store removed it. This node must
    /// not replace anything newer than `after`.
    Lost { after: Revision },
    /// Put by another node, whose value is newer.
    Superseded { at: Revision },
    /// A commit has no response, or the store lost its history: the entry may exist, on this node's lease.
    Unknown,
}

impl Observed {
    /// The revision up to which the state is known.
    fn revision(&self) -> Option<Revision> {
        match self {
            Self::Absent | Self::Unknown => None,
            Self::Present { revision, .. } | Self::Lost { after: revision } | Self::Superseded { at: revision } => {
                Some(*revision)
            }
        }
    }
}

/// The next action for a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// No action: the store has the wanted value since this revision.
    Idle(Revision),
    /// No action, and no claim is left: the slot can be dropped.
    Forget,
    /// Put the value on the slot's lease.
    Put { value: Bytes, guard: Option<Expect> },
    /// Check that the wanted value is still stored. The feed may be behind, and an entry that another node has written
    /// since is removed when that node's claim ends.
    Confirm { revision: Revision },
    /// Remove the entry.
    Delete { guard: Expect },
    /// Read the entry's key, or a companion's, to learn the effect of earlier commits.
    Read,
}

/// The purpose of one write of a slot. A commit's outcomes are matched by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SlotWrite {
    Put(Bytes),
    Confirm(Revision),
    Delete(Expect),
    Mirror(MirrorWrite),
    Record(RecordWrite),
}

impl SlotWrite {
    /// The key of a companion write: a write beside the entry's own, in the entry's transaction.
    pub(super) fn companion_key(&self) -> Option<&Key> {
        match self {
            Self::Put(_) | Self::Confirm(_) | Self::Delete(_) => None,
            Self::Mirror(write) => Some(write.key()),
            Self::Record(write) => Some(write.key()),
        }
    }
}

/// The consequence of a completed write outside the slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// The waiting clients have to see this revision. A refused write changed nothing: revision 0.
    Visible(Revision),
    /// The waiting clients have to wait for another attempt.
    Retry,
    /// A record returned its capacity on this lease.
    Released(LeaseId),
    None,
}

/// One entry with the claims on it.
#[derive(Debug)]
pub(super) struct Slot {
    /// In the order in which the claims set their values; the last value is the wanted one.
    claims: Vec<(ClaimId, Bytes)>,
    /// The reason for which the last claim ended.
    removal_reason: RemovalReason,
    observed: Observed,
    /// A client has set a value since the last write (see the module).
    dirty: bool,
    /// The last event of the feed for this key. It may arrive before the response to an earlier commit of this node,
    /// and takes precedence over that response.
    last_event: Observed,
    /// The entry's mirror key, if a claim ever wanted one.
    mirror: Option<Box<MirrorState>>,
    /// The records of the ids under which claims are held.
    records: Records,
    /// The lease on which capacity for the entry is reserved.
    lease: Option<LeaseId>,
    /// The callers that wait for the next write.
    waiters: Vec<Waiter>,
}

/// Claims: the wanted state.
impl Slot {
    pub(super) fn new() -> Self {
        Self {
            // Nearly always there is one; the first push into an empty vector would allocate four.
            claims: Vec::with_capacity(1),
            removal_reason: RemovalReason::Deregistered,
            observed: Observed::Absent,
            dirty: false,
            last_event: Observed::Absent,
            mirror: None,
            records: Records::default(),
            lease: None,
            waiters: Vec::new(),
        }
    }

    /// Sets the value that a claim wants. Returns its previous value.
    pub(super) fn set_value(&mut self, claim: ClaimId, value: Bytes) -> Option<Bytes> {
        let before = self.remove_claim(claim);
        self.claims.push((claim, value));
        self.dirty = true;
        before
    }

    /// Sets the mirror key of a claim.
    pub(super) fn set_mirror(&mut self, claim: ClaimId, mirror: MirrorKey) {
        self.mirror.get_or_insert_default().set(claim, mirror);
    }

    /// Sets the id record of a claim.
    pub(super) fn set_record(&mut self, claim: ClaimId, key: Key, value: Bytes) {
        self.records.set(claim, key, value);
    }

    /// Forgets the id record of a claim (see [`Records::forget`]).
    pub(super) fn forget_record(&mut self, claim: ClaimId) -> Option<LeaseId> {
        self.records.forget(claim)
    }

    /// Returns whether the id record of a claim is written.
    pub(super) fn has_record(&self, claim: ClaimId) -> bool {
        self.records.is_present(claim)
    }

    /// Ends a claim for a reason. Returns whether there was such a claim.
    pub(super) fn drop_claim(&mut self, claim: ClaimId, reason: RemovalReason) -> bool {
        self.removal_reason = reason;
        self.records.end(claim);
        self.drop_superseded_claim(claim)
    }

    /// Ends a claim that another node took over, together with its record. Returns whether there was such a claim.
    pub(super) fn drop_superseded_claim(&mut self, claim: ClaimId) -> bool {
        if let Some(mirror) = &mut self.mirror {
            mirror.end(claim);
        }
        self.remove_claim(claim).is_some()
    }

    /// Removes a claim and leaves everything in the store as it is. Returns the value that it wanted.
    pub(super) fn remove_claim(&mut self, claim: ClaimId) -> Option<Bytes> {
        let at = self.claims.iter().position(|(id, _)| *id == claim)?;
        Some(self.claims.remove(at).1)
    }

    /// Sets the value of an active claim again, if another node has written the entry since. Returns whether there is
    /// something to do.
    pub(super) fn reassert(&mut self, claim: ClaimId) -> bool {
        if !matches!(self.observed, Observed::Superseded { .. }) {
            return false;
        }
        let Some(value) = self.remove_claim(claim) else { return false };
        self.set_value(claim, value);
        self.records.mark_dirty(claim);
        true
    }

    pub(super) fn is_claimed(&self) -> bool {
        !self.claims.is_empty()
    }

    pub(super) fn lease(&self) -> Option<LeaseId> {
        self.lease
    }

    pub(super) fn add_waiters(&mut self, waiters: impl IntoIterator<Item = Waiter>) {
        self.waiters.extend(waiters);
    }

    pub(super) fn take_waiters(&mut self) -> Vec<Waiter> {
        std::mem::take(&mut self.waiters)
    }

    /// Ends the dirty state, because the wanted value is about to be written. Returns whether the slot was dirty.
    pub(super) fn take_dirty(&mut self) -> bool {
        std::mem::take(&mut self.dirty)
    }

    /// Restores the dirty state after a commit that failed.
    pub(super) fn restore_dirty(&mut self, was_dirty: bool) {
        self.dirty |= was_dirty;
    }
}

/// The next step and its writes.
impl Slot {
    pub(super) fn step(&self) -> Step {
        // Before a lost entry is put again: another node may have taken over its claim, and ended it.
        if self.records.keys_to_read().next().is_some() {
            return Step::Read;
        }
        match self.entry_step() {
            Step::Forget if self.has_companions() => Step::Idle(Revision::default()),
            Step::Idle(_) if self.mirror_key_to_read().is_some() => Step::Read,
            step => step,
        }
    }

    /// The step of the entry alone: the table of the module.
    fn entry_step(&self) -> Step {
        let Some((_, wanted)) = self.claims.last() else {
            return match (&self.observed, self.lease) {
                (Observed::Present { revision, .. }, _) => Step::Delete { guard: Expect::AtRevision(*revision) },
                // No other node writes on this lease, so an entry on it is this node's.
                (Observed::Unknown, Some(lease)) => Step::Delete { guard: Expect::OnLease(lease) },
                _ => Step::Forget,
            };
        };
        let put = |guard| Step::Put { value: wanted.clone(), guard };
        match (&self.observed, self.dirty) {
            (Observed::Present { revision, value }, false) if value == wanted => Step::Idle(*revision),
            (Observed::Present { revision, value }, true) if value == wanted => Step::Confirm { revision: *revision },
            (Observed::Absent, _) | (_, true) => put(None),
            (Observed::Present { revision, .. } | Observed::Lost { after: revision }, false) => {
                put(Some(Expect::NotAfter(*revision)))
            }
            (Observed::Superseded { .. }, false) => Step::Idle(Revision::default()),
            (Observed::Unknown, false) => Step::Read,
        }
    }

    fn has_companions(&self) -> bool {
        !self.records.is_empty() || self.mirror.as_ref().is_some_and(|mirror| !mirror.is_empty())
    }

    fn mirror_key_to_read(&self) -> Option<&Key> {
        self.mirror.as_ref().and_then(|mirror| mirror.key_to_read())
    }

    /// The keys that [`Step::Read`] reads. `entry` is the slot's own key.
    pub(super) fn keys_to_read(&self, entry: &Key) -> Vec<Key> {
        let entry = (self.entry_step() == Step::Read).then_some(entry);
        entry.into_iter().chain(self.mirror_key_to_read()).chain(self.records.keys_to_read()).cloned().collect()
    }

    /// The capacity on leases that the next commit needs, for the entry and for its records.
    pub(super) fn leases_needed(&self) -> (usize, usize) {
        let entry = self.lease.is_none() && matches!(self.step(), Step::Put { .. });
        (usize::from(entry), self.records.leases_needed())
    }

    /// Reserves that capacity. Returns whether there was enough.
    pub(super) fn reserve_leases(&mut self, step: &Step, entries: &mut Leases, records: &mut Leases) -> bool {
        let is_put = matches!(step, Step::Put { .. });
        if is_put && self.lease.is_none() {
            self.lease = entries.reserve();
        }
        self.records.reserve_leases(records) && !(is_put && self.lease.is_none())
    }

    /// The writes of a step: the entry's own, if there is one, and those of its companions.
    pub(super) fn writes(&self, key: &Key, step: &Step) -> Vec<(SlotWrite, Write)> {
        let entry = self.entry_write(key, step);
        let mirror = self.mirror_writes(step).into_iter().map(|(purpose, write)| (SlotWrite::Mirror(purpose), write));
        let records = self.records.writes().map(|(purpose, write)| (SlotWrite::Record(purpose), write));
        entry.into_iter().chain(mirror).chain(records).collect()
    }

    fn entry_write(&self, key: &Key, step: &Step) -> Option<(SlotWrite, Write)> {
        let (purpose, guard, op) = match step {
            Step::Put { value, guard } => {
                let op = Op::Put { key: key.clone(), value: value.clone(), lease: self.lease };
                (SlotWrite::Put(value.clone()), *guard, Some(op))
            }
            Step::Confirm { revision } => (SlotWrite::Confirm(*revision), Some(Expect::AtRevision(*revision)), None),
            Step::Delete { guard } => (SlotWrite::Delete(*guard), Some(*guard), Some(Op::Delete { key: key.clone() })),
            Step::Idle(_) | Step::Forget | Step::Read => return None,
        };
        let guards = guard.map(|expect| Guard { key: key.clone(), expect }).into_iter().collect();
        Some((purpose, Write { guards, ops: op.into_iter().collect() }))
    }

    fn mirror_writes(&self, step: &Step) -> Vec<(MirrorWrite, Write)> {
        let (Some(mirror), Some(lease)) = (&self.mirror, self.lease) else { return Vec::new() };
        let entry_present = matches!(step, Step::Put { .. } | Step::Confirm { .. })
            || self.is_claimed() && matches!(self.observed, Observed::Present { .. });
        mirror.writes(lease, entry_present)
    }

    /// The removal reason of the entry, if the step removes it.
    pub(super) fn removal_reason(&self, step: &Step) -> Option<RemovalReason> {
        matches!(step, Step::Delete { .. }).then_some(self.removal_reason)
    }

    /// Notes that a write is sent.
    pub(super) fn sent(&mut self, write: &SlotWrite) {
        if let (Some(mirror), SlotWrite::Mirror(write)) = (&mut self.mirror, write) {
            mirror.sent(write);
        }
    }
}

/// Outcomes, reads and events: the transitions of the observed state.
impl Slot {
    /// Applies the outcome of a write of the commit at `revision`.
    pub(super) fn complete(&mut self, write: SlotWrite, outcome: Outcome, revision: Revision) -> Effect {
        match (write, outcome) {
            (SlotWrite::Put(value), Outcome::Done) => {
                self.put_done(revision, value);
                Effect::Visible(revision)
            }
            (SlotWrite::Put(_), Outcome::Refused) => {
                self.superseded(revision);
                Effect::Visible(Revision::default())
            }
            (SlotWrite::Confirm(confirmed), Outcome::Done) => Effect::Visible(confirmed),
            (SlotWrite::Confirm(_), Outcome::Refused) => {
                // The client's value is not stored any more, and replaces the newer one.
                self.superseded(revision);
                self.dirty = true;
                Effect::Retry
            }
            (SlotWrite::Delete(_), Outcome::Done) => {
                self.delete_done(revision);
                Effect::Visible(revision)
            }
            (SlotWrite::Delete(guard), Outcome::Refused) => {
                self.delete_refused(guard);
                Effect::Visible(Revision::default())
            }
            (SlotWrite::Mirror(write), outcome) => self.mirror_done(write, outcome),
            (SlotWrite::Record(write), outcome) => {
                self.records.complete(&write, outcome).map_or(Effect::None, Effect::Released)
            }
        }
    }

    /// Returns whether the waiting clients still have to wait although the entry is written.
    pub(super) fn has_pending_companions(&self) -> bool {
        self.step() == Step::Read || !self.records.is_synced()
    }

    fn mirror_done(&mut self, write: MirrorWrite, outcome: Outcome) -> Effect {
        let retry = matches!((&write, outcome), (MirrorWrite::Put(_), Outcome::Refused));
        if let Some(mirror) = &mut self.mirror {
            mirror.complete(write, outcome);
        }
        if retry { Effect::Retry } else { Effect::None }
    }

    /// A newer event of the feed takes precedence over the response to the commit.
    fn put_done(&mut self, revision: Revision, value: Bytes) {
        self.observed = match std::mem::replace(&mut self.last_event, Observed::Absent) {
            last_event if last_event.revision().is_some_and(|seen| seen > revision) => last_event,
            _ => Observed::Present { revision, value },
        };
    }

    /// The guard of a put or of a confirmation did not hold: the store has something newer.
    fn superseded(&mut self, revision: Revision) {
        self.observed = Observed::Superseded { at: revision };
        self.mark_companions_uncertain();
    }

    fn mark_companions_uncertain(&mut self) {
        self.records.mark_uncertain();
        if let Some(mirror) = &mut self.mirror {
            mirror.mark_uncertain();
        }
    }

    fn delete_done(&mut self, revision: Revision) {
        let last_event = std::mem::replace(&mut self.last_event, Observed::Absent);
        self.observed = match last_event {
            Observed::Present { revision: seen, .. } if seen > revision => last_event,
            _ => Observed::Absent,
        };
    }

    /// The stored value is not this node's, unless the feed has delivered a put of this node since the delete was
    /// planned. If it delivers that put later, it does so to a slot that is created for it.
    fn delete_refused(&mut self, guard: Expect) {
        if self.step() == (Step::Delete { guard }) {
            self.observed = Observed::Absent;
        }
    }

    /// The stored state is unknown: a commit has no response, or the store lost its history.
    pub(super) fn mark_unknown(&mut self) {
        self.observed = Observed::Unknown;
    }

    /// Applies the result of reading the entry's key at revision `at`.
    pub(super) fn observe(&mut self, found: Option<Item>, at: Revision) {
        match found {
            None => self.observed = Observed::Lost { after: at },
            Some(item) if item.lease.is_some() && item.lease == self.lease => {
                self.observed = Observed::Present { revision: item.revision, value: item.value };
            }
            Some(item) => self.superseded(item.revision),
        }
    }

    /// Reading the entry's key found it on a former lease of this node, which is about to be revoked. The empty value
    /// differs from every wanted one, so the entry moves to another lease.
    pub(super) fn observe_on_former_lease(&mut self, revision: Revision) {
        self.observed = Observed::Present { revision, value: Bytes::new() };
    }

    /// Applies the result of reading the mirror's first key, unless a claim has changed the mirror since.
    pub(super) fn observe_mirror(&mut self, key: &Key, found: Option<Item>) {
        if let Some(mirror) = self.mirror.as_mut().filter(|mirror| mirror.key_to_read() == Some(key)) {
            mirror.observe(found, self.lease);
        }
    }

    /// Applies the result of reading a record's key (see [`Records::observe`]).
    pub(super) fn observe_record(&mut self, key: &Key, found: Option<LeaseId>) -> Option<(ClaimId, Option<LeaseId>)> {
        self.records.observe(key, found)
    }

    /// The lease of the entry is gone, together with the entry. Returns whether there is something to do.
    pub(super) fn lease_lost(&mut self) -> bool {
        self.lease = None;
        if let Some(mirror) = &mut self.mirror {
            mirror.lease_lost();
        }
        match self.observed {
            Observed::Present { revision, .. } => self.observed = Observed::Lost { after: revision },
            Observed::Unknown => self.observed = Observed::Lost { after: Revision::default() },
            Observed::Absent | Observed::Lost { .. } | Observed::Superseded { .. } => return false,
        }
        true
    }

    /// A lease of records is gone. Returns whether there is something to do.
    pub(super) fn record_lease_lost(&mut self, lease: LeaseId) -> bool {
        self.records.lease_lost(lease)
    }

    /// The feed delivered the removal of the key. Returns whether there is something to do.
    pub(super) fn on_delete(&mut self, revision: Revision) -> bool {
        self.last_event = Observed::Lost { after: revision };
        match self.observed {
            Observed::Present { revision: seen, .. } | Observed::Superseded { at: seen } if revision > seen => {
                self.observed = Observed::Lost { after: revision };
                true
            }
            _ => false,
        }
    }

    /// The feed delivered a put on a lease of this node. Mostly it is a put whose response this slot has, or is about
    /// to receive. But it may come from a commit that was abandoned because etcd hung: a request that is cancelled here
    /// may have been received there, and take effect after later writes. Returns whether there is something to do.
    pub(super) fn on_put_on_own_lease(&mut self, revision: Revision, lease: LeaseId, value: Bytes) -> bool {
        // On a lease other than this slot's the entry cannot stay, whatever its value.
        let value = if self.lease == Some(lease) { value } else { Bytes::new() };
        let last_event = Observed::Present { revision, value };
        self.last_event = last_event.clone();
        let changed = match &self.observed {
            Observed::Absent => self.claims.is_empty(),
            Observed::Unknown => true,
            observed => observed.revision().is_some_and(|seen| revision > seen),
        };
        if changed {
            self.observed = last_event;
        }
        changed
    }

    /// The feed delivered a put by another writer. Returns whether there is something to do.
    pub(super) fn on_put_by_other(&mut self, revision: Revision) -> bool {
        self.last_event = Observed::Superseded { at: revision };
        match self.observed {
            Observed::Present { revision: seen, .. } if revision > seen => self.superseded(revision),
            Observed::Superseded { .. } => self.records.mark_uncertain(),
            _ => {}
        }
        self.step() == Step::Read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: LeaseId = LeaseId(7);
    const A: Bytes = Bytes::from_static(b"a");
    const B: Bytes = Bytes::from_static(b"b");

    fn item(revision: u64, lease: LeaseId) -> Item {
        Item { key: Key::from("/k"), value: A, revision: Revision(revision), lease: Some(lease) }
    }

    /// A slot whose value is stored at a revision.
    fn at(revision: u64) -> Slot {
        let mut slot = Slot::new();
        slot.set_value(ClaimId(1), A);
        slot.lease = Some(LEASE);
        slot.dirty = false;
        slot.put_done(Revision(revision), A);
        slot
    }

    #[test]
    fn a_claims_value_replaces_whatever_is_stored() {
        let mut slot = Slot::new();
        slot.set_value(ClaimId(1), A);
        assert_eq!(slot.step(), Step::Put { value: A, guard: None });
        let mut slot = at(5);
        slot.on_put_by_other(Revision(6));
        assert_eq!(slot.step(), Step::Idle(Revision(0)), "the other value is newer, and no client has set one since");
        slot.set_value(ClaimId(2), A);
        assert_eq!(slot.step(), Step::Put { value: A, guard: None });
    }

    #[test]
    fn an_unchanged_value_is_only_confirmed() {
        let mut slot = at(5);
        slot.set_value(ClaimId(2), A);
        assert_eq!(slot.step(), Step::Confirm { revision: Revision(5) });
        slot.superseded(Revision(6));
        assert_eq!(slot.step(), Step::Put { value: A, guard: None }, "it was not this node's any more");
    }

    #[test]
    fn the_last_released_claim_deletes_only_our_write() {
        let mut slot = at(5);
        slot.set_value(ClaimId(2), B);
        slot.dirty = false;
        slot.put_done(Revision(6), B);
        slot.drop_claim(ClaimId(2), RemovalReason::Deregistered);
        let restore = Step::Put { value: A, guard: Some(Expect::NotAfter(Revision(6))) };
        assert_eq!(slot.step(), restore, "the value of the remaining claim");
        slot.drop_claim(ClaimId(1), RemovalReason::Deregistered);
        assert_eq!(slot.step(), Step::Delete { guard: Expect::AtRevision(Revision(6)) });
        slot.delete_done(Revision(7));
        assert_eq!(slot.step(), Step::Forget);
    }

    #[test]
    fn a_late_put_is_deleted_or_replaced() {
        // No claim is left.
        let mut slot = Slot::new();
        assert!(slot.on_put_on_own_lease(Revision(9), LEASE, A));
        let guard = Expect::AtRevision(Revision(9));
        assert_eq!(slot.step(), Step::Delete { guard });
        slot.delete_refused(guard);
        assert_eq!(slot.step(), Step::Forget, "another client was quicker");

        // A newer value is wanted.
        let mut slot = at(5);
        assert!(!slot.on_put_on_own_lease(Revision(5), LEASE, A), "the known put");
        assert!(slot.on_put_on_own_lease(Revision(9), LEASE, B));
        assert_eq!(slot.step(), Step::Put { value: A, guard: Some(Expect::NotAfter(Revision(9))) });
        slot.put_done(Revision(10), A);
        assert!(slot.on_put_on_own_lease(Revision(11), LeaseId(8), A));
        assert_eq!(
            slot.step(),
            Step::Put { value: A, guard: Some(Expect::NotAfter(Revision(11))) },
            "to its own lease"
        );

        // While the entry is being removed.
        let mut slot = at(5);
        slot.drop_claim(ClaimId(1), RemovalReason::Deregistered);
        let guard = Expect::AtRevision(Revision(5));
        assert_eq!(slot.step(), Step::Delete { guard });
        slot.on_put_on_own_lease(Revision(9), LEASE, A);
        slot.delete_refused(guard);
        assert_eq!(slot.step(), Step::Delete { guard: Expect::AtRevision(Revision(9)) });
        slot.on_put_on_own_lease(Revision(12), LEASE, A);
        slot.delete_done(Revision(10));
        assert_eq!(slot.step(), Step::Delete { guard: Expect::AtRevision(Revision(12)) });
    }

    #[test]
    fn a_lost_entry_is_put_again_unless_superseded() {
        let mut slot = at(5);
        assert!(!slot.on_delete(Revision(4)), "an older event");
        assert!(slot.on_delete(Revision(9)));
        assert_eq!(slot.step(), Step::Put { value: A, guard: Some(Expect::NotAfter(Revision(9))) });
        slot.superseded(Revision(10));
        assert_eq!(slot.step(), Step::Idle(Revision(0)));
        assert!(slot.on_delete(Revision(11)), "the other node removed it: the put is due again");
        assert_eq!(slot.step(), Step::Put { value: A, guard: Some(Expect::NotAfter(Revision(11))) });
    }

    #[test]
    fn a_lost_lease_means_a_guarded_put() {
        let mut slot = at(5);
        assert!(slot.lease_lost());
        assert_eq!(slot.step(), Step::Put { value: A, guard: Some(Expect::NotAfter(Revision(5))) });
        slot.drop_claim(ClaimId(1), RemovalReason::Deregistered);
        assert_eq!(slot.step(), Step::Forget, "the lease removed it");
    }

    #[test]
    fn an_unknown_outcome_is_read_or_deleted_by_lease() {
        let mut slot = at(5);
        slot.mark_unknown();
        assert_eq!(slot.step(), Step::Read);
        slot.observe(Some(item(8, LEASE)), Revision(9));
        assert_eq!(slot.step(), Step::Idle(Revision(8)));
        slot.mark_unknown();
        slot.observe(Some(item(9, LeaseId(8))), Revision(9));
        assert_eq!(slot.step(), Step::Idle(Revision(0)), "another node's");
        slot.mark_unknown();
        slot.drop_claim(ClaimId(1), RemovalReason::Deregistered);
        assert_eq!(slot.step(), Step::Delete { guard: Expect::OnLease(LEASE) });
    }

    #[test]
    fn a_newer_event_overrides_the_commit_response() {
        let mut slot = at(5);
        assert!(slot.on_delete(Revision(12)));
        slot.put_done(Revision(11), A);
        assert_eq!(slot.step(), Step::Put { value: A, guard: Some(Expect::NotAfter(Revision(12))) });
        slot.put_done(Revision(13), A);
        assert_eq!(slot.step(), Step::Idle(Revision(13)));
        let mut new = Slot::new();
        new.set_value(ClaimId(1), A);
        new.dirty = false;
        assert!(!new.on_delete(Revision(3)), "nothing can be lost before the response");
        new.put_done(Revision(2), A);
        assert_eq!(new.step(), Step::Put { value: A, guard: Some(Expect::NotAfter(Revision(3))) });
    }
}
