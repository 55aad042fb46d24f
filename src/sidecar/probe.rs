//! One health check of an application: a GET request over HTTP or HTTPS.
//!
//! Each probe opens a connection of its own, because a refused connection is a failure.
//!
//! Owns: the connection, the deadline, the criterion of success. Does not own: the schedule, nor the consequence
//! ([`super`]).

use super::ProbeSettings;
use bytes::Bytes;
use http_body_util::{BodyExt, Collected, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{HOST, USER_AGENT};
use hyper::http::uri::PathAndQuery;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use skyhound_net::tls::{self, TlsError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// The deadline of a probe, which is never longer than the interval.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// The limit of the body that is kept of a failed response, in bytes.
pub const TEXT_MAX: usize = 1024;

/// The status and the text of a failure.
pub(super) type ProbeFailure = (StatusCode, String);

/// A health check of one URL.
pub struct Probe {
    pub(super) settings: ProbeSettings,
    /// The TLS client of an `https` URL.
    tls: Option<TlsConnector>,
}

impl Probe {
    /// Reads the file of the authorities.
    pub fn new(settings: ProbeSettings) -> Result<Self, TlsError> {
        let secure = settings.url.scheme_str() == Some("https");
        let tls = secure.then(|| tls::client_config("healthcheck-cacert", settings.cacert.as_deref())).transpose()?;
        Ok(Self { settings, tls: tls.map(TlsConnector::from) })
    }

    /// Probes once. Returns the failure, if any.
    pub(super) async fn check(&self) -> Option<ProbeFailure> {
        let url = &self.settings.url;
        let response = async {
            let reply = self.get().await?;
            let status = reply.status();
            let text = Limited::new(reply.into_body(), TEXT_MAX).collect().await;
            let text = text.map(Collected::to_bytes).unwrap_or_default();
            Ok((status, String::from_utf8_lossy(&text).trim_end().to_owned()))
        };
        let deadline = PROBE_TIMEOUT.min(self.settings.interval);
        let timed_out = |_| Err(format!("no response within {deadline:?}"));
        match timeout(deadline, response).await.unwrap_or_else(timed_out) {
            Ok((StatusCode::OK, _)) => None,
            // Returned by `/health` as received, except for a status that is no error and would make `/health` healthy.
            Ok((status, text)) if status.is_client_error() || status.is_server_error() => Some((status, text)),
            Ok((status, text)) => {
                Some((StatusCode::SERVICE_UNAVAILABLE, format!("{url} responded with {status}: {text}")))
            }
            Err(why) => Some((StatusCode::SERVICE_UNAVAILABLE, format!("{url}: {why}"))),
        }
    }

    async fn get(&self) -> Result<Response<Incoming>, String> {
        let url = &self.settings.url;
        let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
        let port = url.port_u16().unwrap_or(if self.tls.is_some() { 443 } else { 80 });
        let tcp = TcpStream::connect((host, port)).await.map_err(root_cause_text)?;
        let Some(tls) = &self.tls else { return send(url, tcp).await };
        let name = ServerName::try_from(host.to_owned()).map_err(root_cause_text)?;
        send(url, tls.connect(name, tcp).await.map_err(root_cause_text)?).await
    }
}

async fn send(
    url: &Uri,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> Result<Response<Incoming>, String> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(root_cause_text)?;
    // It ends with the response, or when the response is dropped.
    tokio::spawn(connection);
    let host = url.host().unwrap_or_default();
    let request = Request::get(url.path_and_query().map_or("/", PathAndQuery::as_str))
        .header(HOST, url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
        .header(USER_AGENT, concat!("skyhound/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new());
    sender.send_request(request.map_err(root_cause_text)?).await.map_err(root_cause_text)
}

// As `map_err` takes it.
#[allow(clippy::needless_pass_by_value)]
fn root_cause_text(error: impl std::error::Error + 'static) -> String {
    skyhound_base::errors::root_cause(&error)
}
