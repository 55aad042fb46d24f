//! A client of JSON-RPC servers over HTTP: one call and its outcome.
//!
//! `POST /` with `{"method", "params": [request], "id"}`; the response is `{"id", "result", "error"}` (JSON-RPC 1.0).
//!
//! Owns: connections and their pool, the connect timeout, the limit of a response. Does not own: the choice of a node and
//! the deadline of a call ([`super::rpc`]).

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde_json::Value;
use serde_json::value::RawValue;
use skyhound_base::errors::root_cause;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The time that a node has to accept a connection; a call has time left for other nodes.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// The time that an idle connection to a node stays open for the next call.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Limit of idle connections to one node.
pub const IDLE_MAX: usize = 8;
/// Limit of a node's response, in bytes. It is held in memory.
pub const ANSWER_MAX: usize = 4 * 1024 * 1024;

/// The client for all nodes.
#[derive(Debug)]
pub struct RpcClient {
    http: Client<HttpConnector, Full<Bytes>>,
    next: AtomicU64,
}

/// The outcome of a call.
#[derive(Debug)]
pub enum CallOutcome {
    /// The result, as the node encoded it.
    Result(Box<RawValue>),
    /// The node's error.
    Error(Value),
    /// No connection was established, so that the node did not get the call.
    Unreachable(String),
    /// The response is invalid or incomplete.
    Broken(String),
}

/// A response of JSON-RPC.
#[derive(serde::Deserialize)]
struct RpcResponse {
    #[serde(default)]
    result: Option<Box<RawValue>>,
    #[serde(default)]
    error: Value,
}

impl Default for RpcClient {
    fn default() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        let http = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_MAX)
            .build(connector);
        Self { http, next: AtomicU64::new(1) }
    }
}

impl RpcClient {
    /// Calls a method at `HOST:PORT`. The caller sets a timeout, because a node may never respond. Dropping the future
    /// closes the connection.
    pub async fn call(&self, address: &str, method: &str, request: &RawValue) -> CallOutcome {
        let id = self.next.fetch_add(1, Relaxed);
        let method = Value::from(method);
        // The request is passed on unchanged, so that numbers of any size survive.
        let body = format!(r#"{{"method":{method},"params":[{request}],"id":{id}}}"#);
        let json = HeaderValue::from_static("application/json");
        let call = Request::builder()
            .method(Method::POST)
            .uri(format!("http://{address}/"))
            .header(CONTENT_TYPE, &json)
            .header(ACCEPT, &json)
            .body(Full::new(Bytes::from(body)));
        let call = match call {
            Ok(call) => call,
            Err(error) => return CallOutcome::Unreachable(format!("{address:?} is not an address: {error}")),
        };
        let reply = match self.http.request(call).await {
            Ok(reply) => reply,
            Err(error) if error.is_connect() => return CallOutcome::Unreachable(root_cause(&error)),
            Err(error) => return CallOutcome::Broken(root_cause(&error)),
        };
        let status = reply.status();
        match Limited::new(reply.into_body(), ANSWER_MAX).collect().await {
            Ok(body) => parse_response(status, &body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => {
                CallOutcome::Broken(format!("the response exceeds the limit of {ANSWER_MAX} bytes"))
            }
            Err(error) => CallOutcome::Broken(format!("the response ended early: {error}")),
        }
    }
}

/// Parses a response, regardless of its status: servers send JSON errors with any status.
fn parse_response(status: StatusCode, body: &[u8]) -> CallOutcome {
    match serde_json::from_slice(body) {
        Ok(RpcResponse { error, .. }) if !error.is_null() => CallOutcome::Error(error),
        Ok(RpcResponse { result: Some(result), .. }) => CallOutcome::Result(result),
        Ok(RpcResponse { result: None, .. }) if status.is_success() && is_object(body) => {
            CallOutcome::Result(RawValue::NULL.to_owned())
        }
        _ => CallOutcome::Broken(format!("the response has status {status} and is not JSON-RPC")),
    }
}

fn is_object(body: &[u8]) -> bool {
    body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome_text(status: u16, body: &str) -> String {
        match parse_response(StatusCode::from_u16(status).unwrap(), body.as_bytes()) {
            CallOutcome::Result(result) => format!("result {result}"),
            CallOutcome::Error(error) => format!("error {error}"),
            CallOutcome::Unreachable(reason) | CallOutcome::Broken(reason) => reason,
        }
    }

    #[test]
    fn responses_of_any_server_are_understood() {
        for (status, body, expected) in [
            (
                200,
                r#"{"id":1,"result":{"n":12345678901234567890123},"error":null}"#,
                r#"result {"n":12345678901234567890123}"#,
            ),
            (200, r#" {"id":1,"result":null,"error":null}"#, "result null"),
            (200, r#"{"id":1}"#, "result null"),
            (500, r#"{"id":1,"result":null,"error":"no"}"#, r#"error "no""#),
            (200, r#"{"jsonrpc":"2.0","error":{"code":-1,"message":"m"}}"#, r#"error {"code":-1,"message":"m"}"#),
            (404, "not here", "the response has status 404 Not Found and is not JSON-RPC"),
            (200, "", "the response has status 200 OK and is not JSON-RPC"),
            (200, "[]", "the response has status 200 OK and is not JSON-RPC"),
            (502, "{}", "the response has status 502 Bad Gateway and is not JSON-RPC"),
        ] {
            assert_eq!(outcome_text(status, body), expected, "{body}");
        }
    }
}
