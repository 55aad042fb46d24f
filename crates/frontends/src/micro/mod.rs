//! micro: the HTTP API of the sidecar of March 2016, by which programs in any language use a registry of services.
//!
//! - [`registry`]: `/registry` lists, registers and removes;
//! - [`broker`]: `/broker` publishes and receives messages on topics;
//! - [`rpc`]: `/rpc` calls a service at one of its nodes, by [`call`];
//! - [`service`], [`describe`]: a service in micro's JSON → entries, and back.
//!
//! Registrations are persistent: they stay until they are removed, or for the TTL that the peer gives
//! ([`skyhound_core::registry`]). Any page in a browser may use these endpoints, as in the original: there are no cookies
//! that another page could abuse.

pub mod broker;
pub mod call;
pub mod describe;
mod fields;
pub mod registry;
pub mod rpc;
pub mod service;

use crate::app::App;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE,
    HeaderValue,
};
use hyper::{Method, StatusCode};
use skyhound_net::{HttpError, Peer, Reply, Request, Route, route};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// The frontend's name in entries and counters.
pub const FRONTEND: &str = "micro";

/// Methods and headers that a page of another origin may use.
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, DELETE, OPTIONS");
const HEADERS: HeaderValue = HeaderValue::from_static(
    "Accept, Accept-Encoding, Authorization, Content-Length, Content-Type, Timeout, X-CSRF-Token",
);

/// The state of micro's endpoints.
#[derive(Debug)]
pub struct Micro {
    app: Arc<App>,
    rpc_client: call::RpcClient,
    /// Limit of concurrent calls.
    calls: Semaphore,
}

/// The routes of micro's endpoints.
pub fn routes(app: &Arc<App>) -> Vec<Route> {
    let micro = Arc::new(Micro {
        app: Arc::clone(app),
        rpc_client: call::RpcClient::default(),
        calls: Semaphore::new(rpc::CONCURRENT_CALLS),
    });
    let mut routes = Vec::new();
    routes.extend(cors_routes(
        &micro,
        "/registry",
        &[
            (Method::GET, |request, _, micro| Box::pin(async move { registry::get(&request, &micro.app) })),
            (Method::POST, |request, peer, micro| Box::pin(registry::post(request, peer, micro))),
            (Method::DELETE, |request, peer, micro| Box::pin(registry::delete(request, peer, micro))),
        ],
    ));
    routes.extend(cors_routes(
        &micro,
        "/rpc",
        &[(Method::POST, |request, peer, micro| Box::pin(rpc::post(request, peer, micro)))],
    ));
    routes.extend(cors_routes(
        &micro,
        "/broker",
        &[(Method::GET, |request, peer, micro| Box::pin(broker::open(request, peer, micro)))],
    ));
    routes
}

/// The handler of a method of an endpoint.
type EndpointHandler = fn(Request, Peer, Arc<Micro>) -> route::ResponseFuture;

/// The routes of a path, whose responses, errors included, pages of all origins may read.
fn cors_routes(micro: &Arc<Micro>, path: &'static str, methods: &[(Method, EndpointHandler)]) -> Vec<Route> {
    let routes = methods.iter().map(|(method, handle)| {
        let (micro, handle) = (Arc::clone(micro), *handle);
        Route::new(method.clone(), path, move |request, peer| {
            let response = handle(request, peer, Arc::clone(&micro));
            async move { Ok(allow_all_origins(response.await.unwrap_or_else(HttpError::into_reply))) }
        })
    });
    let preflight =
        Route::new(Method::OPTIONS, path, |_, _| async { Ok(allow_all_origins(route::text(StatusCode::OK, ""))) });
    routes.chain([preflight]).collect()
}

/// Allows pages of every origin to read the response.
pub fn allow_all_origins(mut reply: Reply) -> Reply {
    let headers = reply.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    reply
}
