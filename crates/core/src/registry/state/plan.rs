//! The writer's view: which slots the next group commit writes, and the outcome for each of them.

use super::State;
use crate::registry::RegisterError;
use crate::registry::group_commit::{GROUP_MAX, Part};
use crate::registry::slot::{Effect, Slot, SlotWrite, Step};
use crate::registry::waiter::{Waiter, notify};
use skyhound_model::Key;
use skyhound_store::{Outcome, Revision, StoreError, Write};
use std::collections::HashSet;

/// A slot in a commit, with everything that has to be restored if the commit fails.
#[derive(Debug)]
pub(in crate::registry) struct PlannedSlot {
    key: Key,
    /// The revision that the waiting clients have to see, if no write of this commit changes it.
    visible: Revision,
    was_dirty: bool,
    waiters: Vec<Waiter>,
}

/// A slot's part of a group commit.
pub(in crate::registry) type SlotPart = Part<PlannedSlot, SlotWrite>;

/// The progress of a plan.
#[derive(Debug, Default)]
struct Group {
    parts: Vec<SlotPart>,
    writes: usize,
    /// The keys of companion writes. Two instances may want the same mirror key, and no commit may name a key twice.
    companion_keys: HashSet<Key>,
}

impl Group {
    fn has_room_for(&self, writes: &[(SlotWrite, Write)]) -> bool {
        let mut companion_keys = writes.iter().filter_map(|(purpose, _)| purpose.companion_key());
        self.writes + writes.len() <= GROUP_MAX && !companion_keys.any(|key| self.companion_keys.contains(key))
    }

    fn push(&mut self, part: SlotPart) {
        self.writes += part.writes.len();
        let companion_keys = part.writes.iter().filter_map(|(purpose, _)| purpose.companion_key());
        self.companion_keys.extend(companion_keys.cloned());
        self.parts.push(part);
    }
}

impl State {
    /// Returns whether the queue holds a slot.
    pub(in crate::registry) fn has_work(&self) -> bool {
        !self.queue.is_empty()
    }

    /// The keys to read before the next `max` slots can be written, each with the key of its slot.
    pub(in crate::registry) fn keys_to_read(&self, max: usize) -> Vec<(Key, Vec<Key>)> {
        let next = self.queue.iter().take(max).filter_map(|key| Some((key, self.slots.get(key)?)));
        let uncertain = next.filter(|(_, slot)| slot.step() == Step::Read);
        uncertain.map(|(key, slot)| (key.clone(), slot.keys_to_read(key))).collect()
    }

    /// The capacity on leases that the next `max` slots need, for entries and for id records.
    pub(in crate::registry) fn leases_needed(&self, max: usize) -> (usize, usize) {
        let next = self.queue.iter().take(max).filter_map(|key| self.slots.get(key));
        next.map(Slot::leases_needed).fold((0, 0), |sum, slot| (sum.0 + slot.0, sum.1 + slot.1))
    }

    /// Takes up to `max` slots from the queue for one commit. Slots without a write are completed here. The plan ends
    /// early at a slot that has to wait for the next round.
    pub(in crate::registry) fn plan(&mut self, max: usize) -> Vec<SlotPart> {
        let mut group = Group::default();
        while group.parts.len() < max
            && let Some(key) = self.queue.pop_front()
        {
            if !self.plan_slot(key, &mut group) {
                break;
            }
        }
        group.parts
    }

    /// Adds a slot to the group. Returns `false` if the slot was put back into the queue.
    fn plan_slot(&mut self, key: Key, group: &mut Group) -> bool {
        let Some(slot) = self.slots.get_mut(&key) else { return true };
        let step = slot.step();
        // There may be too little capacity, because more slots were queued since it was ensured.
        let has_leases = slot.reserve_leases(&step, &mut self.entry_leases, &mut self.record_leases);
        if step == Step::Read {
            // Behind the others, which need not wait for this read.
            self.queue.push_back(key);
            return false;
        }
        let writes = slot.writes(&key, &step);
        if !has_leases || !group.has_room_for(&writes) {
            self.queue.push_front(key);
            return false;
        }
        match step {
            Step::Forget => self.forget(&key),
            Step::Idle(visible) if writes.is_empty() => {
                slot.take_dirty();
                notify(slot.take_waiters(), &Ok(visible));
            }
            step => {
                for (purpose, _) in &writes {
                    slot.sent(purpose);
                }
                let removal = slot.removal_reason(&step).map(|reason| (key.clone(), reason));
                let visible = if let Step::Idle(revision) = step { revision } else { Revision::default() };
                let (was_dirty, waiters) = (slot.take_dirty(), slot.take_waiters());
                group.push(Part { unit: PlannedSlot { key, visible, was_dirty, waiters }, writes, removal });
            }
        }
        true
    }

