//! The state of the store at a revision, and its change by a group of requests.
//!
//! Synchronous, without clock or file. A [`Draft`] works on a copy that shares everything it does not change, so that
//! dropping it undoes a group that cannot be made durable.

use super::lessor::Lessor;
use super::row::Row;
use crate::{
    Batch, COMMIT_MAX, Change, Commit, Expect, Guard, LeaseId, Op, Outcome, Revision, StoreError, WRITE_MAX, Write,
};
use imbl::OrdMap;
use skyhound_model::Key;
use std::collections::BTreeSet;
use std::time::Duration;

/// Limit of the keys and values of one commit, in bytes: that of an etcd with its default settings.
pub(super) const COMMIT_BYTES: usize = 1_572_864;
/// Limit of a lease TTL, in seconds: etcd's.
pub(super) const TTL_MAX_SECS: u64 = 9_000_000_000;

/// The contents of the store. A clone shares everything with the original and costs nothing.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    pub(super) revision: Revision,
    pub(super) items: OrdMap<Key, Row>,
    pub(super) lessor: Lessor,
}

/// The changes of a draft, for the file and for the feeds.
#[derive(Debug, Default)]
pub(super) struct Journal {
    /// One batch for each new revision, in order.
    pub(super) batches: Vec<Batch>,
    /// Leases in the order of their changes: granted ones with their TTL in seconds, ended ones with `None`.
    pub(super) leases: Vec<(LeaseId, Option<u64>)>,
}

impl Journal {
    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty() && self.leases.is_empty()
    }
}

/// The next state while requests are applied to it.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) state: State,
    pub(super) journal: Journal,
}

impl Draft {
    pub(super) fn of(state: &State) -> Self {
        Self { state: state.clone(), journal: Journal::default() }
    }

    /// Applies a [`Store::commit`](crate::Store::commit); an error leaves the draft unchanged.
    pub(super) fn commit(&mut self, writes: Vec<Write>) -> Result<Commit, StoreError> {
        check(&writes)?;
        let holds = |write: &Write| write.guards.iter().all(|guard| self.holds(guard));
        let outcome = |write| if holds(write) { Outcome::Done } else { Outcome::Refused };
        let outcomes: Vec<_> = writes.iter().map(outcome).collect();
        let done = writes.into_iter().zip(&outcomes).filter(|(_, outcome)| **outcome == Outcome::Done);
        let ops: Vec<_> = done.flat_map(|(write, _)| write.ops).collect();
        let lacks_lease = |op: &Op| matches!(op, Op::Put { lease: Some(id), .. } if !self.state.lessor.contains(*id));
        if ops.iter().any(lacks_lease) {
            return Err(StoreError::LeaseNotFound);
        }
        let revision = self.next_revision();
        let mut changes: Vec<_> = ops.into_iter().filter_map(|op| self.apply(op, revision)).collect();
        // They stay in the history, and most batches have one change: a vector that grew has capacity for four.
        changes.shrink_to_fit();
        self.record(changes);
        Ok(Commit { revision: self.state.revision, outcomes })
    }

    /// Grants a lease with a new random id. The TTL is rounded up to whole seconds, at least one.
    pub(super) fn grant(&mut self, ttl: Duration, now: Duration) -> Result<LeaseId, StoreError> {
        let seconds = ttl.as_secs().saturating_add(u64::from(ttl.subsec_nanos() > 0)).max(1);
        if seconds > TTL_MAX_SECS {
            return Err(StoreError::Rejected(format!("a lease TTL of {seconds} s; the limit is {TTL_MAX_SECS} s")));
        }
        let mut id = LeaseId::random();
        while self.state.lessor.contains(id) {
            id = LeaseId::random();
        }
        self.state.lessor.grant(id, Duration::from_secs(seconds), now);
        self.journal.leases.push((id, Some(seconds)));
        Ok(id)
    }

    /// Ends a lease and removes its keys, at one revision; does nothing if the lease does not exist.
    pub(super) fn revoke(&mut self, id: LeaseId) {
        let Some(keys) = self.state.lessor.end(id) else { return };
        self.journal.leases.push((id, None));
        let removed = keys.into_iter().filter(|key| self.state.items.remove(key).is_some());
        let changes = removed.map(Change::Delete).collect();
        self.record(changes);
    }

    /// Ends the leases whose deadline has passed, each at a revision of its own.
    pub(super) fn expire(&mut self, now: Duration) {
        while let Some(id) = self.state.lessor.next_expired(now) {
            self.revoke(id);
        }
    }

    fn holds(&self, guard: &Guard) -> bool {
        let row = self.state.items.get(&guard.key);
        match guard.expect {
            Expect::AtRevision(revision) => row.is_some_and(|row| row.revision == revision),
            Expect::NotAfter(revision) => row.is_none_or(|row| row.revision <= revision),
            Expect::OnLease(lease) => row.is_some_and(|row| row.lease() == Some(lease)),
        }
    }

