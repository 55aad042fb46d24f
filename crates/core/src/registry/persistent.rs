//! Entries that nobody holds: put by one call, there until another removes them, or until their own term is over.
//!
//! No claim and no slot: whoever put one is gone when the call returns, and comes to any node to renew or remove it.
//! So nothing of them is remembered here but what waits to be written, and no node puts them again when they vanish.
//! Their keys are theirs alone; a dialect that puts lasting entries gives them ids of its own, so that a claim on the
//! same host and port never takes one away with it.
//!
//! Owns: their writes (in group commits of their own, beside the [`writer`](super::writer)'s: no key is in both), and
//! their leases. One with a term has a lease of its own, because it is renewed by itself: that is one keep and, to be
//! sure that the entry still hangs on it, one transaction that changes nothing.

use super::writer::{RETRY_MAX, RETRY_MIN, tombstone_write};
use super::{RegisterError, Registry};
use crate::catalog::StoredEntry;
use bytes::Bytes;
use skyhound_base::Backoff;
use skyhound_model::removal::RemovalReason;
use skyhound_model::{Instance, Key};
use skyhound_store::{COMMIT_MAX, Expect, Guard, LeaseId, Op, Outcome, Revision, StoreError, Write};
use std::collections::{HashSet, VecDeque};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// The most of them in one commit: one write is left for the marker that says why entries left.
const WRITES_MAX: usize = COMMIT_MAX - 1;

/// `--max-persistent`: the most entries without a term, of all daemons on one store. Nothing else ever takes them away; so
/// many are a small part of what an etcd holds with its default quota of 2 GiB.
pub const MAX_PERSISTENT: u32 = 100_000;

/// What came of a write, and at which revision.
type WriteResult = Result<(Outcome, Revision), StoreError>;

/// What waits to be written.
#[derive(Debug, Default)]
pub(super) struct PersistentWrites(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<PendingWrite>,
    /// A task writes them.
    writing: bool,
}

/// One write, and who wants to hear of it.
#[derive(Debug)]
struct PendingWrite {
    key: Key,
    write: Write,
    reply: oneshot::Sender<WriteResult>,
}

impl PendingWrite {
    /// The entry that it removes. Nobody's falling silent removes one: it always left.
    fn removal(&self) -> Option<(&Key, RemovalReason)> {
        self.write
            .ops
            .iter()
            .any(|op| matches!(op, Op::Delete { .. }))
            .then_some((&self.key, RemovalReason::Deregistered))
    }
}

impl PersistentWrites {
    fn with<T>(&self, change: impl FnOnce(&mut Queue) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts everything back for the next try, in its order; what the store refuses by itself is told so. Says how many
    /// may go together then: one that is refused for good must not hold up the others.
    fn requeue(&self, taken: Vec<PendingWrite>, error: &StoreError) -> usize {
        // A lease that is gone was one write's own.
        let refused =
            error.may_concern_one_write() || matches!(error, StoreError::Unwritable(_) | StoreError::LeaseNotFound);
        match <[PendingWrite; 1]>::try_from(taken) {
            Ok([alone]) if refused => drop(alone.reply.send(Err(error.clone()))),
            Ok([alone]) => self.with(|queue| queue.waiting.push_front(alone)),
            Err(taken) => self.with(|queue| taken.into_iter().rev().for_each(|part| queue.waiting.push_front(part))),
        }
        if refused { 1 } else { WRITES_MAX }
    }
}

impl Queue {
    /// The next of them for one commit: none whose caller has gone, and no key twice.
    fn take(&mut self, max: usize) -> Vec<PendingWrite> {
        let (mut keys, mut taken) = (HashSet::new(), Vec::new());
        while taken.len() < max
            && let Some(next) = self.waiting.pop_front()
        {
            if next.reply.is_closed() {
                continue;
            }
            if !keys.insert(next.key.clone()) {
                self.waiting.push_front(next);
                break;
            }
            taken.push(next);
        }
        taken
    }
}

impl Registry {
    /// Puts an entry that nobody holds. It stays until [`Registry::remove_persistent`], or with a term for so long after
    /// the last call that says the same. When it returns, the entry is committed and this node answers it. After an
    /// error it may have been written all the same; saying it again is right.
    pub async fn put_persistent(
        self: &Arc<Self>,
        instance: Instance,
        ttl: Option<Duration>,
    ) -> Result<(), RegisterError> {
        // What the catalog is asked: whether this was said before, and on which lease; the store is asked whether it is
        // still so. And how many there are: those on their way at this moment may come on top of the most.
        let snapshot = self.catalog.snapshot();
        let stored = snapshot.entry(&instance.key).cloned();
        let is_new = ttl.is_none() && !stored.as_ref().is_some_and(|stored| stored.is_persistent());
        if is_new && snapshot.persistent() >= self.settings.max_persistent as usize {
            return Err(RegisterError::TooManyPersistent(self.settings.max_persistent));
        }
        let put = async {
            if let Some(stored) = &stored
                && stored.entry == instance.entry
                && let Some(revision) = self.renew_if_unchanged(stored, ttl).await?
            {
                return Ok(revision);
            }
            let lease = match ttl {
                Some(ttl) => Some(self.store.grant(ttl).await?),
                None => None,
            };
            let revision = self.put(&instance, lease).await?;
            self.revoke_lease_of(stored.as_deref()).await;
            Ok(revision)
        };
        self.within_deadline(put).await
    }

