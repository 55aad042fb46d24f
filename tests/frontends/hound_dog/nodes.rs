//! Two daemons on one etcd, and an etcd that is not there.

use crate::hound_dog::ear::{change, event, listed, open, say, services, sorted, told, try_open};
use serde_json::json;
use skyhound_test_support::etcd::EtcdProcess;
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::site::Site;
use skyhound_test_support::wait::{SOON, wait_until};

#[multi_thread_test]
async fn a_listener_at_one_daemon_hears_the_other() {
    let etcd = EtcdProcess::start().await;
    let (one, two) = (Site::at(&etcd, &[]).await, Site::at(&etcd, &[]).await);
    let mut ear = open(one.http, "monitor?monitor=engine,api").await;
    let mut engine = open(two.http, "register?service=engine&ip=10.0.0.1&port=1").await;
    let put = change("engine", "PUT", &[("10.0.0.1", 1)]);
    assert_eq!((told(&mut ear).await, told(&mut engine).await), (put.clone(), put));
    assert_eq!(listed(one.http, "engine").await, services(&[("10.0.0.1", 1)]));
    let here = open(one.http, "register?service=engine&ip=10.0.0.2&port=2").await;
    let both = change("engine", "PUT", &[("10.0.0.1", 1), ("10.0.0.2", 2)]);
    assert_eq!((sorted(told(&mut ear).await), sorted(told(&mut engine).await)), (both.clone(), both));
    say(one.http, &json!({ "event_type": "a", "services": ["engine"] })).await;
    say(two.http, &json!({ "event_type": "b", "broadcast": true })).await;
    for (namespace, event_type) in [("engine", "a"), ("*", "b")] {
        assert_eq!(told(&mut ear).await, event(namespace, event_type, ""));
        assert_eq!(told(&mut engine).await, event(namespace, event_type, ""));
    }
    here.close().await;
    assert_eq!(told(&mut ear).await, change("engine", "DELETE", &[("10.0.0.1", 1)]));
    engine.close().await;
    assert_eq!(told(&mut ear).await, change("engine", "DELETE", &[]));
}

#[multi_thread_test]
async fn a_daemon_that_dies_lets_its_instances_expire() {
    let etcd = EtcdProcess::start().await;
    let one = Site::at(&etcd, &[]).await;
    let mut two = Site::at(&etcd, &["--timeout", "2"]).await;
    let mut ear = open(one.http, "monitor?monitor=engine").await;
    let _engine = open(two.http, "register?service=engine&ip=10.0.0.1&port=1").await;
    assert_eq!(told(&mut ear).await, change("engine", "PUT", &[("10.0.0.1", 1)]));
    two.kill().await;
    assert_eq!(told(&mut ear).await, change("engine", "EXPIRE", &[]));
}

/// What was never read is not known, which is not the same as nothing.
#[multi_thread_test]
async fn without_its_store_a_daemon_says_so() {
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
    let said = daemon.post("/etcd/event", &json!({ "event_type": "t", "broadcast": true })).await;
    assert_eq!(said.status, 500, "{said:?}");
    etcd.restart().await;
    let mut ear = wait_until(SOON, async || {
        let known = daemon.get("/etcd/services").await;
        if known.status != 200 {
            return Err(format!("{known:?}"));
        }
        try_open(daemon.http, "monitor?monitor=engine").await.map_err(|refusal| format!("{refusal:?}"))
    })
    .await;
    say(daemon.http, &json!({ "event_type": "t", "services": ["engine"] })).await;
    assert_eq!(told(&mut ear).await, event("engine", "t", ""));
    // Once it was read, the last that is known is said while etcd is away.
    let held = open(daemon.http, "register?service=engine&ip=10.0.0.1&port=1").await;
    etcd.stop().await;
    assert_eq!(listed(daemon.http, "engine").await, services(&[("10.0.0.1", 1)]));
    drop(held);
}
