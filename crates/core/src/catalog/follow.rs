//! Keeps the catalog true: list, then watch, and on any doubt list again.
//!
//! Owns: the one task that writes the catalog, its patience with a store that is away, and the periodic
//! full comparison. A listing is always applied as the *difference* to what is known, so that listeners
//! hear what changed meanwhile, once, whatever happened to the feed.

use super::history::Part;
use super::keyspace::reason_without_tombstone;
use super::lease_ttls::LeaseTtls;
use super::{Catalog, Health, Snapshot, snapshot_file};
use skyhound_base::Backoff;
use skyhound_model::{Key, RemovalReason};
use skyhound_store::{Batch, Change, Feed, LeaseId, Listing, Revision, Store, StoreError};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tracing::{debug, info, warn};

/// The first pause before the store is asked again.
pub const RETRY_MIN: Duration = Duration::from_millis(50);
/// The longest pause before the store is asked again.
pub const RETRY_MAX: Duration = Duration::from_secs(2);
/// How often everything is listed and compared, to mend what a watch may have lost (etcd 3.4 could lose
/// events around a compaction).
pub const COMPARE_EVERY: Duration = Duration::from_secs(15 * 60);
/// How long a feed that was taken up again is waited for before a listing says the rest. A listing says what is
/// gone, and not why.
pub const CATCH_UP: Duration = Duration::from_millis(500);
/// How long the store is asked what became of the leases of entries that went without a word. The change waits.
pub const LEASE_WAIT: Duration = Duration::from_secs(1);

/// What to follow.
#[derive(Debug, Clone)]
pub struct Follow {
    /// The store.
    pub store: Arc<dyn Store>,
    /// See [`COMPARE_EVERY`].
    pub compare_every: Duration,
}

impl Follow {
    /// Follows for ever; drop the future to end it.
    pub async fn run(self, catalog: Arc<Catalog>) {
        let mut backoff = Backoff::new(RETRY_MIN, RETRY_MAX);
        let (mut file_tried, mut logged) = (false, false);
        let mut ttls = LeaseTtls::new(Arc::clone(&self.store));
        loop {
            let began = Instant::now();
            let Err(error) = self.until_lost(&catalog, &mut ttls).await;
            mark_stale(&catalog, &error, !std::mem::replace(&mut logged, true));
            if catalog.health() == Health::NeverLoaded
                && let Some(file) = catalog.snapshot_file.get().filter(|_| !file_tried)
            {
                file_tried = true;
                snapshot_file::restore(file, &catalog).await;
            }
            // A feed that held for a while was lost by chance; one that never holds is a store in trouble.
            if began.elapsed() > RETRY_MAX {
                backoff.reset();
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }

    /// Lists, then applies batches until a feed ends.
    async fn until_lost(
        &self,
        catalog: &Arc<Catalog>,
        ttls: &mut LeaseTtls,
    ) -> Result<std::convert::Infallible, StoreError> {
        let mut own = self.begin(Part::Own, catalog, ttls).await?;
        let mut foreign = self.begin_foreign(catalog, ttls).await?;
        let before = catalog.health.send_replace(Health::Current);
        if before != Health::Current {
            let (entries, revision) = (catalog.snapshot().root().entries(), catalog.snapshot().revision().0);
            info!(entries, revision, "following the store");
        }
        let mut compare = interval_at(Instant::now() + self.compare_every, self.compare_every);
        compare.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                batch = own.next() => self.apply(Part::Own, catalog, &batch?, ttls).await,
                batch = next_of(&mut foreign) => self.apply(Part::Foreign, catalog, &batch?, ttls).await,
                learnt = ttls.next_learnt() => if !learnt.is_empty() {
                    let next = catalog.current.load().as_ref().clone().with_ttls(&learnt);
                    catalog.current.store(Arc::new(next));
                },
                _ = compare.tick() => {
                    let listing = self.list(Part::Own, catalog).await?;
                    self.compare_with(Part::Own, catalog, listing, ttls).await;
                    if foreign.is_some() {
                        let listing = self.list(Part::Foreign, catalog).await?;
                        self.compare_with(Part::Foreign, catalog, listing, ttls).await;
                    }
                }
            }
        }
    }

