//! Changes of clients: claims begin, change their value, and end.

use super::State;
use crate::registry::deadlines::MAX_HEARTBEAT_CLAIMS;
use crate::registry::ids::{self, IdRecord};
use crate::registry::slot::Slot;
use crate::registry::waiter::{Completion, Waiter};
use crate::registry::{ClaimId, RegisterError};
use bytes::Bytes;
use skyhound_model::removal::RemovalReason;
use skyhound_model::{Instance, Key};
use std::time::Duration;
use tokio::time::Instant;

/// The record of an id, as this node knows it.
#[derive(Debug)]
pub(in crate::registry) enum RecordState {
    /// This node does not hold the id.
    NotHeld,
    /// The record is written.
    Present,
    /// The record is about to be written.
    Pending(Completion),
}

impl State {
    /// Begins a claim on the entry of an instance.
    pub(in crate::registry) fn register(
        &mut self,
        instance: &Instance,
    ) -> Result<(ClaimId, Completion), RegisterError> {
        let claim = self.begin_claim()?;
        let value = Bytes::from(instance.entry.encode());
        let (slot, waiter, completion) = self.slot_with_waiter(&instance.key);
        slot.set_value(claim, value);
        if let Some(mirror) = &instance.mirror {
            slot.set_mirror(claim, mirror.clone());
        }
        slot.add_waiters([waiter]);
        self.enqueue(&instance.key);
        Ok((claim, completion))
    }

    /// Sets the value that a claim wants. Returns its previous value.
    pub(in crate::registry) fn set_value(
        &mut self,
        key: &Key,
        claim: ClaimId,
        value: Bytes,
    ) -> (Option<Bytes>, Completion) {
        let (slot, waiter, completion) = self.slot_with_waiter(key);
        let before = slot.set_value(claim, value);
        slot.add_waiters([waiter]);
        self.enqueue(key);
        (before, completion)
    }

    /// Ends a claim. If it was the last one on its entry, the entry is removed.
    pub(in crate::registry) fn drop_claim(&mut self, key: &Key, claim: ClaimId, reason: RemovalReason) -> Completion {
        let (waiter, completion) = Completion::new();
        if let Some(slot) = self.slots.get_mut(key)
            && slot.drop_claim(claim, reason)
        {
            slot.add_waiters([waiter]);
            self.claims -= 1;
            self.enqueue(key);
        }
        completion
    }

    /// Ends a claim and leaves its entry to the lease, without a write.
    pub(in crate::registry) fn leave_to_lease(&mut self, key: &Key, claim: ClaimId) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        if slot.remove_claim(claim).is_none() {
            return;
        }
        self.claims -= 1;
        self.has_abandoned = true;
        if !slot.is_claimed() {
            // Its capacity on the lease stays reserved, because the entry stays.
            self.slots.remove(key);
        }
    }

    pub(super) fn begin_claim(&mut self) -> Result<ClaimId, RegisterError> {
        if self.stopping {
            return Err(RegisterError::Stopping);
        }
        self.last_claim.0 += 1;
        self.claims += 1;
        Ok(self.last_claim)
    }

    fn slot_with_waiter(&mut self, key: &Key) -> (&mut Slot, Waiter, Completion) {
        let (waiter, completion) = Completion::new();
        (self.slots.entry(key.clone()).or_insert_with(Slot::new), waiter, completion)
    }
}

/// Claims with heartbeats.
impl State {
    /// The number of claims with heartbeats.
    pub(in crate::registry) fn heartbeat_claims(&self) -> usize {
        self.heartbeats.len()
    }

