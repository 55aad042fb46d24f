//! hound-dog's own peers, which use etcd and know nothing of skyhound.

use crate::hound_dog::subscriber::{change, event, listed, open, receive, services, sorted};
use skyhound_test_support::etcd::EtcdProcess;
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::provider::Provider;
use skyhound_test_support::site::Site;
use skyhound_test_support::wait::{SOON, wait_until};

/// A lease, as its id in hex.
fn lease(etcd: &EtcdProcess, seconds: u32) -> String {
    let output = etcd.ctl(&["lease", "grant", &seconds.to_string()]);
    output.split(' ').nth(1).unwrap_or_else(|| panic!("no lease in {output}")).to_owned()
}

async fn answered(site: &Site, service: &str) -> Vec<u16> {
    site.dig().query(&format!("{service}.services.skydns.local"), "SRV").await.expect("an answer").ports()
}

#[multi_thread_test]
async fn registrations_of_original_peers_are_listed_answered_and_delivered() {
    let site = Site::etcd(&[]).await;
    let etcd = site.etcd.as_ref().expect("etcd");
    let mut subscriber = open(site.http, "monitor?monitor=engine").await;
    let (first, second) = (lease(etcd, 60), lease(etcd, 60));
    etcd.ctl(&["put", "--lease", &first, "service/engine/10.0.0.5", "10.0.0.5:3000"]);
    assert_eq!(receive(&mut subscriber).await, change("engine", "PUT", &[("10.0.0.5", 3000)]));
    // The second generation has a name for a node, and a URI.
    etcd.ctl(&["put", "--lease", &second, "service/engine/01D", "http://10.0.0.6:8080"]);
    let both = [("10.0.0.5", 3000), ("10.0.0.6", 8080)];
    assert_eq!(sorted(receive(&mut subscriber).await), change("engine", "PUT", &both));
    assert_eq!(listed(site.http, "engine").await, services(&both));
    assert_eq!(answered(&site, "engine").await, [3000, 8080]);
    // One of ours beside them.
    let ours = open(site.http, "register?service=engine&ip=10.0.0.7&port=1").await;
    let all = [("10.0.0.5", 3000), ("10.0.0.6", 8080), ("10.0.0.7", 1)];
    assert_eq!(sorted(receive(&mut subscriber).await), change("engine", "PUT", &all));
    assert_eq!(listed(site.http, "engine").await, services(&all), "each once");
    etcd.ctl(&["lease", "revoke", &second]);
    assert_eq!(sorted(receive(&mut subscriber).await), change("engine", "EXPIRE", &[all[0], all[2]]));
    etcd.ctl(&["del", "service/engine/10.0.0.5"]);
    assert_eq!(receive(&mut subscriber).await, change("engine", "DELETE", &[all[2]]));
    ours.close().await;
    assert_eq!(receive(&mut subscriber).await, change("engine", "DELETE", &[]));
    assert_eq!(listed(site.http, "engine").await, services(&[]));
}

#[multi_thread_test]
async fn events_of_original_peers_are_delivered() {
    let site = Site::etcd(&[]).await;
    let etcd = site.etcd.as_ref().expect("etcd");
    let mut subscriber = open(site.http, "monitor?monitor=engine").await;
    etcd.ctl(&["put", "event/Engine", r#"{"event_type":"a","event_body":"1"}"#]);
    etcd.ctl(&["put", "event/engine", "no JSON"]);
    etcd.ctl(&["put", "event/api", r#"{"event_type":"x","event_body":""}"#]);
    etcd.ctl(&["del", "event/engine"]);
    etcd.ctl(&["put", "event", r#"{"event_type":"b","event_body":"2"}"#]);
    assert_eq!(receive(&mut subscriber).await, event("engine", "a", "1"));
    assert_eq!(receive(&mut subscriber).await, event("*", "b", "2"));
}

/// Changes and events during an interruption are delivered afterwards, once and in order.
#[multi_thread_test]
async fn an_interruption_loses_nothing() {
    let mut etcd = EtcdProcess::start().await;
    let daemon = Site::at(&etcd, &[]).await;
    let mut subscriber = open(daemon.http, "monitor?monitor=engine").await;
    etcd.ctl(&["put", "service/engine/10.0.0.1", "10.0.0.1:1"]);
    etcd.ctl(&["put", "event/engine", r#"{"event_type":"n","event_body":"0"}"#]);
    let mut first = [receive(&mut subscriber).await, receive(&mut subscriber).await];
    first.sort_by_key(|message| message["body"]["key_event"].is_null());
    assert_eq!(first, [change("engine", "PUT", &[("10.0.0.1", 1)]), event("engine", "n", "0")]);
    for round in 1..=2_u16 {
        etcd.stop().await;
        wait_until(SOON, async || match daemon.readyz().await["catalog"].as_str() {
            Some("stale") => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        etcd.restart().await;
        let port = |port: u16| format!("10.0.0.2:{port}");
        let body = |n: u16| format!(r#"{{"event_type":"n","event_body":"{n}"}}"#);
        etcd.ctl(&["put", "service/engine/10.0.0.2", &port(round * 10)]);
        etcd.ctl(&["put", "event/engine", &body(round * 10)]);
        etcd.ctl(&["put", "service/engine/10.0.0.2", &port(round * 10 + 1)]);
        etcd.ctl(&["put", "event/engine", &body(round * 10 + 1)]);
        etcd.ctl(&["del", "service/engine/10.0.0.2"]);
        receive_in_order(&mut subscriber, round * 10).await;
    }
    assert_eq!(subscriber.received(), None, "nothing twice");
}

/// Receives events and changes, each in their order; the order between the two is not guaranteed.
async fn receive_in_order(subscriber: &mut Provider, n: u16) {
    let (mut events, mut changes) = (Vec::new(), Vec::new());
    while (events.len(), changes.len()) != (2, 4) {
        let message = sorted(receive(subscriber).await);
        if message["body"]["key_event"].is_null() { events.push(message) } else { changes.push(message) }
    }
    assert_eq!(events, [event("engine", "n", &n.to_string()), event("engine", "n", &(n + 1).to_string())]);
    let (one, two) = (("10.0.0.1", 1), ("10.0.0.2", n));
    // Another port is another instance: the one before it is gone.
    let gone = change("engine", "DELETE", &[one]);
    let next = change("engine", "PUT", &[one, ("10.0.0.2", n + 1)]);
    assert_eq!(changes, [change("engine", "PUT", &[one, two]), gone.clone(), next, gone]);
}
