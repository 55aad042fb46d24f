//! One entry that this node holds, as a state machine: what its peers want against what the store has.
//!
//! Synchronous, without store and clock. The [`writer`](super::writer) asks every changed slot for its
//! [`Step`], does it, and tells the slot what came of it. Because a step is derived from the state and not
//! from the call that caused it, a retry, a burst and a release that meets a new registration are all
//! the same case.

use super::RegisterError;
use super::mirror::{MirrorState, MirrorWrite};
use super::records::{RecordWrite, Records};
use bytes::Bytes;
use skyhound_model::removal::RemovalReason;
use skyhound_model::{Key, MirrorKey};
use skyhound_store::{Expect, LeaseId, Outcome, Revision, Write};
use tokio::sync::oneshot;

/// A claim's number, unique within this process.
pub(super) type ClaimId = u64;
/// Hears what came of a change: the revision that a reader has to have seen.
pub(super) type Waiter = oneshot::Sender<Result<Revision, RegisterError>>;

/// What the store has of a slot, as far as this node knows.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Observed {
    /// Never written.
    Absent,
    /// Ours, put at this revision.
    Present { revision: Revision, value: Bytes },
    /// It was there and is not any more, though nobody here let go: its lease ran out, or somebody removed
    /// it. Nothing newer than `after` is ours to replace.
    Lost { after: Revision },
    /// Another node has put it anew; theirs is newer.
    Superseded { at: Revision },
    /// A commit failed without an answer: it may have happened, on our lease.
    Unknown,
}

impl Observed {
    /// The revision up to which it is known.
    fn seen(&self) -> Option<Revision> {
        match self {
            Self::Absent | Self::Unknown => None,
            Self::Present { revision: seen, .. } | Self::Lost { after: seen } | Self::Superseded { at: seen } => {
                Some(*seen)
            }
        }
    }
}

/// A write that goes in the entry's transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CompanionWrite {
    Mirror(MirrorWrite),
    Record(RecordWrite),
}

impl CompanionWrite {
    pub(super) fn key(&self) -> &Key {
        match self {
            Self::Mirror(write) => write.key(),
            Self::Record(write) => write.key(),
        }
    }
}

/// What to do next about a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing: the store has what is wanted since this revision.
    Idle(Revision),
    /// Nothing, and nobody is interested any more.
    Forget,
    /// Put the value on the slot's lease.
    Put { value: Bytes, guard: Option<Expect> },
    /// A peer said what stands there already: see that it still does. The feed may be behind, and what is
    /// not ours any more goes when another node lets go of it.
    Confirm { revision: Revision },
    /// Remove it.
    Delete { guard: Expect },
    /// Read the key to learn what the last commit did.
    Read,
}

/// One entry with the claims on it.
#[derive(Debug)]
pub(super) struct Slot {
    /// In the order in which they spoke last; the last one's value is the one that is wanted.
    claims: Vec<(ClaimId, Bytes)>,
    /// Why the last one ended.
    removal_reason: RemovalReason,
    observed: Observed,
    /// A peer has spoken since the last write. Its word replaces whatever stands there, whoever wrote it;
    /// without it a write only restores, and must not replace anything newer.
    pub(super) dirty: bool,
    /// The last thing that the feed told of the key. It may be heard before the answer to an earlier commit
    /// of ours, and counts more than that.
    last_event: Observed,
    /// The entry's second key, if a claim ever wanted one.
    pub(super) mirror: Option<Box<MirrorState>>,
    /// The records of the ids under which claims are held.
    pub(super) records: Records,
    /// The lease where the entry has a place.
    pub(super) lease: Option<LeaseId>,
    pub(super) waiters: Vec<Waiter>,
    /// Whether it waits for the writer already.
    pub(super) queued: bool,
}