    /// Applies an operation, and returns the change that it makes, if any. The lease of a put must exist.
    fn apply(&mut self, op: Op, revision: Revision) -> Option<Change> {
        let (key, change, old) = match op {
            Op::Put { key, value, lease } => {
                let row = Row::new(&value, revision, lease);
                let item = row.item(&key);
                let old = self.state.items.insert(key.clone(), row);
                (key, Change::Put(item), old)
            }
            Op::Delete { key } => {
                let old = self.state.items.remove(&key)?;
                (key.clone(), Change::Delete(key), Some(old))
            }
        };
        if let Some(id) = old.and_then(|row| row.lease()) {
            self.state.lessor.detach(id, &key);
        }
        if let Change::Put(item) = &change
            && let Some(id) = item.lease
        {
            self.state.lessor.attach(id, key);
        }
        Some(change)
    }

    fn next_revision(&self) -> Revision {
        Revision(self.state.revision.0 + 1)
    }

    /// Records changes under a new revision. Without changes there is no new revision.
    fn record(&mut self, changes: Vec<Change>) {
        if !changes.is_empty() {
            self.state.revision = self.next_revision();
            self.journal.batches.push(Batch { revision: self.state.revision, changes });
        }
    }
}

/// Checks the limits of a commit, which do not depend on the contents of the store.
fn check(writes: &[Write]) -> Result<(), StoreError> {
    let reject = |reason: String| Err(StoreError::Rejected(reason));
    if writes.len() > COMMIT_MAX {
        return reject(format!("{} writes in a commit; the limit is {COMMIT_MAX}", writes.len()));
    }
    let mut named = BTreeSet::new();
    let mut bytes = 0;
    for write in writes {
        if write.guards.len().max(write.ops.len()) > WRITE_MAX {
            return reject(format!("more than {WRITE_MAX} guards or operations in a write, which is the limit"));
        }
        bytes += write.guards.iter().map(|guard| guard.key.as_bytes().len()).sum::<usize>();
        for op in &write.ops {
            let (key, value) = match op {
                Op::Put { key, value, .. } => (key, value.len()),
                Op::Delete { key } => (key, 0),
            };
            bytes += key.as_bytes().len() + value;
            if key.as_bytes().is_empty() {
                return reject("an empty key".into());
            }
            if !named.insert(key) {
                return reject(format!("two operations on {key} in one commit"));
            }
        }
    }
    if bytes > COMMIT_BYTES {
        return reject(format!("{bytes} bytes in a commit; the limit is {COMMIT_BYTES}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn put(key: &str, lease: Option<LeaseId>) -> Write {
        let op = Op::Put { key: Key::from(key), value: Bytes::new(), lease };
        Write { guards: Vec::new(), ops: vec![op] }
    }

    #[test]
    fn each_expired_lease_has_its_own_revision() {
        let mut draft = Draft::of(&State::default());
        for key in ["a", "b", ""] {
            let lease = draft.grant(Duration::from_millis(1500), Duration::ZERO).unwrap();
            if !key.is_empty() {
                draft.commit(vec![put(key, Some(lease))]).unwrap();
            }
        }
        let mut draft = Draft::of(&draft.state);
        draft.expire(Duration::from_millis(1999));
        assert!(draft.journal.is_empty());
        draft.expire(Duration::from_secs(2));
        // The third had no keys: it ends without a change.
        assert_eq!(draft.journal.leases.len(), 3);
        assert_eq!(draft.journal.batches.iter().map(|b| b.revision.0).collect::<Vec<_>>(), [3, 4]);
        assert!(draft.state.items.is_empty());
    }

    #[test]
    fn a_draft_does_not_change_its_base_state() {
        let mut draft = Draft::of(&State::default());
        let lease = draft.grant(Duration::from_secs(1), Duration::ZERO).unwrap();
        draft.commit(vec![put("a", Some(lease))]).unwrap();
        let before = draft.state;
        let mut draft = Draft::of(&before);
        draft.commit(vec![put("a", None)]).unwrap();
        draft.revoke(lease);
        assert!(draft.state.items.contains_key(&Key::from("a")));
        drop(draft);
        let mut draft = Draft::of(&before);
        draft.revoke(lease);
        assert!(draft.state.items.is_empty());
    }

    #[test]
    fn a_refused_write_may_name_a_missing_lease() {
        let mut draft = Draft::of(&State::default());
        let mut write = put("a", Some(LeaseId(7)));
        write.guards.push(Guard { key: Key::from("a"), expect: Expect::AtRevision(Revision(9)) });
        assert_eq!(draft.commit(vec![write]).unwrap().outcomes, [Outcome::Refused]);
    }

    #[test]
    fn embedded_limits_are_enforced() {
        let mut draft = Draft::of(&State::default());
        assert!(matches!(draft.commit(vec![put("", None)]), Err(StoreError::Rejected(_))));
        let value = Bytes::from(vec![0; COMMIT_BYTES]);
        let op = Op::Put { key: Key::from("a"), value, lease: None };
        let large = draft.commit(vec![Write { guards: Vec::new(), ops: vec![op] }]);
        assert!(matches!(large, Err(StoreError::Rejected(_))));
        assert!(matches!(draft.grant(Duration::MAX, Duration::ZERO), Err(StoreError::Rejected(_))));
        assert!(draft.journal.is_empty());
    }
}
