//! One entry that this node holds, as a state machine: what its peers want against what the store has.
//!
//! Synchronous, without store and clock. The [`writer`](super::writer) asks every changed slot for its
//! [`Step`], does it, and tells the slot what came of it. Because a step is derived from the state and not
//! from the call that caused it, a retry, a burst and a release that meets a new registration are all
//! the same case.

use super::RegisterError;
use super::records::{RecordWrite, Records};
use super::twin::{TwinPlace, TwinWrite};
use bytes::Bytes;
use skyhound_model::departure::Departure;
use skyhound_model::{Key, Twin};
use skyhound_store::{Expect, LeaseId, Outcome, Revision, Write};
use tokio::sync::oneshot;

/// A claim's number, unique within this process.
pub(super) type ClaimId = u64;
/// Hears what came of a change: the revision that a reader has to have seen.
pub(super) type Waiter = oneshot::Sender<Result<Revision, RegisterError>>;

/// What the store has of a slot, as far as this node knows.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Written {
    /// Never written.
    Nothing,
    /// Ours, put at this revision.
    At { revision: Revision, value: Bytes },
    /// It was there and is not any more, though nobody here let go: its lease ran out, or somebody removed
    /// it. Nothing newer than `after` is ours to replace.
    Lost { after: Revision },
    /// Another node has put it anew; theirs is newer.
    Overtaken { at: Revision },
    /// A commit failed without an answer: it may have happened, on our lease.
    Unknown,
}

impl Written {
    /// The revision up to which it is known.
    fn seen(&self) -> Option<Revision> {
        match self {
            Self::Nothing | Self::Unknown => None,
            Self::At { revision: seen, .. } | Self::Lost { after: seen } | Self::Overtaken { at: seen } => Some(*seen),
        }
    }
}

/// A write that goes in the entry's transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Beside {
    Twin(TwinWrite),
    Record(RecordWrite),
}

impl Beside {
    pub(super) fn key(&self) -> &Key {
        match self {
            Self::Twin(write) => write.key(),
            Self::Record(write) => write.key(),
        }
    }
}

/// What to do next about a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing: the store has what is wanted since this revision.
    Rest(Revision),
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
    Look,
}

