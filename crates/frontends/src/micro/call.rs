//! One call of a JSON-RPC server over HTTP: what goes over the wire, and what can come of it.
//!
//! `POST /` with `{"method", "params": [request], "id"}`; the answer is `{"id", "result", "error"}` (JSON-RPC 1.0).
//!
//! Owns: connections and their pool, deadlines, the limit of an answer. Does not own: which node is called
//! ([`super::rpc`]).

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

/// How long a node may take to take a connection: beside it there is time for others.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long an idle connection to a node is kept for the next call.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Idle connections that are kept for one node.
pub const IDLE_MAX: usize = 8;
/// The largest answer of a node, in bytes: so much of it is held in memory.
pub const ANSWER_MAX: usize = 4 * 1024 * 1024;

/// A client of all nodes.
#[derive(Debug)]
pub struct RpcClient {
    http: Client<HttpConnector, Full<Bytes>>,
    next: AtomicU64,
}

/// What came of a call.
#[derive(Debug)]
pub enum CallOutcome {
    /// The result, as the node wrote it.
    Result(Box<RawValue>),
    /// What the node says is wrong.
    Error(Value),
    /// No connection came about: nothing was asked.
    Unreachable(String),
    /// An answer that is none.
    Broken(String),
}

/// The answer.
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
    /// Calls a method at `HOST:PORT`. Bound it: a node may never answer. Dropping the future hangs up.
    pub async fn call(&self, address: &str, method: &str, request: &RawValue) -> CallOutcome {
        let id = self.next.fetch_add(1, Relaxed);
        let method = Value::from(method);
        // The request is passed on as it came, whatever its numbers.
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
            Err(error) => return CallOutcome::Unreachable(format!("{address:?} is no address: {error}")),
        };
        let reply = match self.http.request(call).await {
            Ok(reply) => reply,
            Err(error) if error.is_connect() => return CallOutcome::Unreachable(root_cause(&error)),
            Err(error) => return CallOutcome::Broken(root_cause(&error)),
        };
        let status = reply.status();
        match Limited::new(reply.into_body(), ANSWER_MAX).collect().await {
            Ok(body) => read(status, &body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => {
                CallOutcome::Broken(format!("its answer is over {ANSWER_MAX} bytes, and that is the most"))
            }
            Err(error) => CallOutcome::Broken(format!("its answer ended early: {error}")),
        }
    }
}

/// An answer counts whatever its status: servers say an error in JSON with a status of their liking.
fn read(status: StatusCode, body: &[u8]) -> CallOutcome {
    match serde_json::from_slice(body) {
        Ok(RpcResponse { error, .. }) if !error.is_null() => CallOutcome::Error(error),
        Ok(RpcResponse { result: Some(result), .. }) => CallOutcome::Result(result),
        Ok(RpcResponse { result: None, .. }) if status.is_success() && is_object(body) => {
            CallOutcome::Result(RawValue::NULL.to_owned())
        }
        _ => CallOutcome::Broken(format!("it answered {status} and no JSON-RPC")),
    }
}

fn is_object(body: &[u8]) -> bool {
    body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome_text(status: u16, body: &str) -> String {
        match read(StatusCode::from_u16(status).unwrap(), body.as_bytes()) {
            CallOutcome::Result(result) => format!("result {result}"),
            CallOutcome::Error(error) => format!("error {error}"),
            CallOutcome::Unreachable(why) | CallOutcome::Broken(why) => why,
        }
    }

    #[test]
    fn responses_of_any_server_are_understood() {
        for (status, body, is) in [
            (
                200,
                r#"{"id":1,"result":{"n":12345678901234567890123},"error":null}"#,
                r#"result {"n":12345678901234567890123}"#,
            ),
            (200, r#" {"id":1,"result":null,"error":null}"#, "result null"),
            (200, r#"{"id":1}"#, "result null"),
            (500, r#"{"id":1,"result":null,"error":"no"}"#, r#"error "no""#),
            (200, r#"{"jsonrpc":"2.0","error":{"code":-1,"message":"m"}}"#, r#"error {"code":-1,"message":"m"}"#),
            (404, "not here", "it answered 404 Not Found and no JSON-RPC"),
            (200, "", "it answered 200 OK and no JSON-RPC"),
            (200, "[]", "it answered 200 OK and no JSON-RPC"),
            (502, "{}", "it answered 502 Bad Gateway and no JSON-RPC"),
        ] {
            assert_eq!(outcome_text(status, body), is, "{body}");
        }
    }
}
