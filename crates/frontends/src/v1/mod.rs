//! v1: plain HTTP for clients without a library. It lists services and instances, and streams their changes.
//!
//! - `GET /v1/services`, `GET /v1/instances` ([`list`]): JSON that is written while it is read, so that a million
//!   instances are never in memory as text.
//! - `GET /v1/watch` ([`watch`]): server-sent events, resumable after a lost connection.
//! - `GET /v1/openapi.json`: the description of these routes and the operator's, for client generators.
//!
//! Modules: [`query`] parses the parameters, [`instance`] is the JSON of an instance. Deliberately absent: registration.
//! A registration lives as long as a socket, which is the frontend `skyapi`'s.

pub mod instance;
pub mod list;
pub mod query;
pub mod watch;

use crate::app::App;
use bytes::Bytes;
use hyper::StatusCode;
use skyhound_core::catalog::Snapshot;
use skyhound_net::{HttpError, Reply, Route, route};
use std::sync::Arc;

/// The description of the routes with plain HTTP, an `OpenAPI` document.
pub const OPENAPI: &str = include_str!("openapi.json");

/// The routes below `/v1`.
pub fn routes(app: &Arc<App>) -> Vec<Route> {
    let (services, instances, watch) = (Arc::clone(app), Arc::clone(app), Arc::clone(app));
    vec![
        Route::get("/v1/services", move |_, peer| {
            let app = Arc::clone(&services);
            async move { list::services(&app, &peer) }
        }),
        Route::get("/v1/instances", move |request, peer| {
            let app = Arc::clone(&instances);
            async move { list::instances(app, &request, &peer) }
        }),
        Route::get("/v1/watch", move |request, peer| {
            let app = Arc::clone(&watch);
            async move { watch::watch(app, &request, &peer).await }
        }),
        Route::get("/v1/openapi.json", |_, _| async { Ok(openapi()) }),
    ]
}

fn openapi() -> Reply {
    route::reply(StatusCode::OK, "application/json", Bytes::from_static(OPENAPI.as_bytes()))
}

/// The current snapshot; 503 before the store was read.
fn current_snapshot(app: &App) -> Result<Arc<Snapshot>, HttpError> {
    app.loaded_snapshot("this daemon has not read its store yet; retry later")
}
