//! srsr: four JSON endpoints. A process registers, gets an id, and sends a heartbeat every 20 seconds.
//!
//! - Every response is JSON: for an invalid request `{"error": …}` with 400, for an unknown id `{"success": false}` with
//!   200, as the clients expect.
//! - The address is opaque: `/lookup` returns it unchanged. DNS has its host and port if it has them.
//! - The clients never register again, whatever the response. Ids therefore outlive the daemon, and any daemon of a
//!   cluster accepts a heartbeat for any id ([`skyhound_core::registry::heartbeats`]).
//! - In the original a deregistration removes every instance of the name, and a heartbeat that races the timer can
//!   hang the server. No client can depend on either.
//!
//! Modules: [`message`] parses the requests.

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

/// The frontend's name in entries and counters.
pub const FRONTEND: &str = "srsr";

/// The routes `/register`, `/lookup`, `/heartbeat` and `/deregister`.
pub fn routes(app: &Arc<App>) -> Vec<Route> {
    vec![
        endpoint("/register", app, |app, peer, body| async move { register(&app, peer, &body).await }),
        endpoint("/lookup", app, |app, _, body| async move { lookup(&app, &body) }),
        endpoint("/heartbeat", app, |app, _, body| async move { heartbeat(&app, &body).await }),
        endpoint("/deregister", app, |app, _, body| async move { deregister(&app, &body).await }),
    ]
}

/// An endpoint that reads JSON and responds with JSON, errors included.
fn endpoint<F, Fut>(path: &'static str, app: &Arc<App>, handle: F) -> Route
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
                handle(app, peer, body).await
            };
            Ok(response.await.map_or_else(error_reply, |value| route::json(StatusCode::OK, &value)))
        }
    })
}

/// An error in srsr's JSON, with the headers that it has in every frontend.
fn error_reply(error: HttpError) -> Reply {
    let body = json!({ "error": error.message() });
    let status = error.status();
    let (mut parts, _) = error.into_reply().into_parts();
    let (json_parts, body) = route::json(status, &body).into_parts();
    parts.headers.extend(json_parts.headers);
    Reply::from_parts(parts, body)
}

async fn register(app: &App, peer: Peer, body: &[u8]) -> Result<Value, HttpError> {
    let count_invalid = |_: &HttpError| app.metrics.registration(FRONTEND, "invalid");
    let request = RegisterRequest::parse(body).inspect_err(count_invalid)?;
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
    let LookupRequest { name } = RequestBody::parse(body)?;
    let snapshot = app.loaded_snapshot("the store was not read yet; retry later")?;
    let found = pick(snapshot.instances(&name)).map(address);
    Ok(json!({ "success": found.is_some(), "address": found.unwrap_or_default() }))
}

/// The address of an instance: the one that it registered, or a URL as srsr's own peers have.
fn address(stored: &Arc<StoredEntry>) -> String {
    let address = stored.entry.details.as_ref().map(Details::address).unwrap_or_default();
    match stored.location() {
        _ if !address.is_empty() => address.to_owned(),
        Some((host, port)) => format!("http://{}", join_host_port(&host.to_string(), port)),
        None => String::new(),
    }
}

async fn heartbeat(app: &App, body: &[u8]) -> Result<Value, HttpError> {
    let IdRequest { id } = RequestBody::parse(body)?;
    Ok(json!({ "success": app.registry.heartbeat(&id).await.map_err(refused)? }))
}

async fn deregister(app: &App, body: &[u8]) -> Result<Value, HttpError> {
    let IdRequest { id } = RequestBody::parse(body)?;
    let removed = app.registry.deregister(&id).await.map_err(refused)?;
    if removed {
        app.metrics.release(FRONTEND, "deregistered");
    }
    Ok(json!({ "success": removed }))
}
