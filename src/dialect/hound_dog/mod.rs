//! hound-dog: registers a service for as long as a websocket is open, and tells sockets what becomes of services.
//!
//! - `WS /etcd/register?service=&ip=&port=&monitor=a,b` registers and listens to `service` and those of `monitor`;
//!   `WS /etcd/monitor?monitor=a,b` only listens.
//! - `POST /etcd/event` says something to services' listeners, or to all of them, on every node ([`event`]).
//! - `GET /etcd/services`, `/etcd/services/SERVICE`, `/etcd/leader`, `/etcd/version` ([`ask`]).
//!
//! Where the original's README and its code differ, this follows the README. What is registered here stands in the
//! SkyDNS layout like everybody's, in the default category, and beside it under the key where hound-dog's own peers
//! look for it (`--hound-dog-namespace`); what they put there counts as registered here.
//!
//! [`query`] reads the parameters, [`listen`] is what a socket hears, [`words`] how it is said.

pub mod ask;
pub mod event;
pub mod listen;
pub mod query;
pub mod words;

use crate::app::App;
use crate::dialect::hold::hold;
use crate::dialect::register;
use crate::model::Instance;
use crate::model::instance::Invalid;
use crate::net::websocket::Handshake;
use crate::net::{HttpError, Peer, Reply, Request, Route};
use crate::topics::Topics;
use listen::Ear;
use query::Asked;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// The name that entries and counters say this dialect by.
pub const DIALECT: &str = "hound-dog";
/// hound-dog's `ACA_ETCD_EVENT_NAMESPACE`: where its peers put what they say, and hear what is said here.
pub const EVENTS: &str = "event";

/// What the routes share.
#[derive(Debug)]
pub struct Dog {
    app: Arc<App>,
    topics: Arc<Topics>,
    /// See [`event::AT_ONCE`].
    events: Semaphore,
}

/// Everything below `/etcd`.
pub fn routes(app: &Arc<App>) -> Vec<Route> {
    let topics = Topics::new(Arc::clone(&app.store), EVENTS);
    let dog = Arc::new(Dog { app: Arc::clone(app), topics, events: Semaphore::new(event::AT_ONCE) });
    let get = |path, answer: fn(Arc<Dog>, Request) -> ask::Answer| {
        let dog = Arc::clone(&dog);
        Route::get(path, move |request, _| answer(Arc::clone(&dog), request))
    };
    let mut routes = vec![
        get("/etcd/leader", |dog, _| Box::pin(ask::leader(dog))),
        get("/etcd/services", |dog, _| Box::pin(ask::services(dog))),
        get("/etcd/services/*", |dog, request| Box::pin(ask::instances(dog, request))),
        get("/etcd/version", |dog, _| Box::pin(ask::version(dog))),
    ];
    let (on_register, on_monitor, on_event) = (Arc::clone(&dog), Arc::clone(&dog), dog);
    routes.push(Route::get("/etcd/register", move |request, peer| enter(Arc::clone(&on_register), request, peer)));
    routes.push(Route::get("/etcd/monitor", move |request, peer| monitor(Arc::clone(&on_monitor), request, peer)));
    routes.push(Route::post("/etcd/event", move |request, _| event::publish(Arc::clone(&on_event), request)));
    routes
}

/// `/etcd/register`. Listens first, so that the socket hears of its own registration.
async fn enter(dog: Arc<Dog>, mut request: Request, peer: Peer) -> Result<Reply, HttpError> {
    let handshake = Handshake::read(&mut request)?;
    not_stopping(&peer)?;
    let app = Arc::clone(&dog.app);
    let said = request.uri().query().unwrap_or_default();
    let (services, instance) =
        accept(&app, said, peer.addr.ip()).inspect_err(|_| app.metrics.registration(DIALECT, "invalid"))?;
    let ear = Ear::open(&dog, services).await?;
    let claim = register(&app, DIALECT, instance).await?;
    let (reply, upgrade) = handshake.accept();
    tokio::spawn(hold(app, ear.with(claim), upgrade, peer.seat));
    Ok(reply)
}

/// `/etcd/monitor`.
async fn monitor(dog: Arc<Dog>, mut request: Request, peer: Peer) -> Result<Reply, HttpError> {
    let handshake = Handshake::read(&mut request)?;
    not_stopping(&peer)?;
    let services = query::monitor(request.uri().query().unwrap_or_default())?;
    let ear = Ear::open(&dog, services).await?;
    let (reply, upgrade) = handshake.accept();
    tokio::spawn(hold(Arc::clone(&dog.app), ear, upgrade, peer.seat));
    Ok(reply)
}

fn not_stopping(peer: &Peer) -> Result<(), HttpError> {
    if peer.seat.is_stopping() {
        return Err(HttpError::unavailable("this daemon is stopping; try another one, or this one again"));
    }
    Ok(())
}

/// Whom the socket listens to, and what it registers.
fn accept(app: &App, said: &str, peer: IpAddr) -> Result<(Vec<String>, Instance), HttpError> {
    let Asked { registration, monitor } = query::register(said)?;
    let mut services = monitor;
    services.push(registration.service.clone());
    let instance = registration.accept(&app.naming, peer).map_err(|invalid| match invalid.parameter {
        "host" => Invalid { parameter: "ip", ..invalid },
        _ => invalid,
    })?;
    Ok((services, instance))
}
