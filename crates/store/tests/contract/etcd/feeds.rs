//! Feeds from a real watch: progress, compaction, restored backups and slow readers.

use super::*;
use skyhound_test_support::multi_thread_test;

#[tokio::test]
async fn a_feed_from_a_compacted_revision_is_refused_as_compacted() {
    let etcd = EtcdProcess::start().await;
    let store = etcd.store().await;
    let old = commit(&store, put("a", None)).await.unwrap();
    commit(&store, put("a", None)).await.unwrap();
    let new = commit(&store, put("a", None)).await.unwrap();
    etcd.ctl(&["compact", &new.to_string()]);
    let error = match store.feed(b"/t/", old).await {
        Ok(mut feed) => end(&mut feed).await,
        Err(error) => error,
    };
    assert!(matches!(error, StoreError::Compacted(at) if at == old), "{error:?}");
    // A feed from the revision of a list always succeeds.
    let listing = store.list(b"/t/").await.unwrap();
    let mut feed = store.feed(b"/t/", listing.revision).await.unwrap();
    let put = commit(&store, put("b", None)).await.unwrap();
    assert_eq!(next(&mut feed).await.revision, put);
}

#[tokio::test]
async fn a_feed_delivers_the_progress_notifications_of_etcd() {
    let etcd = EtcdProcess::options().arg("--experimental-watch-progress-notify-interval=200ms").start().await;
    let store = etcd.store().await;
    let mut feed = store.feed(b"/t/", Revision(0)).await.unwrap();
    let elsewhere = Op::Put { key: Key::from("/elsewhere"), value: Bytes::new(), lease: None };
    let elsewhere = commit(&store, elsewhere).await.unwrap();
    let batch = timeout(TIMEOUT, feed.next()).await.unwrap().unwrap();
    assert_eq!(batch, Batch { revision: elsewhere, changes: Vec::new() });
}

#[tokio::test]
async fn a_feed_from_the_future_is_refused() {
    // As after etcd was restored from a backup: waiting for that revision would miss all changes before it.
    let etcd = EtcdProcess::start().await;
    let store = etcd.store().await;
    let now = commit(&store, put("a", None)).await.unwrap();
    let result = store.feed(b"/t/", Revision(now.0 + 10)).await;
    assert!(matches!(&result, Err(StoreError::FeedLost(reason)) if reason.contains("restored")), "{result:?}");
}

#[multi_thread_test]
async fn a_reader_that_does_not_read_loses_its_feed_and_receives_the_error() {
    let etcd = EtcdProcess::start().await;
    let store = Arc::new(etcd.store().await);
    let mut feed = store.feed(b"/t/", Revision(0)).await.unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..32 {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            for _ in 0..=FEED_BACKLOG / 32 {
                commit(&store, put(&writer.to_string(), None)).await.unwrap();
            }
        });
    }
    writers.join_all().await;
    let reading = async {
        // Not read for longer than the feed waits with a full backlog. Other calls are not delayed.
        holds_for(Duration::from_secs(2), async || store.list(b"/t/").await.map(drop)).await;
        let mut delivered = 0;
        loop {
            match feed.next().await {
                Ok(_) => delivered += 1,
                Err(error) => return (delivered, error),
            }
        }
    };
    let (delivered, error) = timeout(TIMEOUT, reading).await.unwrap();
    assert!(matches!(error, StoreError::FeedOverrun), "{error:?}");
    assert_eq!(delivered, FEED_BACKLOG);
}
