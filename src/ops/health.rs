//! `/healthz`: alive. `/readyz`: able to answer rightly.
//!
//! Ready means that the store was read: from then on the daemon answers what it knows, whatever becomes of
//! the store. A store that is away is said in the body and in the metrics, but does not take the daemon out
//! of service, because a known copy is what its clients need most at that time.

use hyper::StatusCode;
use serde_json::{Value, json};
use skyhound_core::catalog::Health;
use skyhound_frontends::app::App;
use skyhound_net::{Reply, route};
use std::time::Duration;
use tokio::time::timeout;

/// How long the store may take to say how it is.
pub const STATUS_DEADLINE: Duration = Duration::from_secs(1);

/// 200 as long as there is anybody to say it.
pub fn alive() -> Reply {
    route::text(StatusCode::OK, "ok\n")
}

/// 200 when the store was read once, 503 before and when stopping; JSON either way.
pub async fn ready(app: &App, stopping: bool) -> Reply {
    let (ready, body) = state(app, stopping).await;
    route::json(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &body)
}

/// Whether it is ready, and how its parts are.
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
            "place": status.location,
            "revision": status.revision.0,
            "alarms": status.alarms,
        }),
        Ok(Err(error)) => json!({ "reachable": false, "error": error.to_string() }),
        Err(_) => json!({ "reachable": false, "error": format!("no answer within {STATUS_DEADLINE:?}") }),
    }
}
