//! `/healthz`, the liveness of the process, and `/readyz`, its readiness to answer.
//!
//! A daemon is ready once the store was loaded: from then on it answers from its catalog, whatever happens to the
//! store. An unavailable store is reported in the body and in the metrics. It does not make the daemon unready,
//! because clients need its copy most while the store is unavailable.

use hyper::StatusCode;
use serde_json::{Value, json};
use skyhound_core::catalog::Health;
use skyhound_frontends::app::App;
use skyhound_net::{Reply, route};
use std::time::Duration;
use tokio::time::timeout;

/// The deadline of the store's response to a status request.
pub const STATUS_DEADLINE: Duration = Duration::from_secs(1);

/// Returns 200 as long as the process answers at all.
pub fn alive() -> Reply {
    route::text(StatusCode::OK, "ok\n")
}

/// Returns 200 once the store was loaded, 503 before that and during shutdown; both with the state as JSON.
pub async fn ready(app: &App, stopping: bool) -> Reply {
    let (ready, body) = state(app, stopping).await;
    route::json(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &body)
}

/// Returns the readiness, and the state of the parts as JSON.
pub(crate) async fn state(app: &App, stopping: bool) -> (bool, Value) {
    let store = store(app).await;
    let health = app.catalog.health();
    let snapshot = app.catalog.snapshot();
    let ready = !stopping && health != Health::NeverLoaded;
    let body = json!({
        "ready": ready,
        "stopping": stopping,
        "catalog": health.as_str(),
        "stale_seconds": health.age().map(|age| age.as_secs()),
        "revision": snapshot.revision().0,
        "entries": snapshot.root().entries(),
        "quarantined": snapshot.quarantine().count(),
        "claims": app.registry.claims(),
        "store": store,
    });
    (ready, body)
}

async fn store(app: &App) -> Value {
    match timeout(STATUS_DEADLINE, app.registry.store_status()).await {
        Ok(Ok(status)) => json!({
            "reachable": true,
            "kind": status.kind,
            "version": status.version,
            "location": status.location,
            "revision": status.revision.0,
            "alarms": status.alarms,
        }),
        Ok(Err(error)) => json!({ "reachable": false, "error": error.to_string() }),
        Err(_) => json!({ "reachable": false, "error": format!("no response within {STATUS_DEADLINE:?}") }),
    }
}
