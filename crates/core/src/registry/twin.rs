//! The second key of an entry, for programs that read another layout ([`Twin`]): where it stands, and what to do
//! about it.
//!
//! Synchronous, without store and clock, as the slot that it belongs to. Twin and entry are written in one
//! transaction, each as a write of its own: so that a key that somebody else holds is never taken for an entry that
//! was overtaken. A twin hangs on its entry's lease and shares its place there; nothing but that lease says whose it
//! is, as no feed tells of its key.
//!
//! Two instances at one address want one first key. Who comes second gets the second key, which names the port.

use super::slot::ClaimId;
use bytes::Bytes;
use skyhound_model::{Key, Twin};
use skyhound_store::{Expect, Guard, LeaseId, Op, Outcome, Revision, Write};

/// What is known of the first key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum First {
    /// Nothing: it may be free.
    #[default]
    Untried,
    /// Something stands there. Reading it shows whether that is this very twin, left by a daemon that stopped or
    /// written by another node.
    Refused,
    /// It is this very twin, on the lease of a skyhound: ours to take over.
    Twin(Revision),
    /// It is another's.
    Taken,
}

/// One write about a twin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TwinWrite {
    Put(Key),
    Delete(Key),
}

impl TwinWrite {
    pub(super) fn key(&self) -> &Key {
        match self {
            Self::Put(key) | Self::Delete(key) => key,
        }
    }
}

/// The twin of one slot.
#[derive(Debug, Default)]
pub(super) struct TwinPlace {
    /// In the order in which the claims spoke; the last one's is wanted.
    claims: Vec<(ClaimId, Twin)>,
    first: First,
    /// Where it stands as it is wanted.
    placed: Option<Key>,
    /// Where it may stand on the slot's lease, whatever answers got lost.
    standing: Vec<Key>,
}

impl TwinPlace {
    pub(super) fn say(&mut self, claim: ClaimId, twin: Twin) {
        let before = self.wanted().cloned();
        self.claims.retain(|(id, _)| *id != claim);
        self.claims.push((claim, twin));
        if before.as_ref() != self.wanted() {
            self.doubt();
        }
    }

    pub(super) fn end(&mut self, claim: ClaimId) {
        let before = self.wanted().cloned();
        self.claims.retain(|(id, _)| *id != claim);
        if before.as_ref() != self.wanted() {
            self.doubt();
        }
    }

    fn wanted(&self) -> Option<&Twin> {
        self.claims.last().map(|(_, twin)| twin)
    }

    /// Whether nothing of it is left, here and in the store.
    pub(super) fn is_over(&self) -> bool {
        self.claims.is_empty() && self.standing.is_empty()
    }

    /// Another node has written the entry: it may have taken over the twin with it.
    pub(super) fn doubt(&mut self) {
        (self.placed, self.first) = (None, First::Untried);
    }

    /// The lease is gone, and what hung on it.
    pub(super) fn lease_lost(&mut self) {
        self.standing.clear();
        self.doubt();
    }

    /// The key to read before anything can be done.
    pub(super) fn look(&self) -> Option<&Key> {
        self.wanted().filter(|_| self.first == First::Refused).map(|twin| &twin.keys[0])
    }

    /// Reading the first key showed this.
    pub(super) fn looked(&mut self, found: Option<(Revision, Option<LeaseId>, Bytes)>, own: Option<LeaseId>) {
        let Some(Twin { keys: [key, _], value }) = self.wanted().cloned() else { return };
        self.standing.retain(|standing| *standing != key);
        self.first = match found {
            None => First::Untried,
            // A commit without an answer, or an entry that was overtaken and came back.
            Some((_, lease, found)) if found == value && lease.is_some() && lease == own => {
                self.placed = Some(key.clone());
                self.stands(key);
                First::Untried
            }
            Some((revision, Some(lease), found)) if found == value && lease.is_ours() => First::Twin(revision),
            Some(_) => First::Taken,
        };
    }

    fn stands(&mut self, key: Key) {
        if !self.standing.contains(&key) {
            self.standing.push(key);
        }
    }

    /// What is to be written on the slot's lease; `put`: its entry stands there, or is about to.
    pub(super) fn writes(&self, lease: LeaseId, put: bool) -> Vec<(TwinWrite, Write)> {
        let put = self.wanted().filter(|_| put && self.placed.is_none() && self.look().is_none());
        let (key, guard) = match (put, self.first) {
            (None, _) => (None, None),
            (Some(twin), First::Taken) => (Some(&twin.keys[1]), None),
            (Some(twin), First::Twin(revision)) => (Some(&twin.keys[0]), Some(Expect::At(revision))),
            (Some(twin), _) => (Some(&twin.keys[0]), Some(Expect::NotAfter(Revision::default()))),
        };
        let mut writes = Vec::new();
        if let (Some(twin), Some(key)) = (put, key) {
            let guards = guard.map(|expect| Guard { key: key.clone(), expect }).into_iter().collect();
            let ops = vec![Op::Put { key: key.clone(), value: twin.value.clone(), lease: Some(lease) }];
            writes.push((TwinWrite::Put(key.clone()), Write { guards, ops }));
        }
        // What another has written over it since does not hang on our lease.
        let over = |standing: &&Key| match self.wanted() {
            None => true,
            Some(_) => self.placed.as_ref().is_some_and(|placed| placed != *standing),
        };
        for key in self.standing.iter().filter(over) {
            let guards = vec![Guard { key: key.clone(), expect: Expect::On(lease) }];
            writes.push((TwinWrite::Delete(key.clone()), Write { guards, ops: vec![Op::Delete { key: key.clone() }] }));
        }
        writes
    }

