//! Asking a daemon over HTTP: one connection, one GET.
//!
//! Owns: the request, and what an answer other than 200 means. Does not own: what comes after it ([`super::discover`],
//! [`super::watch`]), nor finding the server ([`super::connection`]).

use super::connection::{FINAL, connect, sentence};
use super::provide::Timing;
use super::provider::{Loss, Refusal};
use super::server::Server;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, HOST, RETRY_AFTER, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use percent_encoding::utf8_percent_encode;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

/// The longest refusal that is read, in bytes.
const REFUSAL_MAX: usize = 64 * 1024;

/// Bytes in both directions.
trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failed {
    /// No waiting would change it.
    Refused(Refusal),
    /// Another server, or another time, may answer.
    Lost(Loss),
}

/// `GET target`, below the server's own path; `accept` is the kind of answer. Its body is not read yet.
pub(super) async fn get(
    server: &Server,
    target: &str,
    accept: &str,
    last_event_id: Option<&str>,
    timing: Timing,
) -> Result<Response<Incoming>, Failed> {
    let stream = open(server, timing).await.map_err(Failed::Lost)?;
    let broken = |error: &dyn std::error::Error| Failed::Lost(Loss::Broken(error.to_string()));
    let asked = async {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| broken(&e))?;
        // It ends with the answer, or when that is dropped.
        tokio::spawn(connection);
        let mut request = Request::get(server.target(target))
            .header(HOST, server.authority())
            .header(USER_AGENT, concat!("skyhound/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, accept);
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|e| broken(&e))?;
        sender.send_request(request).await.map_err(|e| broken(&e))
    };
    let response = timeout(timing.answer, asked).await.map_err(|_| Failed::Lost(Loss::NoAnswer(timing.answer)))??;
    if response.status().is_success() { Ok(response) } else { Err(refused(server, response, timing).await) }
}

async fn open(server: &Server, timing: Timing) -> Result<Box<dyn Io>, Loss> {
    if server.tls() {
        let why = "https is not spoken here; ask the daemon itself, as in --server http://127.0.0.1:8053";
        return Err(Loss::Unreachable(why.into()));
    }
    let tcp = connect(server, timing.connect).await.map_err(|error| Loss::Unreachable(error.to_string()))?;
    Ok(Box::new(tcp))
}

async fn refused(server: &Server, response: Response<Incoming>, timing: Timing) -> Failed {
    let status = response.status();
    let retry_after = response.headers().get(RETRY_AFTER);
    let retry_after = retry_after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let body = timeout(timing.answer, Limited::new(response.into_body(), REFUSAL_MAX).collect()).await;
    let body = body.ok().and_then(Result::ok).map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let sentence = match sentence(&String::from_utf8_lossy(&body)) {
        empty if empty.is_empty() => status.canonical_reason().unwrap_or("it gave no reason").to_owned(),
        said => said,
    };
    if FINAL.contains(&status) {
        return Failed::Refused(Refusal { server: server.clone(), status: status.as_u16(), sentence });
    }
    Failed::Lost(Loss::Unavailable { status: status.as_u16(), sentence, retry_after })
}

/// A path with the pairs that have a value.
pub(super) fn target(path: &str, pairs: &[(&str, String)]) -> String {
    let pairs = pairs.iter().filter(|(_, value)| !value.is_empty());
    let encoded: Vec<_> =
        pairs.map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, super::provide::ESCAPED))).collect();
    if encoded.is_empty() { path.to_owned() } else { format!("{path}?{}", encoded.join("&")) }
}
