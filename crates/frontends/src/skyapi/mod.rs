//! skyapi: a process holds a websocket on `GET /provide?service=foo&port=9999`, and is in DNS exactly as long as the
//! websocket is open.
//!
//! - **A 101 means committed**: by then the entry is in the store and in this node's answers. An error before it is a
//!   status with a message; an error after it is an `ERROR: …` text frame or a close code with a reason.
//! - A client that goes away before its 101 leaves no entry: hyper drops the request, and the registration or its
//!   claim with it.
//! - The original answers the handshake first and writes later, removes by key regardless of the writer, and ignores
//!   missing pongs. Clients notice the difference only in that they are found.
//!
//! Modules: [`query`] parses the parameters, [`mod@handler`] is a socket's part of [`crate::connection`], [`op`] parses
//! the operations on a held socket.

pub mod handler;
pub mod op;
pub mod query;

use crate::app::App;
use crate::connection::serve;
use crate::error::invalid;
use crate::{ensure_running, register};
use skyhound_model::Instance;
use skyhound_net::websocket::Handshake;
use skyhound_net::{HttpError, Peer, Reply, Request, Route};
use std::net::IpAddr;
use std::sync::Arc;

/// The frontend's name in entries and counters.
pub const FRONTEND: &str = "skyapi";

/// The route `/provide`.
pub fn routes(app: &Arc<App>) -> Vec<Route> {
    let app = Arc::clone(app);
    vec![Route::get("/provide", move |request, peer| provide(request, peer, Arc::clone(&app)))]
}

async fn provide(mut request: Request, peer: Peer, app: Arc<App>) -> Result<Reply, HttpError> {
    let handshake = Handshake::read(&mut request)?;
    ensure_running(&peer)?;
    let params = request.uri().query().unwrap_or_default();
    let instance =
        accept(&app, params, peer.addr.ip()).inspect_err(|_| app.metrics.registration(FRONTEND, "invalid"))?;
    let claim = register(&app, FRONTEND, instance).await?;
    let (reply, upgrade) = handshake.accept();
    tokio::spawn(serve(app, Box::new(handler::ProvideHandler(claim)), upgrade, peer.permit));
    Ok(reply)
}

fn accept(app: &App, params: &str, peer: IpAddr) -> Result<Instance, HttpError> {
    query::parse(params).and_then(|registration| registration.accept(&app.naming, peer)).map_err(invalid)
}
