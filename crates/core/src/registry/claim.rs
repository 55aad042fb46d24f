//! One peer's living interest in an entry.

use super::{RegisterError, Registry, slot::ClaimId};
use bytes::Bytes;
use skyhound_model::removal::RemovalReason;
use skyhound_model::{Entry, Instance};
use std::sync::Arc;

/// A claim. Dropping it gives it up in the background, so that a task that fails or is cancelled leaves
/// nothing behind, and counts as [`RemovalReason::Deregistered`]; [`Claim::release`] does so too, waits, and says why.
#[derive(Debug)]
pub struct Claim {
    pub(super) registry: Arc<Registry>,
    pub(super) id: ClaimId,
    /// Boxed: claims are moved through the tasks of held sockets, which are kept small.
    pub(super) instance: Box<Instance>,
    pub(super) finished: bool,
}

impl Claim {
    /// What was registered, as last updated.
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// Describes the instance anew. When it returns, the change is committed and this node answers it;
    /// after an error what stood before stands again.
    pub async fn update(&mut self, entry: Entry) -> Result<(), RegisterError> {
        let (before, outcome) =
            self.registry.set_value(&self.instance.key, self.id, Bytes::from(entry.encode()), |_| {});
        let result = self.registry.wait_visible(outcome).await;
        match (&result, before) {
            (Ok(()), _) => self.instance.entry = entry,
            (Err(_), Some(before)) => drop(self.registry.set_value(&self.instance.key, self.id, before, |_| {})),
            (Err(_), None) => {}
        }
        result
    }

    /// Gives the claim up. If it was the last one on its entry, the entry is gone from the store and from
    /// this node's answers when this returns; if the store is away, it goes as soon as the store is back
    /// or with its lease. All nodes come to say `reason` it left.
    pub async fn release(mut self, reason: RemovalReason) -> Result<(), RegisterError> {
        self.finished = true;
        let outcome = self.registry.drop_claim(&self.instance.key, self.id, reason);
        self.registry.wait_visible(outcome).await
    }

    /// Ends the claim and leaves the entry to its lease: a planned stop, after which the peer comes back
    /// elsewhere without a gap.
    pub fn leave_to_lease(mut self) {
        self.finished = true;
        self.registry.leave_to_lease(&self.instance.key, self.id);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.finished {
            drop(self.registry.drop_claim(&self.instance.key, self.id, RemovalReason::Deregistered));
        }
    }
}
