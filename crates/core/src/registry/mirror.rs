//! The second key of an entry, for programs that read another layout ([`MirrorKey`]): where it stands, and what to do
//! about it.
//!
//! Synchronous, without store and clock, as the slot that it belongs to. Mirror and entry are written in one
//! transaction, each as a write of its own: so that a key that somebody else holds is never taken for an entry that
//! was overtaken. A mirror hangs on its entry's lease and shares its place there; nothing but that lease says whose it
//! is, as no feed tells of its key.
//!
//! Two instances at one address want one first key. Who comes second gets the second key, which names the port.

use super::slot::ClaimId;
use bytes::Bytes;
use skyhound_model::{Key, MirrorKey};
use skyhound_store::{Expect, Guard, LeaseId, Op, Outcome, Revision, Write};

/// What is known of the first key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum FirstKey {
    /// Nothing: it may be free.
    #[default]
    Untried,
    /// Something stands there. Reading it shows whether that is this very mirror, left by a daemon that stopped or
    /// written by another node.
    Refused,
    /// It is this very mirror, on the lease of a skyhound: ours to take over.
    Adoptable(Revision),
    /// It is another's.
    Taken,
}

/// One write about a mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum MirrorWrite {
    Put(Key),
    Delete(Key),
}

impl MirrorWrite {
    pub(super) fn key(&self) -> &Key {
        match self {
            Self::Put(key) | Self::Delete(key) => key,
        }
    }
}

/// The mirror of one slot.
#[derive(Debug, Default)]
pub(super) struct MirrorState {
    /// In the order in which the claims spoke; the last one's is wanted.
    claims: Vec<(ClaimId, MirrorKey)>,
    first: FirstKey,
    /// Where it stands as it is wanted.
    current: Option<Key>,
    /// Where it may stand on the slot's lease, whatever answers got lost.
    possible: Vec<Key>,
}

impl MirrorState {
    pub(super) fn set(&mut self, claim: ClaimId, mirror: MirrorKey) {
        let before = self.wanted().cloned();
        self.claims.retain(|(id, _)| *id != claim);
        self.claims.push((claim, mirror));
        if before.as_ref() != self.wanted() {
            self.mark_uncertain();
        }
    }

    pub(super) fn end(&mut self, claim: ClaimId) {
        let before = self.wanted().cloned();
        self.claims.retain(|(id, _)| *id != claim);
        if before.as_ref() != self.wanted() {
            self.mark_uncertain();
        }
    }

    fn wanted(&self) -> Option<&MirrorKey> {
        self.claims.last().map(|(_, mirror)| mirror)
    }

    /// Whether nothing of it is left, here and in the store.
    pub(super) fn is_empty(&self) -> bool {
        self.claims.is_empty() && self.possible.is_empty()
    }

    /// Another node has written the entry: it may have taken over the mirror with it.
    pub(super) fn mark_uncertain(&mut self) {
        (self.current, self.first) = (None, FirstKey::Untried);
    }

    /// The lease is gone, and what hung on it.
    pub(super) fn lease_lost(&mut self) {
        self.possible.clear();
        self.mark_uncertain();
    }

    /// The key to read before anything can be done.
    pub(super) fn key_to_read(&self) -> Option<&Key> {
        self.wanted().filter(|_| self.first == FirstKey::Refused).map(|mirror| &mirror.keys[0])
    }

    /// Reading the first key showed this.
    pub(super) fn observe(&mut self, found: Option<(Revision, Option<LeaseId>, Bytes)>, own: Option<LeaseId>) {
        let Some(MirrorKey { keys: [key, _], value }) = self.wanted().cloned() else { return };
        self.possible.retain(|possible| *possible != key);
        self.first = match found {
            None => FirstKey::Untried,
            // A commit without an answer, or an entry that was overtaken and came back.
            Some((_, lease, found)) if found == value && lease.is_some() && lease == own => {
                self.current = Some(key.clone());
                self.note_possible(key);
                FirstKey::Untried
            }
            Some((revision, Some(lease), found)) if found == value && lease.is_ours() => FirstKey::Adoptable(revision),
            Some(_) => FirstKey::Taken,
        };
    }

    fn note_possible(&mut self, key: Key) {
        if !self.possible.contains(&key) {
            self.possible.push(key);
        }
    }

    /// What is to be written on the slot's lease; `put`: its entry stands there, or is about to.
    pub(super) fn writes(&self, lease: LeaseId, put: bool) -> Vec<(MirrorWrite, Write)> {
        let put = self.wanted().filter(|_| put && self.current.is_none() && self.key_to_read().is_none());
        let (key, guard) = match (put, self.first) {
            (None, _) => (None, None),
            (Some(mirror), FirstKey::Taken) => (Some(&mirror.keys[1]), None),
            (Some(mirror), FirstKey::Adoptable(revision)) => {
                (Some(&mirror.keys[0]), Some(Expect::AtRevision(revision)))
            }
            (Some(mirror), _) => (Some(&mirror.keys[0]), Some(Expect::NotAfter(Revision::default()))),
        };
        let mut writes = Vec::new();
        if let (Some(mirror), Some(key)) = (put, key) {
            let guards = guard.map(|expect| Guard { key: key.clone(), expect }).into_iter().collect();
            let ops = vec![Op::Put { key: key.clone(), value: mirror.value.clone(), lease: Some(lease) }];
            writes.push((MirrorWrite::Put(key.clone()), Write { guards, ops }));
        }
        // What another has written over it since does not hang on our lease.
        let obsolete = |possible: &&Key| match self.wanted() {
            None => true,
            Some(_) => self.current.as_ref().is_some_and(|current| current != *possible),
        };
        for key in self.possible.iter().filter(obsolete) {
            let guards = vec![Guard { key: key.clone(), expect: Expect::OnLease(lease) }];
            writes
                .push((MirrorWrite::Delete(key.clone()), Write { guards, ops: vec![Op::Delete { key: key.clone() }] }));
        }
        writes
    }

