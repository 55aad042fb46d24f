//! Commits: guards, outcomes, revisions, limits.

use super::{Bed, LEASE_TTL, TIMEOUT, assert_quiet, text, write};
use skyhound_store::{COMMIT_MAX, Expect, Guard, Outcome, Revision, StoreError, WRITE_MAX, Write};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::timeout;

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

pub(crate) async fn a_commit_without_changes_has_no_revision_of_its_own(bed: Bed) {
    let put = bed.commit([bed.put("a", "1")]).await;
    let mut feed = bed.feed(put).await;
    assert_eq!(bed.store.commit(Vec::new()).await.unwrap().outcomes, []);
    assert!(bed.commit([bed.delete("not there")]).await >= put);
    let refused = bed.guarded("a", Expect::NotAfter(Revision(0)), bed.put("a", "2")).await;
    assert_eq!(refused.outcomes, [Outcome::Refused]);
    assert!(refused.revision >= put);
    assert_quiet(&mut feed).await;
    assert_eq!(bed.list().await.items[0].revision, put);
}

pub(crate) async fn a_refused_write_does_not_affect_the_others(bed: Bed) {
    let put = bed.commit([bed.put("a", "1")]).await;
    let absent = Guard { key: bed.key("a"), expect: Expect::NotAfter(Revision(0)) };
    let present = Guard { key: bed.key("a"), expect: Expect::AtRevision(put) };
    let commit = bed.store.commit(vec![
        write([bed.put("b", "1")]),
        // One guard that holds does not compensate for one that does not.
        Write { guards: vec![present.clone(), absent], ops: vec![bed.put("c", "1"), bed.delete("a")] },
        Write { guards: vec![present], ops: vec![bed.put("d", "1")] },
        Write::default(),
    ]);
    let outcomes = [Outcome::Done, Outcome::Refused, Outcome::Done, Outcome::Done];
    assert_eq!(commit.await.unwrap().outcomes, outcomes);
    assert_eq!(bed.contents().await.into_keys().collect::<Vec<_>>(), ["a", "b", "d"]);
}

pub(crate) async fn guard_at_revision_holds_at_exactly_that_revision(bed: Bed) {
    let first = bed.commit([bed.put("a", "1")]).await;
    let second = bed.commit([bed.put("a", "2")]).await;
    for wrong in [Revision(0), first, Revision(second.0 + 1)] {
        let commit = bed.guarded("a", Expect::AtRevision(wrong), bed.put("a", "no")).await;
        assert_eq!(commit.outcomes, [Outcome::Refused], "at {wrong}");
    }
    let absent = bed.guarded("none", Expect::AtRevision(second), bed.put("none", "no")).await;
    assert_eq!(absent.outcomes, [Outcome::Refused]);
    let commit = bed.guarded("a", Expect::AtRevision(second), bed.delete("a")).await;
    assert_eq!(commit.outcomes, [Outcome::Done]);
    assert_eq!(bed.contents().await, BTreeMap::new());
}

pub(crate) async fn guard_not_after_holds_for_older_and_missing_keys(bed: Bed) {
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

pub(crate) async fn guard_on_lease_holds_while_the_key_is_attached(bed: Bed) {
    let lease = bed.store.grant(LEASE_TTL * 10).await.unwrap();
    let other = bed.store.grant(LEASE_TTL * 10).await.unwrap();
    bed.commit([bed.put_on(lease, "a", "1"), bed.put("free", "1")]).await;
    let on = Expect::OnLease(lease);
    assert_eq!(bed.guarded("none", on, bed.put("x", "no")).await.outcomes, [Outcome::Refused]);
    assert_eq!(bed.guarded("free", on, bed.put("x", "no")).await.outcomes, [Outcome::Refused]);
    assert_eq!(bed.guarded("a", Expect::OnLease(other), bed.put("x", "no")).await.outcomes, [Outcome::Refused]);
    assert_eq!(bed.guarded("a", on, bed.put_on(other, "a", "2")).await.outcomes, [Outcome::Done]);
    assert_eq!(bed.guarded("a", on, bed.put("x", "no")).await.outcomes, [Outcome::Refused]);
    for lease in [lease, other] {
        bed.store.revoke(lease).await.unwrap();
    }
}

pub(crate) async fn guards_are_evaluated_before_any_operation(bed: Bed) {
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
                let commit = bed.guarded("count", Expect::AtRevision(item.revision), raise).await;
                done += usize::from(commit.outcomes == [Outcome::Done]);
            }
        });
    }
    timeout(TIMEOUT, writers.join_all()).await.unwrap();
    assert_eq!(bed.contents().await["count"], (WRITERS * ROUNDS).to_string());
}

pub(crate) async fn a_commit_over_a_limit_is_rejected_whole(bed: Bed) {
    let numbered = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>();
    let guard = Guard { key: bed.key("a"), expect: Expect::NotAfter(Revision(0)) };
    let over_limits = [
        numbered(COMMIT_MAX + 1).iter().map(|n| write([bed.put(n, "")])).collect(),
        vec![write(numbered(WRITE_MAX + 1).iter().map(|n| bed.put(n, "")).collect::<Vec<_>>())],
        vec![Write { guards: vec![guard.clone(); WRITE_MAX + 1], ops: vec![bed.put("a", "")] }],
        vec![write([bed.put("a", "1")]), write([bed.put("a", "2")])],
        vec![write([bed.put("a", "1")]), write([bed.delete("a")])],
        vec![write([bed.put("a", "1"), bed.put("a", "2")])],
    ];
    for (at, writes) in over_limits.into_iter().enumerate() {
        let outcome = bed.store.commit(writes).await;
        assert!(matches!(outcome, Err(StoreError::Rejected(_))), "{at}: {outcome:?}");
    }
    assert_eq!(bed.contents().await, BTreeMap::new());
    // A commit at all limits is allowed.
    let full = |n: usize| Write {
        guards: vec![guard.clone(); WRITE_MAX],
        ops: numbered(WRITE_MAX).iter().map(|op| bed.put(format!("{n}/{op}"), "")).collect(),
    };
    let commit = bed.store.commit((0..COMMIT_MAX).map(full).collect()).await.unwrap();
    assert_eq!(commit.outcomes, [Outcome::Done; COMMIT_MAX]);
    assert_eq!(bed.list().await.items.len(), COMMIT_MAX * WRITE_MAX);
}
