//! The table of routes: method, path and handler.
//!
//! Owns: the lookup of a route, and the error for a request without one. Each frontend contributes rows
//! (`skyhound_frontends`) without knowledge of the others. Does not own: the handlers.

use super::body::Body;
use super::drain::Peer;
use super::error::HttpError;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Response, StatusCode};
use std::borrow::Cow;
use std::pin::Pin;

/// A request, its body not yet read.
pub type Request = hyper::Request<Incoming>;
/// A response with a complete or a streamed body.
pub type Reply = Response<Body>;
/// The handler of a route.
type Handler = Box<dyn Fn(Request, Peer) -> ResponseFuture + Send + Sync>;
/// The future of a response. Dropped if the client disconnects first.
pub type ResponseFuture = Pin<Box<dyn Future<Output = Result<Reply, HttpError>> + Send>>;

/// One row of the table.
pub struct Route {
    method: Method,
    path: &'static str,
    handler: Handler,
}

impl Route {
    /// A row for any method. A path that ends in `/*` matches all paths below it. A row for GET handles HEAD as well
    /// (hyper omits the body).
    pub fn new<F, Fut>(method: Method, path: &'static str, handler: F) -> Self
    where
        F: Fn(Request, Peer) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Reply, HttpError>> + Send + 'static,
    {
        Self { method, path, handler: Box::new(move |request, peer| Box::pin(handler(request, peer))) }
    }

    /// A row for GET.
    pub fn get<F, Fut>(path: &'static str, handler: F) -> Self
    where
        F: Fn(Request, Peer) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Reply, HttpError>> + Send + 'static,
    {
        Self::new(Method::GET, path, handler)
    }

    /// A row for POST.
    pub fn post<F, Fut>(path: &'static str, handler: F) -> Self
    where
        F: Fn(Request, Peer) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Reply, HttpError>> + Send + 'static,
    {
        Self::new(Method::POST, path, handler)
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The path of the table: a label for counters, unlike the path of a request, which has unbounded values.
    pub fn path(&self) -> &'static str {
        self.path
    }

    /// Handles a request.
    pub(super) fn handle(&self, request: Request, peer: Peer) -> ResponseFuture {
        (self.handler)(request, peer)
    }

    fn matches_path(&self, path: &str) -> bool {
        match self.path.strip_suffix('*') {
            Some(above) => path.len() > above.len() && path.starts_with(above),
            None => path == self.path,
        }
    }

    fn accepts_method(&self, method: &Method) -> bool {
        self.method == *method || (self.method == Method::GET && *method == Method::HEAD)
    }
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

/// The table. The first matching row handles a request.
#[derive(Debug, Default)]
pub struct Routes(Vec<Route>);

impl Routes {
    /// Adds rows.
    #[must_use]
    pub fn with(mut self, rows: impl IntoIterator<Item = Route>) -> Self {
        self.0.extend(rows);
        self
    }

    /// Finds the route of a request. The error is 404 with all routes, or 405 with the methods of the path.
    pub fn find(&self, method: &Method, path: &str) -> Result<&Route, HttpError> {
        let mut allowed = Vec::new();
        for route in self.0.iter().filter(|route| route.matches_path(path)) {
            if route.accepts_method(method) {
                return Ok(route);
            }
            allowed.push(route.method.as_str());
        }
        if allowed.is_empty() { Err(self.not_found(path)) } else { Err(wrong_method(method, path, allowed)) }
    }

    fn not_found(&self, path: &str) -> HttpError {
        let mut available: Vec<_> = self.0.iter().map(|route| format!("{route:?}")).collect();
        available.sort_unstable();
        let message = format!("unknown path {}; this server has: {}", excerpt(path), available.join(", "));
        HttpError::new(StatusCode::NOT_FOUND, message)
    }
}

fn wrong_method(method: &Method, path: &str, mut allowed: Vec<&str>) -> HttpError {
    if allowed.contains(&"GET") {
        allowed.push("HEAD");
    }
    let allowed = allowed.join(", ");
    let message = format!("{} does not support {}; it supports {allowed}", excerpt(path), excerpt(method.as_str()));
    let error = HttpError::new(StatusCode::METHOD_NOT_ALLOWED, message);
    match HeaderValue::from_str(&allowed) {
        Ok(value) => error.with(ALLOW, value),
        // Method names are tokens, which are valid in every header.
        Err(_) => error,
    }
}

/// The beginning of a text from a peer, for an error message.
pub fn excerpt(text: &str) -> Cow<'_, str> {
    const MAX_CHARS: usize = 100;
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

/// A response in plain text.
pub fn text(status: StatusCode, body: &str) -> Reply {
    reply(status, "text/plain; charset=utf-8", Bytes::copy_from_slice(body.as_bytes()))
}

/// A response in JSON.
pub fn json(status: StatusCode, body: &serde_json::Value) -> Reply {
    reply(status, "application/json", Bytes::from(format!("{body}\n")))
}

/// A response with a complete body.
pub fn reply(status: StatusCode, content_type: &'static str, body: Bytes) -> Reply {
    let mut reply = stream(content_type, Body::from(body));
    *reply.status_mut() = status;
    reply
}

/// A response with this body and status 200.
pub fn stream(content_type: &'static str, body: Body) -> Reply {
    let mut reply = Response::new(body);
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample_routes() -> Routes {
        let ok_handler = |_, _| async { Ok(text(StatusCode::OK, "")) };
        Routes::default().with([
            Route::get("/here", ok_handler),
            Route::get("/both", ok_handler),
            Route::post("/both", ok_handler),
            Route::get("/below/*", ok_handler),
        ])
    }

    #[test]
    fn the_first_matching_route_is_found() {
        let routes = sample_routes();
        let found = |method, path| routes.find(&method, path).map(|route| format!("{route:?}"));
        assert_eq!(found(Method::GET, "/here").unwrap(), "GET /here");
        assert_eq!(found(Method::HEAD, "/here").unwrap(), "GET /here");
        assert_eq!(found(Method::POST, "/both").unwrap(), "POST /both");
        assert_eq!(found(Method::GET, "/below/a/b").unwrap(), "GET /below/*");
    }

    #[test]
    fn an_error_lists_the_available_routes_or_methods() {
        let routes = sample_routes();
        let error_text = |method, path| routes.find(&method, path).unwrap_err().to_string();
        assert_eq!(
            error_text(Method::GET, "/below/"),
            "404 Not Found: unknown path /below/; this server has: GET /below/*, GET /both, GET /here, POST /both"
        );
        assert_eq!(
            error_text(Method::DELETE, "/both"),
            "405 Method Not Allowed: /both does not support DELETE; it supports GET, POST, HEAD"
        );
        assert!(
            error_text(Method::GET, &format!("/{}", "é".repeat(5000))).len() < 500,
            "only an excerpt of the path is returned"
        );
    }
}
