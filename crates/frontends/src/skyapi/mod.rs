//! skyapi: a process holds a websocket on `GET /provide?service=foo&port=9999`, and is in DNS exactly as long
//! as it lives.
//!
//! - **A 101 means committed**: by then the entry is in the store and in this node's answers. What is wrong
//!   before is a status and a sentence, after it an `ERROR: …` text frame or a close code with a reason.
//! - A client that goes away before its 101 leaves nothing behind: hyper drops the request, and the
//!   registration or its claim with it.
//! - The original answers the handshake first and writes later, removes by key whoever wrote it, and never
//!   looks for a pong; clients cannot tell the difference but by being found.
//!
//! [`query`] reads the parameters, [`mod@handler`] is a socket's side of [`crate::connection`], [`op`] what it can be
//! told.

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

/// The name that entries and counters say this dialect by.
pub const FRONTEND: &str = "skyapi";

/// `/provide`.
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
    Ok(query::parse(params).map_err(invalid)?.accept(&app.naming, peer).map_err(invalid)?)
}
