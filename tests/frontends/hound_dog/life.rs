//! Registration, listing, and the messages about both.

use crate::hound_dog::subscriber::{change, listed, open, receive, services, sorted};
use serde_json::{Value, json};
use skyhound_test_support::http;
use skyhound_test_support::provider::Provider;
use skyhound_test_support::site::Site;
use skyhound_test_support::wait::{SOON, wait_until};

async fn json_at(site: &Site, path: &str) -> Value {
    let answer = site.get(path).await;
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"), "{path}");
    serde_json::from_str(&answer.body).expect("JSON")
}

pub async fn a_service_is_listed_and_answered_exactly_as_long_as_its_socket(site: Site) {
    assert_eq!(json_at(&site, "/etcd/services").await, json!({ "services": [] }));
    assert_eq!(json_at(&site, "/etcd/services/engine").await, json!({ "services": [] }));
    let one = open(site.http, "register?service=engine&ip=10.0.0.5&port=3000").await;
    let two = open(site.http, "register?service=Api&ip=host.example&port=80").await;
    assert_eq!(json_at(&site, "/etcd/services").await, json!({ "services": ["api", "engine"] }));
    let engine = json!({ "services": [{ "ip": "10.0.0.5", "port": 3000 }] });
    assert_eq!(json_at(&site, "/etcd/services/engine").await, engine);
    assert_eq!(json_at(&site, "/etcd/services/%65NGINE").await, engine);
    assert_eq!(listed(site.http, "api").await, services(&[("host.example", 80)]));
    let answer = site.dig().query("engine.services.skydns.local", "SRV").await.expect("an answer");
    assert_eq!(answer.ports(), [3000]);
    if let Some(etcd) = &site.etcd {
        // For hound-dog's own peers, on the same lease.
        assert_eq!(etcd.ctl(&["get", "--print-value-only", "service/engine/10.0.0.5"]), "10.0.0.5:3000\n");
        assert_eq!(etcd.ctl(&["get", "--print-value-only", "service/Api/host.example"]), "host.example:80\n");
    }
    one.close().await;
    assert_eq!(listed(site.http, "engine").await, services(&[]), "without waiting");
    two.close().await;
    assert_eq!(json_at(&site, "/etcd/services").await, json!({ "services": [] }));
    if let Some(etcd) = &site.etcd {
        assert_eq!(etcd.ctl(&["get", "--prefix", "service"]), "");
    }
}

pub async fn subscribers_receive_each_change_and_its_reason(site: Site) {
    let mut subscriber = open(site.http, "monitor?monitor=engine").await;
    let one = open(site.http, "register?service=engine&ip=10.0.0.1&port=1").await;
    assert_eq!(receive(&mut subscriber).await, change("engine", "PUT", &[("10.0.0.1", 1)]));
    let unresponsive = open(site.http, "register?service=engine&ip=10.0.0.2&port=2").await;
    assert_eq!(sorted(receive(&mut subscriber).await), change("engine", "PUT", &[("10.0.0.1", 1), ("10.0.0.2", 2)]));
    let lost = open(site.http, "register?service=engine&ip=10.0.0.3&port=3").await;
    receive(&mut subscriber).await;
    one.close().await;
    assert_eq!(sorted(receive(&mut subscriber).await), change("engine", "DELETE", &[("10.0.0.2", 2), ("10.0.0.3", 3)]));
    lost.reset().await;
    assert_eq!(receive(&mut subscriber).await, change("engine", "DELETE", &[("10.0.0.2", 2)]));
    unresponsive.stop_reading();
    assert_eq!(receive(&mut subscriber).await, change("engine", "EXPIRE", &[]));
    assert_eq!(subscriber.received(), None, "nothing twice");
}

