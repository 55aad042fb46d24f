//! The one writer: turns changed slots into group commits and tells each its outcome.
//!
//! Owns: what is in flight, retries, and their patience. One commit is under way at a time: while it is,
//! further changes gather, so that a burst is written in few large commits and two commits never race for
//! one key. What stands beside an entry (`mirror`) goes with it, in writes of their own. Does not own: what a slot wants
//! (`slot`).

use super::mirror::MirrorWrite;
use super::slot::{CompanionWrite, Slot, Step, Waiter};
use super::{RegisterError, Registry, RegistryStats, session};
use bytes::Bytes;
use skyhound_base::Backoff;
use skyhound_model::removal::{RemovalReason, Tombstone};
use skyhound_model::{Key, Layout};
use skyhound_store::{COMMIT_MAX, Commit, Expect, Guard, Op, Outcome, Revision, StoreError, Write};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tracing::{info, warn};

/// The first pause after a failed commit.
pub const RETRY_MIN: Duration = Duration::from_millis(25);
/// The longest pause after a failed commit.
pub const RETRY_MAX: Duration = Duration::from_secs(1);

/// The most slots in one commit: one write is left for the marker that says why entries left.
const SLOTS_MAX: usize = COMMIT_MAX - 1;

/// One slot's part of a commit.
struct PlannedWrite {
    key: Key,
    /// One for the entry, if there is one to do, and those beside it, in this order; until they are sent.
    writes: Vec<Write>,
    kind: Option<EntryWrite>,
    companions: Vec<CompanionWrite>,
    /// What its peers have to see before they are told, if nothing of this changes it.
    since: Revision,
    dirty: bool,
    waiters: Vec<Waiter>,
}

impl PlannedWrite {
    /// The entry that it removes, and why.
    fn removal(&self) -> Option<(&Key, RemovalReason)> {
        match self.kind {
            Some(EntryWrite::Delete(_, reason)) => Some((&self.key, reason)),
            _ => None,
        }
    }

    /// How many of the commit's outcomes are about it.
    fn outcomes(&self) -> usize {
        usize::from(self.kind.is_some()) + self.companions.len()
    }
}

/// What a part of a commit does.
enum EntryWrite {
    Put(Bytes),
    Confirm(Revision),
    Delete(Expect, RemovalReason),
}

/// Writes until the registry has stopped and nothing is left to write.
pub(super) async fn run(registry: Arc<Registry>) {
    let mut backoff = Backoff::new(RETRY_MIN, RETRY_MAX);
    let mut max = SLOTS_MAX;
    // Which kind of failure was told last, until one round goes through.
    let mut last_error = None;
    loop {
        if !registry.lock().has_work() {
            session::revoke_former(&registry).await;
            if registry.lock().stopping {
                registry.drained.notify_one();
            }
            registry.wake.notified().await;
            continue;
        }
        match commit_round(&registry, max).await {
            Ok(()) => {
                backoff.reset();
                max = SLOTS_MAX;
                if last_error.take().is_some() {
                    info!("commits go through again");
                }
            }
            Err(error) => {
                registry.lock().round_failed(&error);
                // One write that the store refuses for good must not hold up the others: go one by one.
                max = if error.may_concern_one_write() { 1 } else { SLOTS_MAX };
                let kind = std::mem::discriminant(&error);
                if last_error.replace(kind) != Some(kind) {
                    warn!(%error, "a commit failed; trying again");
                }
                tokio::time::sleep(backoff.next_delay()).await;
            }
        }
    }
}

/// One group commit of at most `max` slots.
async fn commit_round(registry: &Registry, max: usize) -> Result<(), StoreError> {
    read_uncertain(registry, max).await?;
    ensure_capacity(registry, max).await?;
    let mut planned = plan(registry, max);
    if planned.is_empty() {
        return Ok(());
    }
    let tombstone = tombstone_write(&registry.settings.layout, planned.iter().filter_map(PlannedWrite::removal));
    let writes = planned.iter_mut().flat_map(|part| std::mem::take(&mut part.writes)).chain(tombstone).collect();
    registry.stats.commits.fetch_add(1, Relaxed);
    match registry.store.commit(writes).await {
        Ok(commit) => {
            apply_outcomes(registry, planned, &commit);
            Ok(())
        }
        Err(error) => {
            registry.stats.commit_errors.fetch_add(1, Relaxed);
            requeue(registry, planned, &error);
            if matches!(error, StoreError::LeaseNotFound) {
                session::renew_now(registry, session::ENTRIES).await?;
                session::renew_now(registry, session::RECORDS).await?;
            }
            Err(error)
        }
    }
}

