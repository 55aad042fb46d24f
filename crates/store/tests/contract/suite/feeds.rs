//! Feeds. The tests are named after the guarantees that etcd gives for its watches.

use super::{Bed, TIMEOUT, apply, assert_quiet, key_of, next, read_up_to, text, write};
use skyhound_store::{COMMIT_MAX, Change, Revision, WRITE_MAX};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::timeout;

/// Commits `count` times three puts, or two puts and a delete, in turn; returns the revisions.
async fn burst(bed: &Bed, count: usize) -> Vec<Revision> {
    let mut revisions = Vec::new();
    for round in 0..count {
        let value = round.to_string();
        let third = if round % 2 == 0 { bed.put("c", &value) } else { bed.delete("c") };
        revisions.push(bed.commit([bed.put("a", &value), bed.put("b", &value), third]).await);
    }
    revisions
}

pub(crate) async fn a_feed_is_ordered(bed: Bed) {
    let mut feed = bed.feed(bed.list().await.revision).await;
    let last = *burst(&bed, 50).await.last().unwrap();
    let batches = read_up_to(&mut feed, last).await;
    assert!(batches.windows(2).all(|pair| pair[0].revision < pair[1].revision));
}

pub(crate) async fn a_feed_is_unique(bed: Bed) {
    let mut feed = bed.feed(bed.list().await.revision).await;
    let last = *burst(&bed, 50).await.last().unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for batch in read_up_to(&mut feed, last).await {
        for change in &batch.changes {
            assert!(seen.insert((batch.revision, key_of(change).clone())), "delivered twice: {batch:?}");
        }
    }
    assert_quiet(&mut feed).await;
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
    let batches = read_up_to(&mut feed, *acknowledged.last().unwrap()).await;
    assert_eq!(batches.iter().map(|batch| batch.revision).collect::<Vec<_>>(), acknowledged);
}

pub(crate) async fn a_feed_is_resumable(bed: Bed) {
    let start = bed.list().await.revision;
    let mut feed = bed.feed(start).await;
    let revisions = burst(&bed, 20).await;
    let batches = read_up_to(&mut feed, revisions[19]).await;
    for (at, after) in [start].iter().chain(&revisions).enumerate() {
        let mut resumed = bed.feed(*after).await;
        if at < batches.len() {
            assert_eq!(read_up_to(&mut resumed, revisions[19]).await, batches[at..], "after {after}");
        } else {
            assert_quiet(&mut resumed).await;
        }
    }
}

pub(crate) async fn a_feed_is_bookmarkable(bed: Bed) {
    // The revision of every batch, even of one without changes, means that everything up to it was delivered: a copy
    // from one feed, continued from that revision by another feed, misses no change.
    let below = bed.key("in/");
    let mut copy = BTreeMap::new();
    let mut bookmark = bed.list().await.revision;
    for round in 0..10 {
        let mut feed = bed.store.feed(below.as_bytes(), bookmark).await.unwrap();
        bed.commit([bed.put("out", round.to_string())]).await;
        let last = bed.commit([bed.put(format!("in/{round}"), "1")]).await;
        bed.commit([bed.put("out", "")]).await;
        while bookmark < last {
            let batch = timeout(TIMEOUT, feed.next()).await.unwrap().unwrap();
            assert!(batch.revision > bookmark, "{batch:?} after {bookmark}");
            bookmark = batch.revision;
            apply(&mut copy, &batch);
        }
    }
    let items = bed.store.list(below.as_bytes()).await.unwrap().items;
    assert_eq!(copy.into_values().collect::<Vec<_>>(), items);
}

pub(crate) async fn a_feed_is_limited_to_its_prefix(bed: Bed) {
    let start = bed.commit([bed.put("in/a", "0"), bed.put("inside", "0"), bed.put("other", "0")]).await;
    let mut feed = bed.store.feed(bed.key("in/").as_bytes(), start).await.unwrap();
    bed.commit([bed.put("inside", "1"), bed.delete("other")]).await;
    let both = bed.commit([bed.put("inside", "2"), bed.put("in/a", "2"), bed.delete("in")]).await;
    let batch = next(&mut feed).await;
    assert_eq!((batch.revision, batch.changes.len()), (both, 1));
    assert_eq!(key_of(&batch.changes[0]), &bed.key("in/a"));
    assert_quiet(&mut feed).await;
}

pub(crate) async fn a_feed_delivers_the_same_to_every_reader(bed: Bed) {
    let start = bed.list().await.revision;
    let mut feeds = Vec::new();
    for _ in 0..5 {
        feeds.push(bed.feed(start).await);
    }
    // A reader that drops its feed does not affect the others.
    drop(feeds.pop());
    let last = *burst(&bed, 20).await.last().unwrap();
    let first = read_up_to(&mut feeds[0], last).await;
    for feed in &mut feeds[1..] {
        assert_eq!(read_up_to(feed, last).await, first);
    }
}

pub(crate) async fn a_list_includes_everything_that_a_feed_delivered(bed: Bed) {
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
