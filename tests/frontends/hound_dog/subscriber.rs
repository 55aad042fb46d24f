//! A subscriber's socket, and the messages that it receives.

use serde_json::{Value, json};
use skyhound_test_support::http;
use skyhound_test_support::provider::{Provider, Received, Refusal};
use std::net::SocketAddr;

/// Opens a websocket of hound-dog's API; the target is without its `/etcd/`.
pub async fn open(addr: SocketAddr, target: &str) -> Provider {
    try_open(addr, target).await.unwrap_or_else(|refusal| panic!("{target} is refused: {refusal:?}"))
}

pub async fn try_open(addr: SocketAddr, target: &str) -> Result<Provider, Refusal> {
    Provider::open_for(addr, &format!("/etcd/{target}")).await
}

/// Receives the next message.
pub async fn receive(subscriber: &mut Provider) -> Value {
    match subscriber.next().await {
        Received::Text(text) => serde_json::from_str(&text).expect("messages are JSON"),
        other => panic!("no message but {other:?}"),
    }
}

/// A message about the instances of a service.
pub fn change(service: &str, key_event: &str, addresses: &[(&str, u16)]) -> Value {
    json!({ "namespace": service, "body": { "key_event": key_event, "services": services(addresses) } })
}

/// `{"ip","port"}` of each.
pub fn services(addresses: &[(&str, u16)]) -> Value {
    addresses.iter().map(|(ip, port)| json!({ "ip": ip, "port": port })).collect()
}

/// A message with a published event.
pub fn event(namespace: &str, event_type: &str, event_body: &str) -> Value {
    json!({ "namespace": namespace, "body": { "event_type": event_type, "event_body": event_body } })
}

/// A message without regard to the order of the instances, which is that of their keys.
pub fn sorted(mut message: Value) -> Value {
    if let Some(services) = message.pointer_mut("/body/services").and_then(Value::as_array_mut) {
        services.sort_by_key(|instance| (instance["ip"].to_string(), instance["port"].as_u64()));
    }
    message
}

/// Publishes an event.
pub async fn publish(addr: SocketAddr, event: &Value) {
    let response = http::request("POST", addr, "/etcd/event", http::JSON, event.to_string().as_bytes()).await;
    let response = response.expect("a response");
    assert_eq!((response.status, response.body.as_str()), (200, ""), "{event}");
}

/// The instances of a service, as they are listed.
pub async fn listed(addr: SocketAddr, service: &str) -> Value {
    let answer = http::get(addr, &format!("/etcd/services/{service}")).await.expect("an answer");
    assert_eq!(answer.status, 200, "{answer:?}");
    let listed: Value = serde_json::from_str(&answer.body).expect("JSON");
    sorted(json!({ "body": listed }))["body"]["services"].clone()
}
