//! hound-dog: registers a service for as long as a websocket is open, and sends changes of services to websockets.
//!
//! - `WS /etcd/register?service=&ip=&port=&monitor=a,b` registers, and subscribes to `service` and those of `monitor`;
//!   `WS /etcd/monitor?monitor=a,b` only subscribes.
//! - `POST /etcd/event` publishes an event to the subscribers of services, or to all, on every node ([`event`]).
//! - `GET /etcd/services`, `/etcd/services/SERVICE`, `/etcd/leader`, `/etcd/version` ([`queries`]).
//!
//! If the original's README and its code differ, this follows the README. A registration is stored in the SkyDNS layout
//! like every other, in the default category, and under a mirror key where hound-dog's own peers look for it
//! (`--hound-dog-namespace`); their entries there count as registered here.
//!
//! Modules: [`query`] parses the parameters, [`subscriber`] handles a socket, [`messages`] is the JSON that it sends.

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

/// The frontend's name in entries and counters.
pub const FRONTEND: &str = "hound-dog";
/// hound-dog's `ACA_ETCD_EVENT_NAMESPACE`: the prefix under which its peers publish events and receive those published
/// here.
pub const EVENT_NAMESPACE: &str = "event";

/// The state of hound-dog's routes.
#[derive(Debug)]
pub struct HoundDogState {
    app: Arc<App>,
    topics: Arc<Topics>,
    /// Limit of concurrent publications.
    events: Semaphore,
}

/// The routes below `/etcd`.
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

/// Handles `/etcd/register`. It subscribes first, so that the socket receives its own registration.
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

/// Handles `/etcd/monitor`.
async fn monitor(state: Arc<HoundDogState>, mut request: Request, peer: Peer) -> Result<Reply, HttpError> {
    let handshake = Handshake::read(&mut request)?;
    ensure_running(&peer)?;
    let services = query::parse_monitor(request.uri().query().unwrap_or_default()).map_err(invalid)?;
    let subscriber = Subscriber::open(&state, services).await?;
    let (reply, upgrade) = handshake.accept();
    tokio::spawn(serve(Arc::clone(&state.app), Box::new(subscriber), upgrade, peer.permit));
    Ok(reply)
}

/// Returns the services that a socket subscribes to, and the instance that it registers.
fn accept_registration(app: &App, query_string: &str, peer: IpAddr) -> Result<(Vec<String>, Instance), HttpError> {
    let RegisterRequest { registration, monitor } = query::parse_register(query_string).map_err(invalid)?;
    let mut services = monitor;
    let service = registration.service.clone();
    services.push(service.clone());
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

/// The mirror key that hound-dog's own peers read. They write one key for an address; here a second port of an address
/// has a key of its own, which they accept because they take an instance from the value.
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
    fn a_mirror_key_has_the_layout_of_hound_dogs_peers() {
        let mirror_strings = |host: &str| {
            let entry = Entry { host: Some(Host::parse(host).unwrap()), port: 80, ..Entry::default() };
            let mirror = mirror_of(Some("service/"), "web", &entry).unwrap();
            let value = String::from_utf8(mirror.value.to_vec()).unwrap();
            assert_eq!(address::host_and_port(&value), Some((host, 80)));
            [mirror.keys[0].to_string(), mirror.keys[1].to_string(), value]
        };
        assert_eq!(mirror_strings("10.0.0.5"), ["service/web/10.0.0.5", "service/web/10.0.0.5:80", "10.0.0.5:80"]);
        assert_eq!(
            mirror_strings("host.example"),
            ["service/web/host.example", "service/web/host.example:80", "host.example:80"]
        );
        assert_eq!(mirror_strings("::1"), ["service/web/::1", "service/web/::1:80", "[::1]:80"]);
        assert_eq!(mirror_of(None, "web", &Entry::default()), None);
    }
}
