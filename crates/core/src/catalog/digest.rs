//! What the items of a store come to at one revision, as one number: two states with the same number are the same.
//!
//! A revision alone says how far a reader is in *a* history. When etcd is restored from a backup and goes on, its
//! revisions are told anew, and one of the history before may be taken for one of this. Every node comes to the same
//! number at the same revision of the same history, whatever it saw of the way there, and keeps nothing in the store
//! for it.
//!
//! The number is a sum over the items, so that a change costs what it changes. It is no protection against somebody
//! who wants two states to look alike, but nobody gains anything by that.

use skyhound_base::hash;
use skyhound_model::{Key, Revision};
use std::collections::VecDeque;

/// How many marks are remembered: one before each change that is, and one after the last. Older ones are of a reader who
/// was away for too long.
const DIGESTS_MAX: usize = super::history::WINDOW + 1;

/// A sum over items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct StateDigest(u64);

impl StateDigest {
    /// An item stands there.
    pub(super) fn add(&mut self, key: &Key, put: Revision) {
        self.0 = self.0.wrapping_add(item(key, put));
    }

    /// It does not any more.
    pub(super) fn remove(&mut self, key: &Key, put: Revision) {
        self.0 = self.0.wrapping_sub(item(key, put));
    }

    /// The mark of two parts of a store.
    pub(super) fn combine(self, other: Self) -> u64 {
        // Not a plain sum: what moves from one part to the other makes a difference.
        self.0.wrapping_add(other.0.rotate_left(32))
    }
}

/// FNV-1a over the key and the revision that put it, which says the value; then spread over all bits (the end of
/// splitmix64), because sums of hashes that resemble each other would, too. Written out here because all nodes have to
/// agree on it.
fn item(key: &Key, put: Revision) -> u64 {
    let bytes = key.as_bytes().iter().copied().chain(put.0.to_be_bytes());
    let hash =
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    hash::mix(hash)
}

/// The marks of one part at the revisions that changed it.
#[derive(Debug)]
pub(super) struct DigestHistory(VecDeque<(Revision, StateDigest)>);

impl Default for DigestHistory {
    /// Nothing, before the first revision.
    fn default() -> Self {
        Self::from(Revision(0), StateDigest::default())
    }
}

impl DigestHistory {
    /// Nothing is known of what was before this.
    pub(super) fn from(revision: Revision, digest: StateDigest) -> Self {
        Self(VecDeque::from([(revision, digest)]))
    }

    pub(super) fn push(&mut self, revision: Revision, digest: StateDigest) {
        match self.0.back_mut() {
            Some((_, last)) if *last == digest => return,
            // A comparison mended what a feed had lost.
            Some((at, last)) if *at == revision => return *last = digest,
            _ => self.0.push_back((revision, digest)),
        }
        if self.0.len() > DIGESTS_MAX {
            self.0.pop_front();
        }
    }

    /// The mark at a revision; `None` when it is not remembered.
    pub(super) fn at(&self, revision: Revision) -> Option<StateDigest> {
        let first_after = self.0.partition_point(|(at, _)| *at <= revision);
        first_after.checked_sub(1).map(|last| self.0[last].1)
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
        // All nodes have to come to this.
        assert_eq!(digest(&[("/a", 1)]).0, 12_917_771_772_937_236_455);
    }

    #[test]
    fn between_changes_the_earlier_digest_holds() {
        let (none, one, two) = (StateDigest::default(), digest(&[("/a", 5)]), digest(&[("/a", 9)]));
        let mut digests = DigestHistory::from(Revision(3), none);
        digests.push(Revision(5), one);
        digests.push(Revision(7), one);
        digests.push(Revision(9), two);
        let at = |revision| digests.at(Revision(revision));
        assert_eq!(
            [at(2), at(3), at(4), at(5), at(8), at(9), at(99)],
            [None, Some(none), Some(none), Some(one), Some(one), Some(two), Some(two)]
        );
        for n in 0..DIGESTS_MAX as u64 {
            digests.push(Revision(10 + n), digest(&[("/a", 10 + n)]));
        }
        assert_eq!((digests.at(Revision(9)), digests.at(Revision(10))), (None, Some(digest(&[("/a", 10)]))));
    }
}
