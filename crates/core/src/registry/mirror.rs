//! The mirror key of an entry: a second key for programs that read another layout ([`MirrorKey`]).
//!
//! Synchronous, without store and clock, like the slot that owns it. Entry and mirror are written in one transaction,
//! each as a write of its own, so that a mirror key that another writer holds is never mistaken for a superseded entry.
//! A mirror is attached to its entry's lease and shares its capacity there. Only that lease shows who wrote it, because
//! no feed delivers changes of its key.
//!
//! A [`MirrorKey`] names two keys. Two instances at one address want the same first key; the instance that comes second
//! uses its second key, which names the port. The put depends on the state of the first key:
//!
//! | first key | put | after a refusal |
//! |---|---|---|
//! | untried: nothing is known, it may be free | first key, if it is absent | refused |
//! | refused: it exists and has to be read | none | – |
//! | adoptable: this very value, on the lease of another skyhound | first key, if it is still at that revision | refused |
//! | taken: another value, or not a skyhound's | second key, unguarded | – |
//!
//! A key that may exist on the slot's lease and is not wanted is deleted, guarded by that lease.

use super::ClaimId;
use skyhound_model::{Key, MirrorKey};
use skyhound_store::{Expect, Guard, Item, LeaseId, Op, Outcome, Revision, Write};

/// The first key, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum FirstKey {
    /// Nothing is known: it may be free.
    #[default]
    Untried,
    /// It exists. Reading it shows whether it is this very mirror, left by a daemon that stopped or written by another
    /// node.
    Refused,
    /// It is this very mirror, on the lease of a skyhound: this node may take it over.
    Adoptable(Revision),
    /// It belongs to another writer.
    Taken,
}

/// The purpose of one write of a mirror.
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
    /// In the order in which the claims set them; the last one is wanted.
    claims: Vec<(ClaimId, MirrorKey)>,
    first: FirstKey,
    /// The key that holds the wanted value.
    current: Option<Key>,
    /// The keys that may exist on the slot's lease, including those of commits without a response.
    possible: Vec<Key>,
}

impl MirrorState {
    /// Sets the mirror of a claim, which is then the wanted one.
    pub(super) fn set(&mut self, claim: ClaimId, mirror: MirrorKey) {
        self.change_claims(|claims| {
            claims.retain(|(id, _)| *id != claim);
            claims.push((claim, mirror));
        });
    }

    /// Removes the mirror of a claim.
    pub(super) fn end(&mut self, claim: ClaimId) {
        self.change_claims(|claims| claims.retain(|(id, _)| *id != claim));
    }

    fn change_claims(&mut self, change: impl FnOnce(&mut Vec<(ClaimId, MirrorKey)>)) {
        let before = self.wanted().cloned();
        change(&mut self.claims);
        if before.as_ref() != self.wanted() {
            self.mark_uncertain();
        }
    }

    fn wanted(&self) -> Option<&MirrorKey> {
        self.claims.last().map(|(_, mirror)| mirror)
    }

    /// Returns whether no claim wants a mirror and the store holds none on the slot's lease.
    pub(super) fn is_empty(&self) -> bool {
        self.claims.is_empty() && self.possible.is_empty()
    }

    /// Forgets the state of the first key: another node has written the entry, and may have taken over the mirror.
    pub(super) fn mark_uncertain(&mut self) {
        (self.current, self.first) = (None, FirstKey::Untried);
    }

    /// The lease is gone, together with all keys on it.
    pub(super) fn lease_lost(&mut self) {
        self.possible.clear();
        self.mark_uncertain();
    }

    /// The key to read before anything can be written.
    pub(super) fn key_to_read(&self) -> Option<&Key> {
        self.wanted().filter(|_| self.first == FirstKey::Refused).map(|mirror| &mirror.keys[0])
    }

    /// Applies the result of reading the first key. `slot_lease` is the lease of the entry.
    pub(super) fn observe(&mut self, found: Option<Item>, slot_lease: Option<LeaseId>) {
        let Some(MirrorKey { keys: [key, _], value }) = self.wanted().cloned() else { return };
        self.possible.retain(|possible| *possible != key);
        self.first = match found {
            None => FirstKey::Untried,
            Some(item) if item.value != value => FirstKey::Taken,
            // The put of a commit without a response, or of an entry that was superseded and is this node's again.
            Some(item) if item.lease.is_some() && item.lease == slot_lease => {
                self.current = Some(key.clone());
                self.note_possible(key);
                FirstKey::Untried
            }
            Some(item) if item.lease.is_some_and(LeaseId::is_ours) => FirstKey::Adoptable(item.revision),
            Some(_) => FirstKey::Taken,
        };
    }

    fn note_possible(&mut self, key: Key) {
        if !self.possible.contains(&key) {
            self.possible.push(key);
        }
    }

    /// The writes on the slot's lease that are due. `entry_present`: the entry is in the store, or about to be put.
    pub(super) fn writes(&self, lease: LeaseId, entry_present: bool) -> Vec<(MirrorWrite, Write)> {
        let put = if entry_present { self.put(lease) } else { None };
        put.into_iter().chain(self.deletes(lease)).collect()
    }

