//! How long the leases run that entries hang on: for the TTLs of DNS. The store tells a lease's term only when it
//! is asked for that one lease.
//!
//! Owns: which leases are asked about, how many at a time, what is remembered. An entry is published without
//! waiting for this (DNS then gives it the least TTL of a leased entry) and once more when the term is known:
//! a registration must not become slower for it. Only the leases of a listing are waited for a little, because a
//! million entries that are written once more take twice their memory. Leases' terms never change (etcd has no way
//! to), so that each is asked about once.

use futures_util::StreamExt;
use futures_util::stream::{self, FuturesUnordered};
use skyhound_model::Key;
use skyhound_store::{Batch, Change, LeaseId, Listing, Revision, Store, StoreError};
use std::collections::{HashMap, HashSet, VecDeque};
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How many leases are asked about at a time: enough for thousands a second, and next to nothing for etcd.
const QUERIES_MAX: usize = 16;
/// How many leases are remembered, and how many may wait to be asked about. Those of entries that are written
/// one lease each (skyapi's original) beyond that keep the least TTL.
const LEASES_MAX: usize = 100_000;

/// How long the leases of a listing are asked about before it is applied: a thousand of them, on an etcd that is near.
const LISTING_TIMEOUT: Duration = Duration::from_millis(500);

/// The terms of leases, in seconds.
pub(super) type KnownTtls = HashMap<LeaseId, NonZeroU32>;

type TtlQuery = Pin<Box<dyn Future<Output = (LeaseId, Result<Option<Duration>, StoreError>)> + Send>>;

/// An entry as it was put.
type EntryVersion = (Key, Revision);

/// What is known of leases.
pub(super) struct LeaseTtls {
    store: Arc<dyn Store>,
    known: Arc<KnownTtls>,
    waiting: HashMap<LeaseId, Vec<EntryVersion>>,
    queue: VecDeque<LeaseId>,
    queries: FuturesUnordered<TtlQuery>,
}

impl LeaseTtls {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        let queries = FuturesUnordered::new();
        Self { store, known: Arc::default(), waiting: HashMap::new(), queue: VecDeque::new(), queries }
    }

    /// What is known now.
    pub(super) fn known(&self) -> Arc<KnownTtls> {
        Arc::clone(&self.known)
    }

    /// Asks about the leases of a listing, for a while.
    pub(super) async fn query_listing(&mut self, listing: &Listing) {
        let leases = listing.items.iter().filter_map(|item| item.lease);
        let unknown: HashSet<_> = leases.filter(|lease| !self.known.contains_key(lease)).collect();
        let store = Arc::clone(&self.store);
        let mut queries = stream::iter(unknown.into_iter().take(LEASES_MAX))
            .map(|lease| {
                let store = &store;
                async move { (lease, store.lease_ttl(lease).await) }
            })
            .buffer_unordered(QUERIES_MAX);
        let all = async {
            while let Some((lease, ttl)) = queries.next().await {
                self.record(lease, ttl);
            }
        };
        // Those that are not known by then are asked about like any other.
        let _ = timeout(LISTING_TIMEOUT, all).await;
    }

    /// Asks about the leases that are not known of what a batch put.
    pub(super) fn query_batch(&mut self, batch: &Batch) {
        for change in &batch.changes {
            let Change::Put(item) = change else { continue };
            let Some(lease) = item.lease else { continue };
            if self.known.contains_key(&lease) {
                continue;
            }
            let put = (item.key.clone(), item.revision);
            if let Some(waiting) = self.waiting.get_mut(&lease) {
                waiting.push(put);
            } else if self.waiting.len() < LEASES_MAX {
                self.waiting.insert(lease, vec![put]);
                self.queue.push_back(lease);
            }
        }
        self.start_queries();
    }

    fn start_queries(&mut self) {
        while self.queries.len() < QUERIES_MAX
            && let Some(lease) = self.queue.pop_front()
        {
            let store = Arc::clone(&self.store);
            self.queries.push(Box::pin(async move { (lease, store.lease_ttl(lease).await) }));
        }
    }

    /// Waits for the next term, and says whose it is. For ever when nothing is asked. Cancel safe.
    pub(super) async fn next_learnt(&mut self) -> Vec<(EntryVersion, NonZeroU32)> {
        let Some((lease, ttl)) = self.queries.next().await else { return std::future::pending().await };
        self.start_queries();
        let puts = self.waiting.remove(&lease).unwrap_or_default();
        let ttl = self.record(lease, ttl);
        ttl.map(|ttl| puts.into_iter().map(|put| (put, ttl)).collect()).unwrap_or_default()
    }

    /// Remembers an answer. `None` when the lease is gone, or the store does not say: such entries keep the least TTL
    /// until they are put again.
    fn record(&mut self, lease: LeaseId, ttl: Result<Option<Duration>, StoreError>) -> Option<NonZeroU32> {
        let seconds = ttl.ok()??.as_secs();
        let ttl = NonZeroU32::new(u32::try_from(seconds).unwrap_or(u32::MAX))?;
        let known = Arc::make_mut(&mut self.known);
        if known.len() >= LEASES_MAX {
            known.clear();
        }
        known.insert(lease, ttl);
        Some(ttl)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skyhound_store::Item;
    use skyhound_store::embedded::Embedded;

    #[tokio::test]
    async fn a_lease_of_many_entries_delays_no_other() {
        let store = Arc::new(Embedded::in_memory().unwrap());
        let ttl = Duration::from_secs(60);
        let (large, small) = (store.grant(ttl).await.unwrap(), store.grant(ttl).await.unwrap());
        let item = |lease| Item { key: Key::from("/k"), value: "".into(), revision: Revision(1), lease: Some(lease) };
        let mut items = vec![item(large); LEASES_MAX];
        items.push(item(small));
        let mut ttls = LeaseTtls::new(store);
        ttls.query_listing(&Listing { items, revision: Revision(1) }).await;
        assert_eq!([large, small].map(|lease| ttls.known().get(&lease).map(|ttl| ttl.get())), [Some(60); 2]);
    }
}
