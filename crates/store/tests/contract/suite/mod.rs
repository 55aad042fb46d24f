//! One function for each law of [`skyhound_store`]; its name says the law.
//!
//! `conformance!(module, open)` makes a test of each for one implementation; `open` is a function whose
//! future is a [`Bed`], or an `Option` of one where the implementation may have nothing to run on.
//!
//! The store may be shared with other tests that run at the same time: every test keeps below a root of
//! its own, and no test expects its own revisions to be neighbours. Nor is any lease expected to be
//! exact: it may last longer than asked for, never shorter.

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

/// How long a test waits for something that has to come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// How long a test watches for something that must not come.
pub(crate) const QUIET: Duration = Duration::from_millis(200);
/// The shortest term that every store grants (etcd's floor is 2 s).
pub(crate) const TERM: Duration = Duration::from_secs(2);

/// See the module.
macro_rules! conformance {
    ($module:ident, $open:expr) => {
        conformance! { $module, $open;
            lists {
                a_list_has_all_below_its_prefix_in_the_order_of_keys,
                a_list_takes_any_bytes,
                a_list_shows_one_revision_while_others_write,
                the_status_is_no_older_than_the_last_commit,
            }
            commits {
                a_commit_is_one_revision,
                a_commit_that_changes_nothing_has_no_revision_of_its_own,
                a_refused_write_leaves_the_others_alone,
                guard_at_holds_at_exactly_that_revision,
                guard_not_after_holds_for_older_and_for_nothing,
                guard_on_holds_while_the_key_hangs_on_the_lease,
                guards_are_read_before_any_operation,
                guards_decide_between_concurrent_writers,
                a_commit_beyond_the_limits_is_rejected_whole,
            }
            leases {
                a_lease_that_is_kept_stays,
                a_lease_that_is_not_kept_takes_all_its_keys_at_one_revision,
                a_revoked_lease_takes_all_its_keys_at_one_revision,
                keep_says_in_order_which_leases_are_there,
                a_put_on_a_lease_that_is_gone_undoes_the_whole_commit,
                a_key_put_anew_leaves_its_old_lease,
                a_key_deleted_leaves_its_lease,
            }
            feeds {
                a_feed_is_ordered,
                a_feed_is_unique,
                a_feed_is_atomic,
                a_feed_has_no_gap,
                a_feed_is_resumable,
                a_feed_is_bookmarkable,
                a_feed_keeps_to_its_prefix,
                a_feed_tells_every_reader_the_same,
                what_a_feed_has_told_a_list_shows,
            }
            model {
                random_commits_agree_with_a_plain_map,
            }
        }
    };
    ($module:ident, $open:expr; $($part:ident { $($law:ident,)* })*) => {
        mod $module {
            #[allow(unused_imports)]
            use super::*;
            $($(
                #[skyhound_test_support::multi_thread_test]
                async fn $law() {
                    if let Some(bed) = Option::<crate::suite::Bed>::from(($open)().await) {
                        crate::suite::$part::$law(bed).await;
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

/// A store to try a law on, and a root that no other test writes below.
pub(crate) struct Bed {
    pub(crate) store: Arc<dyn Store>,
    root: String,
    /// What has to outlive the store: a directory, a child process.
    _hold: Box<dyn Any + Send + Sync>,
}

impl Bed {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self::holding(store, ())
    }

    /// `hold` is dropped after the store.
    pub(crate) fn holding(store: Arc<dyn Store>, hold: impl Any + Send + Sync) -> Self {
        Self { store, root: format!("suite/{:016x}/", fastrand::u64(..)), _hold: Box::new(hold) }
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

    /// What stands below the root: names without the root, and values.
    pub(crate) async fn plain(&self) -> BTreeMap<String, String> {
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

    /// One write with one guard.
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

/// The next batch that has changes.
pub(crate) async fn next(feed: &mut Feed) -> Batch {
    loop {
        let batch = timeout(PATIENCE, feed.next()).await.expect("a batch in time").expect("a living feed");
        if !batch.changes.is_empty() {
            return batch;
        }
    }
}

/// Reads until the batch of this revision.
pub(crate) async fn read_up_to(feed: &mut Feed, last: Revision) -> Vec<Batch> {
    let mut told = Vec::new();
    while told.last().is_none_or(|batch: &Batch| batch.revision < last) {
        told.push(next(feed).await);
    }
    told
}

/// Fails if the feed tells a change within [`QUIET`].
pub(crate) async fn nothing(feed: &mut Feed) {
    let told = timeout(QUIET, next(feed)).await;
    assert!(told.is_err(), "told {told:?}");
}

pub(crate) fn changed(change: &Change) -> &Key {
    match change {
        Change::Put(item) => &item.key,
        Change::Delete(key) => key,
    }
}

/// Brings a copy up to the revision of a batch.
pub(crate) fn apply(copy: &mut BTreeMap<Key, Item>, batch: &Batch) {
    for change in &batch.changes {
        match change {
            Change::Put(item) => copy.insert(item.key.clone(), item.clone()),
            Change::Delete(key) => copy.remove(key),
        };
    }
}
