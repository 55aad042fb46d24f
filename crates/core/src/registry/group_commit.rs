//! The loop that writes a queue in group commits.
//!
//! Owns: the size of a group, the tombstone of its removals, the pauses between retries, and the isolation of a write
//! that the store rejects. Does not own: what is written and in which order ([`CommitQueue`]). The [`writer`] and the
//! queue of [`persistent`] registrations are its two users. One commit of a queue is under way at a time: meanwhile
//! further changes gather, so that a burst is written in few large commits, and two commits never race for one key.
//!
//! # Failures
//! A commit is applied whole or not at all, so one write that the store can never apply (a *poisoned* write) would
//! block all others of its group for ever. A queue decides which errors can have such a cause
//! ([`CommitQueue::may_concern_one_unit`]); the rest is common to both:
//!
//! | error | group | units of this commit | next groups |
//! |---|---|---|---|
//! | of the store | any | retried | full |
//! | of one unit, possibly | two or more | retried | one unit each, until one succeeds |
//! | of one unit, possibly | one | rejected: its callers receive the error | one unit each, until one succeeds |
//!
//! | error | may concern one slot | may concern one persistent registration |
//! |---|---|---|
//! | rejected, denied | yes | yes |
//! | unwritable (no space) | no: callers receive it at once, and slots are retried until the store has space | yes: a confirmation among them needs no space, and nothing is retried without a caller |
//! | lease not found | no: the lease carries many slots, which get another one | yes: the lease is the registration's own |
//! | unreachable and others | no | no |
//!
//! A rejected slot stays queued while its claims want it, behind the others. A rejected persistent registration is
//! dropped, because no client holds it.
//!
//! [`writer`]: super::writer
//! [`persistent`]: super::persistent

use super::stats::RegistryStats;
use futures_util::future::BoxFuture;
use skyhound_base::Backoff;
use skyhound_model::removal::{RemovalReason, Tombstone};
use skyhound_model::{Key, Layout};
use skyhound_store::{COMMIT_MAX, Commit, Op, Outcome, Revision, Store, StoreError, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tracing::{info, warn};

/// The first pause after a failed commit.
const RETRY_MIN: Duration = Duration::from_millis(25);
/// The longest pause after a failed commit.
const RETRY_MAX: Duration = Duration::from_secs(1);

/// The limit of a group's writes: one write of the commit is left for the tombstone.
pub(super) const GROUP_MAX: usize = COMMIT_MAX - 1;

/// One unit of a queue in a commit, with its writes.
#[derive(Debug)]
pub(super) struct Part<U, P> {
    /// The unit, which is completed, retried or rejected as a whole.
    pub(super) unit: U,
    /// Its writes, each with its purpose, by which the queue matches the outcome.
    pub(super) writes: Vec<(P, Write)>,
    /// The entry that it removes.
    pub(super) removal: Option<(Key, RemovalReason)>,
}

/// A queue that is written in group commits.
pub(super) trait CommitQueue {
    /// The name of the queue in log messages.
    const NAME: &'static str;
    /// A unit of the queue: writes that are retried or rejected together.
    type Unit;
    /// The purpose of a write.
    type Purpose;

    /// Waits for work and takes the next group, of at most `max` units and [`GROUP_MAX`] writes; `None` ends the loop.
    async fn next_group(&self, max: usize) -> Result<Option<Vec<Part<Self::Unit, Self::Purpose>>>, StoreError>;

    /// Applies the outcomes of a unit's writes in the commit at `revision`.
    fn complete(&self, unit: Self::Unit, outcomes: Vec<(Self::Purpose, Outcome)>, revision: Revision);

    /// Takes units back for another attempt.
    fn retry(&self, units: Vec<Self::Unit>, error: &StoreError);

    /// Reports an error that a unit caused to its callers.
    fn reject(&self, unit: Self::Unit, error: &StoreError);

    /// Returns whether one unit may have caused an error, so that the others can succeed without it.
    fn may_concern_one_unit(error: &StoreError) -> bool;

    /// Repairs the cause of a failure before the next attempt, if the queue can. Returns the error to report.
    async fn recover(&self, error: StoreError) -> StoreError {
        error
    }
}

/// The part of a store that the loop uses.
pub(super) trait CommitTarget {
    /// Applies writes at one revision (see [`Store::commit`]).
    fn commit(&self, writes: Vec<Write>) -> BoxFuture<'_, Result<Commit, StoreError>>;
}

impl CommitTarget for Arc<dyn Store> {
    fn commit(&self, writes: Vec<Write>) -> BoxFuture<'_, Result<Commit, StoreError>> {
        Store::commit(&**self, writes)
    }
}

/// The loop over a queue.
#[derive(Debug)]
pub(super) struct Committer<'a, S> {
    pub(super) store: &'a S,
    pub(super) layout: &'a Layout,
    pub(super) stats: &'a RegistryStats,
}

