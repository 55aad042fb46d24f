//! One HTTP request over one connection to a daemon.
//!
//! Owns: the request and its timeouts. Does not own: the choice of the server and the response body (`discover`,
//! `watch`), nor the meaning of an unexpected status (`error`).

use crate::connect::connect;
use crate::error::{Loss, RequestError};
use crate::provide::ESCAPED;
use crate::server::Server;
use crate::timing::Timing;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use percent_encoding::utf8_percent_encode;
use rustls::pki_types::ServerName;
use skyhound_base::errors::with_sources;
use skyhound_net::tls::ClientFiles;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Limit of the body of an error response, in bytes.
const ERROR_BODY_MAX: usize = 64 * 1024;

/// A byte stream in both directions.
trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A request.
#[derive(Debug, Default)]
pub(crate) struct HttpRequest<'a> {
    /// Path and query, below the server's own path.
    pub(crate) target: &'a str,
    /// Value of `Accept`.
    pub(crate) accept: &'a str,
    /// Position from which an event stream resumes.
    pub(crate) last_event_id: Option<&'a str>,
    /// JSON body, which makes the request a POST.
    pub(crate) body: Option<Bytes>,
}

/// Sends a request and returns the successful response, whose body is not read yet.
pub(crate) async fn send(
    server: &Server,
    request: HttpRequest<'_>,
    tls: &ClientFiles,
    timing: Timing,
) -> Result<Response<Incoming>, RequestError> {
    let opened = timeout(timing.response, open(server, tls, timing)).await;
    let stream = opened.unwrap_or(Err(Loss::NoResponse(timing.response)))?;
    let response = timeout(timing.response, exchange(server, stream, request)).await;
    let response = response.unwrap_or(Err(Loss::NoResponse(timing.response)))?;
    if response.status().is_success() { Ok(response) } else { Err(request_error(server, response, timing).await) }
}

async fn exchange(
    server: &Server,
    stream: Box<dyn Io>,
    HttpRequest { target, accept, last_event_id, body }: HttpRequest<'_>,
) -> Result<Response<Incoming>, Loss> {
    let broken = |error: hyper::Error| Loss::Broken(error.to_string());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // The task ends with the response, or when the response is dropped.
    tokio::spawn(connection);
    let mut builder = Request::get(server.target(target))
        .header(HOST, server.authority())
        .header(USER_AGENT, concat!("skyhound/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, accept);
    if let Some(id) = last_event_id {
        builder = builder.header("last-event-id", id);
    }
    if body.is_some() {
        builder = builder.method(Method::POST).header(CONTENT_TYPE, "application/json");
    }
    let request = builder.body(Full::new(body.unwrap_or_default()));
    let request = request.map_err(|error| Loss::Broken(error.to_string()))?;
    sender.send_request(request).await.map_err(broken)
}

async fn open(server: &Server, tls: &ClientFiles, timing: Timing) -> Result<Box<dyn Io>, Loss> {
    let unreachable = |error: std::io::Error| Loss::Unreachable(error.to_string());
    // Before the connection: invalid files need none.
    let config = server.tls().then(|| tls.config()).transpose();
    let config = config.map_err(|error| Loss::Unreachable(with_sources(&error)))?;
    let tcp = connect(server, timing.connect).await.map_err(unreachable)?;
    let Some(config) = config else { return Ok(Box::new(tcp)) };
    let name = ServerName::try_from(server.host().to_owned());
    let name = name.map_err(|_| Loss::Unreachable(format!("{} is not a valid name for TLS", server.host())))?;
    Ok(Box::new(TlsConnector::from(config).connect(name, tcp).await.map_err(unreachable)?))
}

/// Reads the body of an error response and classifies it.
async fn request_error(server: &Server, response: Response<Incoming>, timing: Timing) -> RequestError {
    let (parts, body) = response.into_parts();
    let body = timeout(timing.response, Limited::new(body, ERROR_BODY_MAX).collect()).await;
    let body = body.ok().and_then(Result::ok).map(http_body_util::Collected::to_bytes).unwrap_or_default();
    RequestError::from_response(server, &Response::from_parts(parts, body))
}

/// A path with a query of the pairs that have a value.
pub(crate) fn target(path: &str, pairs: &[(&str, String)]) -> String {
    let pairs = pairs.iter().filter(|(_, value)| !value.is_empty());
    let encoded: Vec<_> =
        pairs.map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, ESCAPED))).collect();
    if encoded.is_empty() { path.to_owned() } else { format!("{path}?{}", encoded.join("&")) }
}
