//! The table of routes: method, path, and who answers.
//!
//! Owns: finding the route, and what is said when there is none. Each dialect contributes rows
//! (`skyhound_frontends`); nobody has to know the others.

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
/// An answer, whole or made while it is read.
pub type Reply = Response<Body>;
/// Who answers.
type Handler = Box<dyn Fn(Request, Peer) -> Answer + Send + Sync>;
/// An answer to come. Dropped when the client goes away first.
pub type Answer = Pin<Box<dyn Future<Output = Result<Reply, HttpError>> + Send>>;

/// One row of the table.
pub struct Route {
    method: Method,
    path: &'static str,
    handler: Handler,
}

impl Route {
    /// A row. A path that ends in `/*` stands for everything below it. A route for GET answers HEAD as well
    /// (hyper leaves the body out).
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

    /// The path, as the table has it: what a counter may be labelled with, unlike a request's own path.
    pub fn path(&self) -> &'static str {
        self.path
    }

    /// Answers.
    pub(super) fn answer(&self, request: Request, peer: Peer) -> Answer {
        (self.handler)(request, peer)
    }

    fn is_for(&self, path: &str) -> bool {
        match self.path.strip_suffix('*') {
            Some(above) => path.len() > above.len() && path.starts_with(above),
            None => path == self.path,
        }
    }

    fn takes(&self, method: &Method) -> bool {
        self.method == *method || (self.method == Method::GET && *method == Method::HEAD)
    }
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

/// The table. Its first match answers.
#[derive(Debug, Default)]
pub struct Routes(Vec<Route>);

impl Routes {
    /// Adds rows.
    #[must_use]
    pub fn with(mut self, rows: impl IntoIterator<Item = Route>) -> Self {
        self.0.extend(rows);
        self
    }

    /// Who answers that; otherwise 404 with what there is, or 405 with what the path takes.
    pub fn find(&self, method: &Method, path: &str) -> Result<&Route, HttpError> {
        let mut allowed = Vec::new();
        for route in self.0.iter().filter(|route| route.is_for(path)) {
            if route.takes(method) {
                return Ok(route);
            }
            allowed.push(route.method.as_str());
        }
        if allowed.is_empty() { Err(self.nothing_at(path)) } else { Err(wrong_method(method, path, allowed)) }
    }

    fn nothing_at(&self, path: &str) -> HttpError {
        let mut there: Vec<_> = self.0.iter().map(|route| format!("{route:?}")).collect();
        there.sort_unstable();
        let sentence = format!("there is nothing at {}; there is: {}", shown(path), there.join(", "));
        HttpError::new(StatusCode::NOT_FOUND, sentence)
    }
}

fn wrong_method(method: &Method, path: &str, mut allowed: Vec<&str>) -> HttpError {
    if allowed.contains(&"GET") {
        allowed.push("HEAD");
    }
    let allowed = allowed.join(", ");
    let sentence = format!("{} does not take {}; it takes {allowed}", shown(path), shown(method.as_str()));
    let error = HttpError::new(StatusCode::METHOD_NOT_ALLOWED, sentence);
    match HeaderValue::from_str(&allowed) {
        Ok(value) => error.with(ALLOW, value),
        // Names of methods are tokens, which every header may hold.
        Err(_) => error,
    }
}

/// The beginning of what a peer sent, to say it back.
pub fn shown(text: &str) -> Cow<'_, str> {
    const MOST: usize = 100;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

/// An answer in plain text.
pub fn text(status: StatusCode, body: &str) -> Reply {
    reply(status, "text/plain; charset=utf-8", Bytes::copy_from_slice(body.as_bytes()))
}

/// An answer in JSON.
pub fn json(status: StatusCode, body: &serde_json::Value) -> Reply {
    reply(status, "application/json", Bytes::from(format!("{body}\n")))
}

/// An answer.
pub fn reply(status: StatusCode, content_type: &'static str, body: Bytes) -> Reply {
    let mut reply = stream(content_type, Body::from(body));
    *reply.status_mut() = status;
    reply
}

/// An answer that is made while it is read.
pub fn stream(content_type: &'static str, body: Body) -> Reply {
    let mut reply = Response::new(body);
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Routes {
        let nobody = |_, _| async { Ok(text(StatusCode::OK, "")) };
        Routes::default().with([
            Route::get("/here", nobody),
            Route::get("/both", nobody),
            Route::post("/both", nobody),
            Route::get("/below/*", nobody),
        ])
    }

    #[test]
    fn the_first_match_answers() {
        let table = table();
        let found = |method, path| table.find(&method, path).map(|route| format!("{route:?}"));
        assert_eq!(found(Method::GET, "/here").unwrap(), "GET /here");
        assert_eq!(found(Method::HEAD, "/here").unwrap(), "GET /here");
        assert_eq!(found(Method::POST, "/both").unwrap(), "POST /both");
        assert_eq!(found(Method::GET, "/below/a/b").unwrap(), "GET /below/*");
    }

    #[test]
    fn what_is_not_there_is_said_with_what_is() {
        let table = table();
        let missed = |method, path| table.find(&method, path).unwrap_err().to_string();
        assert_eq!(
            missed(Method::GET, "/below/"),
            "404 Not Found: there is nothing at /below/; there is: GET /below/*, GET /both, GET /here, POST /both"
        );
        assert_eq!(
            missed(Method::DELETE, "/both"),
            "405 Method Not Allowed: /both does not take DELETE; it takes GET, POST, HEAD"
        );
        assert!(missed(Method::GET, &format!("/{}", "é".repeat(5000))).len() < 500, "not all of it is said back");
    }
}
