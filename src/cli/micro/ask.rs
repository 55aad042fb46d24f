//! One question over HTTP, with TLS where the daemon has it.

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

/// How long an answer may take: a call of a node may take this daemon five seconds.
const WITHIN: Duration = Duration::from_secs(15);
/// The largest answer that is read, in bytes.
const ANSWER_MAX: usize = 64 * 1024 * 1024;

/// Who is asked.
#[derive(Debug)]
pub(super) struct Proxy {
    pub(super) server: Server,
    pub(super) tls: TlsArgs,
}

/// What came back.
#[derive(Debug)]
pub(super) struct HttpAnswer {
    /// Whether the status says so.
    pub(super) good: bool,
    pub(super) body: String,
}

/// A value of a query.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

impl Proxy {
    /// Asks for JSON; anything but a success is what the daemon says.
    pub(super) async fn json(&self, method: Method, path: &str, body: Option<String>) -> Result<Value, MicroError> {
        let asked = self.ask(method, path, body).await?;
        if !asked.good {
            return Err(MicroError::Refused(asked.body.trim().to_owned()));
        }
        let none = |e| MicroError::NoAnswer(format!("{} answered something that is no JSON: {e}", self.server));
        serde_json::from_str(&asked.body).map_err(none)
    }

    /// Asks.
    pub(super) async fn ask(&self, method: Method, path: &str, body: Option<String>) -> Result<HttpAnswer, MicroError> {
        let asked = timeout(WITHIN, self.fetch(method, path, body)).await;
        let late = || MicroError::NoAnswer(format!("{} did not answer within {WITHIN:?}", self.server));
        asked.map_err(|_| late())?.map_err(|error| {
            let why = crate::cli::with_sources(error.as_ref());
            MicroError::NoAnswer(format!("cannot ask {}: {why}", self.server))
        })
    }

    async fn fetch(&self, method: Method, path: &str, body: Option<String>) -> Result<HttpAnswer, Box<dyn Error>> {
        let stream = TcpStream::connect((self.server.host(), self.server.port())).await?;
        if !self.server.tls() {
            return self.over(stream, method, path, body).await;
        }
        let host = ServerName::try_from(self.server.host().to_owned())?;
        let stream = TlsConnector::from(self.tls.files().config()?).connect(host, stream).await?;
        self.over(stream, method, path, body).await
    }

    async fn over(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> Result<HttpAnswer, Box<dyn Error>> {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.server.host())
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.unwrap_or_default())))?;
        let reply = sender.send_request(request).await?;
        let good = reply.status().is_success();
        let body = Limited::new(reply.into_body(), ANSWER_MAX).collect().await;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        Ok(HttpAnswer { good, body: String::from_utf8_lossy(&body).into_owned() })
    }
}