impl Slot {
    pub(super) fn new() -> Self {
        Self {
            // Nearly always it stays at one; the first push into an empty one makes room for four.
            claims: Vec::with_capacity(1),
            removal_reason: RemovalReason::Deregistered,
            observed: Observed::Absent,
            dirty: false,
            last_event: Observed::Absent,
            mirror: None,
            records: Records::default(),
            lease: None,
            waiters: Vec::new(),
            queued: false,
        }
    }

    /// A claim says what it wants, for the first time or anew. Returns what it wanted before.
    pub(super) fn set_value(&mut self, claim: ClaimId, value: Bytes) -> Option<Bytes> {
        let before = self.remove_claim(claim);
        self.claims.push((claim, value));
        self.dirty = true;
        before
    }

    /// A claim ends. Returns what it wanted.
    pub(super) fn drop_claim(&mut self, claim: ClaimId, reason: RemovalReason) -> Option<Bytes> {
        self.removal_reason = reason;
        if let Some(mirror) = &mut self.mirror {
            mirror.end(claim);
        }
        self.records.end(claim);
        self.remove_claim(claim)
    }

    /// A claim is another node's now. Says whether it was one.
    pub(super) fn taken_over(&mut self, claim: ClaimId) -> bool {
        if let Some(mirror) = &mut self.mirror {
            mirror.end(claim);
        }
        self.remove_claim(claim).is_some()
    }

    /// Why nobody wants the entry any more.
    pub(super) fn removal_reason(&self) -> RemovalReason {
        self.removal_reason
    }

    /// A claim ends without a reason that anybody is told.
    pub(super) fn remove_claim(&mut self, claim: ClaimId) -> Option<Bytes> {
        let at = self.claims.iter().position(|(id, _)| *id == claim)?;
        Some(self.claims.remove(at).1)
    }

    /// A claim wants a second key, as long as it lives.
    pub(super) fn set_mirror(&mut self, claim: ClaimId, mirror: MirrorKey) {
        self.mirror.get_or_insert_default().set(claim, mirror);
    }

    /// What is to be written beside the step.
    pub(super) fn companion_writes(&self, step: &Step) -> Vec<(CompanionWrite, Write)> {
        let records = self.records.writes().into_iter().map(|(write, how)| (CompanionWrite::Record(write), how));
        let (Some(mirror), Some(lease)) = (&self.mirror, self.lease) else { return records.collect() };
        let entry_present = matches!(step, Step::Put { .. } | Step::Confirm { .. })
            || !self.claims.is_empty() && matches!(self.observed, Observed::Present { .. });
        mirror
            .writes(lease, entry_present)
            .into_iter()
            .map(|(write, how)| (CompanionWrite::Mirror(write), how))
            .chain(records)
            .collect()
    }

    /// A write beside the step is on its way.
    pub(super) fn companion_sent(&mut self, write: &CompanionWrite) {
        if let (Some(mirror), CompanionWrite::Mirror(write)) = (&mut self.mirror, write) {
            mirror.sent(write);
        }
    }

    /// What became of a write beside the step. Returns the place of a record that is free.
    pub(super) fn companion_done(&mut self, write: CompanionWrite, outcome: Outcome) -> Option<LeaseId> {
        match (write, &mut self.mirror) {
            (CompanionWrite::Mirror(write), Some(mirror)) => mirror.complete(write, outcome),
            (CompanionWrite::Mirror(_), None) => {}
            (CompanionWrite::Record(write), _) => return self.records.complete(&write, outcome),
        }
        None
    }

    /// A claim that lives is told again to what stands there, if another has written it since. Says whether there is
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

    /// Reading a key that is not the entry's own showed this.
    pub(super) fn observe_companion(&mut self, found: Option<(Revision, Option<LeaseId>, Bytes)>) {
        if let Some(mirror) = &mut self.mirror {
            mirror.observe(found, self.lease);
        }
    }

    /// The keys to read before the next step can be done.
    pub(super) fn keys_to_read(&self, own: &Key) -> Vec<Key> {
        let entry = (self.entry_step() == Step::Read).then_some(own);
        let mirror = self.mirror.as_ref().and_then(|mirror| mirror.key_to_read());
        entry.into_iter().chain(mirror).chain(self.records.keys_to_read()).cloned().collect()
    }