pub async fn a_registering_socket_receives_its_own_and_monitored_changes(site: Site) {
    let mut engine = open(site.http, "register?service=engine&ip=10.0.0.1&port=1&monitor=api,engine,API").await;
    assert_eq!(receive(&mut engine).await, change("engine", "PUT", &[("10.0.0.1", 1)]));
    let mut api = open(site.http, "register?service=api&ip=10.0.0.2&port=2").await;
    assert_eq!(receive(&mut engine).await, change("api", "PUT", &[("10.0.0.2", 2)]));
    assert_eq!(receive(&mut api).await, change("api", "PUT", &[("10.0.0.2", 2)]));
    let other = open(site.http, "register?service=other&ip=10.0.0.3&port=3").await;
    other.close().await;
    api.close().await;
    assert_eq!(receive(&mut engine).await, change("api", "DELETE", &[]), "and nothing twice before it");
    // Its messages have no meaning, and do no harm.
    for _ in 0..50 {
        engine.text("hello");
    }
    let again = open(site.http, "register?service=api&ip=10.0.0.2&port=2").await;
    assert_eq!(receive(&mut engine).await, change("api", "PUT", &[("10.0.0.2", 2)]));
    again.close().await;
}

pub async fn two_ports_of_one_address_are_two_instances(site: Site) {
    let one = open(site.http, "register?service=engine&ip=10.0.0.1&port=1").await;
    let two = open(site.http, "register?service=engine&ip=10.0.0.1&port=2").await;
    assert_eq!(listed(site.http, "engine").await, services(&[("10.0.0.1", 1), ("10.0.0.1", 2)]));
    if let Some(etcd) = &site.etcd {
        let values = etcd.ctl(&["get", "--prefix", "--print-value-only", "service/engine/"]);
        let mut values: Vec<_> = values.lines().collect();
        values.sort_unstable();
        assert_eq!(values, ["10.0.0.1:1", "10.0.0.1:2"]);
    }
    one.close().await;
    assert_eq!(listed(site.http, "engine").await, services(&[("10.0.0.1", 2)]));
    if let Some(etcd) = &site.etcd {
        assert_eq!(etcd.ctl(&["get", "--prefix", "--print-value-only", "service/engine/"]), "10.0.0.1:2\n");
    }
    two.close().await;
    assert_eq!(listed(site.http, "engine").await, services(&[]));
}

pub async fn instances_of_every_frontend_are_listed_and_delivered(site: Site) {
    let mut subscriber = open(site.http, "monitor?monitor=web").await;
    let mut held = site.provide("service=web&host=10.0.0.9&port=9&category=other").await;
    assert_eq!(receive(&mut subscriber).await, change("web", "PUT", &[("10.0.0.9", 9)]));
    assert_eq!(listed(site.http, "web").await, services(&[("10.0.0.9", 9)]));
    held.text(r#"{"op":"update","weight":7}"#);
    assert_eq!(receive(&mut subscriber).await, change("web", "PUT", &[("10.0.0.9", 9)]), "its description has changed");
    assert_eq!(held.received(), None, "skyapi's clients receive nothing about it");
    held.close().await;
    assert_eq!(receive(&mut subscriber).await, change("web", "DELETE", &[]));
}

pub async fn the_status_of_the_store_is_reported(site: Site) {
    let leader = json_at(&site, "/etcd/leader").await;
    assert!(leader["leader"].as_u64().is_some_and(|id| id != 0), "{leader}");
    assert_eq!(leader["leader"], leader["member_id"], "a store of one");
    assert_eq!(leader, json_at(&site, "/etcd/leader").await);
    let version = json_at(&site, "/etcd/version").await;
    let ready = site.readyz().await;
    assert_eq!(version["version"], ready["store"]["version"]);
    let app = json_at(&site, "/version").await;
    assert_eq!((app["app"].as_str(), app["version"].as_str()), (Some("skyhound"), Some(skyhound::VERSION)));
    assert_eq!(site.get("/healthz").await.status, 200);
    // 10,000 subscribers are to cost little; a hundred leave no connection open.
    let mut subscribers: Vec<Provider> = Vec::new();
    for _ in 0..100 {
        subscribers.push(open(site.http, "monitor?monitor=a,b").await);
    }
    assert!((site.metric("skyhound_websocket_connections").await - 100.0).abs() < 0.5);
    drop(subscribers);
    wait_until(SOON, async || {
        let text = site.get("/metrics").await.body;
        match http::metric(&text, "skyhound_websocket_connections") {
            Some(0.0) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}
