//! Keeps the catalog true: list, then watch, and on any doubt list again.
//!
//! Owns: the one task that writes the catalog, its patience with a store that is away, and the periodic
//! full comparison. A listing is always applied as the *difference* to what is known, so that listeners
//! hear what changed meanwhile, once, whatever happened to the feed.

use super::terms::Terms;
use super::{Catalog, Health};
use crate::store::{Batch, Listing, Store, StoreError};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tracing::{debug, info, warn};

/// The first pause before the store is asked again.
pub const RETRY_MIN: Duration = Duration::from_millis(50);
/// The longest pause before the store is asked again.
pub const RETRY_MAX: Duration = Duration::from_secs(2);
/// How often everything is listed and compared, to mend what a watch may have lost (etcd 3.4 could lose
/// events around a compaction).
pub const COMPARE_EVERY: Duration = Duration::from_secs(15 * 60);

/// What to follow.
#[derive(Debug, Clone)]
pub struct Follow {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The prefix of all keys.
    pub prefix: String,
    /// See [`COMPARE_EVERY`].
    pub compare_every: Duration,
}

impl Follow {
    /// Follows for ever; drop the future to end it.
    pub async fn run(self, catalog: Arc<Catalog>) {
        let mut pause = RETRY_MIN;
        let mut terms = Terms::new(Arc::clone(&self.store));
        loop {
            let began = Instant::now();
            let Err(error) = self.until_lost(&catalog, &mut terms).await;
            lost(&catalog, &error);
            // A feed that held for a while was lost by chance; one that never holds is a store in trouble.
            pause = if began.elapsed() > RETRY_MAX { RETRY_MIN } else { (pause * 2).min(RETRY_MAX) };
            tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        }
    }

    /// Lists, then applies batches until the feed ends.
    async fn until_lost(
        &self,
        catalog: &Arc<Catalog>,
        terms: &mut Terms,
    ) -> Result<std::convert::Infallible, StoreError> {
        let listing = self.store.list(self.prefix.as_bytes()).await?;
        let revision = listing.revision.0;
        let mut feed = self.store.feed(self.prefix.as_bytes(), listing.revision).await?;
        compare_with(catalog, listing, terms).await;
        let before = catalog.health.send_replace(Health::Following);
        if before != Health::Following {
            let entries = catalog.snapshot().root().entries();
            info!(entries, revision, "following the store");
        }
        let mut compare = interval_at(Instant::now() + self.compare_every, self.compare_every);
        compare.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                batch = feed.next() => told(catalog, &batch?, terms),
                learnt = terms.learn() => {
                    let next = catalog.current.load().as_ref().clone().with_terms(&learnt);
                    catalog.current.store(Arc::new(next));
                }
                _ = compare.tick() => {
                    let listing = self.store.list(self.prefix.as_bytes()).await?;
                    compare_with(catalog, listing, terms).await;
                }
            }
        }
    }
}

/// Applies a batch that the feed told. A comparison may have been ahead of it.
fn told(catalog: &Catalog, batch: &Batch, terms: &mut Terms) {
    if batch.revision > catalog.current.load().revision() {
        let next = terms.fill(catalog.current.load().apply(batch), batch);
        catalog.publish(next, batch);
    }
}

/// Applies what differs from a full listing. The listing is never behind the catalog unless the store
/// went back in its own history (restored from a backup); then it is right all the same.
async fn compare_with(catalog: &Arc<Catalog>, listing: Listing, terms: &mut Terms) {
    let known = catalog.snapshot();
    // With a million entries this takes seconds, in which the executor has questions to answer. Nobody
    // else writes the catalog meanwhile.
    let compared = tokio::task::spawn_blocking(move || {
        let batch = known.difference(&listing);
        let news = !batch.changes.is_empty() || known.revision() != listing.revision;
        news.then(|| (known.revision(), known.apply(&batch), batch))
    });
    let compared = compared.await.unwrap_or_else(|ended| match ended.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        // Cancelled: the runtime is ending, and so is this task.
        Err(_) => None,
    });
    let Some((had, next, batch)) = compared else { return };
    if had > batch.revision {
        warn!(had = had.0, has = batch.revision.0, "the store went back in its history");
    }
    debug!(changes = batch.changes.len(), revision = batch.revision.0, "compared with a full listing");
    catalog.publish(terms.fill(next, &batch), &batch);
}

fn lost(catalog: &Catalog, error: &StoreError) {
    let news = catalog.health.send_if_modified(|health| match health {
        Health::Following => {
            *health = Health::Stale { since: Instant::now() };
            true
        }
        _ => false,
    });
    match (news, catalog.health()) {
        (true, _) => warn!(%error, "the store is lost; answering from what is known"),
        (false, Health::NeverRead) => warn!(%error, "the store cannot be read yet"),
        (false, _) => debug!(%error, "the store is still lost"),
    }
}
