//! The removal reasons of the entries that a batch deletes.
//!
//! | evidence | reason |
//! |---|---|
//! | the batch contains a tombstone | as in the tombstone |
//! | the entry had no lease | deregistered: it stayed until somebody removed it |
//! | its lease is alive | deregistered |
//! | its lease is gone, or the store does not respond within `LEASE_WAIT` | expired |
//!
//! Owns: that table. Does not own: the tombstone ([`skyhound_model::removal`]).

use super::snapshot::Snapshot;
use skyhound_model::removal::Tombstone;
use skyhound_model::{Key, RemovalReason};
use skyhound_store::{Batch, Change, LeaseId, Store};
use std::collections::{HashMap, HashSet};
use std::time::Duration;
use tokio::time::timeout;

/// The limit for querying the leases of entries that were deleted without a tombstone. The change waits for it.
const LEASE_WAIT: Duration = Duration::from_secs(1);

/// The evidence for the removal reasons of one batch.
#[derive(Debug, Default)]
pub(super) struct RemovalReasons {
    tombstone: Option<Tombstone>,
    /// The leases of the deleted entries.
    leases: HashMap<Key, LeaseId>,
    /// The leases that are still alive.
    alive: HashSet<LeaseId>,
}

impl RemovalReasons {
    /// Collects the evidence for the entries of `before` that a batch deletes.
    pub(super) async fn collect(store: &dyn Store, before: &Snapshot, batch: &Batch) -> Self {
        let tombstone = before.keyspace().tombstone(batch);
        if tombstone.is_some() {
            return Self { tombstone, ..Self::default() };
        }
        let leases: HashMap<Key, LeaseId> = batch.changes.iter().filter_map(|change| leased(before, change)).collect();
        let alive = timeout(LEASE_WAIT, alive(store, leases.values().copied().collect())).await.unwrap_or_default();
        Self { tombstone, leases, alive }
    }

    /// Returns the removal reason of a key.
    pub(super) fn reason(&self, key: &Key) -> RemovalReason {
        if let Some(tombstone) = &self.tombstone {
            return tombstone.reason(key);
        }
        match self.leases.get(key) {
            Some(lease) if !self.alive.contains(lease) => RemovalReason::Expired,
            _ => RemovalReason::Deregistered,
        }
    }
}

/// The key and the lease of a deleted entry.
fn leased(before: &Snapshot, change: &Change) -> Option<(Key, LeaseId)> {
    let Change::Delete(key) = change else { return None };
    Some((key.clone(), before.entry(key)?.lease?))
}

async fn alive(store: &dyn Store, leases: HashSet<LeaseId>) -> HashSet<LeaseId> {
    let mut alive = HashSet::new();
    for lease in leases {
        // Without a response the lease counts as gone: the store is in trouble, and no client deregistered.
        if let Ok(Some(_)) = store.lease_ttl(lease).await {
            alive.insert(lease);
        }
    }
    alive
}
