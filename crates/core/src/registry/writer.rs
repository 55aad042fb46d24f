//! The one writer: turns changed slots into group commits and tells each its outcome.
//!
//! Owns: what is in flight, retries, and their patience. One commit is under way at a time: while it is,
//! further changes gather, so that a burst is written in few large commits and two commits never race for
//! one key. What stands beside an entry (`twin`) goes with it, in writes of their own. Does not own: what a slot wants
//! (`slot`).

use super::slot::{Beside, Slot, Step, Waiter};
use super::twin::TwinWrite;
use super::{RegisterError, Registry, RegistryStats, session};
use bytes::Bytes;
use skyhound_base::Backoff;
use skyhound_model::departure::{Departed, Departure};
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
struct Planned {
    key: Key,
    /// One for the entry, if there is one to do, and those beside it, in this order; until they are sent.
    writes: Vec<Write>,
    kind: Option<Kind>,
    beside: Vec<Beside>,
    /// What its peers have to see before they are told, if nothing of this changes it.
    since: Revision,
    fresh: bool,
    waiters: Vec<Waiter>,
}

impl Planned {
    /// The entry that it removes, and why.
    fn removal(&self) -> Option<(&Key, Departure)> {
        match self.kind {
            Some(Kind::Delete(_, why)) => Some((&self.key, why)),
            _ => None,
        }
    }

    /// How many of the commit's outcomes are about it.
    fn outcomes(&self) -> usize {
        usize::from(self.kind.is_some()) + self.beside.len()
    }
}

/// What a part of a commit does.
enum Kind {
    Put(Bytes),
    Confirm(Revision),
    Delete(Expect, Departure),
}

/// Writes until the registry has stopped and nothing is left to write.
pub(super) async fn run(registry: Arc<Registry>) {
    let mut backoff = Backoff::new(RETRY_MIN, RETRY_MAX);
    let mut most = SLOTS_MAX;
    // Which kind of failure was told last, until one round goes through.
    let mut told = None;
    loop {
        if !registry.lock().has_work() {
            session::end_former(&registry).await;
            if registry.lock().stopping {
                registry.drained.notify_one();
            }
            registry.wake.notified().await;
            continue;
        }
        match round(&registry, most).await {
            Ok(()) => {
                backoff.reset();
                most = SLOTS_MAX;
                if told.take().is_some() {
                    info!("commits go through again");
                }
            }
            Err(error) => {
                registry.lock().trouble(&error);
                // One write that the store refuses for good must not hold up the others: go one by one.
                most = if error.may_be_about_one_write() { 1 } else { SLOTS_MAX };
                let kind = std::mem::discriminant(&error);
                if told.replace(kind) != Some(kind) {
                    warn!(%error, "a commit failed; trying again");
                }
                tokio::time::sleep(backoff.next_delay()).await;
            }
        }
    }
}

/// One group commit of at most `most` slots.
async fn round(registry: &Registry, most: usize) -> Result<(), StoreError> {
    look(registry, most).await?;
    make_room(registry, most).await?;
    let mut planned = plan(registry, most);
    if planned.is_empty() {
        return Ok(());
    }
    let marker = marker(&registry.settings.layout, planned.iter().filter_map(Planned::removal));
    let writes = planned.iter_mut().flat_map(|part| std::mem::take(&mut part.writes)).chain(marker).collect();
    registry.stats.commits.fetch_add(1, Relaxed);
    match registry.store.commit(writes).await {
        Ok(commit) => {
            settle(registry, planned, &commit);
            Ok(())
        }
        Err(error) => {
            registry.stats.commit_errors.fetch_add(1, Relaxed);
            fail(registry, planned, &error);
            if matches!(error, StoreError::NoLease) {
                session::keep_now(registry, session::ENTRIES).await?;
                session::keep_now(registry, session::RECORDS).await?;
            }
            Err(error)
        }
    }
}

