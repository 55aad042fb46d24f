//! The one writer: turns changed slots into group commits and tells each its outcome.
//!
//! Owns: what is in flight, retries, and their patience. One commit is under way at a time: while it is,
//! further changes gather, so that a burst is written in few large commits and two commits never race for
//! one key. Does not own: what a slot wants (`slot`).

use super::slot::{Step, Waiter};
use super::{RegisterError, Registry, session};
use crate::model::Key;
use crate::model::departure::{Departed, Departure};
use crate::store::{COMMIT_MAX, Commit, Expect, Guard, Op, Outcome, Revision, StoreError, Write};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tracing::{debug, warn};

/// The first pause after a failed commit.
pub const RETRY_MIN: Duration = Duration::from_millis(25);
/// The longest pause after a failed commit.
pub const RETRY_MAX: Duration = Duration::from_secs(1);

/// The most slots in one commit: one write is left for the marker that says why entries left.
const SLOTS_MAX: usize = COMMIT_MAX - 1;

/// One slot's part of a commit.
struct Planned {
    key: Key,
    write: Write,
    kind: Kind,
    fresh: bool,
    waiters: Vec<Waiter>,
}

/// What a part of a commit does.
enum Kind {
    Put(Bytes),
    Confirm(Revision),
    Delete(Expect, Departure),
}

/// Writes until the registry has stopped and nothing is left to write.
pub(super) async fn run(registry: Arc<Registry>) {
    let mut pause = RETRY_MIN;
    let mut most = SLOTS_MAX;
    loop {
        if !registry.lock().has_work() {
            if registry.lock().stopping {
                registry.drained.notify_one();
            }
            registry.wake.notified().await;
            continue;
        }
        match round(&registry, most).await {
            Ok(()) => (pause, most) = (RETRY_MIN, SLOTS_MAX),
            Err(error) => {
                // One write that the store refuses for good must not hold up the others: go one by one.
                most = if matches!(error, StoreError::Rejected(_)) { 1 } else { SLOTS_MAX };
                if pause == RETRY_MIN {
                    warn!(%error, "a commit failed; trying again");
                }
                tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
                pause = (pause * 2).min(RETRY_MAX);
            }
        }
    }
}

/// One group commit of at most `most` slots.
async fn round(registry: &Registry, most: usize) -> Result<(), StoreError> {
    look(registry, most).await?;
    make_room(registry, most).await?;
    let planned = plan(registry, most);
    if planned.is_empty() {
        return Ok(());
    }
    let writes = planned.iter().map(|p| p.write.clone()).chain(marker(registry, &planned)).collect();
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
                session::keep_now(registry).await?;
            }
            Err(error)
        }
    }
}

/// Learns what became of commits that got no answer.
async fn look(registry: &Registry, most: usize) -> Result<(), StoreError> {
    let unsure = registry.lock().next_where(most, |slot| slot.step() == Step::Look);
    for key in unsure {
        let listing = registry.store.list(key.as_bytes()).await?;
        let found = listing.items.into_iter().find(|item| item.key == key);
        if let Some(slot) = registry.lock().slots.get_mut(&key) {
            slot.looked(found.map(|item| (item.revision, item.lease, item.value)), listing.revision);
        }
    }
    Ok(())
}

/// Grants leases until the next slots have a place.
async fn make_room(registry: &Registry, most: usize) -> Result<(), StoreError> {
    let needed =
        registry.lock().next_where(most, |slot| slot.lease.is_none() && matches!(slot.step(), Step::Put { .. })).len();
    while registry.lock().leases.room() < needed {
        let lease = registry.store.grant(registry.settings.term).await?;
        debug!(%lease, "granted a lease");
        registry.lock().leases.add(lease);
    }
    Ok(())
}