/// One entry with the claims on it.
#[derive(Debug)]
pub(super) struct Slot {
    /// In the order in which they spoke last; the last one's value is the one that is wanted.
    claims: Vec<(ClaimId, Bytes)>,
    /// Why the last one ended.
    departure: Departure,
    written: Written,
    /// A peer has spoken since the last write. Its word replaces whatever stands there, whoever wrote it;
    /// without it a write only restores, and must not replace anything newer.
    pub(super) fresh: bool,
    /// The last thing that the feed told of the key. It may be heard before the answer to an earlier commit
    /// of ours, and counts more than that.
    heard: Written,
    /// The entry's second key, if a claim ever wanted one.
    pub(super) twin: Option<Box<TwinPlace>>,
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
            departure: Departure::Left,
            written: Written::Nothing,
            fresh: false,
            heard: Written::Nothing,
            twin: None,
            records: Records::default(),
            lease: None,
            waiters: Vec::new(),
            queued: false,
        }
    }

    /// A claim says what it wants, for the first time or anew. Returns what it wanted before.
    pub(super) fn say(&mut self, claim: ClaimId, value: Bytes) -> Option<Bytes> {
        let before = self.leave(claim);
        self.claims.push((claim, value));
        self.fresh = true;
        before
    }

    /// A claim ends. Returns what it wanted.
    pub(super) fn drop_claim(&mut self, claim: ClaimId, why: Departure) -> Option<Bytes> {
        self.departure = why;
        if let Some(twin) = &mut self.twin {
            twin.end(claim);
        }
        self.records.end(claim);
        self.leave(claim)
    }

    /// A claim is another node's now. Says whether it was one.
    pub(super) fn taken_over(&mut self, claim: ClaimId) -> bool {
        if let Some(twin) = &mut self.twin {
            twin.end(claim);
        }
        self.leave(claim).is_some()
    }

    /// Why nobody wants the entry any more.
    pub(super) fn departure(&self) -> Departure {
        self.departure
    }

    /// A claim ends without a reason that anybody is told.
    pub(super) fn leave(&mut self, claim: ClaimId) -> Option<Bytes> {
        let at = self.claims.iter().position(|(id, _)| *id == claim)?;
        Some(self.claims.remove(at).1)
    }

    /// A claim wants a second key, as long as it lives.
    pub(super) fn say_twin(&mut self, claim: ClaimId, twin: Twin) {
        self.twin.get_or_insert_default().say(claim, twin);
    }

    /// What is to be written beside the step.
    pub(super) fn beside(&self, step: &Step) -> Vec<(Beside, Write)> {
        let records = self.records.writes().into_iter().map(|(write, how)| (Beside::Record(write), how));
        let (Some(twin), Some(lease)) = (&self.twin, self.lease) else { return records.collect() };
        let stands = matches!(step, Step::Put { .. } | Step::Confirm { .. })
            || !self.claims.is_empty() && matches!(self.written, Written::At { .. });
        twin.writes(lease, stands).into_iter().map(|(write, how)| (Beside::Twin(write), how)).chain(records).collect()
    }

    /// A write beside the step is on its way.
    pub(super) fn planned_beside(&mut self, write: &Beside) {
        if let (Some(twin), Beside::Twin(write)) = (&mut self.twin, write) {
            twin.planned(write);
        }
    }

    /// What became of a write beside the step. Returns the place of a record that is free.
    pub(super) fn done_beside(&mut self, write: Beside, outcome: Outcome) -> Option<LeaseId> {
        match (write, &mut self.twin) {
            (Beside::Twin(write), Some(twin)) => twin.done(write, outcome),
            (Beside::Twin(_), None) => {}
            (Beside::Record(write), _) => return self.records.done(&write, outcome),
        }
        None
    }

    /// A claim that lives is told again to what stands there, if another has written it since. Says whether there is
    /// something to do.
    pub(super) fn say_again(&mut self, claim: ClaimId) -> bool {
        if !matches!(self.written, Written::Overtaken { .. }) {
            return false;
        }
        let Some(value) = self.leave(claim) else { return false };
        self.say(claim, value);
        self.records.renew(claim);
        true
    }

    /// Reading a key that is not the entry's own showed this.
    pub(super) fn looked_beside(&mut self, found: Option<(Revision, Option<LeaseId>, Bytes)>) {
        if let Some(twin) = &mut self.twin {
            twin.looked(found, self.lease);
        }
    }

    /// The keys to read before the next step can be done.
    pub(super) fn look(&self, own: &Key) -> Vec<Key> {
        let entry = (self.entry_step() == Step::Look).then_some(own);
        let twin = self.twin.as_ref().and_then(|twin| twin.look());
        entry.into_iter().chain(twin).chain(self.records.look()).cloned().collect()
    }

    pub(super) fn claims(&self) -> usize {
        self.claims.len()
    }

    pub(super) fn step(&self) -> Step {
        // Before what vanished is put again: its claim may have been taken over, and ended, by another node.
        if self.records.look().next().is_some() {
            return Step::Look;
        }
        match self.entry_step() {
            Step::Forget if !self.records.is_over() => Step::Rest(Revision::default()),
            Step::Forget if self.twin.as_ref().is_some_and(|twin| !twin.is_over()) => Step::Rest(Revision::default()),
            Step::Rest(_) if self.twin.as_ref().is_some_and(|twin| twin.look().is_some()) => Step::Look,
            step => step,
        }
    }

    /// The step of the entry alone.
    fn entry_step(&self) -> Step {
        let Some((_, wanted)) = self.claims.last() else {
            return match (&self.written, self.lease) {
                (Written::At { revision, .. }, _) => Step::Delete { guard: Expect::At(*revision) },
                // What hangs on our lease is ours: nobody else has it.
                (Written::Unknown, Some(lease)) => Step::Delete { guard: Expect::On(lease) },
                _ => Step::Forget,
            };
        };
        let put = |guard| Step::Put { value: wanted.clone(), guard };
        match &self.written {
            Written::At { revision, value } if value == wanted && self.fresh => Step::Confirm { revision: *revision },
            Written::At { revision, value } if value == wanted => Step::Rest(*revision),
            _ if self.fresh => put(None),
            Written::Nothing => put(None),
            Written::At { revision, .. } => put(Some(Expect::NotAfter(*revision))),
            Written::Lost { after } => put(Some(Expect::NotAfter(*after))),
            Written::Overtaken { .. } => Step::Rest(Revision::default()),
            Written::Unknown => Step::Look,
        }
    }

    /// The put happened. What was heard of the key after that revision counts more.
    pub(super) fn put_done(&mut self, revision: Revision, value: Bytes) {
        self.written = match std::mem::replace(&mut self.heard, Written::Nothing) {
            heard if heard.seen().is_some_and(|seen| seen > revision) => heard,
            _ => Written::At { revision, value },
        };
    }

    /// A guard did not hold: something newer stands there.
    pub(super) fn overtaken(&mut self, revision: Revision) {
        self.written = Written::Overtaken { at: revision };
        self.doubt();
    }

    /// Another has written the entry.
    fn doubt(&mut self) {
        self.records.doubt();
        if let Some(twin) = &mut self.twin {
            twin.doubt();
        }
    }

    /// The removal happened at this revision.
    pub(super) fn deleted(&mut self, revision: Revision) {
        let heard = std::mem::replace(&mut self.heard, Written::Nothing);
        self.written = match heard {
            Written::At { revision: seen, .. } if seen > revision => heard,
            _ => Written::Nothing,
        };
    }

    /// The removal was refused, because something else stands there: not ours, unless the feed has said so
    /// since the removal was planned (it still says so to whoever has no slot).
    pub(super) fn not_deleted(&mut self, guard: Expect) {
        if self.step() == (Step::Delete { guard }) {
            self.written = Written::Nothing;
        }
    }

    /// What the store has is not known: a commit got no answer, or the store lost its history.
    pub(super) fn unknown(&mut self) {
        self.written = Written::Unknown;
    }

    /// Reading the key showed this; settles [`Step::Look`].
    pub(super) fn looked(&mut self, found: Option<(Revision, Option<LeaseId>, Bytes)>, at: Revision) {
        self.written = match found {
            None => Written::Lost { after: at },
            Some((revision, lease, value)) if lease.is_some() && lease == self.lease => Written::At { revision, value },
            Some((revision, ..)) => Written::Overtaken { at: revision },
        };
        if matches!(self.written, Written::Overtaken { .. }) {
            self.doubt();
        }
    }

    /// Reading the key showed it on a lease that was ours and is about to end: it moves to another.
    pub(super) fn looked_at_former(&mut self, revision: Revision) {
        self.written = Written::At { revision, value: Bytes::new() };
    }

    /// The lease is gone, and the key with it. Says whether there is something to do.
    pub(super) fn lease_lost(&mut self) -> bool {
        self.lease = None;
        if let Some(twin) = &mut self.twin {
            twin.lease_lost();
        }
        match self.written {
            Written::At { revision, .. } => self.written = Written::Lost { after: revision },
            Written::Unknown => self.written = Written::Lost { after: Revision::default() },
            Written::Nothing | Written::Lost { .. } | Written::Overtaken { .. } => return false,
        }
        true
    }

    /// The feed told that the key is gone. Says whether there is something to do.
    pub(super) fn saw_delete(&mut self, revision: Revision) -> bool {
        self.heard = Written::Lost { after: revision };
        match self.written {
            Written::At { revision: ours, .. } if revision > ours => {}
            Written::Overtaken { at } if revision > at => {}
            _ => return false,
        }
        self.written = Written::Lost { after: revision };
        true
    }

    /// The feed told of a put on one of our leases. Mostly it is the one that this slot knows of, or is about
    /// to hear of. But it may come from a commit that was given up because etcd hung: what is cancelled
    /// here may have been received there, and be done later than what was written since. Says whether
    /// there is something to do.
    pub(super) fn saw_put_of_ours(&mut self, revision: Revision, lease: LeaseId, value: Bytes) -> bool {
        // On a lease that is not this slot's it cannot stay, whatever its value.
        let value = if self.lease == Some(lease) { value } else { Bytes::new() };
        let heard = Written::At { revision, value };
        self.heard = heard.clone();
        let news = match &self.written {
            Written::Nothing => self.claims.is_empty(),
            Written::Unknown => true,
            written => written.seen().is_some_and(|known| revision > known),
        };
        if news {
            self.written = heard;
        }
        news
    }

    /// The feed told that somebody else put the key.
    pub(super) fn saw_put_of_another(&mut self, revision: Revision) -> bool {
        self.heard = Written::Overtaken { at: revision };
        match self.written {
            Written::At { revision: ours, .. } if revision > ours => self.overtaken(revision),
            Written::Overtaken { .. } => self.records.doubt(),
            _ => {}
        }
        self.step() == Step::Look
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
        slot.say(1, A);
        slot.lease = Some(LEASE);
        slot.fresh = false;
        slot.put_done(Revision(revision), A);
        slot
    }

    #[test]
    fn a_word_is_written_whatever_stands_there() {
        let mut slot = Slot::new();
        slot.say(1, A);
        assert_eq!(slot.step(), Step::Put { value: A, guard: None });
        let mut slot = at(5);
        slot.saw_put_of_another(Revision(6));
        assert_eq!(slot.step(), Step::Rest(Revision(0)), "theirs is newer, and nobody here has spoken since");
        slot.say(2, A);
        assert_eq!(slot.step(), Step::Put { value: A, guard: None });
    }

    #[test]
    fn the_same_word_again_is_only_confirmed() {
        let mut slot = at(5);
        slot.say(2, A);
        assert_eq!(slot.step(), Step::Confirm { revision: Revision(5) });
        slot.overtaken(Revision(6));
        assert_eq!(slot.step(), Step::Put { value: A, guard: None }, "it was not ours any more");
    }

    #[test]
    fn the_last_to_leave_removes_what_was_written_here() {
        let mut slot = at(5);
        slot.say(2, B);
        slot.fresh = false;
        slot.put_done(Revision(6), B);
        slot.drop_claim(2, Departure::Left);
        let restore = Step::Put { value: A, guard: Some(Expect::NotAfter(Revision(6))) };
        assert_eq!(slot.step(), restore, "who is left is described by its own word");
        slot.drop_claim(1, Departure::Left);
        assert_eq!(slot.step(), Step::Delete { guard: Expect::At(Revision(6)) });
        slot.deleted(Revision(7));
        assert_eq!(slot.step(), Step::Forget);
    }

    #[test]
    fn what_arrives_after_it_was_given_up_is_removed_or_replaced() {
        // Nobody is interested any more.
        let mut slot = Slot::new();
        assert!(slot.saw_put_of_ours(Revision(9), LEASE, A));
        let guard = Expect::At(Revision(9));
        assert_eq!(slot.step(), Step::Delete { guard });
        slot.not_deleted(guard);
        assert_eq!(slot.step(), Step::Forget, "somebody else was quicker");

        // Another word was said since.
        let mut slot = at(5);
        assert!(!slot.saw_put_of_ours(Revision(5), LEASE, A), "that is the one that is known");
        assert!(slot.saw_put_of_ours(Revision(9), LEASE, B));
        assert_eq!(slot.step(), Step::Put { value: A, guard: Some(Expect::NotAfter(Revision(9))) });
        slot.put_done(Revision(10), A);
        assert!(slot.saw_put_of_ours(Revision(11), LeaseId(8), A));
        assert_eq!(
            slot.step(),
            Step::Put { value: A, guard: Some(Expect::NotAfter(Revision(11))) },
            "to its own lease"
        );

        // While it is being removed.
        let mut slot = at(5);
        slot.drop_claim(1, Departure::Left);
        let guard = Expect::At(Revision(5));
        assert_eq!(slot.step(), Step::Delete { guard });
        slot.saw_put_of_ours(Revision(9), LEASE, A);
        slot.not_deleted(guard);
        assert_eq!(slot.step(), Step::Delete { guard: Expect::At(Revision(9)) });
        slot.saw_put_of_ours(Revision(12), LEASE, A);
        slot.deleted(Revision(10));
        assert_eq!(slot.step(), Step::Delete { guard: Expect::At(Revision(12)) });
    }

    #[test]
    fn what_vanishes_under_a_living_claim_is_put_again_unless_newer_stands() {
        let mut slot = at(5);
        assert!(!slot.saw_delete(Revision(4)), "that was before");
        assert!(slot.saw_delete(Revision(9)));
        assert_eq!(slot.step(), Step::Put { value: A, guard: Some(Expect::NotAfter(Revision(9))) });
        slot.overtaken(Revision(10));
        assert_eq!(slot.step(), Step::Rest(Revision(0)));
        assert!(slot.saw_delete(Revision(11)), "the other one left: ours is due again");
        assert_eq!(slot.step(), Step::Put { value: A, guard: Some(Expect::NotAfter(Revision(11))) });
    }

    #[test]
    fn a_lost_lease_means_a_new_put_that_replaces_nothing_newer() {
        let mut slot = at(5);
        assert!(slot.lease_lost());
        assert_eq!(slot.step(), Step::Put { value: A, guard: Some(Expect::NotAfter(Revision(5))) });
        slot.drop_claim(1, Departure::Left);
        assert_eq!(slot.step(), Step::Forget, "it went with the lease");
    }

    #[test]
    fn an_answer_that_never_came_is_looked_up_or_removed_by_lease() {
        let mut slot = at(5);
        slot.unknown();
        assert_eq!(slot.step(), Step::Look);
        slot.looked(Some((Revision(8), Some(LEASE), A)), Revision(9));
        assert_eq!(slot.step(), Step::Rest(Revision(8)));
        slot.unknown();
        slot.looked(Some((Revision(9), Some(LeaseId(8)), A)), Revision(9));
        assert_eq!(slot.step(), Step::Rest(Revision(0)), "another's");
        slot.unknown();
        slot.drop_claim(1, Departure::Left);
        assert_eq!(slot.step(), Step::Delete { guard: Expect::On(LEASE) });
    }

    #[test]
    fn what_was_heard_before_the_commit_answered_counts_more() {
        let mut slot = at(5);
        assert!(slot.saw_delete(Revision(12)));
        slot.put_done(Revision(11), A);
        assert_eq!(slot.step(), Step::Put { value: A, guard: Some(Expect::NotAfter(Revision(12))) });
        slot.put_done(Revision(13), A);
        assert_eq!(slot.step(), Step::Rest(Revision(13)));
        let mut new = Slot::new();
        new.say(1, A);
        new.fresh = false;
        assert!(!new.saw_delete(Revision(3)), "nothing is known to be lost before the answer");
        new.put_done(Revision(2), A);
        assert_eq!(new.step(), Step::Put { value: A, guard: Some(Expect::NotAfter(Revision(3))) });
    }
}
