//! Requests as micro's clients send them.

use serde_json::Value;
use skyhound_test_support::daemon::Daemon;
use skyhound_test_support::http::{JSON, Response};

/// A request with a body.
pub async fn send(daemon: &Daemon, method: &str, path: &str, kind: &str, body: &str) -> Response {
    daemon.request(method, path, kind, body.as_bytes()).await
}

/// A request with JSON.
pub async fn json(daemon: &Daemon, method: &str, path: &str, body: &Value) -> Response {
    send(daemon, method, path, JSON, &body.to_string()).await
}

/// Registers; panics when the registration is refused.
pub async fn register(daemon: &Daemon, service: &Value) {
    let answer = json(daemon, "POST", "/registry", service).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{service}");
}

/// Deregisters.
pub async fn deregister(daemon: &Daemon, service: &Value) {
    let answer = json(daemon, "DELETE", "/registry", service).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{service}");
}

/// The response of `/registry?service=`; `None` when there is no such service.
pub async fn service(daemon: &Daemon, name: &str) -> Option<Value> {
    let answer = daemon.get(&format!("/registry?service={name}")).await;
    match answer.status {
        200 => Some(serde_json::from_str(&answer.body).expect("JSON")),
        404 => {
            assert_eq!(answer.body, "Service not found\n");
            None
        }
        _ => panic!("{answer:?}"),
    }
}

/// A node of a service.
pub fn node(service: &str, id: &str, port: u16) -> Value {
    serde_json::json!({"name": service, "nodes": [{"id": id, "address": "127.0.0.1", "port": port}]})
}