/// Takes the next slots from the queue. Slots with nothing to write are settled here.
fn plan(registry: &Registry, most: usize) -> Vec<Planned> {
    let mut state = registry.lock();
    let state = &mut *state;
    let mut planned = Vec::new();
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
            if slot.lease.is_none() {
                // More came in since room was made: the next round makes more.
                slot.queued = true;
                state.queue.push_front(key);
                break;
            }
        }
        let (kind, op, guard) = match step {
            Step::Put { value, guard } => {
                let put = Op::Put { key: key.clone(), value: value.clone(), lease: slot.lease };
                (Kind::Put(value), Some(put), guard)
            }
            Step::Confirm { revision } => (Kind::Confirm(revision), None, Some(Expect::At(revision))),
            Step::Delete { guard } => {
                (Kind::Delete(guard, slot.departure()), Some(Op::Delete { key: key.clone() }), Some(guard))
            }
            Step::Rest(revision) => {
                slot.fresh = false;
                answer(std::mem::take(&mut slot.waiters), &Ok(revision));
                continue;
            }
            Step::Forget => {
                state.forget(&key);
                continue;
            }
            Step::Look => {
                slot.queued = true;
                state.queue.push_back(key);
                break;
            }
        };
        let guards = guard.map(|expect| Guard { key: key.clone(), expect }).into_iter().collect();
        planned.push(Planned {
            write: Write { guards, ops: op.into_iter().collect() },
            kind,
            fresh: std::mem::take(&mut slot.fresh),
            waiters: std::mem::take(&mut slot.waiters),
            key,
        });
    }
    planned
}

/// The write that says why the entries leave that this commit removes. It stands by itself: a removal that its guard
/// refuses leaves a line behind that nobody looks up, as only what left at the marker's revision is.
fn marker(registry: &Registry, planned: &[Planned]) -> Option<Write> {
    let mut removals = planned.iter().filter_map(|part| match part.kind {
        Kind::Delete(_, why) => Some((&part.key, why)),
        Kind::Put(_) | Kind::Confirm(_) => None,
    });
    let mut departed = Departed::default();
    let (key, why) = removals.next()?;
    departed.add(key, why);
    removals.for_each(|(key, why)| departed.add(key, why));
    let put = Op::Put { key: Departed::key(&registry.settings.layout), value: departed.encode().into(), lease: None };
    Some(Write { guards: Vec::new(), ops: vec![put] })
}

/// Tells every slot what became of its part.
fn settle(registry: &Registry, planned: Vec<Planned>, commit: &Commit) {
    let mut state = registry.lock();
    for (part, outcome) in planned.into_iter().zip(&commit.outcomes) {
        let Some(slot) = state.slots.get_mut(&part.key) else { continue };
        // What its peers have to see before they are told. What was refused changed nothing.
        let mut seen = Revision::default();
        match (part.kind, outcome) {
            (Kind::Put(value), Outcome::Done) => {
                registry.stats.puts.fetch_add(1, Relaxed);
                slot.put_done(commit.revision, value);
                seen = commit.revision;
            }
            (Kind::Delete(..), Outcome::Done) => {
                registry.stats.deletes.fetch_add(1, Relaxed);
                slot.deleted(commit.revision);
                seen = commit.revision;
            }
            (Kind::Confirm(revision), Outcome::Done) => seen = revision,
            (Kind::Put(_), Outcome::Refused) => slot.overtaken(commit.revision),
            (Kind::Delete(guard, _), Outcome::Refused) => slot.not_deleted(guard),
            (Kind::Confirm(_), Outcome::Refused) => {
                slot.overtaken(commit.revision);
                slot.fresh = true;
                slot.waiters.extend(part.waiters);
                state.enqueue(&part.key);
                continue;
            }
        }
        answer(part.waiters, &Ok(seen));
        match slot.step() {
            Step::Forget => state.forget(&part.key),
            Step::Rest(_) => {}
            _ => state.enqueue(&part.key),
        }
    }
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
        match error {
            StoreError::Rejected(_) if alone => {
                answer(part.waiters, &Err(RegisterError::Rejected(error.to_string())));
            }
            _ => slot.waiters.extend(part.waiters),
        }
        state.enqueue(&part.key);
    }
    state.last_error = Some(error.to_string());
}

fn answer(waiters: Vec<Waiter>, outcome: &Result<Revision, RegisterError>) {
    for waiter in waiters {
        // Who waited may have gone.
        let _ = waiter.send(outcome.clone());
    }
}
