//! A socket that listens, and what it is told.

use serde_json::{Value, json};
use skyhound_test_support::http;
use skyhound_test_support::provider::{Provider, Received, Refusal};
use std::net::SocketAddr;

/// Opens a websocket of hound-dog's; the target without its `/etcd/`.
pub async fn open(addr: SocketAddr, target: &str) -> Provider {
    try_open(addr, target).await.unwrap_or_else(|refusal| panic!("{target} is refused: {refusal:?}"))
}

pub async fn try_open(addr: SocketAddr, target: &str) -> Result<Provider, Refusal> {
    Provider::open_for(addr, &format!("/etcd/{target}")).await
}

/// The next message.
pub async fn told(ear: &mut Provider) -> Value {
    match ear.next().await {
        Received::Text(text) => serde_json::from_str(&text).expect("messages are JSON"),
        other => panic!("no message but {other:?}"),
    }
}

/// A message of membership.
pub fn change(service: &str, key_event: &str, places: &[(&str, u16)]) -> Value {
    json!({ "namespace": service, "body": { "key_event": key_event, "services": services(places) } })
}

/// `{"ip","port"}` of each.
pub fn services(places: &[(&str, u16)]) -> Value {
    places.iter().map(|(ip, port)| json!({ "ip": ip, "port": port })).collect()
}

/// A message that was said.
pub fn event(namespace: &str, event_type: &str, event_body: &str) -> Value {
    json!({ "namespace": namespace, "body": { "event_type": event_type, "event_body": event_body } })
}

/// A message without regard to the order of the instances, which is that of their keys.
pub fn sorted(mut message: Value) -> Value {
    if let Some(services) = message.pointer_mut("/body/services").and_then(Value::as_array_mut) {
        services.sort_by_key(|place| (place["ip"].to_string(), place["port"].as_u64()));
    }
    message
}

/// Says an event.
pub async fn say(addr: SocketAddr, event: &Value) {
    let said = http::request("POST", addr, "/etcd/event", http::JSON, event.to_string().as_bytes()).await;
    let answer = said.expect("an answer");
    assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{event}");
}

/// The instances of a service, as they are listed.
pub async fn listed(addr: SocketAddr, service: &str) -> Value {
    let answer = http::get(addr, &format!("/etcd/services/{service}")).await.expect("an answer");
    assert_eq!(answer.status, 200, "{answer:?}");
    let listed: Value = serde_json::from_str(&answer.body).expect("JSON");
    sorted(json!({ "body": listed }))["body"]["services"].clone()
}