    /// Removes such an entry, on purpose. No error when it is not there. When it returns, this node does not answer it
    /// any more.
    pub async fn remove_persistent(self: &Arc<Self>, key: &Key) -> Result<(), RegisterError> {
        let remove = async {
            let stored = self.catalog.snapshot().entry(key).cloned();
            let delete = Write { guards: Vec::new(), ops: vec![Op::Delete { key: key.clone() }] };
            let (_, revision) = self.write(key, delete).await?;
            self.stats.deletes.fetch_add(1, Relaxed);
            self.revoke_lease_of(stored.as_deref()).await;
            Ok(revision)
        };
        self.within_deadline(remove).await
    }

    /// Renews an entry that stands there as it was said; `None` when it does not any more.
    async fn renew_if_unchanged(
        self: &Arc<Self>,
        stored: &StoredEntry,
        ttl: Option<Duration>,
    ) -> Result<Option<Revision>, StoreError> {
        match (stored.lease, ttl) {
            (None, None) => {}
            (Some(lease), Some(_)) if self.store.renew(&[lease]).await? == [true] => {}
            _ => return Ok(None),
        }
        let guard = Guard { key: stored.key.clone(), expect: Expect::AtRevision(stored.revision) };
        let confirm = Write { guards: vec![guard], ops: Vec::new() };
        let (outcome, _) = self.write(&stored.key, confirm).await?;
        Ok((outcome == Outcome::Done).then_some(stored.revision))
    }

    async fn put(self: &Arc<Self>, instance: &Instance, lease: Option<LeaseId>) -> Result<Revision, StoreError> {
        let put = Op::Put { key: instance.key.clone(), value: Bytes::from(instance.entry.encode()), lease };
        let (_, revision) = self.write(&instance.key, Write { guards: Vec::new(), ops: vec![put] }).await?;
        self.stats.puts.fetch_add(1, Relaxed);
        Ok(revision)
    }

    /// Ends the lease that an entry hung on before: nothing else ever did.
    async fn revoke_lease_of(&self, stored: Option<&StoredEntry>) {
        if let Some(lease) = stored.and_then(|stored| stored.lease)
            && let Err(error) = self.store.revoke(lease).await
        {
            tracing::debug!(%lease, %error, "a lease that nothing hangs on is left to run out");
        }
    }

    async fn within_deadline(
        &self,
        write: impl Future<Output = Result<Revision, StoreError>>,
    ) -> Result<(), RegisterError> {
        if self.lock().stopping {
            return Err(RegisterError::Stopping);
        }
        let visible = async {
            let revision = write.await.map_err(|error| RegisterError::from(&error))?;
            self.catalog.reached(revision).await;
            Ok(())
        };
        timeout(self.settings.deadline, visible)
            .await
            .unwrap_or_else(|_| Err(RegisterError::Unavailable(format!("not within {:?}", self.settings.deadline))))
    }

