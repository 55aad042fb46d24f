//! The leases by which this node keeps its entries alive.
//!
//! Holding costs the store nothing per claim: up to [`ENTRIES_PER_LEASE`] entries hang on one lease, and all
//! leases are kept alive by one call per [`RENEWALS_PER_TTL`]th of the term. Owns: which lease has room, and
//! noticing that one is gone. Does not own: putting the entries again ([`super::writer`]).

use super::ids::RECORD_TTL;
use super::{Registry, State};
use skyhound_store::{LeaseId, RENEWALS_PER_TTL, StoreError};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tracing::{debug, warn};

/// The most entries on one lease: when it goes, so many go in one revision, and are put again in batches.
pub const ENTRIES_PER_LEASE: usize = 1000;

/// How long a lease that was taken away may go unnoticed, however long its term: what hangs on the leases of ids is in
/// no feed. As often as the leases of entries are kept with the default `--timeout`.
const DETECTION_MAX: Duration = Duration::from_secs(10);

/// The leases, and how many entries have a place on each.
#[derive(Debug, Default)]
pub(super) struct Leases {
    entries: BTreeMap<LeaseId, usize>,
}

impl Leases {
    /// How many more entries find a place.
    pub(super) fn capacity_left(&self) -> usize {
        self.entries.values().map(|used| ENTRIES_PER_LEASE - used).sum()
    }

    pub(super) fn add(&mut self, lease: LeaseId) {
        self.entries.insert(lease, 0);
    }

    /// A place for one entry, on the fullest lease that has one, so that others empty and can go.
    pub(super) fn reserve(&mut self) -> Option<LeaseId> {
        let (lease, used) =
            self.entries.iter_mut().filter(|(_, used)| **used < ENTRIES_PER_LEASE).max_by_key(|(_, used)| **used)?;
        *used += 1;
        Some(*lease)
    }

    /// An entry gives its place back. The lease may be gone already.
    pub(super) fn release_place(&mut self, lease: LeaseId) {
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

    /// Leases without entries, but for one that the next entry will want.
    fn spare(&self) -> Vec<LeaseId> {
        self.entries.iter().filter(|(_, used)| **used == 0).map(|(lease, _)| *lease).skip(1).collect()
    }
}

/// One kind of leases, and what to do when one of them is gone.
#[derive(Clone, Copy)]
pub(super) struct LeaseKind {
    /// What hangs on them.
    label: &'static str,
    leases: fn(&mut State) -> &mut Leases,
    lost: fn(&mut State, LeaseId) -> usize,
    ttl: fn(&Registry) -> Duration,
}

/// The leases of entries, and of their second keys.
pub(super) const ENTRIES: LeaseKind = LeaseKind {
    label: "entries",
    leases: |state| &mut state.leases,
    lost: State::lease_lost,
    ttl: |registry| registry.settings.ttl,
};
/// The leases of the records of ids.
pub(super) const RECORDS: LeaseKind = LeaseKind {
    label: "ids",
    leases: |state| &mut state.record_leases,
    lost: State::record_lease_lost,
    ttl: |_| RECORD_TTL,
};

/// Grants leases until so many have a place.
pub(super) async fn ensure_capacity(registry: &Registry, kind: LeaseKind, needed: usize) -> Result<(), StoreError> {
    while (kind.leases)(&mut registry.lock()).capacity_left() < needed {
        let lease = registry.store.grant((kind.ttl)(registry)).await?;
        debug!(%lease, of = kind.label, "granted a lease");
        (kind.leases)(&mut registry.lock()).add(lease);
    }
    Ok(())
}

/// Keeps the leases alive for ever.
pub(super) async fn keep_alive(registry: Arc<Registry>, kind: LeaseKind) {
    let every = ((kind.ttl)(&registry) / RENEWALS_PER_TTL).min(DETECTION_MAX);
    // After a failure there is still time for several tries before the term is over.
    let again = (every / 4).max(Duration::from_millis(50));
    let mut failing = false;
    loop {
        tokio::time::sleep(if failing { again } else { every }).await;
        match renew_now(&registry, kind).await {
            Ok(()) => failing = false,
            Err(error) => {
                if !failing {
                    warn!(%error, "leases cannot be kept alive now; trying again");
                }
                failing = true;
            }
        }
    }
}

/// Gives every lease a fresh term. What hung on one that is gone will be written again.
pub(super) async fn renew_now(registry: &Registry, kind: LeaseKind) -> Result<(), StoreError> {
    let (leases, spare) = {
        let mut state = registry.lock();
        let leases = (kind.leases)(&mut state);
        let spare = leases.spare();
        for lease in &spare {
            leases.remove(*lease);
        }
        (leases.all(), spare)
    };
    for lease in spare {
        if let Err(error) = registry.store.revoke(lease).await {
            debug!(%lease, %error, "an empty lease is left to run out");
        }
    }
    if leases.is_empty() {
        return Ok(());
    }
    let alive = registry.store.renew(&leases).await?;
    for (lease, _) in leases.into_iter().zip(alive).filter(|(_, alive)| !alive) {
        let lost = (kind.lost)(&mut registry.lock(), lease);
        warn!(%lease, of = kind.label, lost, "a lease ran out; what hung on it is written again");
        registry.wake.notify_one();
    }
    Ok(())
}

/// Ends the leases of a history that is lost, once everything that lives has moved from them.
pub(super) async fn revoke_former(registry: &Registry) {
    let former = std::mem::take(&mut registry.lock().former_leases);
    for lease in former {
        if let Err(error) = registry.store.revoke(lease).await {
            debug!(%lease, %error, "a lease that nobody keeps alive is left to run out");
        }
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
        assert!(leases.spare().is_empty());
        leases.add(LeaseId(3));
        leases.add(LeaseId(4));
        assert_eq!(leases.spare().len(), 1, "one is kept for the next entry");
    }
}
