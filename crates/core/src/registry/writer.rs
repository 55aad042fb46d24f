//! The writer of slots: turns changed slots into group commits and applies the outcomes.
//!
//! Owns: the reads and the leases that the next slots need before they can be written, and the order of the two. Does
//! not own: what a slot wants (`slot`), which slots fit into a commit (`state::plan`), nor retries (`group_commit`).

use super::group_commit::CommitQueue;
use super::leases::LeaseKind;
use super::slot::SlotWrite;
use super::state::{PlannedSlot, SlotPart};
use super::{Registry, session};
use skyhound_store::{Outcome, Revision, StoreError};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// The queue of changed slots.
struct SlotQueue<'a>(&'a Registry);

/// Writes for ever, also while the registry stops.
pub(super) async fn run(registry: Arc<Registry>) {
    registry.committer().run(&SlotQueue(&registry)).await;
}

impl CommitQueue for SlotQueue<'_> {
    const NAME: &'static str = "claims";
    type Unit = PlannedSlot;
    type Purpose = SlotWrite;

    async fn next_group(&self, max: usize) -> Result<Option<Vec<SlotPart>>, StoreError> {
        self.wait_for_work().await;
        self.read_uncertain(max).await?;
        let (entries, records) = self.0.lock().leases_needed(max);
        session::ensure_capacity(self.0, LeaseKind::Entries, entries).await?;
        session::ensure_capacity(self.0, LeaseKind::Records, records).await?;
        Ok(Some(self.0.lock().plan(max)))
    }

    fn complete(&self, slot: PlannedSlot, outcomes: Vec<(SlotWrite, Outcome)>, revision: Revision) {
        let stats = &self.0.stats;
        for (purpose, outcome) in &outcomes {
            match (purpose, outcome) {
                (SlotWrite::Put(_), Outcome::Done) => _ = stats.puts.fetch_add(1, Relaxed),
                (SlotWrite::Delete(_), Outcome::Done) => _ = stats.deletes.fetch_add(1, Relaxed),
                _ => {}
            }
        }
        self.0.lock().complete(slot, outcomes, revision);
    }

    fn retry(&self, slots: Vec<PlannedSlot>, error: &StoreError) {
        self.0.lock().retry(slots, error);
    }

    fn reject(&self, slot: PlannedSlot, error: &StoreError) {
        self.0.lock().reject(slot, error);
    }

    fn may_concern_one_unit(error: &StoreError) -> bool {
        error.may_concern_one_write()
    }

    /// Finds out which leases are gone, if one is.
    async fn recover(&self, error: StoreError) -> StoreError {
        let renewed = match error {
            StoreError::LeaseNotFound => self.renew_leases().await,
            _ => Ok(()),
        };
        let error = renewed.err().unwrap_or(error);
        self.0.lock().commit_failed(&error);
        error
    }
}

impl SlotQueue<'_> {
    /// Waits until a slot is queued. A stopping registry learns here that nothing is left to write.
    async fn wait_for_work(&self) {
        while !self.0.lock().has_work() {
            session::revoke_former(self.0).await;
            if self.0.lock().is_stopping() {
                self.0.drained.notify_one();
            }
            self.0.wake.notified().await;
        }
    }

    /// Reads the keys whose state is unknown, such as those of a commit without a response.
    async fn read_uncertain(&self, max: usize) -> Result<(), StoreError> {
        let uncertain = self.0.lock().keys_to_read(max);
        for (entry, keys) in uncertain {
            for read in keys {
                let listing = self.0.store.list(read.as_bytes()).await?;
                let found = listing.items.into_iter().find(|item| item.key == read);
                self.0.lock().observe(&entry, &read, found, listing.revision);
            }
        }
        Ok(())
    }

    async fn renew_leases(&self) -> Result<(), StoreError> {
        for kind in LeaseKind::ALL {
            session::renew_now(self.0, kind).await?;
        }
        Ok(())
    }
}
