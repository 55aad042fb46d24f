//! A process that says every few seconds that it lives, as srsr's do: it registers once, and never again.

use serde_json::json;

use skyhound_test_support::daemon::Daemon;

/// Registers 10.0.0.1 with this port; the id.
pub async fn register(daemon: &Daemon, name: &str, port: u16) -> String {
    let said = daemon.post("/register", &json!({ "name": name, "address": format!("http://10.0.0.1:{port}") })).await;
    assert_eq!(said.status, 200, "{said:?}");
    said.json()["id"].as_str().expect("an id").to_owned()
}

/// Whether its heartbeat is taken.
pub async fn beat(daemon: &Daemon, id: &str) -> bool {
    let said = daemon.post("/heartbeat", &json!({ "id": id })).await;
    assert_eq!(said.status, 200, "{said:?}");
    said.json()["success"].as_bool().expect("a boolean")
}
