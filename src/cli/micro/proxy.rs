//! One HTTP request to a daemon, over TLS if its URL is `https`.
//!
//! Owns: the connection, the timeout, the limit of the response. Does not own: the paths and bodies ([`super`]).

use super::MicroError;
use crate::cli::tls::TlsArgs;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::pki_types::ServerName;
use serde_json::Value;
use skyhound_client::Server;
use std::error::Error;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// The timeout of a request: the daemon's call of a node may take five seconds.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(15);
/// The size limit of a response, in bytes.
const RESPONSE_MAX: usize = 64 * 1024 * 1024;

/// The daemon, or sidecar of the original, that receives the requests.
#[derive(Debug)]
pub(super) struct Proxy {
    pub(super) server: Server,
    pub(super) tls: TlsArgs,
}

/// The response to a request.
#[derive(Debug)]
pub(super) struct HttpResponse {
    /// `true` for a status of success.
    pub(super) success: bool,
    pub(super) body: String,
}

/// Encodes a value for a query string.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

impl Proxy {
    /// Sends a request and parses the JSON of its response. An error status becomes [`MicroError::Refused`].
    pub(super) async fn json(&self, method: Method, path: &str, body: Option<String>) -> Result<Value, MicroError> {
        let response = self.send(method, path, body).await?;
        if !response.success {
            return Err(MicroError::Refused(response.body.trim().to_owned()));
        }
        let invalid = |e| MicroError::NoResponse(format!("{} returned invalid JSON: {e}", self.server));
        serde_json::from_str(&response.body).map_err(invalid)
    }

    /// Sends a request and returns its response.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> Result<HttpResponse, MicroError> {
        let response = timeout(RESPONSE_TIMEOUT, self.fetch(method, path, body)).await;
        let timed_out =
            || MicroError::NoResponse(format!("{} did not respond within {RESPONSE_TIMEOUT:?}", self.server));
        response.map_err(|_| timed_out())?.map_err(|error| {
            let why = crate::cli::with_sources(error.as_ref());
            MicroError::NoResponse(format!("cannot query {}: {why}", self.server))
        })
    }

    async fn fetch(&self, method: Method, path: &str, body: Option<String>) -> Result<HttpResponse, Box<dyn Error>> {
        let stream = TcpStream::connect((self.server.host(), self.server.port())).await?;
        if !self.server.tls() {
            return self.exchange(stream, method, path, body).await;
        }
        let host = ServerName::try_from(self.server.host().to_owned())?;
        let stream = TlsConnector::from(self.tls.files().config()?).connect(host, stream).await?;
        self.exchange(stream, method, path, body).await
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> Result<HttpResponse, Box<dyn Error>> {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.server.host())
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.unwrap_or_default())))?;
        let reply = sender.send_request(request).await?;
        let success = reply.status().is_success();
        let body = Limited::new(reply.into_body(), RESPONSE_MAX).collect().await;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        Ok(HttpResponse { success, body: String::from_utf8_lossy(&body).into_owned() })
    }
}
