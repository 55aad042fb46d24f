//! One function for each law of [`skyhound::store`]; its name says the law.
//!
//! `conformance!(module, open)` makes a test of each for one implementation; `open` is an async function
//! that returns a [`Bed`], or an `Option` of one where the implementation may have nothing to run on.
//!
//! The store may be shared with other tests that run at the same time: every test keeps below a root of
//! its own, and no test expects its own revisions to be neighbours. Nor is any lease expected to be
//! exact: it may last longer than asked for, never shorter.

use bytes::Bytes;
use skyhound::model::Key;
use skyhound::store::{
    Batch, COMMIT_MAX, Change, Commit, Expect, Feed, Guard, Item, LeaseId, Listing, Op, Outcome, Revision, Store,
    StoreError, WRITE_MAX, Write,
};
use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// How long a test waits for something that has to come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// How long a test watches for something that must not come.
pub(crate) const QUIET: Duration = Duration::from_millis(200);
/// The shortest term that every store grants (etcd's floor is 2 s).
pub(crate) const TERM: Duration = Duration::from_secs(2);

macro_rules! conformance {
    ($module:ident, $open:expr) => {
        conformance! { $module, $open;
            a_list_has_all_below_its_prefix_in_the_order_of_keys,
            a_list_takes_any_bytes,
            a_list_shows_one_revision_while_others_write,
            a_commit_is_one_revision,
            a_commit_that_changes_nothing_has_no_revision_of_its_own,
            a_refused_write_leaves_the_others_alone,
            guard_at_holds_at_exactly_that_revision,
            guard_not_after_holds_for_older_and_for_nothing,
            guard_on_holds_while_the_key_hangs_on_the_lease,
            guards_are_read_before_any_operation,
            guards_decide_between_concurrent_writers,
            a_commit_beyond_the_limits_is_rejected_whole,
            a_lease_that_is_kept_stays,
            a_lease_that_is_not_kept_takes_all_its_keys_at_one_revision,
            a_revoked_lease_takes_all_its_keys_at_one_revision,
            keep_says_in_order_which_leases_are_there,
            a_put_on_a_lease_that_is_gone_undoes_the_whole_commit,
            a_key_put_anew_leaves_its_old_lease,
            a_key_deleted_leaves_its_lease,
            a_feed_is_ordered,
            a_feed_is_unique,
            a_feed_is_atomic,
            a_feed_has_no_gap,
            a_feed_is_resumable,
            a_feed_is_bookmarkable,
            a_feed_keeps_to_its_prefix,
            a_feed_tells_every_reader_the_same,
            what_a_feed_has_told_a_list_shows,
            random_commits_agree_with_a_plain_map,
            the_status_is_no_older_than_the_last_commit,
        }
    };
    ($module:ident, $open:expr; $($law:ident,)*) => {
        mod $module {
            #[allow(unused_imports)]
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $law() {
                    if let Some(bed) = Option::<crate::suite::Bed>::from($open().await) {
                        crate::suite::$law(bed).await;
                    }
                }
            )*
        }
    };
}

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
    async fn guarded(&self, name: &str, expect: Expect, op: Op) -> Commit {
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

/// Fails if the feed tells a change within [`QUIET`].
pub(crate) async fn nothing(feed: &mut Feed) {
    let told = timeout(QUIET, next(feed)).await;
    assert!(told.is_err(), "told {told:?}");
}

fn changed(change: &Change) -> &Key {
    match change {
        Change::Put(item) => &item.key,
        Change::Delete(key) => key,
    }
}

// Lists.

pub(crate) async fn a_list_has_all_below_its_prefix_in_the_order_of_keys(bed: Bed) {
    let lease = bed.store.grant(TERM * 10).await.unwrap();
    let put = bed.commit([bed.put("b", "2"), bed.put_on(lease, "a/x", "1"), bed.put("b/c", "3")]).await;
    let later = bed.commit([bed.put("b", "4")]).await;
    let item = |name: &str, value: &str, revision, lease| Item {
        key: bed.key(name),
        value: Bytes::copy_from_slice(value.as_bytes()),
        revision,
        lease,
    };
    let listing = bed.list().await;
    assert!(listing.revision >= later);
    let (ax, b, bc) = (item("a/x", "1", put, Some(lease)), item("b", "4", later, None), item("b/c", "3", put, None));
    assert_eq!(listing.items, [ax.clone(), b.clone(), bc.clone()]);
    for (prefix, expected) in [("a", vec![ax]), ("b", vec![b, bc.clone()]), ("b/", vec![bc]), ("c", vec![])] {
        assert_eq!(bed.store.list(bed.key(prefix).as_bytes()).await.unwrap().items, expected, "below {prefix}");
    }
    bed.store.revoke(lease).await.unwrap();
}

pub(crate) async fn a_list_takes_any_bytes(bed: Bed) {
    // 0xff has no successor: the end of a range below it is one byte shorter.
    let mut root = bed.key("").as_bytes().to_vec();
    root.extend([0xff, 0xff]);
    let below = |tail: &[u8]| Key::from([root.as_slice(), tail].concat());
    let keys = [below(&[]), below(&[0]), below(&[0xff, 0xff])];
    for key in &keys {
        let value = Bytes::from_static(&[0, 0xff]);
        bed.store.commit(vec![write([Op::Put { key: key.clone(), value, lease: None }])]).await.unwrap();
    }
    bed.commit([Op::Put { key: bed.key("empty"), value: Bytes::new(), lease: None }]).await;
    let listing = bed.store.list(&root).await.unwrap();
    assert_eq!(listing.items.iter().map(|item| item.key.clone()).collect::<Vec<_>>(), keys);
    assert!(listing.items.iter().all(|item| item.value.as_ref() == [0, 0xff]));
    assert_eq!(bed.store.list(bed.key("empty").as_bytes()).await.unwrap().items[0].value, Bytes::new());
}

pub(crate) async fn a_list_shows_one_revision_while_others_write(bed: Bed) {
    bed.commit([bed.put("left", "0"), bed.put("right", "0")]).await;
    let writing = async {
        for round in 1..=50 {
            bed.commit([bed.put("left", round.to_string()), bed.put("right", round.to_string())]).await;
        }
    };
    let reading = async {
        let mut seen = Revision(0);
        loop {
            let listing = bed.list().await;
            let [left, right] = listing.items.as_slice() else { panic!("{listing:?}") };
            assert_eq!((&left.value, left.revision), (&right.value, right.revision));
            assert!(left.revision <= listing.revision && listing.revision >= seen);
            seen = listing.revision;
            if left.value == "50" {
                return;
            }
        }
    };
    timeout(PATIENCE, async { tokio::join!(writing, reading) }).await.unwrap();
}

// Commits.

pub(crate) async fn a_commit_is_one_revision(bed: Bed) {
    bed.commit([bed.put("old", "")]).await;
    let before = bed.list().await.revision;
    let writes = vec![write([bed.put("a", "1"), bed.delete("old")]), write([bed.put("b", "2")])];
    let commit = bed.store.commit(writes).await.unwrap();
    assert_eq!(commit.outcomes, [Outcome::Done, Outcome::Done]);
    assert!(commit.revision > before);
    let items = bed.list().await.items;
    assert_eq!(items.iter().map(|item| bed.name(&item.key)).collect::<Vec<_>>(), ["a", "b"]);
    assert!(items.iter().all(|item| item.revision == commit.revision));
}

pub(crate) async fn a_commit_that_changes_nothing_has_no_revision_of_its_own(bed: Bed) {
    let put = bed.commit([bed.put("a", "1")]).await;
    let mut feed = bed.feed(put).await;
    assert_eq!(bed.store.commit(Vec::new()).await.unwrap().outcomes, []);
    assert!(bed.commit([bed.delete("not there")]).await >= put);
    let refused = bed.guarded("a", Expect::NotAfter(Revision(0)), bed.put("a", "2")).await;
    assert_eq!(refused.outcomes, [Outcome::Refused]);
    assert!(refused.revision >= put);
    nothing(&mut feed).await;
    assert_eq!(bed.list().await.items[0].revision, put);
}

pub(crate) async fn a_refused_write_leaves_the_others_alone(bed: Bed) {
    let put = bed.commit([bed.put("a", "1")]).await;
    let absent = Guard { key: bed.key("a"), expect: Expect::NotAfter(Revision(0)) };
    let present = Guard { key: bed.key("a"), expect: Expect::At(put) };
    let commit = bed.store.commit(vec![
        write([bed.put("b", "1")]),
        // One guard that holds does not make up for one that does not.
        Write { guards: vec![present.clone(), absent], ops: vec![bed.put("c", "1"), bed.delete("a")] },
        Write { guards: vec![present], ops: vec![bed.put("d", "1")] },
        Write::default(),
    ]);
    let outcomes = [Outcome::Done, Outcome::Refused, Outcome::Done, Outcome::Done];
    assert_eq!(commit.await.unwrap().outcomes, outcomes);
    assert_eq!(bed.plain().await.into_keys().collect::<Vec<_>>(), ["a", "b", "d"]);
}

pub(crate) async fn guard_at_holds_at_exactly_that_revision(bed: Bed) {
    let first = bed.commit([bed.put("a", "1")]).await;
    let second = bed.commit([bed.put("a", "2")]).await;
    for wrong in [Revision(0), first, Revision(second.0 + 1)] {
        let commit = bed.guarded("a", Expect::At(wrong), bed.put("a", "no")).await;
        assert_eq!(commit.outcomes, [Outcome::Refused], "at {wrong}");
    }
    let absent = bed.guarded("none", Expect::At(second), bed.put("none", "no")).await;
    assert_eq!(absent.outcomes, [Outcome::Refused]);
    let commit = bed.guarded("a", Expect::At(second), bed.delete("a")).await;
    assert_eq!(commit.outcomes, [Outcome::Done]);
    assert_eq!(bed.plain().await, BTreeMap::new());
}

pub(crate) async fn guard_not_after_holds_for_older_and_for_nothing(bed: Bed) {
    let absent = Expect::NotAfter(Revision(0));
    let first = bed.guarded("a", absent, bed.put("a", "1")).await;
    assert_eq!(first.outcomes, [Outcome::Done]);
    assert_eq!(bed.guarded("a", absent, bed.put("a", "no")).await.outcomes, [Outcome::Refused]);
    let second = bed.guarded("a", Expect::NotAfter(first.revision), bed.put("a", "2")).await;
    assert_eq!(second.outcomes, [Outcome::Done]);
    let late = bed.guarded("a", Expect::NotAfter(first.revision), bed.put("a", "no")).await;
    assert_eq!(late.outcomes, [Outcome::Refused]);
    let newer = bed.guarded("a", Expect::NotAfter(Revision(second.revision.0 + 1)), bed.delete("a")).await;
    assert_eq!(newer.outcomes, [Outcome::Done]);
    assert_eq!(bed.guarded("a", absent, bed.put("a", "3")).await.outcomes, [Outcome::Done]);
}

pub(crate) async fn guard_on_holds_while_the_key_hangs_on_the_lease(bed: Bed) {
    let lease = bed.store.grant(TERM * 10).await.unwrap();
    let other = bed.store.grant(TERM * 10).await.unwrap();
    bed.commit([bed.put_on(lease, "a", "1"), bed.put("free", "1")]).await;
    let on = Expect::On(lease);
    assert_eq!(bed.guarded("none", on, bed.put("x", "no")).await.outcomes, [Outcome::Refused]);
    assert_eq!(bed.guarded("free", on, bed.put("x", "no")).await.outcomes, [Outcome::Refused]);
    assert_eq!(bed.guarded("a", Expect::On(other), bed.put("x", "no")).await.outcomes, [Outcome::Refused]);
    assert_eq!(bed.guarded("a", on, bed.put_on(other, "a", "2")).await.outcomes, [Outcome::Done]);
    assert_eq!(bed.guarded("a", on, bed.put("x", "no")).await.outcomes, [Outcome::Refused]);
    for lease in [lease, other] {
        bed.store.revoke(lease).await.unwrap();
    }
}

pub(crate) async fn guards_are_read_before_any_operation(bed: Bed) {
    let absent = |name| Guard { key: bed.key(name), expect: Expect::NotAfter(Revision(0)) };
    let commit = bed.store.commit(vec![
        Write { guards: vec![absent("a")], ops: vec![bed.put("a", "1")] },
        Write { guards: vec![absent("a")], ops: vec![bed.put("b", "1")] },
    ]);
    assert_eq!(commit.await.unwrap().outcomes, [Outcome::Done, Outcome::Done]);
}

pub(crate) async fn guards_decide_between_concurrent_writers(bed: Bed) {
    const WRITERS: usize = 4;
    const ROUNDS: usize = 10;
    let bed = Arc::new(bed);
    bed.commit([bed.put("count", "0")]).await;
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..WRITERS {
        let bed = Arc::clone(&bed);
        writers.spawn(async move {
            let mut done = 0;
            while done < ROUNDS {
                let item = bed.list().await.items.remove(0);
                let count: usize = text(&item.value).parse().unwrap();
                let raise = bed.put("count", (count + 1).to_string());
                let commit = bed.guarded("count", Expect::At(item.revision), raise).await;
                done += usize::from(commit.outcomes == [Outcome::Done]);
            }
        });
    }
    timeout(PATIENCE, writers.join_all()).await.unwrap();
    assert_eq!(bed.plain().await["count"], (WRITERS * ROUNDS).to_string());
}

pub(crate) async fn a_commit_beyond_the_limits_is_rejected_whole(bed: Bed) {
    let numbered = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>();
    let guard = Guard { key: bed.key("a"), expect: Expect::NotAfter(Revision(0)) };
    let beyond = [
        numbered(COMMIT_MAX + 1).iter().map(|n| write([bed.put(n, "")])).collect(),
        vec![write(numbered(WRITE_MAX + 1).iter().map(|n| bed.put(n, "")).collect::<Vec<_>>())],
        vec![Write { guards: vec![guard.clone(); WRITE_MAX + 1], ops: vec![bed.put("a", "")] }],
        vec![write([bed.put("a", "1")]), write([bed.put("a", "2")])],
        vec![write([bed.put("a", "1")]), write([bed.delete("a")])],
        vec![write([bed.put("a", "1"), bed.put("a", "2")])],
    ];
    for (at, writes) in beyond.into_iter().enumerate() {
        let outcome = bed.store.commit(writes).await;
        assert!(matches!(outcome, Err(StoreError::Rejected(_))), "{at}: {outcome:?}");
    }
    assert_eq!(bed.plain().await, BTreeMap::new());
    // The limits themselves are allowed, all at once.
    let full = |n: usize| Write {
        guards: vec![guard.clone(); WRITE_MAX],
        ops: numbered(WRITE_MAX).iter().map(|op| bed.put(format!("{n}/{op}"), "")).collect(),
    };
    let commit = bed.store.commit((0..COMMIT_MAX).map(full).collect()).await.unwrap();
    assert_eq!(commit.outcomes, [Outcome::Done; COMMIT_MAX]);
    assert_eq!(bed.list().await.items.len(), COMMIT_MAX * WRITE_MAX);
}

// Leases.

pub(crate) async fn a_lease_that_is_kept_stays(bed: Bed) {
    let lease = bed.store.grant(TERM).await.unwrap();
    let mut feed = bed.feed(bed.commit([bed.put_on(lease, "a", "1")]).await).await;
    let granted = Instant::now();
    while granted.elapsed() < TERM * 3 {
        assert_eq!(bed.store.keep(&[lease]).await.unwrap(), [true]);
        nothing(&mut feed).await;
    }
    assert_eq!(bed.plain().await.len(), 1);
    bed.store.revoke(lease).await.unwrap();
}

pub(crate) async fn a_lease_that_is_not_kept_takes_all_its_keys_at_one_revision(bed: Bed) {
    let asked = Instant::now();
    let lease = bed.store.grant(TERM).await.unwrap();
    bed.commit([bed.put_on(lease, "b", "1"), bed.put("free", "1")]).await;
    let put = bed.commit([bed.put_on(lease, "a", "1"), bed.put_on(lease, "c", "1")]).await;
    let mut feed = bed.feed(put).await;
    let gone = next(&mut feed).await;
    assert!(asked.elapsed() >= TERM, "after {:?}", asked.elapsed());
    let mut keys = gone.changes.clone();
    keys.sort_by(|a, b| changed(a).cmp(changed(b)));
    assert_eq!(keys, ["a", "b", "c"].map(|name| Change::Delete(bed.key(name))));
    assert!(gone.revision > put);
    assert_eq!(bed.plain().await.into_keys().collect::<Vec<_>>(), ["free"]);
    assert_eq!(bed.store.keep(&[lease]).await.unwrap(), [false]);
}

pub(crate) async fn a_revoked_lease_takes_all_its_keys_at_one_revision(bed: Bed) {
    let lease = bed.store.grant(TERM * 10).await.unwrap();
    let put = bed.commit([bed.put_on(lease, "a", "1"), bed.put_on(lease, "b", "1"), bed.put("c", "1")]).await;
    let mut feed = bed.feed(put).await;
    bed.store.revoke(lease).await.unwrap();
    assert_eq!(bed.plain().await.into_keys().collect::<Vec<_>>(), ["c"]);
    assert_eq!(next(&mut feed).await.changes.len(), 2);
    bed.store.revoke(lease).await.expect("a lease that is gone may be revoked again");
    nothing(&mut feed).await;
}

pub(crate) async fn keep_says_in_order_which_leases_are_there(bed: Bed) {
    let mut leases = Vec::new();
    for _ in 0..3 {
        leases.push(bed.store.grant(TERM * 10).await.unwrap());
    }
    assert!(leases.iter().all(|lease| lease.0 != 0));
    bed.store.revoke(leases[1]).await.unwrap();
    assert_eq!(bed.store.keep(&leases).await.unwrap(), [true, false, true]);
    assert_eq!(bed.store.keep(&[]).await.unwrap(), [false; 0]);
    for lease in leases {
        bed.store.revoke(lease).await.unwrap();
    }
}

pub(crate) async fn a_put_on_a_lease_that_is_gone_undoes_the_whole_commit(bed: Bed) {
    let lease = bed.store.grant(TERM * 10).await.unwrap();
    bed.store.revoke(lease).await.unwrap();
    let writes = vec![write([bed.put("a", "1")]), write([bed.put("b", "1"), bed.put_on(lease, "c", "1")])];
    let outcome = bed.store.commit(writes).await;
    assert!(matches!(outcome, Err(StoreError::NoLease)), "{outcome:?}");
    assert_eq!(bed.plain().await, BTreeMap::new());
}

pub(crate) async fn a_key_put_anew_leaves_its_old_lease(bed: Bed) {
    let old = bed.store.grant(TERM * 10).await.unwrap();
    let new = bed.store.grant(TERM * 10).await.unwrap();
    bed.commit([bed.put_on(old, "free", "1"), bed.put_on(old, "moved", "1"), bed.put_on(old, "same", "1")]).await;
    bed.commit([bed.put("free", "2"), bed.put_on(new, "moved", "2"), bed.put_on(old, "same", "2")]).await;
    bed.store.revoke(old).await.unwrap();
    assert_eq!(bed.plain().await.into_keys().collect::<Vec<_>>(), ["free", "moved"]);
    bed.store.revoke(new).await.unwrap();
    assert_eq!(bed.plain().await.into_keys().collect::<Vec<_>>(), ["free"]);
}

pub(crate) async fn a_key_deleted_leaves_its_lease(bed: Bed) {
    let lease = bed.store.grant(TERM * 10).await.unwrap();
    bed.commit([bed.put_on(lease, "a", "1")]).await;
    bed.commit([bed.delete("a")]).await;
    bed.commit([bed.put("a", "2")]).await;
    bed.store.revoke(lease).await.unwrap();
    assert_eq!(bed.plain().await["a"], "2");
}

// Feeds. The names of the laws are those that etcd gives to its own guarantees.

/// Commits `count` times, puts and deletes in turn, three keys each time; returns the revisions.
async fn burst(bed: &Bed, count: usize) -> Vec<Revision> {
    let mut revisions = Vec::new();
    for round in 0..count {
        let value = round.to_string();
        let third = if round % 2 == 0 { bed.put("c", &value) } else { bed.delete("c") };
        revisions.push(bed.commit([bed.put("a", &value), bed.put("b", &value), third]).await);
    }
    revisions
}

/// Reads until the batch of this revision.
async fn read_up_to(feed: &mut Feed, last: Revision) -> Vec<Batch> {
    let mut told = Vec::new();
    while told.last().is_none_or(|batch: &Batch| batch.revision < last) {
        told.push(next(feed).await);
    }
    told
}

pub(crate) async fn a_feed_is_ordered(bed: Bed) {
    let mut feed = bed.feed(bed.list().await.revision).await;
    let last = *burst(&bed, 50).await.last().unwrap();
    let told = read_up_to(&mut feed, last).await;
    assert!(told.windows(2).all(|pair| pair[0].revision < pair[1].revision));
}

pub(crate) async fn a_feed_is_unique(bed: Bed) {
    let mut feed = bed.feed(bed.list().await.revision).await;
    let last = *burst(&bed, 50).await.last().unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for batch in read_up_to(&mut feed, last).await {
        for change in &batch.changes {
            assert!(seen.insert((batch.revision, changed(change).clone())), "told twice: {batch:?}");
        }
    }
    nothing(&mut feed).await;
}

pub(crate) async fn a_feed_is_atomic(bed: Bed) {
    let mut feed = bed.feed(bed.list().await.revision).await;
    let revisions = burst(&bed, 20).await;
    for (round, revision) in revisions.into_iter().enumerate() {
        let batch = next(&mut feed).await;
        assert_eq!((batch.revision, batch.changes.len()), (revision, 3), "round {round}");
        for change in &batch.changes {
            match change {
                Change::Put(item) => assert_eq!((item.revision, text(&item.value)), (revision, round.to_string())),
                Change::Delete(key) => assert_eq!(bed.name(key), "c"),
            }
        }
    }
    // The largest commit is one batch as well.
    let many =
        |write_at: usize| write((0..WRITE_MAX).map(|op| bed.put(format!("{write_at}/{op}"), "1")).collect::<Vec<_>>());
    let commit = bed.store.commit((0..COMMIT_MAX).map(many).collect()).await.unwrap();
    let batch = next(&mut feed).await;
    assert_eq!((batch.revision, batch.changes.len()), (commit.revision, COMMIT_MAX * WRITE_MAX));
}

pub(crate) async fn a_feed_has_no_gap(bed: Bed) {
    let bed = Arc::new(bed);
    let start = bed.list().await.revision;
    let mut feed = bed.feed(start).await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..4 {
        let bed = Arc::clone(&bed);
        writers.spawn(async move {
            let mut revisions = Vec::new();
            for round in 0..25 {
                revisions.push(bed.commit([bed.put(format!("{writer}"), round.to_string())]).await);
            }
            revisions
        });
    }
    let mut acknowledged: Vec<_> = writers.join_all().await.into_iter().flatten().collect();
    acknowledged.sort();
    let told = read_up_to(&mut feed, *acknowledged.last().unwrap()).await;
    assert_eq!(told.iter().map(|batch| batch.revision).collect::<Vec<_>>(), acknowledged);
}

pub(crate) async fn a_feed_is_resumable(bed: Bed) {
    let start = bed.list().await.revision;
    let mut feed = bed.feed(start).await;
    let revisions = burst(&bed, 20).await;
    let told = read_up_to(&mut feed, revisions[19]).await;
    for (at, after) in [start].iter().chain(&revisions).enumerate() {
        let mut resumed = bed.feed(*after).await;
        if at < told.len() {
            assert_eq!(read_up_to(&mut resumed, revisions[19]).await, told[at..], "after {after}");
        } else {
            nothing(&mut resumed).await;
        }
    }
}

pub(crate) async fn a_feed_is_bookmarkable(bed: Bed) {
    // The revision of every batch, of those without changes too, says that all up to it was told: a
    // copy kept from one feed and continued from there by another is never short of a change.
    let start = bed.list().await.revision;
    let mut copy = BTreeMap::new();
    let mut bookmark = start;
    for round in 0..10 {
        let mut feed = bed.feed(bookmark).await;
        let below = bed.commit([bed.put(format!("{round}"), "1")]).await;
        let key = Key::from(format!("beside-{}", bed.name(&bed.key("x"))));
        bed.store.commit(vec![write([Op::Delete { key }])]).await.unwrap();
        while bookmark < below {
            let batch = timeout(PATIENCE, feed.next()).await.unwrap().unwrap();
            assert!(batch.revision > bookmark, "{batch:?} after {bookmark}");
            bookmark = batch.revision;
            apply(&mut copy, &batch);
        }
    }
    let items = bed.list().await.items;
    assert_eq!(copy.into_values().collect::<Vec<_>>(), items);
}

pub(crate) async fn a_feed_keeps_to_its_prefix(bed: Bed) {
    let start = bed.commit([bed.put("in/a", "0"), bed.put("inside", "0"), bed.put("other", "0")]).await;
    let mut feed = bed.store.feed(bed.key("in/").as_bytes(), start).await.unwrap();
    bed.commit([bed.put("inside", "1"), bed.delete("other")]).await;
    let both = bed.commit([bed.put("inside", "2"), bed.put("in/a", "2"), bed.delete("in")]).await;
    let batch = next(&mut feed).await;
    assert_eq!((batch.revision, batch.changes.len()), (both, 1));
    assert_eq!(changed(&batch.changes[0]), &bed.key("in/a"));
    nothing(&mut feed).await;
}

pub(crate) async fn a_feed_tells_every_reader_the_same(bed: Bed) {
    let start = bed.list().await.revision;
    let mut feeds = Vec::new();
    for _ in 0..5 {
        feeds.push(bed.feed(start).await);
    }
    // One that leaves in the middle disturbs nobody.
    drop(feeds.pop());
    let last = *burst(&bed, 20).await.last().unwrap();
    let first = read_up_to(&mut feeds[0], last).await;
    for feed in &mut feeds[1..] {
        assert_eq!(read_up_to(feed, last).await, first);
    }
}

pub(crate) async fn what_a_feed_has_told_a_list_shows(bed: Bed) {
    let mut feed = bed.feed(bed.list().await.revision).await;
    let writing = burst(&bed, 20);
    let reading = async {
        for _ in 0..20 {
            let batch = next(&mut feed).await;
            assert!(bed.list().await.revision >= batch.revision);
        }
    };
    tokio::join!(writing, reading);
}

fn apply(copy: &mut BTreeMap<Key, Item>, batch: &Batch) {
    for change in &batch.changes {
        match change {
            Change::Put(item) => copy.insert(item.key.clone(), item.clone()),
            Change::Delete(key) => copy.remove(key),
        };
    }
}

// The whole against a plain map.

/// What a store has to do, without anything that makes it hard.
#[derive(Default)]
struct Model {
    items: BTreeMap<Key, Item>,
}

impl Model {
    fn holds(&self, guard: &Guard) -> bool {
        let item = self.items.get(&guard.key);
        match guard.expect {
            Expect::At(revision) => item.is_some_and(|item| item.revision == revision),
            Expect::NotAfter(revision) => item.is_none_or(|item| item.revision <= revision),
            Expect::On(lease) => item.is_some_and(|item| item.lease == Some(lease)),
        }
    }

    fn outcomes(&self, writes: &[Write]) -> Vec<Outcome> {
        let holds = |write: &Write| write.guards.iter().all(|guard| self.holds(guard));
        writes.iter().map(|write| if holds(write) { Outcome::Done } else { Outcome::Refused }).collect()
    }

    fn apply(&mut self, writes: Vec<Write>, outcomes: &[Outcome], revision: Revision) {
        let done = writes.into_iter().zip(outcomes).filter(|(_, outcome)| **outcome == Outcome::Done);
        for op in done.flat_map(|(write, _)| write.ops) {
            match op {
                Op::Put { key, value, lease } => {
                    self.items.insert(key.clone(), Item { key, value, revision, lease });
                }
                Op::Delete { key } => {
                    self.items.remove(&key);
                }
            }
        }
    }
}

/// Up to five writes over ten names; each guard is as likely to hold as not.
fn random_writes(bed: &Bed, random: &mut fastrand::Rng, model: &Model, leases: &[LeaseId]) -> Vec<Write> {
    let mut names: Vec<_> = (0..10).map(|n| n.to_string()).collect();
    random.shuffle(&mut names);
    let count = random.usize(1..=5);
    let mut writes = vec![Write::default(); count];
    for name in names.drain(..random.usize(1..=names.len())) {
        let write = &mut writes[random.usize(..count)];
        write.ops.push(match random.u8(..4) {
            0 => bed.delete(&name),
            1 => bed.put_on(leases[random.usize(..leases.len())], &name, random.u32(..).to_string()),
            _ => bed.put(&name, random.u32(..).to_string()),
        });
    }
    for write in writes.iter_mut().filter(|_| random.bool()) {
        let key = bed.key(random.usize(..10).to_string());
        let stands = model.items.get(&key).map_or(Revision(0), |item| item.revision);
        let expect = match random.u8(..5) {
            0 => Expect::At(stands),
            1 => Expect::At(Revision(stands.0 + 1)),
            2 => Expect::NotAfter(stands),
            3 => Expect::NotAfter(Revision(stands.0.saturating_sub(1))),
            _ => Expect::On(leases[random.usize(..leases.len())]),
        };
        write.guards.push(Guard { key, expect });
    }
    writes
}

pub(crate) async fn random_commits_agree_with_a_plain_map(bed: Bed) {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut leases = Vec::new();
    for _ in 0..3 {
        leases.push(bed.store.grant(TERM * 60).await.unwrap());
    }
    let mut feed = bed.feed(bed.list().await.revision).await;
    let mut model = Model::default();
    let mut last = Revision(0);
    for round in 0..200 {
        if round % 40 == 39 {
            let lease = std::mem::replace(&mut leases[0], bed.store.grant(TERM * 60).await.unwrap());
            bed.store.revoke(lease).await.unwrap();
            model.items.retain(|_, item| item.lease != Some(lease));
        }
        let writes = random_writes(&bed, &mut random, &model, &leases);
        let expected = model.outcomes(&writes);
        let commit = bed.store.commit(writes.clone()).await.unwrap();
        assert_eq!(commit.outcomes, expected, "round {round}: {writes:?}");
        model.apply(writes, &commit.outcomes, commit.revision);
        last = last.max(commit.revision);
        if round % 10 == 0 {
            let items: Vec<_> = model.items.values().cloned().collect();
            assert_eq!(bed.list().await.items, items, "round {round}");
        }
    }
    // A last change, so that the end of the feed can be seen.
    let end = bed.commit([bed.put("end", "")]).await;
    let mut copy = BTreeMap::new();
    for batch in read_up_to(&mut feed, end).await {
        apply(&mut copy, &batch);
    }
    assert_eq!(copy.into_values().collect::<Vec<_>>(), bed.list().await.items);
    for lease in leases {
        bed.store.revoke(lease).await.unwrap();
    }
}

pub(crate) async fn the_status_is_no_older_than_the_last_commit(bed: Bed) {
    let put = bed.commit([bed.put("a", "1")]).await;
    let status = bed.store.status().await.unwrap();
    assert!(status.revision >= put, "{status:?}");
    assert!(!status.kind.is_empty() && !status.version.is_empty() && !status.place.is_empty(), "{status:?}");
}