    /// Has something written with whatever else waits. Dropping the future gives it up, unless it is on its way.
    async fn write(self: &Arc<Self>, key: &Key, write: Write) -> WriteResult {
        let (reply, result) = oneshot::channel();
        let waiting = PendingWrite { key: key.clone(), write, reply };
        let idle = self.persistent.with(|queue| {
            queue.waiting.push_back(waiting);
            !std::mem::replace(&mut queue.writing, true)
        });
        if idle {
            tokio::spawn(write_all(Arc::clone(self)));
        }
        result.await.unwrap_or_else(|_| Err(StoreError::Unreachable("the write was given up".into())))
    }
}

/// Writes until nothing waits.
async fn write_all(registry: Arc<Registry>) {
    let (mut backoff, mut max) = (Backoff::new(RETRY_MIN, RETRY_MAX), WRITES_MAX);
    loop {
        let taken = registry.persistent.with(|queue| {
            let taken = queue.take(max);
            queue.writing = !taken.is_empty();
            taken
        });
        if taken.is_empty() {
            return;
        }
        let tombstone = tombstone_write(&registry.settings.layout, taken.iter().filter_map(PendingWrite::removal));
        let writes = taken.iter().map(|part| part.write.clone()).chain(tombstone).collect();
        registry.stats.commits.fetch_add(1, Relaxed);
        match registry.store.commit(writes).await {
            Ok(commit) => {
                for (part, outcome) in taken.into_iter().zip(commit.outcomes) {
                    // Who waited may have gone.
                    let _ = part.reply.send(Ok((outcome, commit.revision)));
                }
                backoff.reset();
                max = WRITES_MAX;
            }
            Err(error) => {
                registry.stats.commit_errors.fetch_add(1, Relaxed);
                max = registry.persistent.requeue(taken, &error);
                tokio::time::sleep(backoff.next_delay()).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(writes: &PersistentWrites, key: &str) -> oneshot::Receiver<WriteResult> {
        let (reply, result) = oneshot::channel();
        let key = Key::from(key);
        let write = Write { guards: Vec::new(), ops: vec![Op::Delete { key: key.clone() }] };
        writes.with(|queue| queue.waiting.push_back(PendingWrite { key, write, reply }));
        result
    }

    #[test]
    fn a_permanently_refused_write_blocks_no_other() {
        let refusals = [
            StoreError::Denied("not this key".into()),
            StoreError::Rejected("too large".into()),
            StoreError::LeaseNotFound,
        ];
        for error in refusals {
            let writes = PersistentWrites::default();
            let (mut bad, mut good) = (wait(&writes, "a"), wait(&writes, "b"));
            let both = writes.with(|queue| queue.take(WRITES_MAX));
            assert_eq!(writes.requeue(both, &error), 1, "{error}: one by one");
            assert!(bad.try_recv().is_err() && good.try_recv().is_err(), "{error}: nobody knows yet whose it is");
            let first = writes.with(|queue| queue.take(1));
            assert_eq!(first[0].key, Key::from("a"), "in the order in which they came");
            writes.requeue(first, &error);
            assert!(matches!(bad.try_recv(), Ok(Err(_))), "{error}: it was alone, so it is its own");
            assert_eq!(writes.with(|queue| queue.take(WRITES_MAX)).len(), 1, "the other goes on");
        }
    }

    #[test]
    fn writes_to_an_unreachable_store_are_retried_together() {
        let writes = PersistentWrites::default();
        let _told = [wait(&writes, "a"), wait(&writes, "b")];
        let unreachable = StoreError::Unreachable("away".into());
        for max in [WRITES_MAX, 1] {
            let taken = writes.with(|queue| queue.take(max));
            assert_eq!(writes.requeue(taken, &unreachable), WRITES_MAX);
            assert_eq!(writes.with(|queue| queue.waiting.len()), 2);
        }
    }
}
