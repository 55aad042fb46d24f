//! Asking a daemon over HTTP: one connection, one request.
//!
//! Owns: the request. Does not own: what comes after it ([`super::discover`], [`super::watch`]), nor finding the server
//! and what an answer means that was not asked for ([`super::connection`]).

pub(super) use super::connection::RequestError;
use super::connection::connect;
use super::provide::Timing;
use super::provider::Loss;
use super::server::Server;
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

/// The longest refusal that is read, in bytes.
const REFUSAL_MAX: usize = 64 * 1024;

/// Bytes in both directions.
trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A request.
#[derive(Debug, Default)]
pub(super) struct HttpRequest<'a> {
    /// Below the server's own path.
    pub(super) target: &'a str,
    /// The kind of answer.
    pub(super) accept: &'a str,
    /// Where a stream of events goes on.
    pub(super) last_event_id: Option<&'a str>,
    /// With it, a POST of JSON.
    pub(super) body: Option<Bytes>,
}

/// Asks. The answer's body is not read yet.
pub(super) async fn send(
    server: &Server,
    request: HttpRequest<'_>,
    tls: &ClientFiles,
    timing: Timing,
) -> Result<Response<Incoming>, RequestError> {
    let opened = timeout(timing.response, open(server, tls, timing)).await;
    let stream = opened.unwrap_or(Err(Loss::NoResponse(timing.response))).map_err(RequestError::Lost)?;
    let broken = |error: &dyn std::error::Error| RequestError::Lost(Loss::Broken(error.to_string()));
    let exchange = async {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| broken(&e))?;
        // It ends with the answer, or when that is dropped.
        tokio::spawn(connection);
        let mut builder = Request::get(server.target(request.target))
            .header(HOST, server.authority())
            .header(USER_AGENT, concat!("skyhound/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, request.accept);
        if let Some(id) = request.last_event_id {
            builder = builder.header("last-event-id", id);
        }
        if request.body.is_some() {
            builder = builder.method(Method::POST).header(CONTENT_TYPE, "application/json");
        }
        let request = builder.body(Full::new(request.body.unwrap_or_default())).map_err(|e| broken(&e))?;
        sender.send_request(request).await.map_err(|e| broken(&e))
    };
    let response = timeout(timing.response, exchange)
        .await
        .map_err(|_| RequestError::Lost(Loss::NoResponse(timing.response)))??;
    if response.status().is_success() { Ok(response) } else { Err(refusal_of(server, response, timing).await) }
}

async fn open(server: &Server, tls: &ClientFiles, timing: Timing) -> Result<Box<dyn Io>, Loss> {
    let unreachable = |error: std::io::Error| Loss::Unreachable(error.to_string());
    // Before the connection: files that are wrong need none.
    let config = server.tls().then(|| tls.config()).transpose();
    let config = config.map_err(|error| Loss::Unreachable(with_sources(&error)))?;
    let tcp = connect(server, timing.connect).await.map_err(unreachable)?;
    let Some(config) = config else { return Ok(Box::new(tcp)) };
    let name = ServerName::try_from(server.host().to_owned());
    let name = name.map_err(|_| Loss::Unreachable(format!("{} is no name for TLS", server.host())))?;
    Ok(Box::new(TlsConnector::from(config).connect(name, tcp).await.map_err(unreachable)?))
}

async fn refusal_of(server: &Server, response: Response<Incoming>, timing: Timing) -> RequestError {
    let (parts, body) = response.into_parts();
    let body = timeout(timing.response, Limited::new(body, REFUSAL_MAX).collect()).await;
    let body = body.ok().and_then(Result::ok).map(http_body_util::Collected::to_bytes).unwrap_or_default();
    RequestError::from_response(server, &Response::from_parts(parts, body))
}

/// A path with the pairs that have a value.
pub(super) fn target(path: &str, pairs: &[(&str, String)]) -> String {
    let pairs = pairs.iter().filter(|(_, value)| !value.is_empty());
    let encoded: Vec<_> =
        pairs.map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, super::provide::ESCAPED))).collect();
    if encoded.is_empty() { path.to_owned() } else { format!("{path}?{}", encoded.join("&")) }
}
