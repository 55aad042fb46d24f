//! Ids: the heartbeats that keep an instance alive, and the restarts that an id outlives.

use serde_json::json;

use super::endpoints::{about, lookup, register};
use crate::srsr::until;
use skyhound_test_support::etcd::EtcdProcess;
use skyhound_test_support::provider::{Provider, Received};
use skyhound_test_support::site::Site;

/// A subscriber receives its expiry.
pub async fn missed_heartbeats_expire_exactly_that_instance(site: Site) {
    let mut subscriber = Provider::open_for(site.http, "/etcd/monitor?monitor=web").await.expect("it may subscribe");
    let alive = register(&site, json!({ "name": "web", "address": "http://10.0.0.1:80" })).await;
    let unrenewed = register(&site, json!({ "name": "web", "address": "http://10.0.0.2:80" })).await;
    until(async || {
        assert!(about(&site, "/heartbeat", &alive).await);
        let answer = site.dig().query("web.services.skydns.local", "A").await.expect("an answer");
        assert!(answer.data("A").contains(&"10.0.0.1"), "an instance with heartbeats stays");
        answer.data("A") == ["10.0.0.1"]
    })
    .await;
    assert!(!about(&site, "/heartbeat", &unrenewed).await, "it is unknown now");
    for (key_event, addresses) in
        [("PUT", &["10.0.0.1"][..]), ("PUT", &["10.0.0.1", "10.0.0.2"]), ("EXPIRE", &["10.0.0.1"])]
    {
        let Received::Text(text) = subscriber.next().await else { panic!("no message") };
        let body = &serde_json::from_str::<serde_json::Value>(&text).expect("JSON")["body"];
        let mut received: Vec<_> = body["services"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|instance| instance["ip"].as_str())
            .collect();
        received.sort_unstable();
        assert_eq!((body["key_event"].as_str(), received.as_slice()), (Some(key_event), addresses));
    }
}

/// The client never registers again: it sends only heartbeats after the restart.
pub async fn an_id_outlives_the_daemon(mut site: Site) {
    let id = register(&site, json!({ "name": "web", "address": "http://10.0.0.1:80" })).await;
    site.daemon.stop().await;
    site.daemon.restart().await;
    assert_eq!(lookup(&site, "web").await.as_deref(), Some("http://10.0.0.1:80"), "it stays for its lease");
    assert!(about(&site, "/heartbeat", &id).await);
    // Longer than the lease of the stopped daemon.
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(7);
    until(async || {
        assert!(about(&site, "/heartbeat", &id).await);
        assert_eq!(lookup(&site, "web").await.as_deref(), Some("http://10.0.0.1:80"));
        tokio::time::Instant::now() > end
    })
    .await;
    // Down for so long that the entry has expired in the store as well.
    site.daemon.kill().await;
    site.daemon.restart().await;
    until(async || lookup(&site, "web").await.is_none()).await;
    assert!(about(&site, "/heartbeat", &id).await, "and yet it is known");
    assert_eq!(lookup(&site, "web").await.as_deref(), Some("http://10.0.0.1:80"));
    assert!(about(&site, "/deregister", &id).await);
    assert_eq!(lookup(&site, "web").await, None);
}

/// A load balancer in front of two daemons.
pub async fn any_daemon_takes_any_id() {
    let etcd = EtcdProcess::start().await;
    let one = Site::of(Site::at(&etcd, &["--timeout", "5"]).await);
    let two = Site::of(Site::at(&etcd, &["--timeout", "5"]).await);
    let id = register(&one, json!({ "name": "web", "address": "http://10.0.0.1:80" })).await;
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(8);
    let mut at = 0;
    until(async || {
        at += 1;
        assert!(about([&one, &two][at % 2], "/heartbeat", &id).await);
        for site in [&one, &two] {
            let answer = site.dig().query("web.services.skydns.local", "A").await.expect("an answer");
            assert_eq!(answer.data("A"), ["10.0.0.1"], "it never disappears");
        }
        tokio::time::Instant::now() > end
    })
    .await;
    assert!(about(&two, "/deregister", &id).await);
    until(async || lookup(&one, "web").await.is_none()).await;
    assert!(!about(&one, "/heartbeat", &id).await);
}