    /// A write is on its way: it counts whether its answer arrives or not.
    pub(super) fn planned(&mut self, write: &TwinWrite) {
        if let TwinWrite::Put(key) = write {
            self.stands(key.clone());
        }
    }

    /// What became of a write.
    pub(super) fn done(&mut self, write: TwinWrite, outcome: Outcome) {
        match (write, outcome) {
            (TwinWrite::Delete(key), _) => self.standing.retain(|standing| *standing != key),
            (TwinWrite::Put(key), Outcome::Done) => {
                // Unless another is wanted by now.
                if self.wanted().is_some_and(|twin| twin.keys.contains(&key)) {
                    self.placed = Some(key);
                }
            }
            // It stays among those that may stand: the guard also refuses what an earlier commit put there.
            (TwinWrite::Put(_), Outcome::Refused) => self.first = First::Refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: LeaseId = LeaseId(7);

    fn twin() -> Twin {
        let keys = [Key::from("service/web/10.0.0.1"), Key::from("service/web/10.0.0.1:80")];
        Twin { keys, value: Bytes::from_static(b"10.0.0.1:80") }
    }

    fn place() -> TwinPlace {
        let mut place = TwinPlace::default();
        place.say(1, twin());
        place
    }

    /// The one write that is due.
    fn due(place: &mut TwinPlace) -> (TwinWrite, Option<Expect>) {
        let mut writes = place.writes(LEASE, true);
        assert_eq!(writes.len(), 1, "{writes:?}");
        let (write, commit) = writes.remove(0);
        place.planned(&write);
        (write, commit.guards.first().map(|guard| guard.expect))
    }

    const ABSENT: Option<Expect> = Some(Expect::NotAfter(Revision(0)));

    #[test]
    fn the_first_key_if_it_is_free_else_the_second() {
        let [first, second] = twin().keys;
        let mut place = place();
        let (write, guard) = due(&mut place);
        assert_eq!((&write, guard), (&TwinWrite::Put(first.clone()), ABSENT));
        place.done(write, Outcome::Refused);
        assert_eq!(place.look(), Some(&first));
        assert_eq!(place.writes(LEASE, true), [], "not before it was read");
        place.looked(Some((Revision(3), None, twin().value)), Some(LEASE));
        let (write, guard) = due(&mut place);
        assert_eq!((&write, guard), (&TwinWrite::Put(second.clone()), None));
        place.done(write, Outcome::Done);
        assert_eq!(place.writes(LEASE, true), []);

        place.end(1);
        assert!(!place.is_over());
        let (write, guard) = due(&mut place);
        assert_eq!((&write, guard), (&TwinWrite::Delete(second), Some(Expect::On(LEASE))));
        place.done(write, Outcome::Refused);
        assert!(place.is_over(), "who wrote over it owns it");
    }

    #[test]
    fn the_very_twin_of_a_skyhound_is_taken_over() {
        let mut place = place();
        let (write, _) = due(&mut place);
        place.done(write, Outcome::Refused);
        place.looked(Some((Revision(3), Some(LeaseId::random()), twin().value)), Some(LEASE));
        assert_eq!(due(&mut place).1, Some(Expect::At(Revision(3))));
    }

    #[test]
    fn what_an_answer_that_never_came_put_there_is_found_again() {
        let mut place = place();
        due(&mut place);
        let (write, guard) = due(&mut place);
        assert_eq!(guard, ABSENT, "once more");
        place.done(write, Outcome::Refused);
        place.looked(Some((Revision(3), Some(LEASE), twin().value)), Some(LEASE));
        assert_eq!(place.writes(LEASE, true), []);
        place.end(1);
        assert_eq!(due(&mut place).1, Some(Expect::On(LEASE)));
    }

    #[test]
    fn it_is_put_again_with_a_new_lease_and_only_beside_its_entry() {
        let mut place = place();
        assert_eq!(place.writes(LEASE, false), [], "the entry is another node's");
        let (write, _) = due(&mut place);
        place.done(write, Outcome::Done);
        place.lease_lost();
        assert_eq!(due(&mut place).1, ABSENT);
    }

    #[test]
    fn it_lives_as_long_as_a_claim_that_wants_it() {
        let mut place = place();
        place.say(2, twin());
        let (write, _) = due(&mut place);
        place.done(write, Outcome::Done);
        place.end(2);
        assert_eq!(place.writes(LEASE, true), [], "the same is wanted still");
        place.end(1);
        assert!(matches!(due(&mut place).0, TwinWrite::Delete(_)));
    }
}
