//! The four endpoints, as their page has them.

use serde_json::{Value, json};

use crate::srsr::until;
use skyhound_test_support::site::Site;

/// Registers, and returns the id.
pub async fn register(site: &Site, body: Value) -> String {
    let response = site.post("/register", &body).await;
    assert_eq!((response.status, &response.json()["success"]), (200, &json!(true)), "{body} {}", response.body);
    response.json()["id"].as_str().expect("an id").to_owned()
}

/// Returns the address in a response of `/lookup`; `None` when it has none.
pub async fn lookup(site: &Site, name: &str) -> Option<String> {
    let response = site.post("/lookup", &json!({ "name": name })).await;
    assert_eq!(response.status, 200, "{}", response.body);
    let address = response.json()["address"].as_str().expect("an address").to_owned();
    let found = response.json()["success"].as_bool().expect("a boolean");
    assert!(found || address.is_empty(), "{address}");
    found.then_some(address)
}

/// Returns the `success` of an endpoint for an id.
pub async fn about(site: &Site, path: &str, id: &str) -> bool {
    let response = site.post(path, &json!({ "id": id })).await;
    assert_eq!(response.status, 200, "{}", response.body);
    response.json()["success"].as_bool().expect("a boolean")
}

pub async fn an_instance_is_found_until_it_deregisters(site: Site) {
    assert_eq!(lookup(&site, "web").await, None);
    let id = register(&site, json!({ "name": "web", "port": "5000" })).await;
    assert_eq!(lookup(&site, "web").await.as_deref(), Some("http://127.0.0.1:5000"), "the address of its connection");
    let answer = site.dig().query("web.services.skydns.local", "SRV").await.expect("an answer");
    assert_eq!(answer.ports(), [5000]);
    assert!(about(&site, "/heartbeat", &id).await);
    assert!(about(&site, "/deregister", &id).await);
    assert_eq!(lookup(&site, "web").await, None, "removed before the response");
    assert!(!about(&site, "/heartbeat", &id).await && !about(&site, "/deregister", &id).await);
    let answer = site.dig().query("web.services.skydns.local", "SRV").await.expect("an answer");
    assert_eq!(answer.status, "NXDOMAIN");
}

pub async fn addresses_are_returned_as_they_were_registered(site: Site) {
    for (name, address, dns) in [
        ("a", "http://10.0.0.1:8080/api?x=1", Some(8080)),
        ("b", "https://10.0.0.2", Some(443)),
        ("c", "321.123.321.123:4321", Some(4321)),
        ("d", "unix:///run/x.sock", None),
        ("e", "[2001:db8::1]:9", Some(9)),
    ] {
        register(&site, json!({ "name": name, "address": address })).await;
        assert_eq!(lookup(&site, name).await.as_deref(), Some(address));
        let answer = site.dig().query(&format!("{name}.services.skydns.local"), "SRV").await.expect("an answer");
        assert_eq!(answer.ports(), Vec::from_iter(dns), "{name}");
    }
}

/// Instances of another frontend are found by weight, the lowest priority first.
pub async fn lookups_follow_priority_and_weight(site: Site) {
    let _first = site.provide("service=web&host=10.0.0.1&port=1&priority=1&weight=3").await;
    let _second = site.provide("service=web&host=10.0.0.2&port=2&priority=1&weight=1").await;
    let _spare = site.provide("service=web&host=10.0.0.3&port=3&priority=2&weight=100").await;
    let mut times = [0; 4];
    for _ in 0..400 {
        let address = lookup(&site, "WEB").await.expect("one of them");
        let port: usize = address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        assert_eq!(address, format!("http://10.0.0.{port}:{port}"));
        times[port] += 1;
    }
    assert_eq!(times[3], 0);
    // 300 and 100 are expected, with a deviation of 9.
    assert!((250..350).contains(&times[1]), "{times:?}");
}

pub async fn a_deregistration_ends_one_registration(site: Site) {
    let first = register(&site, json!({ "name": "web", "address": "http://10.0.0.1:80" })).await;
    register(&site, json!({ "name": "web", "address": "http://10.0.0.2:80" })).await;
    let again = register(&site, json!({ "name": "web", "address": "http://10.0.0.1:80" })).await;
    assert_ne!(first, again);
    assert!(about(&site, "/deregister", &first).await);
    let answer = site.dig().query("web.services.skydns.local", "A").await.expect("an answer");
    let mut addresses = answer.data("A");
    addresses.sort_unstable();
    assert_eq!(addresses, ["10.0.0.1", "10.0.0.2"], "it was registered twice, and deregistered once");
    assert!(about(&site, "/deregister", &again).await);
    until(async || lookup(&site, "web").await.as_deref() == Some("http://10.0.0.2:80")).await;
}

pub async fn invalid_requests_are_refused_with_a_reason(site: Site) {
    let long = "x".repeat(64);
    for (path, body, status, why) in [
        ("/register", "{".to_owned(), 400, "the body is invalid"),
        ("/register", "{}".to_owned(), 400, "missing field `name`"),
        ("/register", r#"{"name":""}"#.to_owned(), 400, "service"),
        ("/register", r#"{"name":"a b"}"#.to_owned(), 400, "service \"a b\" has ' '"),
        ("/register", format!(r#"{{"name":"{long}"}}"#), 400, "service"),
        ("/register", r#"{"name":"a","address":"localhost"}"#.to_owned(), 400, "is not an address"),
        ("/register", r#"{"name":"a","port":"http"}"#.to_owned(), 400, "port is \"http\""),
        ("/register", format!(r#"{{"name":"a","x":"{}"}}"#, "x".repeat(70_000)), 413, "exceeds the limit"),
        ("/lookup", "[]".to_owned(), 400, "the body is invalid"),
        ("/lookup", "{}".to_owned(), 400, "missing field `name`"),
        ("/heartbeat", r#"{"id":7}"#.to_owned(), 400, "invalid type"),
        ("/deregister", "{}".to_owned(), 400, "missing field `id`"),
    ] {
        let response = site.post_bytes(path, body.as_bytes()).await;
        let sentence = response.json()["error"].as_str().unwrap_or_default().to_owned();
        assert_eq!(response.status, status, "{path} {body}: {}", response.body);
        assert!(sentence.contains(why), "{path} {body}: {sentence}");
        assert_eq!(response.header("content-type"), Some("application/json"));
    }
    for id in ["", "x", "../../x", "a/b", &"x".repeat(500)] {
        assert!(!about(&site, "/heartbeat", id).await && !about(&site, "/deregister", id).await, "{id:?}");
    }
    assert_eq!(site.get("/register").await.status, 405);
}