impl<S: CommitTarget> Committer<'_, S> {
    /// Writes a queue until it ends.
    pub(super) async fn run<Q: CommitQueue>(&self, queue: &Q) {
        let (mut backoff, mut max) = (Backoff::new(RETRY_MIN, RETRY_MAX), GROUP_MAX);
        // The kind of failure that was logged last, until one round succeeds.
        let mut logged = None;
        loop {
            let result = match queue.next_group(max).await {
                Ok(None) => return,
                Ok(Some(group)) => self.commit(queue, group).await,
                Err(error) => Err(error),
            };
            let Err(error) = result else {
                backoff.reset();
                max = GROUP_MAX;
                if logged.take().is_some() {
                    info!(queue = Q::NAME, "group commits succeed again");
                }
                continue;
            };
            let error = queue.recover(error).await;
            max = if Q::may_concern_one_unit(&error) { 1 } else { GROUP_MAX };
            let kind = std::mem::discriminant(&error);
            if logged.replace(kind) != Some(kind) {
                warn!(queue = Q::NAME, %error, "a group commit failed; retrying");
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }

    /// Sends one group commit.
    async fn commit<Q: CommitQueue>(&self, queue: &Q, group: Vec<Part<Q::Unit, Q::Purpose>>) -> Result<(), StoreError> {
        if group.is_empty() {
            return Ok(());
        }
        let tombstone = tombstone_write(self.layout, group.iter().filter_map(|part| part.removal.as_ref()));
        let (mut units, mut writes) = (Vec::with_capacity(group.len()), Vec::new());
        for part in group {
            let (purposes, part_writes): (Vec<_>, Vec<_>) = part.writes.into_iter().unzip();
            units.push((part.unit, purposes));
            writes.extend(part_writes);
        }
        writes.extend(tombstone);
        self.stats.commits.fetch_add(1, Relaxed);
        match self.store.commit(writes).await {
            Ok(commit) => {
                let mut outcomes = commit.outcomes.into_iter();
                for (unit, purposes) in units {
                    let outcomes = purposes.into_iter().zip(outcomes.by_ref()).collect();
                    queue.complete(unit, outcomes, commit.revision);
                }
                Ok(())
            }
            Err(error) => {
                self.stats.commit_errors.fetch_add(1, Relaxed);
                let units: Vec<_> = units.into_iter().map(|(unit, _)| unit).collect();
                match <[Q::Unit; 1]>::try_from(units) {
                    Ok([unit]) if Q::may_concern_one_unit(&error) => queue.reject(unit, &error),
                    Ok(units) => queue.retry(units.into(), &error),
                    Err(units) => queue.retry(units, &error),
                }
                Err(error)
            }
        }
    }
}

/// The write of the tombstone that records the reasons of a commit's removals; `None` if it removes nothing. It is a
/// write of its own: a removal that its guard refuses leaves an entry in the tombstone that nobody looks up, because
/// readers look up only what was removed at the tombstone's revision.
fn tombstone_write<'a>(layout: &Layout, removals: impl Iterator<Item = &'a (Key, RemovalReason)>) -> Option<Write> {
    let mut removals = removals.peekable();
    removals.peek()?;
    let mut tombstone = Tombstone::default();
    removals.for_each(|(key, reason)| tombstone.add(key, *reason));
    let put = Op::Put { key: Tombstone::key(layout), value: tombstone.encode().into(), lease: None };
    Some(Write { guards: Vec::new(), ops: vec![put] })
}

/// A target for tests of queues, which fails as configured and records the keys of each commit.
#[cfg(test)]
pub(super) mod fake {
    use super::*;
    use futures_util::FutureExt;
    use futures_util::future;
    use std::sync::Mutex;

    #[derive(Debug)]
    pub(in crate::registry) struct FakeStore {
        poisoned: Option<(Key, StoreError)>,
        failures: Mutex<(u32, String)>,
        commits: Mutex<Vec<Vec<String>>>,
    }

    impl FakeStore {
        /// A target that refuses every commit that names a key.
        pub(in crate::registry) fn poisoned(key: &str, error: StoreError) -> Self {
            Self { poisoned: Some((Key::from(key), error)), ..Self::failing(0, "") }
        }

        /// A target that is unreachable for a number of commits.
        pub(in crate::registry) fn failing(commits: u32, reason: &str) -> Self {
            Self { poisoned: None, failures: Mutex::new((commits, reason.to_owned())), commits: Mutex::default() }
        }

        /// The keys of all commits, without the tombstone.
        pub(in crate::registry) fn commits(&self) -> Vec<Vec<String>> {
            self.commits.lock().unwrap().clone()
        }
    }

    /// Writes a queue that ends when it is empty.
    pub(in crate::registry) async fn commit_all<Q: CommitQueue>(queue: &Q, store: &FakeStore) {
        let (layout, stats) = (Layout::new("/skydns"), RegistryStats::default());
        Committer { store, layout: &layout, stats: &stats }.run(queue).await;
    }

    fn key(write: &Write) -> Option<&Key> {
        let op = write.ops.first().map(|op| match op {
            Op::Put { key, .. } | Op::Delete { key } => key,
        });
        op.or(write.guards.first().map(|guard| &guard.key))
    }

    impl CommitTarget for FakeStore {
        fn commit(&self, writes: Vec<Write>) -> BoxFuture<'_, Result<Commit, StoreError>> {
            let tombstone = Tombstone::key(&Layout::new("/skydns"));
            let keys: Vec<&Key> = writes.iter().filter_map(key).filter(|key| **key != tombstone).collect();
            self.commits.lock().unwrap().push(keys.iter().map(ToString::to_string).collect());
            let mut failures = self.failures.lock().unwrap();
            if failures.0 > 0 {
                failures.0 -= 1;
                return future::ready(Err(StoreError::Unreachable(failures.1.clone()))).boxed();
            }
            let result = match &self.poisoned {
                Some((bad, error)) if keys.contains(&bad) => Err(error.clone()),
                _ => Ok(Commit { revision: Revision(2), outcomes: vec![Outcome::Done; writes.len()] }),
            };
            future::ready(result).boxed()
        }
    }
}