/// Learns what became of commits that got no answer.
async fn look(registry: &Registry, most: usize) -> Result<(), StoreError> {
    let unsure = registry.lock().next_where(most, |slot| slot.step() == Step::Look);
    for key in unsure {
        let places = registry.lock().slots.get(&key).map(|slot| slot.look(&key)).unwrap_or_default();
        for place in places {
            let listing = registry.store.list(place.as_bytes()).await?;
            let found = listing.items.into_iter().find(|item| item.key == place);
            let found = found.map(|item| (item.revision, item.lease, item.value));
            registry.lock().looked(&key, &place, found, listing.revision);
        }
    }
    Ok(())
}

/// Grants leases until the next slots, and the records of their ids, have a place.
async fn make_room(registry: &Registry, most: usize) -> Result<(), StoreError> {
    let (entries, records) = {
        let state = registry.lock();
        let next = state.queue.iter().take(most).filter_map(|key| state.slots.get(key));
        next.fold((0, 0), |(entries, records), slot| {
            let entry = slot.lease.is_none() && matches!(slot.step(), Step::Put { .. });
            (entries + usize::from(entry), records + slot.records.needs())
        })
    };
    session::make_room(registry, session::ENTRIES, entries).await?;
    session::make_room(registry, session::RECORDS, records).await
}

/// Takes the next slots from the queue. Slots with nothing to write are settled here.
fn plan(registry: &Registry, most: usize) -> Vec<Planned> {
    let mut state = registry.lock();
    let state = &mut *state;
    let (mut planned, mut writes) = (Vec::new(), 0);
    let mut named = HashSet::new();
    while planned.len() < most
        && let Some(key) = state.queue.pop_front()
    {
        let Some(slot) = state.slots.get_mut(&key) else { continue };
        slot.queued = false;
        let step = slot.step();
        if let Step::Put { .. } = step
            && slot.lease.is_none()
        {
            slot.lease = state.leases.take();
        }
        let room = slot.records.take_places(&mut state.record_leases);
        let beside = slot.beside(&step);
        let again = match step {
            // More came in since room was made, or this has to be read first: that is the next round's.
            Step::Put { .. } => slot.lease.is_none() || !room,
            Step::Look => true,
            _ => !room,
        };
        // Two instances may want one second key, and no commit names a key twice.
        if again || writes + 1 + beside.len() > SLOTS_MAX || beside.iter().any(|(write, _)| named.contains(write.key()))
        {
            slot.queued = true;
            if step == Step::Look {
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
        let part = part(key, slot, step, beside);
        if part.writes.is_empty() {
            answer(part.waiters, &Ok(part.since));
            continue;
        }
        writes += part.writes.len();
        named.extend(part.beside.iter().map(|write| write.key().clone()));
        planned.push(part);
    }
    planned
}

/// A slot's part of the commit.
fn part(key: Key, slot: &mut Slot, step: Step, beside: Vec<(Beside, Write)>) -> Planned {
    let (kind, op, guard, since) = match step {
        Step::Put { value, guard } => {
            let put = Op::Put { key: key.clone(), value: value.clone(), lease: slot.lease };
            (Some(Kind::Put(value)), Some(put), guard, Revision::default())
        }
        Step::Confirm { revision } => (Some(Kind::Confirm(revision)), None, Some(Expect::At(revision)), revision),
        Step::Delete { guard } => {
            let delete = Op::Delete { key: key.clone() };
            (Some(Kind::Delete(guard, slot.departure())), Some(delete), Some(guard), Revision::default())
        }
        Step::Rest(revision) => (None, None, None, revision),
        Step::Forget | Step::Look => (None, None, None, Revision::default()),
    };
    let guards = guard.map(|expect| Guard { key: key.clone(), expect }).into_iter().collect();
    let entry = kind.is_some().then(|| Write { guards, ops: op.into_iter().collect() });
    let (beside, others): (Vec<_>, Vec<_>) = beside.into_iter().unzip();
    for write in &beside {
        slot.planned_beside(write);
    }
    Planned {
        writes: entry.into_iter().chain(others).collect(),
        kind,
        beside,
        since,
        fresh: std::mem::take(&mut slot.fresh),
        waiters: std::mem::take(&mut slot.waiters),
        key,
    }
}

/// The write that says why the entries leave that a commit removes; `None` when it removes none. It stands by itself: a
/// removal that its guard refuses leaves a line behind that nobody looks up, as only what left at the marker's revision
/// is.
pub(super) fn marker<'a>(layout: &Layout, removals: impl Iterator<Item = (&'a Key, Departure)>) -> Option<Write> {
    let mut removals = removals.peekable();
    removals.peek()?;
    let mut departed = Departed::default();
    removals.for_each(|(key, why)| departed.add(key, why));
    let put = Op::Put { key: Departed::key(layout), value: departed.encode().into(), lease: None };
    Some(Write { guards: Vec::new(), ops: vec![put] })
}

