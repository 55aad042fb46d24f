//! One function for each clause of the contract of [`skyhound_store`], named after it.
//!
//! `conformance!(module, open)` generates a test of each function for one implementation; `open` is a function whose
//! future is a [`Bed`], or an `Option` of one if the implementation may be unavailable.
//!
//! The store may be shared with other tests that run at the same time: every test writes below a root of its own, and no
//! test expects its revisions to be consecutive. No test expects an exact lease TTL either: a lease may live longer than
//! requested, never shorter.

use bytes::Bytes;
use skyhound_model::Key;
use skyhound_store::{
    Batch, Change, Commit, Expect, Feed, Guard, Item, LeaseId, Listing, Op, Outcome, Revision, Store, Write,
};
use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Time limit of an expected event.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);
/// Time in which an unexpected event would occur.
pub(crate) const QUIET: Duration = Duration::from_millis(200);
/// The shortest lease TTL that every store grants (etcd's minimum is 2 s).
pub(crate) const LEASE_TTL: Duration = Duration::from_secs(2);

/// Generates the tests of one implementation.
macro_rules! conformance {
    ($module:ident, $open:expr) => {
        conformance! { $module, $open;
            lists {
                a_list_is_complete_below_its_prefix_and_sorted_by_key,
                a_list_accepts_any_bytes,
                a_list_shows_one_revision_while_others_write,
                the_status_is_no_older_than_the_last_commit,
            }
            commits {
                a_commit_is_one_revision,
                a_commit_without_changes_has_no_revision_of_its_own,
                a_refused_write_does_not_affect_the_others,
                guard_at_revision_holds_at_exactly_that_revision,
                guard_not_after_holds_for_older_and_missing_keys,
                guard_on_lease_holds_while_the_key_is_attached,
                guards_are_evaluated_before_any_operation,
                guards_decide_between_concurrent_writers,
                a_commit_over_a_limit_is_rejected_whole,
            }
            leases {
                a_renewed_lease_does_not_expire,
                an_expired_lease_removes_all_its_keys_at_one_revision,
                a_revoked_lease_removes_all_its_keys_at_one_revision,
                renew_reports_in_order_which_leases_exist,
                a_put_on_a_missing_lease_fails_the_whole_commit,
                a_put_detaches_the_key_from_its_old_lease,
                a_delete_detaches_the_key_from_its_lease,
            }
            feeds {
                a_feed_is_ordered,
                a_feed_is_unique,
                a_feed_is_atomic,
                a_feed_has_no_gap,
                a_feed_is_resumable,
                a_feed_is_bookmarkable,
                a_feed_is_limited_to_its_prefix,
                a_feed_delivers_the_same_to_every_reader,
                a_list_includes_everything_that_a_feed_delivered,
            }
            model {
                random_commits_agree_with_a_plain_map,
            }
        }
    };
    ($module:ident, $open:expr; $($part:ident { $($test:ident,)* })*) => {
        mod $module {
            #[allow(unused_imports)]
            use super::*;
            $($(
                #[skyhound_test_support::multi_thread_test]
                async fn $test() {
                    if let Some(bed) = Option::<crate::suite::Bed>::from(($open)().await) {
                        crate::suite::$part::$test(bed).await;
                    }
                }
            )*)*
        }
    };
}

pub(crate) mod commits;
pub(crate) mod feeds;
pub(crate) mod leases;
pub(crate) mod lists;
pub(crate) mod model;

/// A test bed: a store, and a root below which no other test writes.
pub(crate) struct Bed {
    pub(crate) store: Arc<dyn Store>,
    root: String,
    /// A resource that must outlive the store: a directory, a child process.
    _resource: Box<dyn Any + Send + Sync>,
}

