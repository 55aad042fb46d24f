//! hound-dog: registers a service for as long as a websocket is open, and tells sockets what becomes of services.
//!
//! - `WS /etcd/register?service=&ip=&port=&monitor=a,b` registers and listens to `service` and those of `monitor`;
//!   `WS /etcd/monitor?monitor=a,b` only listens.
//! - `POST /etcd/event` says something to services' listeners, or to all of them, on every node ([`event`]).
//! - `GET /etcd/services`, `/etcd/services/SERVICE`, `/etcd/leader`, `/etcd/version` ([`queries`]).
//!
//! Where the original's README and its code differ, this follows the README. What is registered here stands in the
//! SkyDNS layout like everybody's, in the default category, and beside it under the key where hound-dog's own peers
//! look for it (`--hound-dog-namespace`); what they put there counts as registered here.
//!
//! [`query`] reads the parameters, [`subscriber`] is what a socket hears, [`messages`] how it is said.

pub mod event;
pub mod messages;
pub mod queries;
pub mod query;
pub mod subscriber;

use crate::app::App;
use crate::connection::serve;
use crate::error::invalid;
use crate::{ensure_running, register};
use query::RegisterRequest;
use skyhound_core::topics::Topics;
use skyhound_model::address::join_host_port;
use skyhound_model::instance::InvalidParameter;
use skyhound_model::{Entry, Instance, Key, MirrorKey};
use skyhound_net::websocket::Handshake;
use skyhound_net::{HttpError, Peer, Reply, Request, Route};
use std::net::IpAddr;
use std::sync::Arc;
use subscriber::Subscriber;
use tokio::sync::Semaphore;

/// The name that entries and counters say this dialect by.
pub const FRONTEND: &str = "hound-dog";
/// hound-dog's `ACA_ETCD_EVENT_NAMESPACE`: where its peers put what they say, and hear what is said here.
pub const EVENT_NAMESPACE: &str = "event";

/// What the routes share.
#[derive(Debug)]
pub struct HoundDogState {
    app: Arc<App>,
    topics: Arc<Topics>,
    /// See [`event::CONCURRENT_MAX`].
    events: Semaphore,
}

/// Everything below `/etcd`.
pub fn routes(app: &Arc<App>) -> Vec<Route> {
    let topics = Arc::clone(&app.event_topics);
    let state = Arc::new(HoundDogState { app: Arc::clone(app), topics, events: Semaphore::new(event::CONCURRENT_MAX) });
    let get = |path, answer: fn(Arc<HoundDogState>, Request) -> queries::ResponseFuture| {
        let state = Arc::clone(&state);
        Route::get(path, move |request, _| answer(Arc::clone(&state), request))
    };
    let mut routes = vec![
        get("/etcd/leader", |state, _| Box::pin(queries::leader(state))),
        get("/etcd/services", |state, _| Box::pin(async move { queries::services(&state) })),
        get("/etcd/services/*", |state, request| Box::pin(async move { queries::instances(&state, &request) })),
        get("/etcd/version", |state, _| Box::pin(queries::version(state))),
    ];
    let (on_register, on_monitor, on_event) = (Arc::clone(&state), Arc::clone(&state), state);
    routes.push(Route::get("/etcd/register", move |request, peer| {
        register_socket(Arc::clone(&on_register), request, peer)
    }));
    routes.push(Route::get("/etcd/monitor", move |request, peer| monitor(Arc::clone(&on_monitor), request, peer)));
    routes.push(Route::post("/etcd/event", move |request, _| event::publish(Arc::clone(&on_event), request)));
    routes
}

/// `/etcd/register`. Listens first, so that the socket hears of its own registration.
async fn register_socket(state: Arc<HoundDogState>, mut request: Request, peer: Peer) -> Result<Reply, HttpError> {
    let handshake = Handshake::read(&mut request)?;
    ensure_running(&peer)?;
    let app = Arc::clone(&state.app);
    let query_string = request.uri().query().unwrap_or_default();
    let (services, instance) = accept_registration(&app, query_string, peer.addr.ip())
        .inspect_err(|_| app.metrics.registration(FRONTEND, "invalid"))?;
    let subscriber = Subscriber::open(&state, services).await?;
    let claim = register(&app, FRONTEND, instance).await?;
    let (reply, upgrade) = handshake.accept();
    tokio::spawn(serve(app, Box::new(subscriber.with_claim(claim)), upgrade, peer.permit));
    Ok(reply)
}

/// `/etcd/monitor`.
async fn monitor(state: Arc<HoundDogState>, mut request: Request, peer: Peer) -> Result<Reply, HttpError> {
    let handshake = Handshake::read(&mut request)?;
    ensure_running(&peer)?;
    let services = query::parse_monitor(request.uri().query().unwrap_or_default()).map_err(invalid)?;
    let subscriber = Subscriber::open(&state, services).await?;
    let (reply, upgrade) = handshake.accept();
    tokio::spawn(serve(Arc::clone(&state.app), Box::new(subscriber), upgrade, peer.permit));
    Ok(reply)
}

/// Whom the socket listens to, and what it registers.
fn accept_registration(app: &App, query_string: &str, peer: IpAddr) -> Result<(Vec<String>, Instance), HttpError> {
    let RegisterRequest { registration, monitor } = query::parse_register(query_string).map_err(invalid)?;
    let mut services = monitor;
    services.push(registration.service.clone());
    let service = registration.service.clone();
    let mut instance = registration
        .accept(&app.naming, peer)
        .map_err(|invalid| match invalid.parameter {
            "host" => InvalidParameter { parameter: "ip", ..invalid },
            _ => invalid,
        })
        .map_err(invalid)?;
    instance.mirror = mirror_of(app.catalog.snapshot().mirror_prefix(), &service, &instance.entry);
    Ok((services, instance))
}

/// What hound-dog's own peers read. Theirs has one key for an address, where ours has two for two of its ports: they
/// take an instance from the value.
fn mirror_of(prefix: Option<&str>, service: &str, entry: &Entry) -> Option<MirrorKey> {
    let ip = entry.host.as_ref()?.to_string();
    let port = entry.port;
    let first = format!("{}{service}/{ip}", prefix?);
    let value = join_host_port(&ip, port).into();
    Some(MirrorKey { keys: [Key::from(&first), Key::from(format!("{first}:{port}"))], value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use skyhound_model::{Host, address};

    #[test]
    fn a_mirror_key_is_what_hound_dogs_peers_would_write() {
        let of = |host: &str| {
            let entry = Entry { host: Some(Host::parse(host).unwrap()), port: 80, ..Entry::default() };
            let mirror = mirror_of(Some("service/"), "web", &entry).unwrap();
            let value = String::from_utf8(mirror.value.to_vec()).unwrap();
            assert_eq!(address::host_and_port(&value), Some((host, 80)));
            [mirror.keys[0].to_string(), mirror.keys[1].to_string(), value]
        };
        assert_eq!(of("10.0.0.5"), ["service/web/10.0.0.5", "service/web/10.0.0.5:80", "10.0.0.5:80"]);
        assert_eq!(of("host.example"), ["service/web/host.example", "service/web/host.example:80", "host.example:80"]);
        assert_eq!(of("::1"), ["service/web/::1", "service/web/::1:80", "[::1]:80"]);
        assert_eq!(mirror_of(None, "web", &Entry::default()), None);
    }
}