    pub(super) fn claims(&self) -> usize {
        self.claims.len()
    }

    pub(super) fn step(&self) -> Step {
        // Before what vanished is put again: its claim may have been taken over, and ended, by another node.
        if self.records.keys_to_read().next().is_some() {
            return Step::Read;
        }
        match self.entry_step() {
            Step::Forget if !self.records.is_empty() => Step::Idle(Revision::default()),
            Step::Forget if self.mirror.as_ref().is_some_and(|mirror| !mirror.is_empty()) => {
                Step::Idle(Revision::default())
            }
            Step::Idle(_) if self.mirror.as_ref().is_some_and(|mirror| mirror.key_to_read().is_some()) => Step::Read,
            step => step,
        }
    }

    /// The step of the entry alone.
    fn entry_step(&self) -> Step {
        let Some((_, wanted)) = self.claims.last() else {
            return match (&self.observed, self.lease) {
                (Observed::Present { revision, .. }, _) => Step::Delete { guard: Expect::AtRevision(*revision) },
                // What hangs on our lease is ours: nobody else has it.
                (Observed::Unknown, Some(lease)) => Step::Delete { guard: Expect::OnLease(lease) },
                _ => Step::Forget,
            };
        };
        let put = |guard| Step::Put { value: wanted.clone(), guard };
        match &self.observed {
            Observed::Present { revision, value } if value == wanted && self.dirty => {
                Step::Confirm { revision: *revision }
            }
            Observed::Present { revision, value } if value == wanted => Step::Idle(*revision),
            _ if self.dirty => put(None),
            Observed::Absent => put(None),
            Observed::Present { revision, .. } => put(Some(Expect::NotAfter(*revision))),
            Observed::Lost { after } => put(Some(Expect::NotAfter(*after))),
            Observed::Superseded { .. } => Step::Idle(Revision::default()),
            Observed::Unknown => Step::Read,
        }
    }

    /// The put happened. What was heard of the key after that revision counts more.
    pub(super) fn put_done(&mut self, revision: Revision, value: Bytes) {
        self.observed = match std::mem::replace(&mut self.last_event, Observed::Absent) {
            last_event if last_event.seen().is_some_and(|seen| seen > revision) => last_event,
            _ => Observed::Present { revision, value },
        };
    }

    /// A guard did not hold: something newer stands there.
    pub(super) fn superseded(&mut self, revision: Revision) {
        self.observed = Observed::Superseded { at: revision };
        self.mark_uncertain();
    }

    /// Another has written the entry.
    fn mark_uncertain(&mut self) {
        self.records.mark_uncertain();
        if let Some(mirror) = &mut self.mirror {
            mirror.mark_uncertain();
        }
    }

    /// The removal happened at this revision.
    pub(super) fn delete_done(&mut self, revision: Revision) {
        let last_event = std::mem::replace(&mut self.last_event, Observed::Absent);
        self.observed = match last_event {
            Observed::Present { revision: seen, .. } if seen > revision => last_event,
            _ => Observed::Absent,
        };
    }

    /// The removal was refused, because something else stands there: not ours, unless the feed has said so
    /// since the removal was planned (it still says so to whoever has no slot).
    pub(super) fn delete_refused(&mut self, guard: Expect) {
        if self.step() == (Step::Delete { guard }) {
            self.observed = Observed::Absent;
        }
    }

    /// What the store has is not known: a commit got no answer, or the store lost its history.
    pub(super) fn mark_unknown(&mut self) {
        self.observed = Observed::Unknown;
    }