/// Tells every slot what became of its part.
fn settle(registry: &Registry, planned: Vec<Planned>, commit: &Commit) {
    let mut state = registry.lock();
    let state = &mut *state;
    let mut outcomes = commit.outcomes.iter().copied();
    for part in planned {
        let mut outcomes: Vec<_> = outcomes.by_ref().take(part.outcomes()).collect();
        let Some(slot) = state.slots.get_mut(&part.key) else { continue };
        let mut again = false;
        // What its peers have to see before they are told. What was refused changed nothing.
        let mut seen = part.since;
        if let Some(kind) = part.kind {
            match settle_entry(&registry.stats, slot, kind, outcomes.remove(0), commit.revision) {
                Ok(revision) => seen = revision,
                Err(Unconfirmed) => again = true,
            }
        }
        for (write, outcome) in part.beside.into_iter().zip(outcomes) {
            again |= matches!((&write, outcome), (Beside::Twin(TwinWrite::Put(_)), Outcome::Refused));
            if let Some(lease) = slot.done_beside(write, outcome) {
                state.record_leases.give_back(lease);
            }
        }
        again |= slot.step() == Step::Look || !slot.records.is_settled();
        if again {
            slot.waiters.extend(part.waiters);
        } else {
            answer(part.waiters, &Ok(seen));
        }
        match slot.step() {
            Step::Forget => state.forget(&part.key),
            ref step @ Step::Rest(_) if !again && slot.beside(step).is_empty() => {}
            _ => state.enqueue(&part.key),
        }
    }
}

/// What a peer said is not what stands there any more.
struct Unconfirmed;

/// Tells a slot what became of its entry. Returns what its peers have to see.
fn settle_entry(
    stats: &RegistryStats,
    slot: &mut Slot,
    kind: Kind,
    outcome: Outcome,
    revision: Revision,
) -> Result<Revision, Unconfirmed> {
    match (kind, outcome) {
        (Kind::Put(value), Outcome::Done) => {
            stats.puts.fetch_add(1, Relaxed);
            slot.put_done(revision, value);
            return Ok(revision);
        }
        (Kind::Delete(..), Outcome::Done) => {
            stats.deletes.fetch_add(1, Relaxed);
            slot.deleted(revision);
            return Ok(revision);
        }
        (Kind::Confirm(confirmed), Outcome::Done) => return Ok(confirmed),
        (Kind::Put(_), Outcome::Refused) => slot.overtaken(revision),
        (Kind::Delete(guard, _), Outcome::Refused) => slot.not_deleted(guard),
        (Kind::Confirm(_), Outcome::Refused) => {
            slot.overtaken(revision);
            slot.fresh = true;
            return Err(Unconfirmed);
        }
    }
    Ok(Revision::default())
}

/// Puts everything back for the next round; a write that the store refuses by itself is told so.
fn fail(registry: &Registry, planned: Vec<Planned>, error: &StoreError) {
    let alone = planned.len() == 1;
    let mut state = registry.lock();
    for part in planned {
        let Some(slot) = state.slots.get_mut(&part.key) else { continue };
        if error.outcome_unknown() {
            slot.unknown();
        }
        slot.fresh |= part.fresh;
        if alone && error.may_be_about_one_write() {
            answer(part.waiters, &Err(error.into()));
        } else {
            slot.waiters.extend(part.waiters);
        }
        state.enqueue(&part.key);
    }
}

fn answer(waiters: Vec<Waiter>, outcome: &Result<Revision, RegisterError>) {
    for waiter in waiters {
        // Who waited may have gone.
        let _ = waiter.send(outcome.clone());
    }
}
