//! The page of `/stats`: three files within the binary, which load nothing from another server.

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use skyhound_net::{Reply, Route, route};

/// A policy without other origins and inline code: the name of a service can never become a script.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'",
);

/// Returns the routes of the files that the page loads.
pub(super) fn routes() -> Vec<Route> {
    let file_route =
        |path, kind, text: &'static str| Route::get(path, move |_, _| std::future::ready(Ok(static_file(kind, text))));
    vec![
        file_route("/stats/page.js", "text/javascript; charset=utf-8", include_str!("page/page.js")),
        file_route("/stats/page.css", "text/css; charset=utf-8", include_str!("page/page.css")),
    ]
}

/// Returns the page itself.
pub(super) fn page() -> Reply {
    static_file("text/html; charset=utf-8", include_str!("page/page.html"))
}

fn static_file(kind: &'static str, text: &'static str) -> Reply {
    let mut reply = route::reply(StatusCode::OK, kind, Bytes::from_static(text.as_bytes()));
    let headers = reply.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    // A newer daemon serves a newer page.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    reply
}
