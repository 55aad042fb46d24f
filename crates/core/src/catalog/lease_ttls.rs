//! The TTLs of the leases that entries are attached to: DNS derives its TTLs from them. The store returns a lease TTL
//! only in response to a query for that one lease.
//!
//! An entry is published without waiting for its lease TTL (DNS then uses the minimum TTL of a leased entry), and once
//! more when the TTL is known: a registration must not become slower for it. Only the leases of a listing are waited
//! for, briefly, because a million entries that are published twice take twice their memory. The TTL of a lease never
//! changes (etcd has no such operation), so each is queried once.
//!
//! Owns: the queries, their concurrency, and the known TTLs. Does not own: the TTL of a DNS answer (`skyhound_dns`).

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

/// The limit of concurrent queries: enough for thousands a second, and a negligible load for etcd.
const QUERIES_MAX: usize = 16;
/// The limit of known leases, and of leases that wait for a query. Where each entry has a lease of its own (skyapi's
/// original), entries beyond the limit keep the minimum TTL.
const LEASES_MAX: usize = 100_000;

/// The limit for the queries of a listing before it is applied: enough for a thousand leases on a nearby etcd.
const LISTING_TIMEOUT: Duration = Duration::from_millis(500);

/// Lease TTLs in seconds.
pub(super) type KnownTtls = HashMap<LeaseId, NonZeroU32>;

type TtlQuery = Pin<Box<dyn Future<Output = (LeaseId, Result<Option<Duration>, StoreError>)> + Send>>;

/// The key of an entry, and the revision that put it.
type EntryVersion = (Key, Revision);

/// An entry, and the TTL of its lease.
pub(super) type LearntTtl = (EntryVersion, NonZeroU32);

/// The known lease TTLs and the queries for others.
pub(super) struct LeaseTtls {
    store: Arc<dyn Store>,
    known: Arc<KnownTtls>,
    /// The entries of each lease that is queried or waits for a query.
    waiting: HashMap<LeaseId, Vec<EntryVersion>>,
    queue: VecDeque<LeaseId>,
    queries: FuturesUnordered<TtlQuery>,
}

impl LeaseTtls {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        let queries = FuturesUnordered::new();
        Self { store, known: Arc::default(), waiting: HashMap::new(), queue: VecDeque::new(), queries }
    }

    /// The TTLs that are known now.
    pub(super) fn known(&self) -> Arc<KnownTtls> {
        Arc::clone(&self.known)
    }

    /// Queries the unknown leases of a listing, within [`LISTING_TIMEOUT`].
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
        // The others are queried like those of a batch.
        let _ = timeout(LISTING_TIMEOUT, all).await;
    }

    /// Queries the unknown leases of the entries that a batch puts.
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

    /// Waits for the next lease TTL and returns it with each of its entries; pending for ever without a query. Cancel
    /// safe.
    pub(super) async fn next_learnt(&mut self) -> Vec<LearntTtl> {
        let Some((lease, ttl)) = self.queries.next().await else { return std::future::pending().await };
        self.start_queries();
        let puts = self.waiting.remove(&lease).unwrap_or_default();
        let ttl = self.record(lease, ttl);
        ttl.map(|ttl| puts.into_iter().map(|put| (put, ttl)).collect()).unwrap_or_default()
    }

    /// Stores a response. `None` if the lease is gone or the query failed: such entries keep the minimum TTL until they
    /// are put again.
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
