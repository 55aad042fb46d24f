//! Events that are published with `POST /etcd/event`.

use crate::hound_dog::subscriber::{change, event, open, publish, receive};
use serde_json::json;
use skyhound_core::topics::MESSAGE_MAX;
use skyhound_test_support::site::Site;

pub async fn an_event_reaches_each_subscriber_of_its_services_once(site: Site) {
    let mut both = open(site.http, "monitor?monitor=api,engine,api").await;
    let mut engine = open(site.http, "register?service=engine&ip=10.0.0.1&port=1").await;
    assert_eq!(receive(&mut engine).await, change("engine", "PUT", &[("10.0.0.1", 1)]));
    assert_eq!(receive(&mut both).await, change("engine", "PUT", &[("10.0.0.1", 1)]));
    publish(site.http, &json!({ "event_type": "paddling", "event_body": "THWACK!", "services": ["engine"] })).await;
    publish(site.http, &json!({ "event_type": "two", "event_body": r#"{"a":"é"}"#, "services": ["nobody", "Api"] }))
        .await;
    publish(site.http, &json!({ "event_type": "all", "broadcast": true, "services": ["api"] })).await;
    publish(site.http, &json!({ "event_type": "all", "event_body": "2", "broadcast": 1 })).await;
    for (namespace, event_type, event_body) in
        [("engine", "paddling", "THWACK!"), ("api", "two", r#"{"a":"é"}"#), ("*", "all", ""), ("*", "all", "2")]
    {
        assert_eq!(receive(&mut both).await, event(namespace, event_type, event_body));
        if namespace != "api" {
            assert_eq!(receive(&mut engine).await, event(namespace, event_type, event_body));
        }
    }
    // In the order in which one publisher sends them.
    for at in 0..50 {
        publish(site.http, &json!({ "event_type": "n", "event_body": at.to_string(), "services": ["engine"] })).await;
    }
    for at in 0..50 {
        assert_eq!(receive(&mut engine).await, event("engine", "n", &at.to_string()));
    }
    assert_eq!(engine.received(), None);
    if let Some(etcd) = &site.etcd {
        let last = etcd.ctl(&["get", "--print-value-only", "event/engine"]);
        assert_eq!(last, "{\"event_type\":\"n\",\"event_body\":\"49\"}\n", "for hound-dog's own peers");
    }
    engine.close().await;
}

pub async fn a_long_event_is_delivered_whole_or_refused(site: Site) {
    let mut subscriber = open(site.http, "monitor?monitor=engine").await;
    let request = |length: usize| {
        let around = json!({ "event_type": "t", "event_body": "", "services": ["api", "engine"] }).to_string().len();
        json!({ "event_type": "t", "event_body": "x".repeat(length - around), "services": ["api", "engine"] })
    };
    let longest = request(MESSAGE_MAX);
    assert_eq!(longest.to_string().len(), MESSAGE_MAX);
    publish(site.http, &longest).await;
    assert_eq!(receive(&mut subscriber).await["body"]["event_body"], longest["event_body"]);
    let answer = site.post("/etcd/event", &request(MESSAGE_MAX + 1)).await;
    assert_eq!(answer.status, 413, "{answer:?}");
    assert!(answer.body.contains(&MESSAGE_MAX.to_string()), "{answer:?}");
    publish(site.http, &json!({ "event_type": "after", "services": ["engine"] })).await;
    assert_eq!(receive(&mut subscriber).await, event("engine", "after", ""));
}
