//! micro: the sidecar of March 2016, by which programs in any language use a registry of services: plain HTTP.
//!
//! - [`registry`]: `/registry` lists, registers and removes;
//! - [`service`], [`shown`]: a service in that dialect's JSON, and the entries that it is here.
//!
//! Registrations are not held by anybody: they stay until they are removed, or for a term that the peer gives
//! ([`crate::registry`], lasting entries). Any page in a browser may use these endpoints, as in the original: there
//! are no cookies here to ride on.

mod fields;
pub mod registry;
pub mod service;
pub mod shown;

use crate::app::App;
use crate::net::{HttpError, Peer, Reply, Request, Route, route};
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE,
    HeaderValue,
};
use hyper::{Method, StatusCode};
use std::sync::Arc;

/// The name that entries and counters say this dialect by.
pub const DIALECT: &str = "micro";

/// Methods and headers that a page of another origin may use.
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, DELETE, OPTIONS");
const HEADERS: HeaderValue = HeaderValue::from_static(
    "Accept, Accept-Encoding, Authorization, Content-Length, Content-Type, Timeout, X-CSRF-Token",
);

/// All of them.
pub fn routes(app: &Arc<App>) -> Vec<Route> {
    let mut routes = Vec::new();
    routes.extend(open(
        app,
        "/registry",
        &[
            (Method::GET, |request, _, app| Box::pin(async move { registry::get(&request, &app) })),
            (Method::POST, |request, peer, app| Box::pin(registry::post(request, peer, app))),
            (Method::DELETE, |request, peer, app| Box::pin(registry::delete(request, peer, app))),
        ],
    ));
    routes
}

/// Who answers.
type Answer = fn(Request, Peer, Arc<App>) -> route::Answer;

/// The rows of a path that pages of all origins may use, errors included.
fn open(app: &Arc<App>, path: &'static str, rows: &[(Method, Answer)]) -> Vec<Route> {
    let rows = rows.iter().map(|(method, answer)| {
        let (app, answer) = (Arc::clone(app), *answer);
        Route::new(method.clone(), path, move |request, peer| {
            let answering = answer(request, peer, Arc::clone(&app));
            async move { Ok(to_all_origins(answering.await.unwrap_or_else(HttpError::into_reply))) }
        })
    });
    let preflight =
        Route::new(Method::OPTIONS, path, |_, _| async { Ok(to_all_origins(route::text(StatusCode::OK, ""))) });
    rows.chain([preflight]).collect()
}

fn to_all_origins(mut reply: Reply) -> Reply {
    let headers = reply.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    reply
}

/// A parameter of the query, if it is there and not empty; the first of that name.
fn parameter(request: &Request, name: &str) -> Option<String> {
    field(request.uri().query().unwrap_or_default(), name)
}

/// A field of a form (`application/x-www-form-urlencoded`).
fn field(form: &str, name: &str) -> Option<String> {
    let values = form.split('&').filter_map(|pair| {
        let (said, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(said) == name).then(|| decode(value))
    });
    values.into_iter().find(|value| !value.is_empty())
}

fn decode(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_form() {
        let form = "service=a%2Eb&empty=&x=1+2&x=3&odd";
        assert_eq!(field(form, "service").as_deref(), Some("a.b"));
        assert_eq!(field(form, "x").as_deref(), Some("1 2"));
        assert_eq!((field(form, "empty"), field(form, "odd"), field(form, "no")), (None, None, None));
    }
}