    /// Applies the outcomes of a slot's writes in the commit at `revision`, and queues the slot again if more is due.
    pub(in crate::registry) fn complete(
        &mut self,
        planned: PlannedSlot,
        outcomes: Vec<(SlotWrite, Outcome)>,
        revision: Revision,
    ) {
        let PlannedSlot { key, mut visible, waiters, .. } = planned;
        let Some(slot) = self.slots.get_mut(&key) else { return };
        let mut retry = false;
        for (purpose, outcome) in outcomes {
            match slot.complete(purpose, outcome, revision) {
                Effect::Visible(revision) => visible = revision,
                Effect::Retry => retry = true,
                Effect::Released(lease) => self.record_leases.release(lease),
                Effect::None => {}
            }
        }
        retry |= slot.has_pending_companions();
        if retry {
            slot.add_waiters(waiters);
        } else {
            notify(waiters, &Ok(visible));
        }
        match slot.step() {
            Step::Forget => self.forget(&key),
            ref step @ Step::Idle(_) if !retry && slot.writes(&key, step).is_empty() => {}
            _ => self.enqueue(&key),
        }
    }

    /// Puts slots back into the queue after a commit that failed.
    pub(in crate::registry) fn retry(&mut self, planned: Vec<PlannedSlot>, error: &StoreError) {
        for PlannedSlot { key, was_dirty, waiters, .. } in planned {
            let Some(slot) = self.slots.get_mut(&key) else { continue };
            if error.outcome_unknown() {
                slot.mark_unknown();
            }
            slot.restore_dirty(was_dirty);
            slot.add_waiters(waiters);
            self.enqueue(&key);
        }
    }

    /// Reports an error of one slot's own writes to its waiters. The slot stays queued, because its claims may still
    /// want the entry: the caller ends them or sets another value.
    pub(in crate::registry) fn reject(&mut self, mut planned: PlannedSlot, error: &StoreError) {
        let waiters = std::mem::take(&mut planned.waiters);
        if self.slots.contains_key(&planned.key) {
            notify(waiters, &Err(RegisterError::from(error)));
        }
        self.retry(vec![planned], error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::leases::LeaseKind;
    use bytes::Bytes;
    use skyhound_model::removal::RemovalReason;
    use skyhound_store::LeaseId;
    use std::sync::Arc;

    const VALUE: Bytes = Bytes::from_static(b"value");

    fn state() -> State {
        let mut state = State::new(Arc::default());
        state.add_lease(LeaseKind::Entries, LeaseId(7));
        state
    }

    /// Plans a round of one commit and returns its single part.
    fn single_part(state: &mut State) -> SlotPart {
        let mut parts = state.plan(GROUP_MAX);
        assert_eq!(parts.len(), 1, "{parts:?}");
        parts.remove(0)
    }

    #[tokio::test]
    async fn a_rejected_slot_reports_the_error_and_stays_queued() {
        let (mut state, key) = (state(), Key::from("/k"));
        let claim = state.begin_claim().unwrap();
        let (_, completion) = state.set_value(&key, claim, VALUE);
        let part = single_part(&mut state);
        state.reject(part.unit, &StoreError::Rejected("too large".into()));
        assert!(matches!(completion.wait().await, Err(RegisterError::Rejected(_))));
        let part = single_part(&mut state);
        assert_eq!(part.writes[0].0, SlotWrite::Put(VALUE), "its claim still wants the entry");
        state.reject(part.unit, &StoreError::Rejected("too large".into()));
        drop(state.drop_claim(&key, claim, RemovalReason::Deregistered));
        assert!(state.plan(GROUP_MAX).is_empty());
        assert_eq!((state.claims(), state.entries(), state.has_work()), (0, 0, false));
        assert_eq!(state.leases(LeaseKind::Entries).capacity_left(), 1000, "the capacity is released");
    }

    #[tokio::test]
    async fn a_slot_that_is_left_and_claimed_again_is_planned_once() {
        let (mut state, key) = (state(), Key::from("/k"));
        let [first, second] = [(); 2].map(|()| state.begin_claim().unwrap());
        drop(state.set_value(&key, first, VALUE));
        state.leave_to_lease(&key, first);
        drop(state.set_value(&key, second, VALUE));
        single_part(&mut state);
        assert!(!state.has_work());
    }

    #[tokio::test]
    async fn an_unknown_outcome_of_a_confirmation_becomes_a_put() {
        let (mut state, key) = (state(), Key::from("/k"));
        let claim = state.begin_claim().unwrap();
        drop(state.set_value(&key, claim, VALUE));
        let part = single_part(&mut state);
        state.complete(part.unit, vec![(SlotWrite::Put(VALUE), Outcome::Done)], Revision(5));
        let (_, completion) = state.set_value(&key, claim, VALUE);
        let part = single_part(&mut state);
        assert_eq!(part.writes[0].0, SlotWrite::Confirm(Revision(5)));
        state.retry(vec![part.unit], &StoreError::Unreachable("no response".into()));
        let part = single_part(&mut state);
        assert_eq!(part.writes[0].0, SlotWrite::Put(VALUE), "a client's value needs no read");
        state.complete(part.unit, vec![(SlotWrite::Put(VALUE), Outcome::Done)], Revision(6));
        assert_eq!(completion.wait().await, Ok(Revision(6)));
    }
}