impl Bed {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self::with_resource(store, ())
    }

    /// Creates a test bed with a resource that is dropped after the store.
    pub(crate) fn with_resource(store: Arc<dyn Store>, resource: impl Any + Send + Sync) -> Self {
        Self { store, root: format!("suite/{:016x}/", fastrand::u64(..)), _resource: Box::new(resource) }
    }

    pub(crate) fn key(&self, name: impl AsRef<str>) -> Key {
        Key::from(format!("{}{}", self.root, name.as_ref()))
    }

    pub(crate) fn put(&self, name: impl AsRef<str>, value: impl AsRef<str>) -> Op {
        Op::Put { key: self.key(name), value: Bytes::copy_from_slice(value.as_ref().as_bytes()), lease: None }
    }

    pub(crate) fn put_on(&self, lease: LeaseId, name: impl AsRef<str>, value: impl AsRef<str>) -> Op {
        let value = Bytes::copy_from_slice(value.as_ref().as_bytes());
        Op::Put { key: self.key(name), value, lease: Some(lease) }
    }

    pub(crate) fn delete(&self, name: impl AsRef<str>) -> Op {
        Op::Delete { key: self.key(name) }
    }

    pub(crate) async fn list(&self) -> Listing {
        self.store.list(self.root.as_bytes()).await.unwrap()
    }

    /// Returns the contents below the root: names without the root, and values.
    pub(crate) async fn contents(&self) -> BTreeMap<String, String> {
        self.list().await.items.iter().map(|item| (self.name(&item.key), text(&item.value))).collect()
    }

    pub(crate) fn name(&self, key: &Key) -> String {
        let name = key.as_bytes().strip_prefix(self.root.as_bytes()).expect("a key below the root");
        String::from_utf8(name.to_vec()).unwrap()
    }

    pub(crate) async fn feed(&self, after: Revision) -> Feed {
        self.store.feed(self.root.as_bytes(), after).await.unwrap()
    }

    /// Commits operations without guards as one write.
    pub(crate) async fn commit(&self, ops: impl Into<Vec<Op>>) -> Revision {
        let commit = self.store.commit(vec![write(ops)]).await.unwrap();
        assert_eq!(commit.outcomes, [Outcome::Done]);
        commit.revision
    }

    /// Commits one write with one guard.
    pub(crate) async fn guarded(&self, name: &str, expect: Expect, op: Op) -> Commit {
        let guards = vec![Guard { key: self.key(name), expect }];
        self.store.commit(vec![Write { guards, ops: vec![op] }]).await.unwrap()
    }
}

pub(crate) fn write(ops: impl Into<Vec<Op>>) -> Write {
    Write { guards: Vec::new(), ops: ops.into() }
}

pub(crate) fn text(value: &Bytes) -> String {
    String::from_utf8(value.to_vec()).unwrap()
}

/// Returns the next batch that has changes.
pub(crate) async fn next(feed: &mut Feed) -> Batch {
    loop {
        let batch = timeout(TIMEOUT, feed.next()).await.expect("a batch in time").expect("an open feed");
        if !batch.changes.is_empty() {
            return batch;
        }
    }
}

/// Reads until the batch of this revision.
pub(crate) async fn read_up_to(feed: &mut Feed, last: Revision) -> Vec<Batch> {
    let mut batches = Vec::new();
    while batches.last().is_none_or(|batch: &Batch| batch.revision < last) {
        batches.push(next(feed).await);
    }
    batches
}

/// Fails if the feed delivers a change within [`QUIET`].
pub(crate) async fn assert_quiet(feed: &mut Feed) {
    let batch = timeout(QUIET, next(feed)).await;
    assert!(batch.is_err(), "delivered {batch:?}");
}

/// Returns the key of a change.
pub(crate) fn key_of(change: &Change) -> &Key {
    match change {
        Change::Put(item) => &item.key,
        Change::Delete(key) => key,
    }
}

/// Applies a batch to a copy.
pub(crate) fn apply(copy: &mut BTreeMap<Key, Item>, batch: &Batch) {
    for change in &batch.changes {
        match change {
            Change::Put(item) => copy.insert(item.key.clone(), item.clone()),
            Change::Delete(key) => copy.remove(key),
        };
    }
}
