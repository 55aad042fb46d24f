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
use crate::error::invalid;
use crate::hold::hold;
use crate::{not_stopping, register};
use listen::Ear;
use query::Asked;
use skyhound_core::topics::Topics;
use skyhound_model::address::joined;
use skyhound_model::instance::Invalid;
use skyhound_model::{Entry, Instance, Key, Twin};
use skyhound_net::websocket::Handshake;
use skyhound_net::{HttpError, Peer, Reply, Request, Route};
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
    let topics = Arc::clone(&app.event_topics);
    let dog = Arc::new(Dog { app: Arc::clone(app), topics, events: Semaphore::new(event::AT_ONCE) });
    let get = |path, answer: fn(Arc<Dog>, Request) -> ask::Answer| {
        let dog = Arc::clone(&dog);
        Route::get(path, move |request, _| answer(Arc::clone(&dog), request))
    };
    let mut routes = vec![
        get("/etcd/leader", |dog, _| Box::pin(ask::leader(dog))),
        get("/etcd/services", |dog, _| Box::pin(async move { ask::services(&dog) })),
        get("/etcd/services/*", |dog, request| Box::pin(async move { ask::instances(&dog, &request) })),
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
    tokio::spawn(hold(app, Box::new(ear.with(claim)), upgrade, peer.seat));
    Ok(reply)
}

/// `/etcd/monitor`.
async fn monitor(dog: Arc<Dog>, mut request: Request, peer: Peer) -> Result<Reply, HttpError> {
    let handshake = Handshake::read(&mut request)?;
    not_stopping(&peer)?;
    let services = query::monitor(request.uri().query().unwrap_or_default()).map_err(invalid)?;
    let ear = Ear::open(&dog, services).await?;
    let (reply, upgrade) = handshake.accept();
    tokio::spawn(hold(Arc::clone(&dog.app), Box::new(ear), upgrade, peer.seat));
    Ok(reply)
}

/// Whom the socket listens to, and what it registers.
fn accept(app: &App, said: &str, peer: IpAddr) -> Result<(Vec<String>, Instance), HttpError> {
    let Asked { registration, monitor } = query::register(said).map_err(invalid)?;
    let mut services = monitor;
    services.push(registration.service.clone());
    let service = registration.service.clone();
    let mut instance = registration
        .accept(&app.naming, peer)
        .map_err(|invalid| match invalid.parameter {
            "host" => Invalid { parameter: "ip", ..invalid },
            _ => invalid,
        })
        .map_err(invalid)?;
    instance.twin = twin(app.catalog.snapshot().foreign_prefix(), &service, &instance.entry);
    Ok((services, instance))
}

/// What hound-dog's own peers read. Theirs has one key for an address, where ours has two for two of its ports: they
/// take an instance from the value.
fn twin(prefix: Option<&str>, service: &str, entry: &Entry) -> Option<Twin> {
    let ip = entry.host.as_ref()?.to_string();
    let port = entry.port;
    let first = format!("{}{service}/{ip}", prefix?);
    let value = joined(&ip, port).into();
    Some(Twin { keys: [Key::from(&first), Key::from(format!("{first}:{port}"))], value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use skyhound_model::{Host, address};

    #[test]
    fn a_twin_is_what_hound_dogs_peers_would_write() {
        let of = |host: &str| {
            let entry = Entry { host: Some(Host::parse(host).unwrap()), port: 80, ..Entry::default() };
            let twin = twin(Some("service/"), "web", &entry).unwrap();
            let value = String::from_utf8(twin.value.to_vec()).unwrap();
            assert_eq!(address::host_and_port(&value), Some((host, 80)));
            [twin.keys[0].to_string(), twin.keys[1].to_string(), value]
        };
        assert_eq!(of("10.0.0.5"), ["service/web/10.0.0.5", "service/web/10.0.0.5:80", "10.0.0.5:80"]);
        assert_eq!(of("host.example"), ["service/web/host.example", "service/web/host.example:80", "host.example:80"]);
        assert_eq!(of("::1"), ["service/web/::1", "service/web/::1:80", "[::1]:80"]);
        assert_eq!(twin(None, "web", &Entry::default()), None);
    }
}
