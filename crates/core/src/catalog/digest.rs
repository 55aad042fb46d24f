//! State digests: one number for all items of a part at one revision. Two states with the same number are the same.
//!
//! A revision alone is a position in *a* history. When etcd is restored from a backup and continues, it assigns the
//! same revisions again, and a revision of the earlier history could be mistaken for one of the current history. Every
//! node computes the same digest at the same revision of the same history, whichever intermediate states it received,
//! and needs nothing in the store for it.
//!
//! The digest is a sum over the items, so the cost of a change is proportional to the change. It does not resist
//! an attacker who constructs two states with one digest; such an attacker would gain nothing.
//!
//! Owns: the digest, and the digests at recent revisions. Does not own: their use ([`super::history`]).

use super::position::{PerPart, Position, Revisions};
use skyhound_base::hash;
use skyhound_model::{Key, Revision};
use std::collections::VecDeque;

/// The number of recent digests: one before each change that [`super::history`] holds, and one after the last. An older
/// digest belongs to a reader that was disconnected for too long to be resumed.
pub(super) const DIGESTS_MAX: usize = 8193;

/// A sum over items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct StateDigest(u64);

impl StateDigest {
    /// Adds an item, identified by its key and the revision that put it.
    pub(super) fn add(&mut self, key: &Key, put: Revision) {
        self.0 = self.0.wrapping_add(item(key, put));
    }

    /// Removes an item that was added.
    pub(super) fn remove(&mut self, key: &Key, put: Revision) {
        self.0 = self.0.wrapping_sub(item(key, put));
    }

    /// Returns the digest of two parts of a store.
    pub(super) fn combine(self, other: Self) -> u64 {
        // A plain sum would not change if an item moved from one part to the other.
        self.0.wrapping_add(other.0.rotate_left(32))
    }
}

/// FNV-1a over the key and the revision that put it, which identifies the value; then spread over all bits by the end of
/// splitmix64, because sums of similar hashes would be similar. Written out because all nodes must compute the same.
fn item(key: &Key, put: Revision) -> u64 {
    let bytes = key.as_bytes().iter().copied().chain(put.0.to_be_bytes());
    let hash =
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    hash::mix(hash)
}

/// A revision of a part, with the digest of the part at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct PartState {
    pub(super) revision: Revision,
    pub(super) digest: StateDigest,
}

impl PerPart<PartState> {
    pub(super) fn revisions(&self) -> Revisions {
        Revisions { primary: self.primary.revision, mirror: self.mirror.revision }
    }

    pub(super) fn position(&self) -> Position {
        Position { revisions: self.revisions(), digest: self.primary.digest.combine(self.mirror.digest) }
    }
}

/// The digests of one part at the revisions that changed it, in the order of revisions.
#[derive(Debug)]
pub(super) struct DigestHistory(VecDeque<PartState>);

impl Default for DigestHistory {
    /// The digest of an empty part before the first revision.
    fn default() -> Self {
        Self::starting_at(PartState::default())
    }
}

impl DigestHistory {
    /// A history without any earlier digest.
    pub(super) fn starting_at(state: PartState) -> Self {
        Self(VecDeque::from([state]))
    }

    /// Appends a state, unless its digest is that of the last state.
    pub(super) fn push(&mut self, state: PartState) {
        match self.0.back_mut() {
            Some(last) if last.digest == state.digest => return,
            // A comparison with a listing added changes that a feed had lost.
            Some(last) if last.revision == state.revision => return *last = state,
            _ => self.0.push_back(state),
        }
        if self.0.len() > DIGESTS_MAX {
            self.0.pop_front();
        }
    }

    /// Returns the digest at a revision; `None` if the revision is too old.
    pub(super) fn at(&self, revision: Revision) -> Option<StateDigest> {
        let first_after = self.0.partition_point(|state| state.revision <= revision);
        first_after.checked_sub(1).map(|last| self.0[last].digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(items: &[(&str, u64)]) -> StateDigest {
        let mut digest = StateDigest::default();
        for (key, put) in items {
            digest.add(&Key::from(*key), Revision(*put));
        }
        digest
    }

    #[test]
    fn the_digest_depends_on_items_and_not_on_their_order() {
        let both = digest(&[("/a", 1), ("/b", 2)]);
        assert_eq!(both, digest(&[("/b", 2), ("/a", 1)]));
        let mut detour = digest(&[("/a", 1), ("/b", 1), ("/c", 3)]);
        detour.remove(&Key::from("/c"), Revision(3));
        detour.remove(&Key::from("/b"), Revision(1));
        detour.add(&Key::from("/b"), Revision(2));
        assert_eq!(both, detour);
        for other in [&[("/a", 2), ("/b", 1)][..], &[("/a", 1)], &[("/a", 1), ("/b", 3)], &[]] {
            assert_ne!(both, digest(other), "{other:?}");
        }
        assert_ne!(both.combine(StateDigest::default()), StateDigest::default().combine(both));
        // All nodes must compute this.
        assert_eq!(digest(&[("/a", 1)]).0, 12_917_771_772_937_236_455);
    }

    #[test]
    fn between_changes_the_earlier_digest_holds() {
        let (none, one, two) = (StateDigest::default(), digest(&[("/a", 5)]), digest(&[("/a", 9)]));
        let state = |revision, digest| PartState { revision: Revision(revision), digest };
        let mut digests = DigestHistory::starting_at(state(3, none));
        digests.push(state(5, one));
        digests.push(state(7, one));
        digests.push(state(9, two));
        let at = |revision| digests.at(Revision(revision));
        assert_eq!(
            [at(2), at(3), at(4), at(5), at(8), at(9), at(99)],
            [None, Some(none), Some(none), Some(one), Some(one), Some(two), Some(two)]
        );
        for n in 0..DIGESTS_MAX as u64 {
            digests.push(state(10 + n, digest(&[("/a", 10 + n)])));
        }
        assert_eq!((digests.at(Revision(9)), digests.at(Revision(10))), (None, Some(digest(&[("/a", 10)]))));
    }
}
