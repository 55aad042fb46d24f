//! Two daemons on one etcd, and an etcd that is unavailable.

use crate::hound_dog::subscriber::{change, event, listed, open, publish, receive, services, sorted, try_open};
use serde_json::json;
use skyhound_test_support::etcd::EtcdProcess;
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::site::Site;
use skyhound_test_support::wait::{SOON, wait_until};

#[multi_thread_test]
async fn a_subscriber_at_one_daemon_receives_events_of_the_other() {
    let etcd = EtcdProcess::start().await;
    let (one, two) = (Site::at(&etcd, &[]).await, Site::at(&etcd, &[]).await);
    let mut subscriber = open(one.http, "monitor?monitor=engine,api").await;
    let mut engine = open(two.http, "register?service=engine&ip=10.0.0.1&port=1").await;
    let put = change("engine", "PUT", &[("10.0.0.1", 1)]);
    assert_eq!((receive(&mut subscriber).await, receive(&mut engine).await), (put.clone(), put));
    assert_eq!(listed(one.http, "engine").await, services(&[("10.0.0.1", 1)]));
    let here = open(one.http, "register?service=engine&ip=10.0.0.2&port=2").await;
    let both = change("engine", "PUT", &[("10.0.0.1", 1), ("10.0.0.2", 2)]);
    assert_eq!((sorted(receive(&mut subscriber).await), sorted(receive(&mut engine).await)), (both.clone(), both));
    publish(one.http, &json!({ "event_type": "a", "services": ["engine"] })).await;
    publish(two.http, &json!({ "event_type": "b", "broadcast": true })).await;
    for (namespace, event_type) in [("engine", "a"), ("*", "b")] {
        assert_eq!(receive(&mut subscriber).await, event(namespace, event_type, ""));
        assert_eq!(receive(&mut engine).await, event(namespace, event_type, ""));
    }
    here.close().await;
    assert_eq!(receive(&mut subscriber).await, change("engine", "DELETE", &[("10.0.0.1", 1)]));
    engine.close().await;
    assert_eq!(receive(&mut subscriber).await, change("engine", "DELETE", &[]));
}

#[multi_thread_test]
async fn instances_of_a_killed_daemon_expire() {
    let etcd = EtcdProcess::start().await;
    let one = Site::at(&etcd, &[]).await;
    let mut two = Site::at(&etcd, &["--timeout", "2"]).await;
    let mut subscriber = open(one.http, "monitor?monitor=engine").await;
    let _engine = open(two.http, "register?service=engine&ip=10.0.0.1&port=1").await;
    assert_eq!(receive(&mut subscriber).await, change("engine", "PUT", &[("10.0.0.1", 1)]));
    two.kill().await;
    assert_eq!(receive(&mut subscriber).await, change("engine", "EXPIRE", &[]));
}

/// A store that was never read is unknown, which is not the same as empty.
#[multi_thread_test]
async fn a_daemon_without_its_store_responds_503() {
    let mut etcd = EtcdProcess::absent();
    let daemon = Site::at(&etcd, &[]).await;
    for path in ["/etcd/services", "/etcd/services/engine", "/etcd/leader", "/etcd/version"] {
        let answer = daemon.get(path).await;
        assert_eq!(answer.status, 503, "{path}: {answer:?}");
        assert!(answer.header("retry-after").is_some(), "{path}: {answer:?}");
    }
    for target in ["monitor?monitor=a", "register?service=a&ip=10.0.0.1&port=1"] {
        let refusal = try_open(daemon.http, target).await.expect_err("no upgrade").answer();
        assert_eq!(refusal.status, 503, "{target}: {refusal:?}");
    }
    let response = daemon.post("/etcd/event", &json!({ "event_type": "t", "broadcast": true })).await;
    assert_eq!(response.status, 500, "{response:?}");
    etcd.restart().await;
    let mut subscriber = wait_until(SOON, async || {
        let known = daemon.get("/etcd/services").await;
        if known.status != 200 {
            return Err(format!("{known:?}"));
        }
        try_open(daemon.http, "monitor?monitor=engine").await.map_err(|refusal| format!("{refusal:?}"))
    })
    .await;
    publish(daemon.http, &json!({ "event_type": "t", "services": ["engine"] })).await;
    assert_eq!(receive(&mut subscriber).await, event("engine", "t", ""));
    // Once the store was read, the last snapshot is served while etcd is unavailable.
    let held = open(daemon.http, "register?service=engine&ip=10.0.0.1&port=1").await;
    etcd.stop().await;
    assert_eq!(listed(daemon.http, "engine").await, services(&[("10.0.0.1", 1)]));
    drop(held);
}
