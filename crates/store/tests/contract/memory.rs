//! The embedded store in memory, and the guarantees that every embedded store gives beyond the contract.

use crate::suite::{Bed, LEASE_TTL, TIMEOUT, assert_quiet, next, read_up_to};
use skyhound_store::embedded::Embedded;
use skyhound_store::{FEED_BACKLOG, LEASE_EXPIRY_SLACK, Revision, StoreError};
use skyhound_test_support::wait::wait_until_due;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout;

fn bed() -> Bed {
    Bed::new(Arc::new(Embedded::in_memory().unwrap()))
}

conformance!(contract, || async { bed() });

/// Makes `count` commits of one change concurrently; returns the revision of the last.
async fn commit_many(bed: &Bed, count: usize) -> Revision {
    let commits = (0..count).map(|n| bed.commit([bed.put("a", n.to_string())]));
    futures_util::future::join_all(commits).await.into_iter().max().unwrap()
}

#[tokio::test]
async fn a_feed_from_ahead_of_the_store_is_refused() {
    let bed = bed();
    let ahead = Revision(bed.list().await.revision.0 + 1);
    let refused = bed.store.feed(b"", ahead).await;
    assert!(matches!(refused, Err(StoreError::FeedLost(_))), "{refused:?}");
}

#[tokio::test]
async fn history_is_bounded() {
    let bed = bed();
    let first = bed.commit([bed.put("a", "first")]).await;
    let last = commit_many(&bed, 10_001).await;
    let refused = bed.store.feed(b"", first).await;
    assert!(matches!(refused, Err(StoreError::Compacted(after)) if after == first), "{refused:?}");
    bed.feed(Revision(first.0 + 1)).await;
    bed.feed(last).await;
}

#[tokio::test]
async fn resuming_far_back_does_not_count_as_lag() {
    let bed = bed();
    let start = bed.list().await.revision;
    let last = commit_many(&bed, FEED_BACKLOG + 1000).await;
    let mut feed = bed.feed(start).await;
    bed.commit([bed.put("a", "later")]).await;
    assert_eq!(read_up_to(&mut feed, last).await.len(), FEED_BACKLOG + 1000);
    next(&mut feed).await;
}

#[tokio::test]
async fn a_lagging_reader_loses_its_feed_and_delays_nobody() {
    let bed = bed();
    let start = bed.list().await.revision;
    let mut slow = bed.feed(start).await;
    let mut quick = bed.feed(start).await;
    let full = commit_many(&bed, FEED_BACKLOG / 2).await;
    read_up_to(&mut quick, full).await;
    let past_limit = commit_many(&bed, FEED_BACKLOG / 2 + 1).await;
    assert_eq!(read_up_to(&mut quick, past_limit).await.last().unwrap().revision, past_limit);
    for _ in 0..FEED_BACKLOG {
        slow.next().await.unwrap();
    }
    let end = slow.next().await;
    assert!(matches!(end, Err(StoreError::FeedOverrun)), "{end:?}");
}

#[tokio::test]
async fn a_reader_receives_bookmarks_for_changes_outside_its_prefix() {
    let bed = bed();
    let mut feed = bed.store.feed(bed.key("in/").as_bytes(), Revision(0)).await.unwrap();
    let elsewhere = bed.commit([bed.put("out", "1")]).await;
    let bookmark = timeout(TIMEOUT, feed.next()).await.unwrap().unwrap();
    assert_eq!((bookmark.revision, bookmark.changes.len()), (elsewhere, 0));
    // A busy reader receives the bookmark as soon as it has read the rest.
    let change = bed.commit([bed.put("in/a", "1")]).await;
    let elsewhere = bed.commit([bed.put("out", "2")]).await;
    assert_eq!(next(&mut feed).await.revision, change);
    let bookmark = timeout(TIMEOUT, feed.next()).await.unwrap().unwrap();
    assert_eq!((bookmark.revision, bookmark.changes.len()), (elsewhere, 0));
    assert_quiet(&mut feed).await;
}

#[tokio::test]
async fn a_lease_expires_within_its_ttl_and_the_slack() {
    let bed = bed();
    let ttl = Duration::from_millis(900);
    let lease = bed.store.grant(ttl).await.unwrap();
    bed.commit([bed.put_on(lease, "a", "1")]).await;
    wait_until_due(Instant::now() + ttl + LEASE_EXPIRY_SLACK, async || match bed.contents().await {
        contents if contents.is_empty() => Ok(()),
        contents => Err(format!("{contents:?}")),
    })
    .await;
}

#[tokio::test]
async fn feeds_end_when_the_store_is_dropped() {
    let store = Embedded::in_memory().unwrap();
    let mut feed = skyhound_store::Store::feed(&store, b"", Revision(0)).await.unwrap();
    drop(store);
    let end = timeout(LEASE_TTL, feed.next()).await.unwrap();
    assert!(matches!(end, Err(StoreError::FeedLost(_))), "{end:?}");
}
