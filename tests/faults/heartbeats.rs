//! A process that sends a heartbeat every few seconds, as srsr's do: it registers once, and never again.

use serde_json::json;

use skyhound_test_support::daemon::Daemon;

/// Registers 10.0.0.1 with this port; the id.
pub async fn register(daemon: &Daemon, name: &str, port: u16) -> String {
    let response =
        daemon.post("/register", &json!({ "name": name, "address": format!("http://10.0.0.1:{port}") })).await;
    assert_eq!(response.status, 200, "{response:?}");
    response.json()["id"].as_str().expect("an id").to_owned()
}

/// Sends a heartbeat and returns whether it was accepted.
pub async fn heartbeat(daemon: &Daemon, id: &str) -> bool {
    let response = daemon.post("/heartbeat", &json!({ "id": id })).await;
    assert_eq!(response.status, 200, "{response:?}");
    response.json()["success"].as_bool().expect("a boolean")
}
