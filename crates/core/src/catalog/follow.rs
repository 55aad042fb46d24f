//! The only writer of the catalog: lists the store, applies its feeds, and on any doubt lists again.
//!
//! A listing is always applied as the *difference* to the snapshot, so that subscribers receive each change once,
//! whatever happened to the feed.
//!
//! Owns: the one task that writes the catalog, its retries while the store is unavailable, and the periodic full
//! comparison. Does not own: the contents of a snapshot ([`super::snapshot`]), the removal reasons
//! (`super::removal_reasons`), the lease TTLs (`super::lease_ttls`).

use super::history::StepSource;
use super::lease_ttls::LeaseTtls;
use super::position::Part;
use super::removal_reasons::RemovalReasons;
use super::{Catalog, Health, Snapshot, Update, snapshot_file};
use skyhound_base::Backoff;
use skyhound_store::{Batch, Feed, Listing, Revision, Store, StoreError};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tracing::{debug, info, warn};

/// The first pause before the store is tried again.
pub const RETRY_MIN: Duration = Duration::from_millis(50);
/// The longest pause before the store is tried again.
pub const RETRY_MAX: Duration = Duration::from_secs(2);
/// The interval of full listings, which repair what a feed may have lost (etcd 3.4 could lose events around a
/// compaction).
pub const COMPARE_EVERY: Duration = Duration::from_secs(15 * 60);
/// The limit for a resumed feed to catch up before a listing supplies the rest. A listing contains removals, but not
/// their reasons.
pub const CATCH_UP: Duration = Duration::from_millis(500);

/// The settings of the task.
#[derive(Debug, Clone)]
pub struct Follow {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The interval of full listings; see [`COMPARE_EVERY`].
    pub compare_every: Duration,
}

impl Follow {
    /// Follows the store until the future is dropped.
    pub async fn run(self, catalog: Arc<Catalog>) {
        let ttls = LeaseTtls::new(Arc::clone(&self.store));
        let mut follower = Follower { settings: self, catalog: Arc::clone(&catalog), ttls };
        let mut backoff = Backoff::new(RETRY_MIN, RETRY_MAX);
        let (mut file_tried, mut logged) = (false, false);
        loop {
            let began = Instant::now();
            let Err(error) = follower.follow_until_lost().await;
            mark_stale(&catalog, &error, !std::mem::replace(&mut logged, true));
            if catalog.health() == Health::NeverLoaded
                && let Some(file) = catalog.snapshot_file.get().filter(|_| !file_tried)
            {
                file_tried = true;
                snapshot_file::restore(file, &catalog).await;
            }
            // A feed that lasted for a while was lost by chance; one that never lasts means a store in trouble.
            if began.elapsed() > RETRY_MAX {
                backoff.reset();
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }

    async fn feed(&self, catalog: &Catalog, part: Part, after: Revision) -> Result<Feed, StoreError> {
        self.store.feed(prefix(&catalog.snapshot(), part).as_bytes(), after).await
    }

    async fn list(&self, catalog: &Catalog, part: Part) -> Result<Listing, StoreError> {
        self.store.list(prefix(&catalog.snapshot(), part).as_bytes()).await
    }
}

/// The state of the task.
struct Follower {
    settings: Follow,
    catalog: Arc<Catalog>,
    ttls: LeaseTtls,
}

impl Follower {
    /// Lists the store, then applies batches until a feed ends.
    async fn follow_until_lost(&mut self) -> Result<Infallible, StoreError> {
        let mut primary = self.open(Part::Primary).await?;
        let mut mirror = self.open_mirror().await?;
        self.mark_current();
        let every = self.settings.compare_every;
        let mut compare = interval_at(Instant::now() + every, every);
        compare.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                batch = primary.next() => self.apply(Part::Primary, &batch?).await,
                batch = next_batch(mirror.as_mut()) => self.apply(Part::Mirror, &batch?).await,
                learnt = self.ttls.next_learnt() => self.catalog.set_ttls(&learnt),
                _ = compare.tick() => {
                    self.list_and_compare(Part::Primary).await?;
                    if mirror.is_some() {
                        self.list_and_compare(Part::Mirror).await?;
                    }
                }
            }
        }
    }

    /// Opens a feed and brings the catalog to its start. A feed that was lost is resumed at its end as long as the store
    /// has not compacted it, because it contains removals with their reasons, in order. The listing decides all the
    /// same.
    async fn open(&mut self, part: Part) -> Result<Feed, StoreError> {
        let resumed = self.resume(part).await?;
        let listing = self.settings.list(&self.catalog, part).await?;
        let feed = match resumed {
            Some(feed) => feed,
            None => self.settings.feed(&self.catalog, part, listing.revision).await?,
        };
        self.compare_with(part, listing).await;
        Ok(feed)
    }

