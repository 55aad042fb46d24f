//! `/v1/services` and `/v1/instances`.

use serde_json::{Value, json};

use skyhound_test_support::daemon::Daemon;
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::site::Site;

async fn ask(daemon: &Daemon, target: &str) -> Value {
    let answer = daemon.get(target).await;
    assert_eq!(answer.status, 200, "{target}: {}", answer.body);
    serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{}: {error}", answer.body))
}

async fn ports(daemon: &Daemon, query: &str) -> Vec<u64> {
    let answer = ask(daemon, &format!("/v1/instances?{query}")).await;
    let instances = answer["instances"].as_array().expect("a list");
    let mut ports: Vec<_> = instances.iter().map(|instance| instance["port"].as_u64().expect("a port")).collect();
    ports.sort_unstable();
    ports
}

pub async fn instances_carry_their_registered_parameters(site: Site) {
    let empty = ask(&site, "/v1/services").await;
    assert_eq!(empty["services"], json!([]));
    let _one = site.provide("service=Web&host=10.0.0.1&port=80&version=1.2.3&weight=7&meta.zone=b&ttl=9").await;
    let _two = site.provide("service=web&host=10.0.0.2&port=80").await;
    let _other = site.provide("service=api&host=a.example&port=81&category=services,eu").await;
    let services = ask(&site, "/v1/services").await;
    assert_eq!(services["services"], json!([{ "name": "api", "instances": 1 }, { "name": "web", "instances": 2 }]));
    let found = ask(&site, "/v1/instances?service=WEB&version=1.2.3").await;
    let one = &found["instances"][0];
    let id = one["id"].as_str().expect("an id");
    for (field, value) in [
        ("service", json!("web")),
        ("category", json!(["services"])),
        ("host", json!("10.0.0.1")),
        ("port", json!(80)),
        ("priority", json!(1)),
        ("weight", json!(7)),
        ("ttl", json!(9)),
        ("version", json!("1.2.3")),
        ("meta", json!({ "zone": "b" })),
        ("dialect", json!("skyapi")),
        ("name", json!(format!("{id}.web.services.skydns.local"))),
        ("key", json!(format!("/skydns/local/skydns/services/web/{id}"))),
    ] {
        assert_eq!(one[field], value, "{field}");
    }
    let revision = one["revision"].as_u64().expect("a revision");
    let position = found["position"].as_str().expect("a position").split(['-', '.']).next().expect("a revision");
    assert!(revision > 0 && revision <= position.parse().expect("a revision"), "{revision} at {position}");
    let other = ask(&site, "/v1/instances?category=services.EU").await;
    assert_eq!(other["instances"][0]["host"], "a.example");
}

#[multi_thread_test]
async fn filters_combine() {
    let daemon = Daemon::start(&[]).await;
    let mut held = Vec::new();
    for query in [
        "service=web&port=1&version=1.2.3",
        "service=web&port=2&version=1.9.0",
        "service=web&port=3&version=2.0.0",
        "service=web&port=4",
        "service=web&port=5&version=1.3.0&category=eu",
        "service=api&port=6&version=1.3.0",
    ] {
        held.push(daemon.provide(query).await);
    }
    for (query, found) in [
        ("", &[1, 2, 3, 4, 5, 6][..]),
        ("service=web", &[1, 2, 3, 4, 5]),
        ("service=web&service=api,none", &[1, 2, 3, 4, 5, 6]),
        ("service=web&version=1.2.3", &[1]),
        ("service=web&version=%5E1.2", &[1, 2, 5]),
        ("service=web&version=%5E1.2&category=services", &[1, 2]),
        ("version=1.3.x", &[5, 6]),
        ("category=eu", &[5]),
        ("service=web&version=%3E%3D2&x=y", &[3]),
        ("service=nobody", &[]),
        ("service=&version=&category=", &[1, 2, 3, 4, 5, 6]),
    ] {
        assert_eq!(ports(&daemon, query).await, found, "{query}");
    }
}

#[multi_thread_test]
async fn invalid_queries_are_rejected_with_a_reason() {
    let daemon = Daemon::start(&[]).await;
    for (target, why) in [
        ("/v1/instances?version=new", "version is \"new\", which is not a version range"),
        ("/v1/instances?version=1&version=2", "version is given twice"),
        ("/v1/instances?service=%ff", "service is \"%ff\", which is not UTF-8"),
        ("/v1/watch?last-event-id=soon", "last-event-id is invalid: \"soon\" is no position"),
    ] {
        let answer = daemon.get(target).await;
        assert_eq!(answer.status, 400, "{target}");
        assert!(answer.body.starts_with(why), "{target}: {}", answer.body);
    }
}

/// Larger than a piece, and than what waits in between.
#[multi_thread_test]
async fn a_long_list_is_whole() {
    let daemon = Daemon::start(&[]).await;
    let text = "x".repeat(4000);
    let mut held = Vec::new();
    for port in 1..=60 {
        held.push(daemon.provide(&format!("service=web&port={port}&text={text}")).await);
    }
    assert_eq!(ports(&daemon, "service=web").await, (1..=60).collect::<Vec<_>>());
}