    /// Reading the key showed this; settles [`Step::Read`].
    pub(super) fn observe(&mut self, found: Option<(Revision, Option<LeaseId>, Bytes)>, at: Revision) {
        self.observed = match found {
            None => Observed::Lost { after: at },
            Some((revision, lease, value)) if lease.is_some() && lease == self.lease => {
                Observed::Present { revision, value }
            }
            Some((revision, ..)) => Observed::Superseded { at: revision },
        };
        if matches!(self.observed, Observed::Superseded { .. }) {
            self.mark_uncertain();
        }
    }

    /// Reading the key showed it on a lease that was ours and is about to end: it moves to another.
    pub(super) fn observe_on_former_lease(&mut self, revision: Revision) {
        self.observed = Observed::Present { revision, value: Bytes::new() };
    }

    /// The lease is gone, and the key with it. Says whether there is something to do.
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

    /// The feed told that the key is gone. Says whether there is something to do.
    pub(super) fn on_delete(&mut self, revision: Revision) -> bool {
        self.last_event = Observed::Lost { after: revision };
        match self.observed {
            Observed::Present { revision: ours, .. } if revision > ours => {}
            Observed::Superseded { at } if revision > at => {}
            _ => return false,
        }
        self.observed = Observed::Lost { after: revision };
        true
    }

    /// The feed told of a put on one of our leases. Mostly it is the one that this slot knows of, or is about
    /// to hear of. But it may come from a commit that was given up because etcd hung: what is cancelled
    /// here may have been received there, and be done later than what was written since. Says whether
    /// there is something to do.
    pub(super) fn on_own_put(&mut self, revision: Revision, lease: LeaseId, value: Bytes) -> bool {
        // On a lease that is not this slot's it cannot stay, whatever its value.
        let value = if self.lease == Some(lease) { value } else { Bytes::new() };
        let last_event = Observed::Present { revision, value };
        self.last_event = last_event.clone();
        let changed = match &self.observed {
            Observed::Absent => self.claims.is_empty(),
            Observed::Unknown => true,
            observed => observed.seen().is_some_and(|known| revision > known),
        };
        if changed {
            self.observed = last_event;
        }
        changed
    }