    /// Opens the feed of the mirror keyspace, if it is configured. An etcd user without permission for its prefix is no
    /// reason to lose the SkyDNS layout.
    async fn open_mirror(&mut self) -> Result<Option<Feed>, StoreError> {
        let snapshot = self.catalog.snapshot();
        let Some(prefix) = snapshot.mirror_prefix() else { return Ok(None) };
        match self.open(Part::Mirror).await {
            Ok(feed) => Ok(Some(feed)),
            Err(StoreError::Denied(reason)) => {
                warn!(prefix, reason, "etcd denies reading hound-dog's keys; instances of its peers are not listed");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Resumes the feed at the catalog's revision and applies the batches since; `None` if the store has compacted them.
    async fn resume(&mut self, part: Part) -> Result<Option<Feed>, StoreError> {
        let after = self.revision(part);
        if after == Revision(0) || !matches!(self.catalog.health(), Health::Stale { .. }) {
            return Ok(None);
        }
        // A store that does not return its status can still be listed.
        let Ok(status) = self.settings.store.status().await else { return Ok(None) };
        match self.catch_up(part, after, status.revision).await {
            Ok(feed) => Ok(Some(feed)),
            Err(StoreError::Compacted(_) | StoreError::FeedLost(_) | StoreError::FeedOverrun) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Applies the batches of a part between two revisions, as far as [`CATCH_UP`] allows.
    async fn catch_up(&mut self, part: Part, after: Revision, until: Revision) -> Result<Feed, StoreError> {
        let mut feed = self.settings.feed(&self.catalog, part, after).await?;
        while self.revision(part) < until {
            let Ok(batch) = timeout(CATCH_UP, feed.next()).await else { break };
            self.apply(part, &batch?).await;
        }
        Ok(feed)
    }

    async fn list_and_compare(&mut self, part: Part) -> Result<(), StoreError> {
        let listing = self.settings.list(&self.catalog, part).await?;
        self.compare_with(part, listing).await;
        Ok(())
    }

    /// The catalog's revision of a part.
    fn revision(&self, part: Part) -> Revision {
        self.catalog.snapshot().position().revisions[part]
    }

    /// Applies a batch of a feed, unless a comparison was ahead of it.
    async fn apply(&mut self, part: Part, batch: &Batch) {
        let now = self.catalog.snapshot();
        if batch.revision <= now.position().revisions[part] {
            return;
        }
        let reasons = RemovalReasons::collect(&*self.settings.store, &now, batch).await;
        let next = now.after(part, batch, &self.ttls.known());
        self.ttls.query_batch(batch);
        self.catalog.publish(next, Update { part, source: StepSource::Feed, batch }, |key| reasons.reason(key));
    }

    /// Applies the difference to a full listing. The listing is never behind the catalog unless the store's history went
    /// back (restored from a backup); then the listing is right all the same.
    async fn compare_with(&mut self, part: Part, listing: Listing) {
        self.ttls.query_listing(&listing).await;
        let (now, ttls) = (self.catalog.snapshot(), self.ttls.known());
        let previous = now.position().revisions[part];
        // A million entries take seconds, in which the executor has queries to answer. Only this task writes the
        // catalog meanwhile.
        let compared = tokio::task::spawn_blocking(move || {
            let batch = now.difference(part, &listing);
            let changed = !batch.changes.is_empty() || previous != listing.revision;
            changed.then(|| (now.after(part, &batch, &ttls), batch))
        });
        let compared = compared.await.unwrap_or_else(|ended| match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Cancelled: the runtime is ending, and so is this task.
            Err(_) => None,
        });
        let Some((next, batch)) = compared else { return };
        let (revision, changes) = (batch.revision.0, batch.changes.len());
        if previous > batch.revision {
            warn!(previous = previous.0, revision, "the store's history went back; subscribers start over");
        }
        debug!(changes, revision, "applied the difference to a full listing");
        let reasons = RemovalReasons::collect(&*self.settings.store, &self.catalog.snapshot(), &batch).await;
        self.ttls.query_batch(&batch);
        let update = Update { part, source: StepSource::Listing, batch: &batch };
        self.catalog.publish(next, update, |key| reasons.reason(key));
    }

    fn mark_current(&self) {
        if self.catalog.health.send_replace(Health::Current) != Health::Current {
            let snapshot = self.catalog.snapshot();
            info!(entries = snapshot.root().entries(), revision = snapshot.revision().0, "following the store");
        }
    }
}

/// The prefix of a part; empty for a part that is not read, which is never requested.
fn prefix(snapshot: &Snapshot, part: Part) -> &str {
    snapshot.keyspace().part_prefix(part).unwrap_or_default()
}

/// The next batch of a feed; pending for ever without one.
async fn next_batch(feed: Option<&mut Feed>) -> Result<Batch, StoreError> {
    match feed {
        Some(feed) => feed.next().await,
        None => std::future::pending().await,
    }
}

/// Marks the catalog as stale and logs it once: an unavailable store is tried every other second.
fn mark_stale(catalog: &Catalog, error: &StoreError, is_first: bool) {
    let changed = catalog.health.send_if_modified(|health| match health {
        Health::Current => {
            *health = Health::Stale { since: Instant::now() };
            true
        }
        _ => false,
    });
    match (changed, catalog.health()) {
        (true, _) => warn!(%error, "lost the store; serving the last snapshot"),
        (false, Health::NeverLoaded) if is_first => warn!(%error, "cannot read the store; nothing to serve yet"),
        (false, _) => debug!(%error, "the store is still unavailable"),
    }
}
