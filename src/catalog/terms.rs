//! How long the leases run that entries hang on: for the TTLs of DNS. The store tells a lease's term only when it
//! is asked for that one lease.
//!
//! Owns: which leases are asked about, how many at a time, what is remembered. An entry is published without
//! waiting for this (DNS then gives it the least TTL of a leased entry) and once more when the term is known:
//! a registration must not become slower for it. Leases' terms never change (etcd has no way to), so that each
//! is asked about once.

use super::Snapshot;
use crate::model::Key;
use crate::store::{Batch, Change, LeaseId, Revision, Store, StoreError};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// How many leases are asked about at a time: enough for thousands a second, and next to nothing for etcd.
const ASKED_MAX: usize = 16;
/// How many leases are remembered, and how many may wait to be asked about. Those of entries that are written
/// one lease each (skyapi's original) beyond that keep the least TTL.
const LEASES_MAX: usize = 100_000;

type Asked = Pin<Box<dyn Future<Output = (LeaseId, Result<Option<Duration>, StoreError>)> + Send>>;

/// An entry as it was put.
type Put = (Key, Revision);

/// What is known of leases.
pub(super) struct Terms {
    store: Arc<dyn Store>,
    /// In seconds.
    known: HashMap<LeaseId, u32>,
    waiting: HashMap<LeaseId, Vec<Put>>,
    queue: VecDeque<LeaseId>,
    asked: FuturesUnordered<Asked>,
}

impl Terms {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        let asked = FuturesUnordered::new();
        Self { store, known: HashMap::new(), waiting: HashMap::new(), queue: VecDeque::new(), asked }
    }

    /// The snapshot after `batch`, with the terms that are known; the others are asked about.
    pub(super) fn fill(&mut self, after: Snapshot, batch: &Batch) -> Snapshot {
        let mut known = Vec::new();
        for change in &batch.changes {
            let Change::Put(item) = change else { continue };
            let Some(lease) = item.lease else { continue };
            let put = (item.key.clone(), item.revision);
            if let Some(term) = self.known.get(&lease) {
                known.push((put, *term));
            } else if let Some(waiting) = self.waiting.get_mut(&lease) {
                waiting.push(put);
            } else if self.waiting.len() < LEASES_MAX {
                self.waiting.insert(lease, vec![put]);
                self.queue.push_back(lease);
            }
        }
        self.ask();
        after.with_terms(&known)
    }

    fn ask(&mut self) {
        while self.asked.len() < ASKED_MAX
            && let Some(lease) = self.queue.pop_front()
        {
            let store = Arc::clone(&self.store);
            self.asked.push(Box::pin(async move { (lease, store.lease_term(lease).await) }));
        }
    }

    /// Waits for the next term, and says whose it is. For ever when nothing is asked. Cancel safe.
    pub(super) async fn learn(&mut self) -> Vec<(Put, u32)> {
        let Some((lease, term)) = self.asked.next().await else { return std::future::pending().await };
        self.ask();
        let puts = self.waiting.remove(&lease).unwrap_or_default();
        // Gone, or the store does not say: such entries keep the least TTL until they are put again.
        let Ok(Some(term)) = term else { return Vec::new() };
        let term = u32::try_from(term.as_secs()).unwrap_or(u32::MAX);
        if self.known.len() >= LEASES_MAX {
            self.known.clear();
        }
        self.known.insert(lease, term);
        puts.into_iter().map(|put| (put, term)).collect()
    }
}
