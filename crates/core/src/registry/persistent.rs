//! Persistent registrations: entries that one request puts and that stay until another removes them, or for their lease
//! TTL.
//!
//! They have neither a claim nor a slot: the client that put one is gone when the call returns, and any node renews or
//! removes it. So this node remembers only the writes that are under way, and puts nothing again when such an entry
//! vanishes. Their keys are disjoint from those of claims: a frontend that puts persistent registrations gives them ids
//! of its own, so that a claim on the same host and port never removes one.
//!
//! Owns: their writes (in group commits of their own, beside the [`writer`](super::writer)'s: no key is in both), and
//! their leases. A registration with a TTL has a lease of its own, because it is renewed alone: one lease renewal and,
//! to be sure that the entry is still attached to that lease, one transaction that changes nothing.

use super::group_commit::{CommitQueue, GROUP_MAX, Part};
use super::{RegisterError, Registry};
use crate::catalog::StoredEntry;
use bytes::Bytes;
use skyhound_model::removal::RemovalReason;
use skyhound_model::{Instance, Key};
use skyhound_store::{Expect, Guard, LeaseId, Op, Outcome, Revision, StoreError, Write};
use std::collections::{HashSet, VecDeque};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// The default of `--max-persistent`: the limit of persistent registrations without a TTL, over all daemons on one
/// store. Nothing but a request removes them; this number is a small part of what an etcd holds with its default quota
/// of 2 GiB.
pub const MAX_PERSISTENT: u32 = 100_000;

/// The outcome of a write, and the revision of its commit.
type WriteResult = Result<(Outcome, Revision), StoreError>;

/// The queue of writes.
#[derive(Debug, Default)]
pub(super) struct PersistentWrites(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<PendingWrite>,
    /// A task is writing the queue.
    writing: bool,
}

/// One write, with the caller that waits for its outcome.
#[derive(Debug)]
pub(super) struct PendingWrite {
    key: Key,
    write: Write,
    reply: oneshot::Sender<WriteResult>,
}

impl PendingWrite {
    fn into_part(self) -> Part<Self, ()> {
        let is_removal = self.write.ops.iter().any(|op| matches!(op, Op::Delete { .. }));
        // Persistent registrations do not miss heartbeats: a removal is always a deregistration.
        let removal = is_removal.then(|| (self.key.clone(), RemovalReason::Deregistered));
        Part { writes: vec![((), self.write.clone())], removal, unit: self }
    }
}

impl PersistentWrites {
    fn with<T>(&self, change: impl FnOnce(&mut Queue) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds a write. Returns whether a task has to be started to write the queue.
    fn push(&self, write: PendingWrite) -> bool {
        self.with(|queue| {
            queue.waiting.push_back(write);
            !std::mem::replace(&mut queue.writing, true)
        })
    }
}

impl Queue {
    /// The next writes for one commit, without those whose caller has gone, and without a key that is named twice.
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

impl CommitQueue for PersistentWrites {
    const NAME: &'static str = "persistent registrations";
    type Unit = PendingWrite;
    type Purpose = ();

    /// Ends the loop when the queue is empty: the next write starts another task.
    async fn next_group(&self, max: usize) -> Result<Option<Vec<Part<PendingWrite, ()>>>, StoreError> {
        let taken = self.with(|queue| {
            let taken = queue.take(max.min(GROUP_MAX));
            queue.writing = !taken.is_empty();
            taken
        });
        Ok((!taken.is_empty()).then(|| taken.into_iter().map(PendingWrite::into_part).collect()))
    }

    fn complete(&self, pending: PendingWrite, outcomes: Vec<((), Outcome)>, revision: Revision) {
        if let Some(((), outcome)) = outcomes.into_iter().next() {
            // The caller may have dropped its future.
            let _ = pending.reply.send(Ok((outcome, revision)));
        }
    }

    /// Puts writes back at the front, in their order: two writes of one key must not change places.
    fn retry(&self, pending: Vec<PendingWrite>, _error: &StoreError) {
        self.with(|queue| pending.into_iter().rev().for_each(|write| queue.waiting.push_front(write)));
    }

    fn reject(&self, pending: PendingWrite, error: &StoreError) {
        let _ = pending.reply.send(Err(error.clone()));
    }