/// Learns what became of commits that got no answer.
async fn read_uncertain(registry: &Registry, max: usize) -> Result<(), StoreError> {
    let uncertain = registry.lock().next_where(max, |slot| slot.step() == Step::Read);
    for key in uncertain {
        let keys = registry.lock().slots.get(&key).map(|slot| slot.keys_to_read(&key)).unwrap_or_default();
        for read in keys {
            let listing = registry.store.list(read.as_bytes()).await?;
            let found = listing.items.into_iter().find(|item| item.key == read);
            let found = found.map(|item| (item.revision, item.lease, item.value));
            registry.lock().observe(&key, &read, found, listing.revision);
        }
    }
    Ok(())
}

/// Grants leases until the next slots, and the records of their ids, have a place.
async fn ensure_capacity(registry: &Registry, max: usize) -> Result<(), StoreError> {
    let (entries, records) = {
        let state = registry.lock();
        let next = state.queue.iter().take(max).filter_map(|key| state.slots.get(key));
        next.fold((0, 0), |(entries, records), slot| {
            let entry = slot.lease.is_none() && matches!(slot.step(), Step::Put { .. });
            (entries + usize::from(entry), records + slot.records.leases_needed())
        })
    };
    session::ensure_capacity(registry, session::ENTRIES, entries).await?;
    session::ensure_capacity(registry, session::RECORDS, records).await
}

/// Takes the next slots from the queue. Slots with nothing to write are settled here.
fn plan(registry: &Registry, max: usize) -> Vec<PlannedWrite> {
    let mut state = registry.lock();
    let state = &mut *state;
    let (mut planned, mut writes) = (Vec::new(), 0);
    let mut named = HashSet::new();
    while planned.len() < max
        && let Some(key) = state.queue.pop_front()
    {
        let Some(slot) = state.slots.get_mut(&key) else { continue };
        slot.queued = false;
        let step = slot.step();
        if let Step::Put { .. } = step
            && slot.lease.is_none()
        {
            slot.lease = state.leases.reserve();
        }
        let room = slot.records.assign_leases(&mut state.record_leases);
        let companions = slot.companion_writes(&step);
        let retry = match step {
            // More came in since room was made, or this has to be read first: that is the next round's.
            Step::Put { .. } => slot.lease.is_none() || !room,
            Step::Read => true,
            _ => !room,
        };
        // Two instances may want one second key, and no commit names a key twice.
        if retry
            || writes + 1 + companions.len() > SLOTS_MAX
            || companions.iter().any(|(write, _)| named.contains(write.key()))
        {
            slot.queued = true;
            if step == Step::Read {
                state.queue.push_back(key);
            } else {
                state.queue.push_front(key);
            }
            break;
        }
        if let Step::Forget = step {
            state.forget(&key);
            continue;
        }
        let part = part(key, slot, step, companions);
        if part.writes.is_empty() {
            notify(part.waiters, &Ok(part.since));
            continue;
        }
        writes += part.writes.len();
        named.extend(part.companions.iter().map(|write| write.key().clone()));
        planned.push(part);
    }
    planned
}

/// A slot's part of the commit.
fn part(key: Key, slot: &mut Slot, step: Step, companions: Vec<(CompanionWrite, Write)>) -> PlannedWrite {
    let (kind, op, guard, since) = match step {
        Step::Put { value, guard } => {
            let put = Op::Put { key: key.clone(), value: value.clone(), lease: slot.lease };
            (Some(EntryWrite::Put(value)), Some(put), guard, Revision::default())
        }
        Step::Confirm { revision } => {
            (Some(EntryWrite::Confirm(revision)), None, Some(Expect::AtRevision(revision)), revision)
        }
        Step::Delete { guard } => {
            let delete = Op::Delete { key: key.clone() };
            (Some(EntryWrite::Delete(guard, slot.removal_reason())), Some(delete), Some(guard), Revision::default())
        }
        Step::Idle(revision) => (None, None, None, revision),
        Step::Forget | Step::Read => (None, None, None, Revision::default()),
    };
    let guards = guard.map(|expect| Guard { key: key.clone(), expect }).into_iter().collect();
    let entry = kind.is_some().then(|| Write { guards, ops: op.into_iter().collect() });
    let (companions, others): (Vec<_>, Vec<_>) = companions.into_iter().unzip();
    for write in &companions {
        slot.companion_sent(write);
    }
    PlannedWrite {
        writes: entry.into_iter().chain(others).collect(),
        kind,
        companions,
        since,
        dirty: std::mem::take(&mut slot.dirty),
        waiters: std::mem::take(&mut slot.waiters),
        key,
    }
}