    /// A feed, and a catalog that is where it begins. A feed that was lost is taken up where it ended as long as the
    /// store remembers: it says what is gone and why, in order. The listing has the last word all the same.
    async fn begin(&self, part: Part, catalog: &Arc<Catalog>, ttls: &mut LeaseTtls) -> Result<Feed, StoreError> {
        let resumed = self.resume(part, catalog, ttls).await?;
        let listing = self.list(part, catalog).await?;
        let feed = if let Some(feed) = resumed {
            feed
        } else {
            let prefix = prefix(&catalog.snapshot(), part);
            self.store.feed(prefix.as_bytes(), listing.revision).await?
        };
        self.compare_with(part, catalog, listing, ttls).await;
        Ok(feed)
    }

    /// The same for the keys of hound-dog's peers, if anybody reads them. A user of etcd's that may not read them is no
    /// reason to know nothing of all others.
    async fn begin_foreign(&self, catalog: &Arc<Catalog>, ttls: &mut LeaseTtls) -> Result<Option<Feed>, StoreError> {
        let Some(prefix) = catalog.snapshot().keyspace().foreign_prefix().map(str::to_owned) else { return Ok(None) };
        match self.begin(Part::Foreign, catalog, ttls).await {
            Ok(feed) => Ok(Some(feed)),
            Err(StoreError::Denied(reason)) => {
                warn!(prefix, reason, "hound-dog's peers are passed over: etcd lets this user not read their keys");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The feed from where the catalog is, having told what happened since; `None` when the store does not remember.
    async fn resume(&self, part: Part, catalog: &Catalog, ttls: &mut LeaseTtls) -> Result<Option<Feed>, StoreError> {
        let after = catalog.snapshot().position().part(part);
        if after == Revision(0) || !matches!(catalog.health(), Health::Stale { .. }) {
            return Ok(None);
        }
        let prefix = prefix(&catalog.snapshot(), part);
        // A store that does not say how it is can still be listed.
        let Ok(until) = self.store.status().await.map(|status| status.revision) else { return Ok(None) };
        let caught_up = async {
            let mut feed = self.store.feed(prefix.as_bytes(), after).await?;
            while catalog.snapshot().position().part(part) < until {
                let Ok(batch) = timeout(CATCH_UP, feed.next()).await else { break };
                self.apply(part, catalog, &batch?, ttls).await;
            }
            Ok(feed)
        };
        match caught_up.await {
            Ok(feed) => Ok(Some(feed)),
            Err(StoreError::Compacted(_) | StoreError::FeedLost(_) | StoreError::FeedOverrun) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn list(&self, part: Part, catalog: &Catalog) -> Result<Listing, StoreError> {
        self.store.list(prefix(&catalog.snapshot(), part).as_bytes()).await
    }

    /// Applies a batch that a feed told. A comparison may have been ahead of it.
    async fn apply(&self, part: Part, catalog: &Catalog, batch: &Batch, ttls: &mut LeaseTtls) {
        let now = catalog.snapshot();
        if batch.revision <= now.position().part(part) {
            return;
        }
        let removals = self.removals(&now, batch).await;
        let next = now.after(part, batch, &ttls.known());
        ttls.query_batch(batch);
        catalog.publish(next, (part, batch), false, |key| removals.reason(key));
    }

    /// Applies what differs from a full listing. The listing is never behind the catalog unless the store
    /// went back in its own history (restored from a backup); then it is right all the same.
    async fn compare_with(&self, part: Part, catalog: &Arc<Catalog>, listing: Listing, ttls: &mut LeaseTtls) {
        ttls.query_listing(&listing).await;
        let (known, known_ttls) = (catalog.snapshot(), ttls.known());
        // With a million entries this takes seconds, in which the executor has questions to answer. Nobody
        // else writes the catalog meanwhile.
        let compared = tokio::task::spawn_blocking(move || {
            let batch = known.difference(part, &listing);
            let previous = known.position().part(part);
            let changed = !batch.changes.is_empty() || previous != listing.revision;
            changed.then(|| (previous, known.after(part, &batch, &known_ttls), batch))
        });
        let compared = compared.await.unwrap_or_else(|ended| match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Cancelled: the runtime is ending, and so is this task.
            Err(_) => None,
        });
        let Some((previous, next, batch)) = compared else { return };
        if previous > batch.revision {
            warn!(had = previous.0, has = batch.revision.0, "the store went back in its history");
        }
        debug!(changes = batch.changes.len(), revision = batch.revision.0, "compared with a full listing");
        let removals = self.removals(&catalog.snapshot(), &batch).await;
        ttls.query_batch(&batch);
        catalog.publish(next, (part, &batch), true, |key| removals.reason(key));
    }

    /// Why the entries left that a batch removes: a marker says it, or else what became of their leases.
    async fn removals(&self, before: &Snapshot, batch: &Batch) -> Removals {
        let tombstone = before.keyspace().tombstone(batch);
        if tombstone.is_some() {
            return Removals { tombstone, ..Removals::default() };
        }
        let mut leases: HashMap<Key, LeaseId> = HashMap::new();
        for change in &batch.changes {
            if let Change::Delete(key) = change
                && let Some(lease) = before.entry(key).and_then(|stored| stored.lease)
            {
                leases.insert(key.clone(), lease);
            }
        }
        let queried: HashSet<LeaseId> = leases.values().copied().collect();
        let alive = async {
            let mut alive = HashSet::new();
            for lease in queried {
                // Without an answer it counts as gone: the store is in trouble, and nobody said goodbye.
                if let Ok(Some(_)) = self.store.lease_ttl(lease).await {
                    alive.insert(lease);
                }
            }
            alive
        };
        let alive = timeout(LEASE_WAIT, alive).await.unwrap_or_default();
        Removals { tombstone, leases, alive }
    }
}

/// What is known of entries that a batch removes.
#[derive(Debug, Default)]
struct Removals {
    tombstone: Option<skyhound_model::removal::Tombstone>,
    /// The leases on which they hung.
    leases: HashMap<Key, LeaseId>,
    /// Those of them that are still there.
    alive: HashSet<LeaseId>,
}

impl Removals {
    fn reason(&self, key: &Key) -> RemovalReason {
        match (&self.tombstone, self.leases.get(key)) {
            (Some(tombstone), _) => tombstone.reason(key),
            (None, Some(lease)) => reason_without_tombstone(self.alive.contains(lease)),
            // It stood there for good until somebody removed it.
            (None, None) => RemovalReason::Deregistered,
        }
    }
}

fn prefix(snapshot: &Snapshot, part: Part) -> String {
    match part {
        Part::Own => snapshot.keyspace().prefix().to_owned(),
        Part::Foreign => snapshot.keyspace().foreign_prefix().unwrap_or_default().to_owned(),
    }
}

/// The next batch of a feed that there may be.
async fn next_of(feed: &mut Option<Feed>) -> Result<Batch, StoreError> {
    match feed {
        Some(feed) => feed.next().await,
        None => std::future::pending().await,
    }
}

/// Says so, once: a store that stays away is asked every other second.
fn mark_stale(catalog: &Catalog, error: &StoreError, is_first: bool) {
    let changed = catalog.health.send_if_modified(|health| match health {
        Health::Current => {
            *health = Health::Stale { since: Instant::now() };
            true
        }
        _ => false,
    });
    match (changed, catalog.health()) {
        (true, _) => warn!(%error, "the store is lost; answering from what is known"),
        (false, Health::NeverLoaded) if is_first => warn!(%error, "the store cannot be read yet"),
        (false, _) => debug!(%error, "the store is still lost"),
    }
}