    /// A lease that is gone was one write's own. A store without space still accepts a write that only confirms.
    fn may_concern_one_unit(error: &StoreError) -> bool {
        error.may_concern_one_write() || matches!(error, StoreError::Unwritable(_) | StoreError::LeaseNotFound)
    }
}

impl Registry {
    /// Puts a persistent registration. It stays until [`Registry::remove_persistent`], or with a TTL for that time
    /// after the last call with the same instance. When it returns, the entry is committed and visible in this node's
    /// answers. After an error it may have been written all the same; the call can be repeated.
    pub async fn put_persistent(
        self: &Arc<Self>,
        instance: Instance,
        ttl: Option<Duration>,
    ) -> Result<(), RegisterError> {
        // The catalog shows whether this call is a repetition, and on which lease the entry is; the store then decides
        // whether that is still current. The catalog also has the number of persistent registrations: those under way
        // at this moment may exceed the limit.
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

    /// Removes a persistent registration as deregistered. No error if there is none. When it returns, this node's
    /// answers do not contain it any more.
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

    /// Renews an entry that is stored as requested; `None` if it changed or its lease is gone.
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

    /// Revokes the previous lease of an entry: nothing else was ever attached to it.
    async fn revoke_lease_of(&self, stored: Option<&StoredEntry>) {
        if let Some(lease) = stored.and_then(|stored| stored.lease)
            && let Err(error) = self.store.revoke(lease).await
        {
            tracing::debug!(%lease, %error, "failed to revoke an unused lease; it will expire");
        }
    }

    async fn within_deadline(
        &self,
        write: impl Future<Output = Result<Revision, StoreError>>,
    ) -> Result<(), RegisterError> {
        if self.lock().is_stopping() {
            return Err(RegisterError::Stopping);
        }
        let visible = async {
            let revision = write.await.map_err(|error| RegisterError::from(&error))?;
            self.catalog.reached(revision).await;
            Ok(())
        };
        let deadline = self.settings.deadline;
        timeout(deadline, visible)
            .await
            .unwrap_or_else(|_| Err(RegisterError::Unavailable(format!("no response within {deadline:?}"))))
    }

    /// Writes together with other pending writes. Dropping the future cancels the write, unless its commit is under
    /// way.
    async fn write(self: &Arc<Self>, key: &Key, write: Write) -> WriteResult {
        let (reply, result) = oneshot::channel();
        if self.persistent.push(PendingWrite { key: key.clone(), write, reply }) {
            let registry = Arc::clone(self);
            tokio::spawn(async move { registry.committer().run(&registry.persistent).await });
        }
        result.await.unwrap_or_else(|_| Err(StoreError::Unreachable("the write was abandoned".into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::group_commit::fake::{FakeStore, commit_all};

    fn push(writes: &PersistentWrites, key: &str) -> oneshot::Receiver<WriteResult> {
        let (reply, result) = oneshot::channel();
        let key = Key::from(key);
        let write = Write { guards: Vec::new(), ops: vec![Op::Delete { key: key.clone() }] };
        writes.push(PendingWrite { key, write, reply });
        result
    }

    #[tokio::test(start_paused = true)]
    async fn a_permanently_refused_write_blocks_no_other() {
        let refusals = [
            StoreError::Denied("not this key".into()),
            StoreError::Rejected("too large".into()),
            StoreError::Unwritable("no space for this".into()),
            StoreError::LeaseNotFound,
        ];
        for error in refusals {
            let (writes, store) = (PersistentWrites::default(), FakeStore::poisoned("a", error.clone()));
            let (mut bad, mut good) = (push(&writes, "a"), push(&writes, "b"));
            let mut last = push(&writes, "c");
            commit_all(&writes, &store).await;
            assert!(matches!(bad.try_recv(), Ok(Err(_))), "{error}: it was alone, so it is its own");
            assert!(matches!(good.try_recv(), Ok(Ok(_))) && matches!(last.try_recv(), Ok(Ok(_))), "{error}");
            let commits: [&[&str]; 4] = [&["a", "b", "c"], &["a"], &["b"], &["c"]];
            assert_eq!(store.commits(), commits, "{error}: one by one, in order");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn writes_to_an_unreachable_store_are_retried_together() {
        let (writes, store) = (PersistentWrites::default(), FakeStore::failing(2, "unavailable"));
        let mut results = [push(&writes, "a"), push(&writes, "b")];
        commit_all(&writes, &store).await;
        let both: &[&str] = &["a", "b"];
        assert_eq!(store.commits(), [both; 3]);
        assert!(results.iter_mut().all(|result| matches!(result.try_recv(), Ok(Ok(_)))));
    }

    #[tokio::test(start_paused = true)]
    async fn two_writes_of_one_key_are_two_commits() {
        let (writes, store) = (PersistentWrites::default(), FakeStore::failing(0, ""));
        let _results = [push(&writes, "a"), push(&writes, "b"), push(&writes, "a")];
        drop(push(&writes, "abandoned"));
        commit_all(&writes, &store).await;
        let commits: [&[&str]; 2] = [&["a", "b"], &["a"]];
        assert_eq!(store.commits(), commits);
    }
}
