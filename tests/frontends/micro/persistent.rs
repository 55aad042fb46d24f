//! Persistent registrations, when daemons, peers and stores stop.

use crate::micro::ask::{deregister, json, node, register, service};
use futures_util::future::join_all;
use serde_json::Value;
use skyhound_test_support::etcd::EtcdProcess;
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::site::Site;
use skyhound_test_support::wait::{SOON, holds_for, wait_until};
use std::time::Duration;

/// The `ttl` of the registrations here that have one.
const TTL: Duration = Duration::from_secs(2);

async fn gone(site: &skyhound_test_support::daemon::Daemon, name: &str) {
    wait_until(SOON, async || match service(site, name).await {
        None => Ok(()),
        Some(there) => Err(there.to_string()),
    })
    .await;
}

async fn revision(site: &skyhound_test_support::daemon::Daemon) -> Value {
    site.readyz().await["store"]["revision"].clone()
}

/// A socket on the same host and port is another registration: its end does not remove the first.
pub async fn a_persistent_registration_outlives_its_client_and_other_claims(mut site: Site) {
    register(&site, &node("web", "one", 80)).await;
    let held = site.provide("service=web&port=80&host=127.0.0.1").await;
    held.close().await;
    wait_until(SOON, async || match site.readyz().await["claims"].as_u64() {
        Some(0) => Ok(()),
        claims => Err(format!("{claims:?}")),
    })
    .await;
    let before = revision(&site).await;
    register(&site, &node("web", "one", 80)).await;
    assert_eq!(revision(&site).await, before, "an unchanged entry is not written again");
    let lives_on = site.readyz().await["store"]["kind"] != "memory";
    site.daemon.stop().await;
    site.daemon.restart().await;
    assert_eq!(service(&site, "web").await.is_some(), lives_on);
    deregister(&site, &node("web", "one", 80)).await;
    assert_eq!(service(&site, "web").await, None);
}

