//! The synchronous state of a registry: slots, leases, heartbeats and the queue of the writer.
//!
//! Every change of this state is a method here, without store and clock; the other modules lock it, call one method and
//! let it go. [`claims`] changes it for clients, [`feed`] for events and reads of the store, [`plan`] for the writer.
//!
//! # Invariants
//! 1. A key is in the queue at most once. A slot whose step is not idle is in the queue or in the commit under way,
//!    unless another claim on it was left to its lease. Queueing a slot wakes the writer.
//! 2. `claims` is the number of claims in all slots, those with heartbeats included.
//! 3. Every id in `heartbeats` has its claim in the slot of its key; both end in one call.
//! 4. The lease of a slot is in `entry_leases` and the lease of a record in `record_leases`, and each counts as one used
//!    place there. A lost lease is removed from both sides in one call. Entries left to their lease stay counted.
//! 5. After [`State::stop`] no claim begins, and no heartbeat expires.
//! 6. A waiter is in its slot or in the commit under way. Dropping it means that there was nothing to do.

mod claims;
mod feed;
mod plan;

pub(super) use claims::RecordState;
pub(super) use plan::{PlannedSlot, SlotPart};

use super::deadlines::Heartbeats;
use super::leases::{LeaseKind, Leases};
use super::queue::WriteQueue;
use super::slot::Slot;
use super::waiter::notify;
use super::{ClaimId, RegisterError};
use skyhound_model::Key;
use skyhound_store::{LeaseId, Revision, StoreError};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tokio::sync::Notify;

/// The state of a registry. Its fields are private to this module.
#[derive(Debug)]
pub(super) struct State {
    slots: HashMap<Key, Slot>,
    /// The slots that changed, in the order of their change.
    queue: WriteQueue,
    /// Notified when the queue grows and when the registry stops.
    wake: Arc<Notify>,
    entry_leases: Leases,
    record_leases: Leases,
    /// Leases of a history that the store has lost. The store may have restored entries on them that no claim wants any
    /// more. Entries with claims move to other leases, and then these are revoked.
    former_leases: HashSet<LeaseId>,
    heartbeats: Heartbeats,
    last_claim: ClaimId,
    claims: usize,
    stopping: bool,
    /// Some entries were left to their lease. From then on an entry on a lease of this node without a claim is not a
    /// leftover, and is not removed.
    has_abandoned: bool,
    /// The revision of the last batch that the catalog delivered.
    last_revision: Revision,
    last_error: Option<String>,
}

impl State {
    /// An empty state, which notifies `wake` when the writer has work.
    pub(super) fn new(wake: Arc<Notify>) -> Self {
        Self {
            slots: HashMap::default(),
            queue: WriteQueue::default(),
            wake,
            entry_leases: Leases::default(),
            record_leases: Leases::default(),
            former_leases: HashSet::default(),
            heartbeats: Heartbeats::default(),
            last_claim: ClaimId::default(),
            claims: 0,
            stopping: false,
            has_abandoned: false,
            last_revision: Revision::default(),
            last_error: None,
        }
    }

    /// The number of active claims.
    pub(super) fn claims(&self) -> usize {
        self.claims
    }

    /// The number of slots.
    pub(super) fn entries(&self) -> usize {
        self.slots.len()
    }

    /// The number of slots in the queue.
    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Ends the acceptance of claims and wakes the writer, which reports when nothing is left to write.
    pub(super) fn stop(&mut self) {
        self.stopping = true;
        self.wake.notify_one();
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// The reason of the last failed commit.
    pub(super) fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// Queues a slot, if there is one, and wakes the writer.
    fn enqueue(&mut self, key: &Key) {
        if self.slots.contains_key(key) {
            self.queue.push_back(key.clone());
            self.wake.notify_one();
        }
    }

    /// Drops a slot that is not wanted any more. Its waiters waited for exactly that.
    fn forget(&mut self, key: &Key) {
        let Some(mut slot) = self.slots.remove(key) else { return };
        if let Some(lease) = slot.lease() {
            self.entry_leases.release(lease);
        }
        notify(slot.take_waiters(), &Ok(Revision::default()));
    }

    /// Records a failed commit. While the store accepts no writes, callers that want something put receive the error at
    /// once, so that they can try another node. Their slots stay queued: entries with claims are put when the store
    /// accepts writes again, and removals are retried.
    pub(super) fn commit_failed(&mut self, error: &StoreError) {
        self.last_error = Some(error.to_string());
        if !matches!(error, StoreError::Unwritable(_)) {
            return;
        }
        for key in self.queue.iter() {
            if let Some(slot) = self.slots.get_mut(key).filter(|slot| slot.is_claimed()) {
                notify(slot.take_waiters(), &Err(RegisterError::Unavailable(error.to_string())));
            }
        }
    }
}

/// The leases of both kinds.
impl State {
    pub(super) fn leases(&self, kind: LeaseKind) -> &Leases {
        match kind {
            LeaseKind::Entries => &self.entry_leases,
            LeaseKind::Records => &self.record_leases,
        }
    }

    fn leases_mut(&mut self, kind: LeaseKind) -> &mut Leases {
        match kind {
            LeaseKind::Entries => &mut self.entry_leases,
            LeaseKind::Records => &mut self.record_leases,
        }
    }

    /// Adds a lease that was granted.
    pub(super) fn add_lease(&mut self, kind: LeaseKind, lease: LeaseId) {
        self.leases_mut(kind).add(lease);
    }

    /// Removes and returns the leases that can be revoked, because no entry is attached to them.
    pub(super) fn take_spare_leases(&mut self, kind: LeaseKind) -> Vec<LeaseId> {
        self.leases_mut(kind).take_spare()
    }

    /// Removes and returns the leases of a lost history.
    pub(super) fn take_former_leases(&mut self) -> HashSet<LeaseId> {
        std::mem::take(&mut self.former_leases)
    }

    /// Removes a lease that is gone from the store, and queues the slots that have to be written again. Returns their
    /// number.
    pub(super) fn lease_lost(&mut self, kind: LeaseKind, lease: LeaseId) -> usize {
        self.leases_mut(kind).remove(lease);
        let is_due = |slot: &mut Slot| match kind {
            LeaseKind::Entries => slot.lease() == Some(lease) && slot.lease_lost(),
            LeaseKind::Records => slot.record_lease_lost(lease),
        };
        let due: Vec<Key> = self.slots.iter_mut().filter_map(|(key, slot)| is_due(slot).then(|| key.clone())).collect();
        for key in &due {
            self.enqueue(key);
        }
        due.len()
    }
}