    /// Begins a claim on the entry of a record, with a heartbeat deadline under an id. It replaces the claim that held
    /// the id before.
    pub(in crate::registry) fn register_with_heartbeat(
        &mut self,
        id: &str,
        record: IdRecord,
        now: Instant,
    ) -> Result<(ClaimId, Completion), RegisterError> {
        if self.stopping {
            return Err(RegisterError::Stopping);
        }
        let before = self.heartbeats.remove(id);
        if self.heartbeats.len() >= MAX_HEARTBEAT_CLAIMS {
            return Err(RegisterError::Full);
        }
        let claim = self.begin_claim()?;
        self.heartbeats.insert(id, record.key.clone(), claim, record.ttl, now);
        let encoded = record.encode();
        let IdRecord { key, value, mirror, .. } = record;
        let (slot, waiter, completion) = self.slot_with_waiter(&key);
        slot.set_value(claim, value);
        if let Some(mirror) = mirror {
            slot.set_mirror(claim, mirror);
        }
        slot.set_record(claim, ids::key(id), encoded);
        slot.add_waiters([waiter]);
        self.enqueue(&key);
        if let Some(before) = before {
            if before.key != key {
                self.forget_record(&before.key, before.claim);
            }
            drop(self.drop_claim(&before.key, before.claim, RemovalReason::Deregistered));
        }
        Ok((claim, completion))
    }

    /// Forgets the record of a claim whose id has another entry now: the new claim overwrites the record, and the old
    /// one must not remove it.
    fn forget_record(&mut self, key: &Key, claim: ClaimId) {
        if let Some(lease) = self.slots.get_mut(key).and_then(|slot| slot.forget_record(claim)) {
            self.record_leases.release(lease);
        }
    }

    /// Renews the deadline of an id. Returns `false` if this node does not hold the id. Writes nothing, unless another
    /// node has written the entry.
    pub(in crate::registry) fn heartbeat(&mut self, id: &str, now: Instant) -> Result<bool, RegisterError> {
        if self.stopping {
            return Err(RegisterError::Stopping);
        }
        let Some(claimed) = self.heartbeats.heartbeat(id, now) else { return Ok(false) };
        let (key, claim) = (claimed.key.clone(), claimed.claim);
        if self.slots.get_mut(&key).is_some_and(|slot| slot.reassert(claim)) {
            self.enqueue(&key);
        }
        Ok(true)
    }

    /// Returns the state of the record of an id, and makes a pending one due.
    pub(in crate::registry) fn record_state(&mut self, id: &str) -> RecordState {
        let Some(claimed) = self.heartbeats.get(id) else { return RecordState::NotHeld };
        let (key, claim) = (claimed.key.clone(), claimed.claim);
        let Some(slot) = self.slots.get_mut(&key).filter(|slot| !slot.has_record(claim)) else {
            return RecordState::Present;
        };
        let (waiter, completion) = Completion::new();
        slot.add_waiters([waiter]);
        self.enqueue(&key);
        RecordState::Pending(completion)
    }

    /// Ends the claim that holds an id; with `only`, not if another claim holds it. Returns `None` if there is no such
    /// claim.
    pub(in crate::registry) fn end_heartbeat_claim(
        &mut self,
        id: &str,
        only: Option<ClaimId>,
        reason: RemovalReason,
    ) -> Option<Completion> {
        self.heartbeats.get(id).filter(|claimed| only.is_none_or(|claim| claim == claimed.claim))?;
        let claimed = self.heartbeats.remove(id)?;
        Some(self.drop_claim(&claimed.key, claimed.claim, reason))
    }

    /// The next deadline of a heartbeat.
    pub(in crate::registry) fn next_deadline(&self) -> Option<Instant> {
        self.heartbeats.next_deadline()
    }

    /// Moves all deadlines into the future by `by`.
    pub(in crate::registry) fn postpone_deadlines(&mut self, by: Duration) {
        self.heartbeats.postpone(by);
    }

    /// Ends the claims whose deadline has passed. A stopping registry leaves them to their lease: they missed no
    /// heartbeat.
    pub(in crate::registry) fn expire_heartbeats(&mut self, now: Instant) {
        if self.stopping {
            return;
        }
        for claimed in self.heartbeats.take_expired(now) {
            drop(self.drop_claim(&claimed.key, claimed.claim, RemovalReason::Expired));
        }
    }
}
