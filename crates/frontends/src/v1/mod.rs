//! Plain HTTP for whoever has no library: which services there are, where their instances are, and what changes.
//!
//! - `GET /v1/services`, `GET /v1/instances` ([`list`]): JSON, made while it is read, so that a million instances are
//!   never in memory as text.
//! - `GET /v1/watch` ([`watch`]): server-sent events, to be taken up again after a loss.
//! - `GET /v1/openapi.json`: all of it, and the operator's routes, for programs that write clients.
//!
//! [`query`] reads the parameters, [`instance`] is the spelling of an instance. Deliberately absent: registering.
//! A registration lives as long as a socket, and that is [`super::skyapi`].

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

/// The description of what plain HTTP answers.
pub const OPENAPI: &str = include_str!("openapi.json");

/// Its rows.
pub fn routes(app: &Arc<App>) -> Vec<Route> {
    let (services, instances, watched) = (Arc::clone(app), Arc::clone(app), Arc::clone(app));
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
            let app = Arc::clone(&watched);
            async move { watch::watch(app, &request, &peer).await }
        }),
        Route::get("/v1/openapi.json", |_, _| async { Ok(openapi()) }),
    ]
}

fn openapi() -> Reply {
    route::reply(StatusCode::OK, "application/json", Bytes::from_static(OPENAPI.as_bytes()))
}

/// What is known, once anything is.
fn current_snapshot(app: &App) -> Result<Arc<Snapshot>, HttpError> {
    app.loaded_snapshot("this daemon has not read its store yet; come again")
}