    fn put(&self, lease: LeaseId) -> Option<(MirrorWrite, Write)> {
        let mirror = self.wanted().filter(|_| self.current.is_none())?;
        let (key, expect) = match self.first {
            FirstKey::Untried => (&mirror.keys[0], Some(Expect::NotAfter(Revision::default()))),
            FirstKey::Refused => return None,
            FirstKey::Adoptable(revision) => (&mirror.keys[0], Some(Expect::AtRevision(revision))),
            FirstKey::Taken => (&mirror.keys[1], None),
        };
        let guards = expect.map(|expect| Guard { key: key.clone(), expect }).into_iter().collect();
        let ops = vec![Op::Put { key: key.clone(), value: mirror.value.clone(), lease: Some(lease) }];
        Some((MirrorWrite::Put(key.clone()), Write { guards, ops }))
    }

    /// Deletes of the keys that may exist and are not wanted. While the wanted value is not stored, nothing is deleted,
    /// because its key may be one of them.
    fn deletes(&self, lease: LeaseId) -> impl Iterator<Item = (MirrorWrite, Write)> {
        let is_obsolete = |possible: &&Key| match self.wanted() {
            None => true,
            Some(_) => self.current.as_ref().is_some_and(|current| current != *possible),
        };
        self.possible.iter().filter(is_obsolete).map(move |key| {
            // A key that another writer has overwritten is not on this lease.
            let guards = vec![Guard { key: key.clone(), expect: Expect::OnLease(lease) }];
            (MirrorWrite::Delete(key.clone()), Write { guards, ops: vec![Op::Delete { key: key.clone() }] })
        })
    }

    /// Notes that a write is sent. A put may take effect even if its response is lost.
    pub(super) fn sent(&mut self, write: &MirrorWrite) {
        if let MirrorWrite::Put(key) = write {
            self.note_possible(key.clone());
        }
    }

    /// Applies the outcome of a write.
    pub(super) fn complete(&mut self, write: MirrorWrite, outcome: Outcome) {
        match (write, outcome) {
            (MirrorWrite::Delete(key), _) => self.possible.retain(|possible| *possible != key),
            (MirrorWrite::Put(key), Outcome::Done) => {
                // Another mirror may be wanted by now.
                if self.wanted().is_some_and(|mirror| mirror.keys.contains(&key)) {
                    self.current = Some(key);
                }
            }
            // The key stays possible: the guard also refuses if an earlier commit of this node has put it.
            (MirrorWrite::Put(_), Outcome::Refused) => self.first = FirstKey::Refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    const LEASE: LeaseId = LeaseId(7);

    fn mirror() -> MirrorKey {
        let keys = [Key::from("service/web/10.0.0.1"), Key::from("service/web/10.0.0.1:80")];
        MirrorKey { keys, value: Bytes::from_static(b"10.0.0.1:80") }
    }

    fn item(revision: u64, lease: Option<LeaseId>) -> Item {
        let MirrorKey { keys: [key, _], value } = mirror();
        Item { key, value, revision: Revision(revision), lease }
    }

    fn state() -> MirrorState {
        let mut state = MirrorState::default();
        state.set(ClaimId(1), mirror());
        state
    }

    /// The only due write, noted as sent.
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
        assert_eq!(state.writes(LEASE, true), [], "it has to be read first");
        state.observe(Some(item(3, None)), Some(LEASE));
        let (write, guard) = due(&mut state);
        assert_eq!((&write, guard), (&MirrorWrite::Put(second.clone()), None));
        state.complete(write, Outcome::Done);
        assert_eq!(state.writes(LEASE, true), []);

        state.end(ClaimId(1));
        assert!(!state.is_empty());
        let (write, guard) = due(&mut state);
        assert_eq!((&write, guard), (&MirrorWrite::Delete(second), Some(Expect::OnLease(LEASE))));
        state.complete(write, Outcome::Refused);
        assert!(state.is_empty(), "another writer has overwritten it");
    }

    #[test]
    fn an_equal_mirror_of_another_daemon_is_adopted() {
        let mut state = state();
        let (write, _) = due(&mut state);
        state.complete(write, Outcome::Refused);
        state.observe(Some(item(3, Some(LeaseId::random()))), Some(LEASE));
        assert_eq!(due(&mut state).1, Some(Expect::AtRevision(Revision(3))));
    }

    #[test]
    fn a_mirror_of_an_unknown_outcome_is_found_again() {
        let mut state = state();
        due(&mut state);
        let (write, guard) = due(&mut state);
        assert_eq!(guard, ABSENT, "the put is repeated");
        state.complete(write, Outcome::Refused);
        state.observe(Some(item(3, Some(LEASE))), Some(LEASE));
        assert_eq!(state.writes(LEASE, true), []);
        state.end(ClaimId(1));
        assert_eq!(due(&mut state).1, Some(Expect::OnLease(LEASE)));
    }

    #[test]
    fn a_mirror_is_put_again_only_with_its_entry() {
        let mut state = state();
        assert_eq!(state.writes(LEASE, false), [], "the entry belongs to another node");
        let (write, _) = due(&mut state);
        state.complete(write, Outcome::Done);
        state.lease_lost();
        assert_eq!(due(&mut state).1, ABSENT);
    }

    #[test]
    fn a_mirror_lives_as_long_as_a_claim_wants_it() {
        let mut state = state();
        state.set(ClaimId(2), mirror());
        let (write, _) = due(&mut state);
        state.complete(write, Outcome::Done);
        state.end(ClaimId(2));
        assert_eq!(state.writes(LEASE, true), [], "the other claim wants the same");
        state.end(ClaimId(1));
        assert!(matches!(due(&mut state).0, MirrorWrite::Delete(_)));
    }
}
