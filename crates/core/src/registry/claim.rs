//! The handle of one client's interest in an entry.

use super::{ClaimId, RegisterError, Registry};
use bytes::Bytes;
use skyhound_model::removal::RemovalReason;
use skyhound_model::{Entry, Instance};
use std::sync::Arc;

/// A claim. Dropping it ends it in the background, so that a task that fails or is cancelled leaves no entry, and
/// counts as [`RemovalReason::Deregistered`]; [`Claim::release`] ends it with a given reason and waits.
#[derive(Debug)]
pub struct Claim {
    pub(super) registry: Arc<Registry>,
    pub(super) id: ClaimId,
    /// Boxed: claims are moved through the tasks of open connections, which must stay small.
    pub(super) instance: Box<Instance>,
    pub(super) finished: bool,
}

impl Claim {
    /// The registered instance, as last updated.
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// Replaces the entry of the instance. When it returns, the change is committed and visible in this node's answers;
    /// after an error the previous entry is wanted again.
    pub async fn update(&mut self, entry: Entry) -> Result<(), RegisterError> {
        let key = &self.instance.key;
        let (before, completion) = self.registry.lock().set_value(key, self.id, Bytes::from(entry.encode()));
        let result = self.registry.wait_visible(completion).await;
        match (&result, before) {
            (Ok(()), _) => self.instance.entry = entry,
            (Err(_), Some(before)) => drop(self.registry.lock().set_value(key, self.id, before)),
            (Err(_), None) => {}
        }
        result
    }

    /// Ends the claim. If it was the last one on its entry, the entry is removed from the store and from this node's
    /// answers when this returns; if the store is unavailable, the entry is removed when the store recovers or when its
    /// lease expires. All nodes report `reason` as its removal reason.
    pub async fn release(mut self, reason: RemovalReason) -> Result<(), RegisterError> {
        self.finished = true;
        let completion = self.registry.lock().drop_claim(&self.instance.key, self.id, reason);
        self.registry.wait_visible(completion).await
    }

    /// Ends the claim and leaves the entry to its lease: for a planned stop, after which the client reconnects
    /// elsewhere without a gap.
    pub fn leave_to_lease(mut self) {
        self.finished = true;
        self.registry.lock().leave_to_lease(&self.instance.key, self.id);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.finished {
            drop(self.registry.lock().drop_claim(&self.instance.key, self.id, RemovalReason::Deregistered));
        }
    }
}