    /// A write is on its way: it counts whether its answer arrives or not.
    pub(super) fn sent(&mut self, write: &MirrorWrite) {
        if let MirrorWrite::Put(key) = write {
            self.note_possible(key.clone());
        }
    }

    /// What became of a write.
    pub(super) fn complete(&mut self, write: MirrorWrite, outcome: Outcome) {
        match (write, outcome) {
            (MirrorWrite::Delete(key), _) => self.possible.retain(|possible| *possible != key),
            (MirrorWrite::Put(key), Outcome::Done) => {
                // Unless another is wanted by now.
                if self.wanted().is_some_and(|mirror| mirror.keys.contains(&key)) {
                    self.current = Some(key);
                }
            }
            // It stays among those that may stand: the guard also refuses what an earlier commit put there.
            (MirrorWrite::Put(_), Outcome::Refused) => self.first = FirstKey::Refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: LeaseId = LeaseId(7);

    fn mirror() -> MirrorKey {
        let keys = [Key::from("service/web/10.0.0.1"), Key::from("service/web/10.0.0.1:80")];
        MirrorKey { keys, value: Bytes::from_static(b"10.0.0.1:80") }
    }

    fn state() -> MirrorState {
        let mut state = MirrorState::default();
        state.set(1, mirror());
        state
    }

    /// The one write that is due.
    fn due(state: &mut MirrorState) -> (MirrorWrite, Option<Expect>) {
        let mut writes = state.writes(LEASE, true);
        assert_eq!(writes.len(), 1, "{writes:?}");
        let (write, commit) = writes.remove(0);
        state.sent(&write);
        (write, commit.guards.first().map(|guard| guard.expect))
    }

    const ABSENT: Option<Expect> = Some(Expect::NotAfter(Revision(0)));

    #[test]
    fn the_first_key_is_used_if_free_else_the_second() {
        let [first, second] = mirror().keys;
        let mut state = state();
        let (write, guard) = due(&mut state);
        assert_eq!((&write, guard), (&MirrorWrite::Put(first.clone()), ABSENT));
        state.complete(write, Outcome::Refused);
        assert_eq!(state.key_to_read(), Some(&first));
        assert_eq!(state.writes(LEASE, true), [], "not before it was read");
        state.observe(Some((Revision(3), None, mirror().value)), Some(LEASE));
        let (write, guard) = due(&mut state);
        assert_eq!((&write, guard), (&MirrorWrite::Put(second.clone()), None));
        state.complete(write, Outcome::Done);
        assert_eq!(state.writes(LEASE, true), []);

        state.end(1);
        assert!(!state.is_empty());
        let (write, guard) = due(&mut state);
        assert_eq!((&write, guard), (&MirrorWrite::Delete(second), Some(Expect::OnLease(LEASE))));
        state.complete(write, Outcome::Refused);
        assert!(state.is_empty(), "who wrote over it owns it");
    }

    #[test]
    fn an_equal_mirror_of_another_daemon_is_adopted() {
        let mut state = state();
        let (write, _) = due(&mut state);
        state.complete(write, Outcome::Refused);
        state.observe(Some((Revision(3), Some(LeaseId::random()), mirror().value)), Some(LEASE));
        assert_eq!(due(&mut state).1, Some(Expect::AtRevision(Revision(3))));
    }

    #[test]
    fn a_mirror_of_an_unknown_outcome_is_found_again() {
        let mut state = state();
        due(&mut state);
        let (write, guard) = due(&mut state);
        assert_eq!(guard, ABSENT, "once more");
        state.complete(write, Outcome::Refused);
        state.observe(Some((Revision(3), Some(LEASE), mirror().value)), Some(LEASE));
        assert_eq!(state.writes(LEASE, true), []);
        state.end(1);
        assert_eq!(due(&mut state).1, Some(Expect::OnLease(LEASE)));
    }

    #[test]
    fn a_mirror_is_put_again_only_with_its_entry() {
        let mut state = state();
        assert_eq!(state.writes(LEASE, false), [], "the entry is another node's");
        let (write, _) = due(&mut state);
        state.complete(write, Outcome::Done);
        state.lease_lost();
        assert_eq!(due(&mut state).1, ABSENT);
    }

    #[test]
    fn a_mirror_lives_as_long_as_a_claim_wants_it() {
        let mut state = state();
        state.set(2, mirror());
        let (write, _) = due(&mut state);
        state.complete(write, Outcome::Done);
        state.end(2);
        assert_eq!(state.writes(LEASE, true), [], "the same is wanted still");
        state.end(1);
        assert!(matches!(due(&mut state).0, MirrorWrite::Delete(_)));
    }
}