    /// The feed told that somebody else put the key.
    pub(super) fn on_foreign_put(&mut self, revision: Revision) -> bool {
        self.last_event = Observed::Superseded { at: revision };
        match self.observed {
            Observed::Present { revision: ours, .. } if revision > ours => self.superseded(revision),
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

    fn at(revision: u64) -> Slot {
        let mut slot = Slot::new();
        slot.set_value(1, A);
        slot.lease = Some(LEASE);
        slot.dirty = false;
        slot.put_done(Revision(revision), A);
        slot
    }

    #[test]
    fn a_claims_value_replaces_whatever_is_stored() {
        let mut slot = Slot::new();
        slot.set_value(1, A);
        assert_eq!(slot.step(), Step::Put { value: A, guard: None });
        let mut slot = at(5);
        slot.on_foreign_put(Revision(6));
        assert_eq!(slot.step(), Step::Idle(Revision(0)), "theirs is newer, and nobody here has spoken since");
        slot.set_value(2, A);
        assert_eq!(slot.step(), Step::Put { value: A, guard: None });
    }

    #[test]
    fn an_unchanged_value_is_only_confirmed() {
        let mut slot = at(5);
        slot.set_value(2, A);
        assert_eq!(slot.step(), Step::Confirm { revision: Revision(5) });
        slot.superseded(Revision(6));
        assert_eq!(slot.step(), Step::Put { value: A, guard: None }, "it was not ours any more");
    }

    #[test]
    fn the_last_released_claim_deletes_only_our_write() {
        let mut slot = at(5);
        slot.set_value(2, B);
        slot.dirty = false;
        slot.put_done(Revision(6), B);
        slot.drop_claim(2, RemovalReason::Deregistered);
        let restore = Step::Put { value: A, guard: Some(Expect::NotAfter(Revision(6))) };
        assert_eq!(slot.step(), restore, "who is left is described by its own word");
        slot.drop_claim(1, RemovalReason::Deregistered);
        assert_eq!(slot.step(), Step::Delete { guard: Expect::AtRevision(Revision(6)) });
        slot.delete_done(Revision(7));
        assert_eq!(slot.step(), Step::Forget);
    }

    #[test]
    fn a_late_put_is_deleted_or_replaced() {
        // Nobody is interested any more.
        let mut slot = Slot::new();
        assert!(slot.on_own_put(Revision(9), LEASE, A));
        let guard = Expect::AtRevision(Revision(9));
        assert_eq!(slot.step(), Step::Delete { guard });
        slot.delete_refused(guard);
        assert_eq!(slot.step(), Step::Forget, "somebody else was quicker");

        // Another word was said since.
        let mut slot = at(5);
        assert!(!slot.on_own_put(Revision(5), LEASE, A), "that is the one that is known");
        assert!(slot.on_own_put(Revision(9), LEASE, B));
        assert_eq!(slot.step(), Step::Put { value: A, guard: Some(Expect::NotAfter(Revision(9))) });
        slot.put_done(Revision(10), A);
        assert!(slot.on_own_put(Revision(11), LeaseId(8), A));
        assert_eq!(
            slot.step(),
            Step::Put { value: A, guard: Some(Expect::NotAfter(Revision(11))) },
            "to its own lease"
        );

        // While it is being removed.
        let mut slot = at(5);
        slot.drop_claim(1, RemovalReason::Deregistered);
        let guard = Expect::AtRevision(Revision(5));
        assert_eq!(slot.step(), Step::Delete { guard });
        slot.on_own_put(Revision(9), LEASE, A);
        slot.delete_refused(guard);
        assert_eq!(slot.step(), Step::Delete { guard: Expect::AtRevision(Revision(9)) });
        slot.on_own_put(Revision(12), LEASE, A);
        slot.delete_done(Revision(10));
        assert_eq!(slot.step(), Step::Delete { guard: Expect::AtRevision(Revision(12)) });
    }

    #[test]
    fn a_lost_entry_is_put_again_unless_superseded() {
        let mut slot = at(5);
        assert!(!slot.on_delete(Revision(4)), "that was before");
        assert!(slot.on_delete(Revision(9)));
        assert_eq!(slot.step(), Step::Put { value: A, guard: Some(Expect::NotAfter(Revision(9))) });
        slot.superseded(Revision(10));
        assert_eq!(slot.step(), Step::Idle(Revision(0)));
        assert!(slot.on_delete(Revision(11)), "the other one left: ours is due again");
        assert_eq!(slot.step(), Step::Put { value: A, guard: Some(Expect::NotAfter(Revision(11))) });
    }

    #[test]
    fn a_lost_lease_means_a_guarded_put() {
        let mut slot = at(5);
        assert!(slot.lease_lost());
        assert_eq!(slot.step(), Step::Put { value: A, guard: Some(Expect::NotAfter(Revision(5))) });
        slot.drop_claim(1, RemovalReason::Deregistered);
        assert_eq!(slot.step(), Step::Forget, "it went with the lease");
    }

    #[test]
    fn an_unknown_outcome_is_read_or_deleted_by_lease() {
        let mut slot = at(5);
        slot.mark_unknown();
        assert_eq!(slot.step(), Step::Read);
        slot.observe(Some((Revision(8), Some(LEASE), A)), Revision(9));
        assert_eq!(slot.step(), Step::Idle(Revision(8)));
        slot.mark_unknown();
        slot.observe(Some((Revision(9), Some(LeaseId(8)), A)), Revision(9));
        assert_eq!(slot.step(), Step::Idle(Revision(0)), "another's");
        slot.mark_unknown();
        slot.drop_claim(1, RemovalReason::Deregistered);
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
        new.set_value(1, A);
        new.dirty = false;
        assert!(!new.on_delete(Revision(3)), "nothing is known to be lost before the answer");
        new.put_done(Revision(2), A);
        assert_eq!(new.step(), Step::Put { value: A, guard: Some(Expect::NotAfter(Revision(3))) });
    }
}
