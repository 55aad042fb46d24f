//! What a feed tells, and when it ends.

use super::*;
use skyhound_test_support::multi_thread_test;

#[tokio::test]
async fn a_feed_from_a_compacted_revision_says_so() {
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
    // From the revision of a list there is always a feed.
    let listing = store.list(b"/t/").await.unwrap();
    let mut feed = store.feed(b"/t/", listing.revision).await.unwrap();
    let put = commit(&store, put("b", None)).await.unwrap();
    assert_eq!(next(&mut feed).await.revision, put);
}

#[tokio::test]
async fn a_feed_says_how_far_it_is_when_etcd_says_it_by_itself() {
    let etcd = EtcdProcess::options().arg("--experimental-watch-progress-notify-interval=200ms").start().await;
    let store = etcd.store().await;
    let mut feed = store.feed(b"/t/", Revision(0)).await.unwrap();
    let beside = Op::Put { key: Key::from("/beside"), value: Bytes::new(), lease: None };
    let beside = commit(&store, beside).await.unwrap();
    let batch = timeout(PATIENCE, feed.next()).await.unwrap().unwrap();
    assert_eq!(batch, Batch { revision: beside, changes: Vec::new() });
}

#[tokio::test]
async fn a_feed_from_the_future_is_refused() {
    // So it is after etcd was restored from a backup: to wait for that revision is to miss all before.
    let etcd = EtcdProcess::start().await;
    let store = etcd.store().await;
    let now = commit(&store, put("a", None)).await.unwrap();
    let result = store.feed(b"/t/", Revision(now.0 + 10)).await;
    assert!(matches!(&result, Err(StoreError::FeedLost(reason)) if reason.contains("restored")), "{result:?}");
}

#[multi_thread_test]
async fn a_reader_who_does_not_read_loses_the_feed_not_the_error() {
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
        // Not read for longer than the feed has patience with a full backlog. It delays nobody else.
        holds_for(Duration::from_secs(2), async || store.list(b"/t/").await.map(drop)).await;
        let mut told = 0;
        loop {
            match feed.next().await {
                Ok(_) => told += 1,
                Err(error) => return (told, error),
            }
        }
    };
    let (told, error) = timeout(PATIENCE, reading).await.unwrap();
    assert!(matches!(error, StoreError::FeedOverrun), "{error:?}");
    assert_eq!(told, FEED_BACKLOG);
}
