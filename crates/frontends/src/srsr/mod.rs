//! srsr: four JSON endpoints. A process registers, gets an id, and says every 20 seconds that it lives.
//!
//! - Every answer is JSON: what cannot be read is `{"error": …}` with 400; an id that nobody knows is
//!   `{"success": false}` with 200, as the clients expect.
//! - The address is opaque: `/lookup` says it again as it was said. DNS gets host and port out of it where there
//!   are some.
//! - The clients never register again, whatever they hear. So ids outlive the daemon, and any daemon of a cluster
//!   takes a heartbeat for any of them ([`skyhound_core::registry::heartbeats`]).
//! - In the original a deregistration takes every instance of the name with it, and a heartbeat that meets the
//!   timer can hang the server. Clients cannot want either.
//!
//! [`message`] is what is said, both ways.

pub mod message;

use crate::app::App;
use crate::error::{invalid, refused};
use crate::{ensure_running, outcome, pick::pick};
use hyper::StatusCode;
use message::{IdRequest, LookupRequest, RegisterRequest, RequestBody};
use serde_json::{Value, json};
use skyhound_core::catalog::StoredEntry;
use skyhound_model::address::join_host_port;
use skyhound_model::details::Details;
use skyhound_net::{HttpError, Peer, Reply, Request, Route, http, route};
use std::sync::Arc;

/// The name that entries and counters say this dialect by.
pub const FRONTEND: &str = "srsr";

/// `/register`, `/lookup`, `/heartbeat`, `/deregister`.
pub fn routes(app: &Arc<App>) -> Vec<Route> {
    vec![
        row("/register", app, |app, peer, body| async move { register(&app, peer, &body).await }),
        row("/lookup", app, |app, _, body| async move { lookup(&app, &body) }),
        row("/heartbeat", app, |app, _, body| async move { heartbeat(&app, &body).await }),
        row("/deregister", app, |app, _, body| async move { deregister(&app, &body).await }),
    ]
}

/// One endpoint: JSON in, JSON out, whatever happens.
fn row<F, Fut>(path: &'static str, app: &Arc<App>, answer: F) -> Route
where
    F: Fn(Arc<App>, Peer, bytes::Bytes) -> Fut + Copy + Send + Sync + 'static,
    Fut: Future<Output = Result<Value, HttpError>> + Send + 'static,
{
    let app = Arc::clone(app);
    Route::post(path, move |request: Request, peer: Peer| {
        let app = Arc::clone(&app);
        async move {
            let response = async {
                let body = http::read_body(request, &app.limits).await?;
                answer(app, peer, body).await
            };
            Ok(response.await.map_or_else(refusal, |value| route::json(StatusCode::OK, &value)))
        }
    })
}

/// An error as this dialect says it, with the headers that it has everywhere.
fn refusal(error: HttpError) -> Reply {
    let body = json!({ "error": error.message() });
    let status = error.status();
    let (mut parts, _) = error.into_reply().into_parts();
    let (own, body) = route::json(status, &body).into_parts();
    parts.headers.extend(own.headers);
    Reply::from_parts(parts, body)
}

async fn register(app: &App, peer: Peer, body: &[u8]) -> Result<Value, HttpError> {
    let count_invalid = |_: &HttpError| app.metrics.registration(FRONTEND, "invalid");
    let request = RegisterRequest::read(body).inspect_err(count_invalid)?;
    ensure_running(&peer)?;
    let from = peer.addr.ip().to_canonical();
    let instance = request
        .registration(from)
        .and_then(|registration| registration.accept(&app.naming, from).map_err(invalid))
        .inspect_err(count_invalid)?;
    let _permit =
        app.registration_permits.acquire().await.inspect_err(|_| app.metrics.registration(FRONTEND, "unavailable"))?;
    let id = uuid::Uuid::new_v4().to_string();
    let registered = app.registry.register_with_heartbeat(&id, instance, app.timeout).await;
    app.metrics.registration(FRONTEND, registered.as_ref().map_or_else(outcome, |()| "ok"));
    registered.map_err(refused)?;
    Ok(json!({ "id": id, "success": true }))
}

fn lookup(app: &App, body: &[u8]) -> Result<Value, HttpError> {
    let LookupRequest { name } = RequestBody::read(body)?;
    let snapshot = app.loaded_snapshot("the store was never read: nobody knows yet who is there")?;
    let found = pick(snapshot.instances(&name)).map(address);
    Ok(json!({ "success": found.is_some(), "address": found.unwrap_or_default() }))
}

/// Where an instance is: as it said itself, or in the form in which this dialect's own peers are called.
fn address(stored: &Arc<StoredEntry>) -> String {
    let address = stored.entry.details.as_ref().map(Details::address).unwrap_or_default();
    match stored.location() {
        _ if !address.is_empty() => address.to_owned(),
        Some((host, port)) => format!("http://{}", join_host_port(&host.to_string(), port)),
        None => String::new(),
    }
}

async fn heartbeat(app: &App, body: &[u8]) -> Result<Value, HttpError> {
    let IdRequest { id } = RequestBody::read(body)?;
    Ok(json!({ "success": app.registry.heartbeat(&id).await.map_err(refused)? }))
}

async fn deregister(app: &App, body: &[u8]) -> Result<Value, HttpError> {
    let IdRequest { id } = RequestBody::read(body)?;
    let removed = app.registry.deregister(&id).await.map_err(refused)?;
    if removed {
        app.metrics.release(FRONTEND, "deregistered");
    }
    Ok(json!({ "success": removed }))
}
