//! An etcd that is unreachable, hangs, or has no leader.

use super::*;
use skyhound_test_support::multi_thread_test;

#[tokio::test]
async fn etcd_may_be_unreachable_at_the_start() {
    let mut etcd = EtcdProcess::absent();
    let store = etcd.store().await;
    assert_unreachable(store.list(b"/t/").await);
    assert_unreachable(commit(&store, put("a", None)).await);
    assert_unreachable(store.feed(b"/t/", Revision(0)).await);
    assert_unreachable(store.renew(&[LeaseId(1)]).await);
    etcd.restart().await;
    commit(&store, put("a", None)).await.unwrap();
    assert_eq!(names(&store).await, ["a"]);
}

#[tokio::test]
async fn a_lease_survives_a_restart_of_etcd() {
    let mut etcd = EtcdProcess::start().await;
    let store = etcd.store().await;
    let lease = store.grant(LEASE_TTL * 5).await.unwrap();
    commit(&store, put("a", Some(lease))).await.unwrap();
    let listing = store.list(b"/t/").await.unwrap();
    let mut feed = store.feed(b"/t/", listing.revision).await.unwrap();
    assert_eq!(store.renew(&[lease]).await.unwrap(), [true]);
    etcd.stop().await;
    assert!(matches!(end(&mut feed).await, StoreError::FeedLost(_)));
    assert_unreachable(commit(&store, put("b", None)).await);
    assert_unreachable(store.renew(&[lease]).await);
    assert_unreachable(store.status().await);
    etcd.restart().await;
    assert_eq!(store.renew(&[lease]).await.unwrap(), [true]);
    assert_eq!(store.list(b"/t/").await.unwrap().items, listing.items);
    let mut feed = store.feed(b"/t/", listing.revision).await.unwrap();
    let put = commit(&store, put("b", None)).await.unwrap();
    assert_eq!(next(&mut feed).await.revision, put);
}

#[tokio::test]
async fn a_hanging_etcd_is_detected() {
    let etcd = EtcdProcess::start().await;
    let store = etcd.store().await;
    let settings = etcd.settings();
    let lease = store.grant(LEASE_TTL * 30).await.unwrap();
    assert_eq!(store.renew(&[lease]).await.unwrap(), [true]);
    let mut feed = store.feed(b"/t/", Revision(0)).await.unwrap();
    etcd.pause();
    let paused = Instant::now();
    let leases = [lease];
    let (commit_result, list, renewal, end) =
        tokio::join!(commit(&store, put("a", None)), store.list(b"/t/"), store.renew(&leases), end(&mut feed));
    // For a busy machine. A client that does not detect it waits for ever.
    let slack = Duration::from_secs(6);
    let time_limit = settings.request_timeout + settings.probe_interval * 2 + slack;
    assert!(paused.elapsed() < time_limit, "after {:?}", paused.elapsed());
    assert_unreachable(commit_result);
    assert_unreachable(list);
    assert_unreachable(renewal);
    assert!(matches!(end, StoreError::FeedLost(_)), "{end:?}");
    etcd.resume();
    commit_with_retries(&store, "a").await;
    assert_eq!(store.renew(&[lease]).await.unwrap(), [true]);
}

#[tokio::test]
async fn a_dead_endpoint_fails_no_call() {
    let (dead, etcd) = (EtcdProcess::absent(), EtcdProcess::start().await);
    let endpoints = vec![dead.endpoint(), etcd.endpoint()];
    for _ in 0..10 {
        // The first endpoint is chosen at random.
        let store = Etcd::connect(EtcdSettings { endpoints: endpoints.clone(), ..etcd.settings() }).await.unwrap();
        commit(&store, put("a", None)).await.unwrap();
        store.feed(b"/t/", Revision(0)).await.unwrap();
        assert_eq!(store.status().await.unwrap().location, etcd.endpoint());
    }
}

/// Maintains a copy of all keys below `/t/` by lists and feeds until it contains `last`; returns the copy.
async fn copy_until(store: &Etcd, last: &str) -> BTreeMap<Key, Revision> {
    loop {
        let Ok(listing) = store.list(b"/t/").await else {
            // Not `wait_until`: a task is `Send`, and the compiler cannot show that of a closure over a reference.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let mut copy: BTreeMap<_, _> = listing.items.into_iter().map(|item| (item.key, item.revision)).collect();
        let Ok(mut feed) = store.feed(b"/t/", listing.revision).await else { continue };
        loop {
            if copy.contains_key(&key(last)) {
                return copy;
            }
            let Ok(batch) = feed.next().await else { break };
            for change in batch.changes {
                match change {
                    Change::Put(item) => copy.insert(item.key, item.revision),
                    Change::Delete(key) => copy.remove(&key),
                };
            }
        }
    }
}

#[multi_thread_test]
async fn the_loss_of_the_leader_loses_no_change() {
    let mut cluster = EtcdCluster::start().await;
    let store = Arc::new(Etcd::connect(cluster.settings()).await.unwrap());
    let lease = store.grant(LEASE_TTL * 10).await.unwrap();
    let reader = Arc::clone(&store);
    let copy = tokio::spawn(async move { copy_until(&reader, "end").await });
    for at in 0..20 {
        commit_with_retries(&store, &format!("before/{at}")).await;
    }
    let leader = cluster.leader().await;
    cluster.members[leader].kill().await;
    for at in 0..20 {
        commit_with_retries(&store, &format!("after/{at}")).await;
    }
    // The new leader may not have loaded its leases at first.
    wait_until(TIMEOUT, async || match store.renew(&[lease]).await {
        Ok(exist) if exist == [true] => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    cluster.members[leader].restart().await;
    commit_with_retries(&store, "end").await;
    let copy = timeout(TIMEOUT, copy).await.expect("the copy is complete").unwrap();
    let listing = store.list(b"/t/").await.unwrap();
    assert_eq!(copy, listing.items.into_iter().map(|item| (item.key, item.revision)).collect());
    assert_eq!(copy.len(), 41);
}

#[tokio::test]
async fn a_member_without_a_leader_is_unreachable() {
    let mut cluster = EtcdCluster::start().await;
    // A client of the member that stays, whose connection does not break.
    let store = cluster.members[0].store().await;
    let mut feed = store.feed(b"/t/", Revision(0)).await.unwrap();
    cluster.members[1].kill().await;
    cluster.members[2].kill().await;
    // etcd gives a leader three election terms before it ends the watches that require one.
    let error = end(&mut feed).await;
    assert!(matches!(&error, StoreError::FeedLost(reason) if reason.contains("no leader")), "{error:?}");
    assert_unreachable(commit(&store, put("a", None)).await);
    assert_unreachable(store.list(b"/t/").await);
    cluster.members[1].restart().await;
    commit_with_retries(&store, "a").await;
}