/// The write that says why the entries leave that a commit removes; `None` when it removes none. It stands by itself: a
/// removal that its guard refuses leaves a line behind that nobody looks up, as only what left at the marker's revision
/// is.
pub(super) fn tombstone_write<'a>(
    layout: &Layout,
    removals: impl Iterator<Item = (&'a Key, RemovalReason)>,
) -> Option<Write> {
    let mut removals = removals.peekable();
    removals.peek()?;
    let mut tombstone = Tombstone::default();
    removals.for_each(|(key, reason)| tombstone.add(key, reason));
    let put = Op::Put { key: Tombstone::key(layout), value: tombstone.encode().into(), lease: None };
    Some(Write { guards: Vec::new(), ops: vec![put] })
}

/// Tells every slot what became of its part.
fn apply_outcomes(registry: &Registry, planned: Vec<PlannedWrite>, commit: &Commit) {
    let mut state = registry.lock();
    let state = &mut *state;
    let mut outcomes = commit.outcomes.iter().copied();
    for part in planned {
        let mut outcomes: Vec<_> = outcomes.by_ref().take(part.outcomes()).collect();
        let Some(slot) = state.slots.get_mut(&part.key) else { continue };
        let mut retry = false;
        // What its peers have to see before they are told. What was refused changed nothing.
        let mut seen = part.since;
        if let Some(kind) = part.kind {
            match apply_entry_outcome(&registry.stats, slot, kind, outcomes.remove(0), commit.revision) {
                Ok(revision) => seen = revision,
                Err(Unconfirmed) => retry = true,
            }
        }
        for (write, outcome) in part.companions.into_iter().zip(outcomes) {
            retry |= matches!((&write, outcome), (CompanionWrite::Mirror(MirrorWrite::Put(_)), Outcome::Refused));
            if let Some(lease) = slot.companion_done(write, outcome) {
                state.record_leases.release_place(lease);
            }
        }
        retry |= slot.step() == Step::Read || !slot.records.is_synced();
        if retry {
            slot.waiters.extend(part.waiters);
        } else {
            notify(part.waiters, &Ok(seen));
        }
        match slot.step() {
            Step::Forget => state.forget(&part.key),
            ref step @ Step::Idle(_) if !retry && slot.companion_writes(step).is_empty() => {}
            _ => state.enqueue(&part.key),
        }
    }
}

/// What a peer said is not what stands there any more.
struct Unconfirmed;

/// Tells a slot what became of its entry. Returns what its peers have to see.
fn apply_entry_outcome(
    stats: &RegistryStats,
    slot: &mut Slot,
    kind: EntryWrite,
    outcome: Outcome,
    revision: Revision,
) -> Result<Revision, Unconfirmed> {
    match (kind, outcome) {
        (EntryWrite::Put(value), Outcome::Done) => {
            stats.puts.fetch_add(1, Relaxed);
            slot.put_done(revision, value);
            return Ok(revision);
        }
        (EntryWrite::Delete(..), Outcome::Done) => {
            stats.deletes.fetch_add(1, Relaxed);
            slot.delete_done(revision);
            return Ok(revision);
        }
        (EntryWrite::Confirm(confirmed), Outcome::Done) => return Ok(confirmed),
        (EntryWrite::Put(_), Outcome::Refused) => slot.superseded(revision),
        (EntryWrite::Delete(guard, _), Outcome::Refused) => slot.delete_refused(guard),
        (EntryWrite::Confirm(_), Outcome::Refused) => {
            slot.superseded(revision);
            slot.dirty = true;
            return Err(Unconfirmed);
        }
    }
    Ok(Revision::default())
}

/// Puts everything back for the next round; a write that the store refuses by itself is told so.
fn requeue(registry: &Registry, planned: Vec<PlannedWrite>, error: &StoreError) {
    let alone = planned.len() == 1;
    let mut state = registry.lock();
    for part in planned {
        let Some(slot) = state.slots.get_mut(&part.key) else { continue };
        if error.outcome_unknown() {
            slot.mark_unknown();
        }
        slot.dirty |= part.dirty;
        if alone && error.may_concern_one_write() {
            notify(part.waiters, &Err(error.into()));
        } else {
            slot.waiters.extend(part.waiters);
        }
        state.enqueue(&part.key);
    }
}

fn notify(waiters: Vec<Waiter>, outcome: &Result<Revision, RegisterError>) {
    for waiter in waiters {
        // Who waited may have gone.
        let _ = waiter.send(outcome.clone());
    }
}
