//! The leases of a node and the places on them.
//!
//! Owns: which lease an entry is attached to, and how many entries are attached to each. Does not own: granting,
//! renewing and revoking them in the store ([`super::session`]).

use skyhound_store::LeaseId;
use std::collections::BTreeMap;

/// The limit of entries on one lease. A lease that expires removes as many entries in one revision, and they are put
/// again in group commits.
pub(super) const ENTRIES_PER_LEASE: usize = 1000;

/// The two kinds of leases of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeaseKind {
    /// Leases of entries and of their mirror keys, with the TTL of the session.
    Entries,
    /// Leases of id records, with a TTL of their own ([`super::ids::RECORD_TTL`]).
    Records,
}

impl LeaseKind {
    pub(super) const ALL: [Self; 2] = [Self::Entries, Self::Records];

    /// The name in log messages.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Entries => "entries",
            Self::Records => "ids",
        }
    }
}

/// The leases of one kind, and how many entries are attached to each.
#[derive(Debug, Default)]
pub(super) struct Leases {
    entries: BTreeMap<LeaseId, usize>,
}

impl Leases {
    /// The number of entries that the leases can take before another one is needed.
    pub(super) fn capacity_left(&self) -> usize {
        self.entries.values().map(|used| ENTRIES_PER_LEASE - used).sum()
    }

    pub(super) fn add(&mut self, lease: LeaseId) {
        self.entries.insert(lease, 0);
    }

    /// Reserves capacity for one entry, on the fullest lease that has some, so that other leases become empty and can
    /// be revoked.
    pub(super) fn reserve(&mut self) -> Option<LeaseId> {
        let (lease, used) =
            self.entries.iter_mut().filter(|(_, used)| **used < ENTRIES_PER_LEASE).max_by_key(|(_, used)| **used)?;
        *used += 1;
        Some(*lease)
    }

    /// Returns the capacity of one entry. The lease may be gone already.
    pub(super) fn release(&mut self, lease: LeaseId) {
        if let Some(used) = self.entries.get_mut(&lease) {
            *used -= 1;
        }
    }

    pub(super) fn contains(&self, lease: LeaseId) -> bool {
        self.entries.contains_key(&lease)
    }

    pub(super) fn remove(&mut self, lease: LeaseId) {
        self.entries.remove(&lease);
    }

    pub(super) fn all(&self) -> Vec<LeaseId> {
        self.entries.keys().copied().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Removes and returns the leases without entries, except one, which the next entry needs.
    pub(super) fn take_spare(&mut self) -> Vec<LeaseId> {
        let empty = self.entries.iter().filter(|(_, used)| **used == 0).map(|(lease, _)| *lease);
        let spare: Vec<_> = empty.skip(1).collect();
        for lease in &spare {
            self.entries.remove(lease);
        }
        spare
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_fill_up_one_by_one_and_empty_ones_are_spare() {
        let mut leases = Leases::default();
        assert_eq!(leases.reserve(), None);
        leases.add(LeaseId(1));
        leases.add(LeaseId(2));
        let first = leases.reserve().unwrap();
        for _ in 1..ENTRIES_PER_LEASE {
            assert_eq!(leases.reserve(), Some(first), "the fullest first");
        }
        assert_eq!(leases.capacity_left(), ENTRIES_PER_LEASE);
        assert_ne!(leases.reserve(), Some(first));
        assert!(leases.take_spare().is_empty());
        leases.add(LeaseId(3));
        leases.add(LeaseId(4));
        assert_eq!(leases.take_spare().len(), 1, "one stays for the next entry");
        assert_eq!(leases.len(), 3);
    }
}