pub async fn a_lease_is_renewed_by_registering_again_and_expires_otherwise(site: Site) {
    let registration = |port| node("brief", "one", port);
    let post = async |port| {
        let answer = json(&site, "POST", "/registry?ttl=2", &registration(port)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    post(80).await;
    let before = revision(&site).await;
    // Longer than the lease TTL and the time that a store may add to it.
    holds_for(TTL * 2, async || {
        post(80).await;
        service(&site, "brief").await.map(drop).ok_or("it is gone")
    })
    .await;
    assert_eq!(revision(&site).await, before, "renewing writes nothing");
    post(81).await;
    assert_eq!(service(&site, "brief").await.expect("it is there")[0]["nodes"][0]["port"], 81);
    gone(&site, "brief").await;
    post(81).await;
    deregister(&site, &registration(81)).await;
    post(81).await;
    assert!(service(&site, "brief").await.is_some(), "a revoked lease is not renewed");
}

pub async fn concurrent_registrations_share_commits(site: Site) {
    const MANY: u16 = 300;
    let each = (1..=MANY).map(|port| (format!("n{port}"), port));
    let registrations: Vec<_> = each.map(|(id, port)| node("many", &id, port)).collect();
    let commits = site.metric("skyhound_registry_commits_total").await;
    join_all(registrations.iter().map(|one| register(&site, one))).await;
    let all = service(&site, "many").await.expect("they are there");
    assert_eq!(all[0]["nodes"].as_array().map(Vec::len), Some(MANY.into()));
    let used = site.metric("skyhound_registry_commits_total").await - commits;
    assert!(used < f64::from(MANY), "{used} commits for {MANY} registrations: they do not go together");
    join_all(registrations.iter().map(|one| deregister(&site, one))).await;
    assert_eq!(service(&site, "many").await, None);
}

#[multi_thread_test]
async fn any_daemon_renews_and_removes() {
    let etcd = EtcdProcess::start().await;
    let (a, b) = (Site::at(&etcd, &[]).await, Site::at(&etcd, &[]).await);
    let registration = node("web", "one", 80);
    let mut turn = 0;
    holds_for(TTL * 2, async || {
        turn += 1;
        let at = if turn % 2 == 0 { &a } else { &b };
        let answer = json(at, "POST", "/registry?ttl=2", &registration).await;
        assert_eq!(answer.status, 200);
        service(at, "web").await.map(drop).ok_or(format!("it is gone at turn {turn}"))
    })
    .await;
    // At once, and at another daemon than the one that has just put it.
    for _ in 0..20 {
        register(&a, &node("web", "two", 81)).await;
        deregister(&b, &node("web", "two", 81)).await;
        let there = service(&b, "web").await.map(|there| there.to_string()).unwrap_or_default();
        assert!(!there.contains("two"), "{there}");
    }
    // The removal reason is in the transaction that removed the entry: it was the last one.
    let tombstone = etcd.ctl(&["get", "/skydns/_skyhound/departed", "-w", "json"]);
    let tombstone: Value = serde_json::from_str(&tombstone).expect("JSON");
    assert_eq!(tombstone["kvs"][0]["mod_revision"], tombstone["header"]["revision"], "{tombstone}");
    gone(&a, "web").await;
    gone(&b, "web").await;
}

#[multi_thread_test]
async fn requests_without_the_store_are_answered_503() {
    let mut site = Site::etcd(&[]).await;
    register(&site, &node("web", "one", 80)).await;
    site.etcd.as_mut().expect("it is on etcd").kill().await;
    for (method, path) in [("POST", "/registry"), ("POST", "/registry?ttl=10"), ("DELETE", "/registry")] {
        let answer = json(&site, method, path, &node("web", "two", 81)).await;
        assert_eq!(answer.status, 503, "{method} {path}: {answer:?}");
        assert!(answer.header("retry-after").is_some());
    }
    assert!(service(&site, "web").await.is_some(), "the last snapshot is served");
    site.etcd.as_mut().expect("it is on etcd").restart().await;
    register(&site, &node("web", "three", 82)).await;
}

/// A store that was never read is not an empty one.
#[multi_thread_test]
async fn never_read_is_not_empty() {
    let daemon = skyhound_test_support::daemon::Daemon::start(&["--etcd-api", "http://127.0.0.1:1"]).await;
    for path in ["/registry", "/registry?service=web"] {
        assert_eq!(daemon.get(path).await.status, 503, "{path}");
    }
    assert_eq!(json(&daemon, "POST", "/registry", &node("web", "one", 80)).await.status, 503);
}

/// The limit covers all daemons on one etcd, as each of them knows the entries.
#[multi_thread_test]
async fn persistent_registrations_are_limited() {
    let etcd = EtcdProcess::start().await;
    let few = ["--max-persistent", "2"];
    let (a, b) = (Site::at(&etcd, &few).await, Site::at(&etcd, &few).await);
    for id in ["one", "two"] {
        register(&a, &node("web", id, 80)).await;
    }
    wait_until(SOON, async || match service(&b, "web").await {
        Some(there) if there[0]["nodes"].as_array().map(Vec::len) == Some(2) => Ok(()),
        there => Err(format!("{there:?}")),
    })
    .await;
    for at in [&a, &b] {
        let answer = json(at, "POST", "/registry", &node("web", "three", 80)).await;
        assert_eq!(answer.status, 507, "{answer:?}");
        assert!(answer.body.starts_with("there are 2 persistent registrations, which is the limit"), "{answer:?}");
        assert!(answer.body.contains("--max-persistent"), "{answer:?}");
        // An existing entry may be registered again and changed; one with a lease TTL does not count.
        register(at, &node("web", "two", 80)).await;
        register(at, &node("web", "two", 81)).await;
        assert_eq!(json(at, "POST", "/registry?ttl=60", &node("web", "brief", 80)).await.status, 200);
    }
    let held = b.provide("service=web&host=127.0.0.1&port=1").await;
    // At the limit, one with a lease TTL may not become persistent; below the limit it may.
    assert_eq!(json(&a, "POST", "/registry", &node("web", "brief", 80)).await.status, 507);
    deregister(&a, &node("web", "one", 80)).await;
    register(&a, &node("web", "brief", 80)).await;
    assert_eq!(json(&a, "POST", "/registry", &node("web", "one", 80)).await.status, 507);
    held.close().await;
}
