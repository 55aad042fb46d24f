//! `/rpc`: calls a method of a service at one of its nodes, and returns the node's response.
//!
//! The nodes are the service's instances of every frontend. One of the lowest priority is drawn by weight; another one
//! is called only when the first is unreachable, because a node that received the call may have carried it out. If the
//! client disconnects, the call to the node is aborted.
//!
//! With `address` any address is called, as in the original: a client that may use this port may call every address that
//! this host can reach.
//!
//! Owns: the request's two forms, the choice of a node, the errors for the client. Does not own: the call
//! ([`super::call`]).

use super::Micro;
use super::call::CallOutcome;
use super::registry::current_snapshot;
use crate::form::Form;
use crate::pick::pick;
use hyper::header::{CONTENT_TYPE, HeaderName, RETRY_AFTER};
use hyper::{HeaderMap, StatusCode};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use skyhound_core::catalog::StoredEntry;
use skyhound_model::{Host, Label, address};
use skyhound_net::{HttpError, Peer, Reply, Request, http, route};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// The default timeout of a call, with all its attempts: that of the original's client.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Limit of the timeout that a client may set (`Timeout: SECONDS`, as in later versions of the original).
pub const CALL_TIMEOUT_MAX_S: u64 = 300;
/// Limit of concurrent calls: each may hold a response of [`super::call::ANSWER_MAX`].
pub const CONCURRENT_CALLS: usize = 256;
/// Limit of the nodes that are tried for one call.
pub const ATTEMPTS_MAX: usize = 3;

const RPC_ERROR_ID: &str = "go.micro.rpc";
const CLIENT_ERROR_ID: &str = "go.micro.client";

/// The request of a client.
struct CallRequest {
    service: String,
    method: String,
    request: Box<RawValue>,
    address: String,
}

/// The error for a client: `{"id", "code", "detail", "status"}`, and the status of that code.
#[derive(Debug, PartialEq)]
struct RpcError {
    status: StatusCode,
    body: Value,
    retry: bool,
}

impl RpcError {
    fn new(id: &str, status: StatusCode, detail: impl std::fmt::Display) -> Self {
        let reason = status.canonical_reason().unwrap_or_default();
        let body = json!({ "id": id, "code": status.as_u16(), "detail": detail.to_string(), "status": reason });
        Self { status, body, retry: false }
    }

    fn bad(detail: impl std::fmt::Display) -> Self {
        Self::new(RPC_ERROR_ID, StatusCode::BAD_REQUEST, detail)
    }

    fn failed(detail: impl std::fmt::Display) -> Self {
        Self::new(CLIENT_ERROR_ID, StatusCode::INTERNAL_SERVER_ERROR, detail)
    }

    fn busy(detail: impl std::fmt::Display) -> Self {
        Self { retry: true, ..Self::new(CLIENT_ERROR_ID, StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    /// The error of a node. One in the form of this type is passed on unchanged, with its code.
    fn from_node(error: &Value) -> Self {
        let inner = error.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
        let body = inner.as_ref().filter(|value| value.is_object()).unwrap_or(error);
        let code = body.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
        let status = code.and_then(|code| StatusCode::from_u16(code).ok());
        match status.filter(|status| status.is_client_error() || status.is_server_error()) {
            Some(status) if body.get("detail").is_some() => Self { status, body: body.clone(), retry: false },
            _ => Self::failed(error.as_str().map_or_else(|| error.to_string(), str::to_owned)),
        }
    }

    fn into_reply(self) -> Reply {
        let mut reply = route::json(self.status, &self.body);
        if self.retry {
            let retry = HttpError::unavailable("").into_reply();
            reply.headers_mut().extend(retry.headers().get(RETRY_AFTER).map(|when| (RETRY_AFTER, when.clone())));
        }
        reply
    }
}

impl From<HttpError> for RpcError {
    fn from(error: HttpError) -> Self {
        let retry = error.status() == StatusCode::SERVICE_UNAVAILABLE;
        Self { retry, ..Self::new(RPC_ERROR_ID, error.status(), error.message()) }
    }
}

/// Handles POST.
pub(super) async fn post(request: Request, _: Peer, micro: Arc<Micro>) -> Result<Reply, HttpError> {
    Ok(match call(request, &micro).await {
        Ok(result) => {
            let body = bytes::Bytes::from(format!("{result}\n"));
            route::reply(StatusCode::OK, "application/json", body)
        }
        Err(failure) => failure.into_reply(),
    })
}

async fn call(request: Request, micro: &Micro) -> Result<Box<RawValue>, RpcError> {
    let Ok(_permit) = micro.calls.try_acquire() else {
        return Err(RpcError::busy(format!(
            "{CONCURRENT_CALLS} calls are in progress, which is the limit; retry later"
        )));
    };
    let call_timeout = parse_timeout(request.headers())?;
    let form = !is_json(request.headers());
    let body = http::read_body(request, &micro.app.limits).await?;
    let call = if form { CallRequest::from_form(&body) } else { CallRequest::from_json(&body) }?;
    let addresses = if call.address.is_empty() {
        node_addresses(micro, &call.service)?
    } else {
        vec![parse_address(&call.address)?]
    };
    let mut tried = Vec::new();
    let attempts = async {
        for address in &addresses {
            tried.push(address.as_str());
            match micro.rpc_client.call(address, &call.method, &call.request).await {
                CallOutcome::Result(result) => return Ok(result),
                CallOutcome::Error(error) => return Err(RpcError::from_node(&error)),
                CallOutcome::Broken(reason) => return Err(RpcError::failed(format!("{address}: {reason}"))),
                CallOutcome::Unreachable(reason) => {
                    tracing::debug!(address, reason, "node is unreachable; trying the next");
                }
            }
        }
        let message = format!("none of {} is reachable", addresses.join(", "));
        Err(RpcError::failed(message))
    };
    timeout(call_timeout, attempts).await.unwrap_or_else(|_| {
        let last = tried.last().copied().unwrap_or_default();
        Err(RpcError::new(
            CLIENT_ERROR_ID,
            StatusCode::REQUEST_TIMEOUT,
            format!("no response from {last} within {call_timeout:?}"),
        ))
    })
}

/// Draws nodes, in the order in which to try them.
fn node_addresses(micro: &Micro, service: &str) -> Result<Vec<String>, RpcError> {
    let snapshot = current_snapshot(&micro.app)?;
    let nodes = || snapshot.instances(service).filter(|stored| stored.entry.host.is_some() && stored.entry.port != 0);
    let mut drawn: Vec<&Arc<StoredEntry>> = Vec::new();
    while drawn.len() < ATTEMPTS_MAX
        && let Some(next) = pick(nodes().filter(|node| drawn.iter().all(|other| other.key != node.key)))
    {
        drawn.push(next);
    }
    if drawn.is_empty() {
        let message = format!("service {:?} has no nodes", route::excerpt(service));
        return Err(RpcError::new(CLIENT_ERROR_ID, StatusCode::NOT_FOUND, message));
    }
    Ok(drawn.into_iter().filter_map(|stored| Some(authority(stored.entry.host.as_ref()?, stored.entry.port))).collect())
}

fn authority(host: &Host, port: u16) -> String {
    match host {
        Host::Addr(ip) => std::net::SocketAddr::new(*ip, port).to_string(),
        Host::Name(_) => format!("{host}:{port}"),
    }
}

fn parse_address(text: &str) -> Result<String, RpcError> {
    let invalid = || RpcError::bad(format!("address is {:?}; give HOST:PORT", route::excerpt(text)));
    let (host, port) = address::host_and_port(text).ok_or_else(invalid)?;
    let host = Host::parse(host).map_err(|_| invalid())?;
    match &host {
        // DNS allows names that no URL does.
        Host::Name(name) if name.labels().iter().any(|label| Label::registrable(&label.to_string()).is_err()) => {
            Err(invalid())
        }
        _ => Ok(authority(&host, port)),
    }
}

fn parse_timeout(headers: &HeaderMap) -> Result<Duration, RpcError> {
    let Some(timeout) = headers.get(HeaderName::from_static("timeout")) else { return Ok(CALL_TIMEOUT) };
    let seconds = timeout.to_str().ok().and_then(|text| text.trim().parse().ok());
    match seconds.filter(|seconds| (1..=CALL_TIMEOUT_MAX_S).contains(seconds)) {
        Some(seconds) => Ok(Duration::from_secs(seconds)),
        None => Err(RpcError::bad(format!("Timeout is {timeout:?}; give seconds from 1 to {CALL_TIMEOUT_MAX_S}"))),
    }
}

/// True if the content type is JSON: that of the body or, for a GET, of the wanted response.
pub fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    content_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

impl CallRequest {
    fn from_form(body: &[u8]) -> Result<Self, RpcError> {
        let text = str::from_utf8(body).map_err(|_| RpcError::bad("the form is not UTF-8"))?;
        let names = ["service", "method", "request", "address"];
        let mut form = Form::read(text, &names, |_, _| Ok(())).map_err(RpcError::bad)?;
        let mut field = |name| form.text(name).unwrap_or_default();
        let (service, method, address) = (field("service"), field("method"), field("address"));
        Self::new(service, method, parse_json(&field("request"))?, address)
    }

    fn from_json(body: &[u8]) -> Result<Self, RpcError> {
        let fields: BTreeMap<String, Box<RawValue>> =
            serde_json::from_slice(body).map_err(|e| RpcError::bad(format!("the body is not a JSON object: {e}")))?;
        // Names match in any case, as in Go.
        let fields: BTreeMap<_, _> = fields.into_iter().map(|(name, value)| (name.to_lowercase(), value)).collect();
        let text = |name| {
            let value = fields.get(name).map(|value| serde_json::from_str::<Option<String>>(value.get())).transpose();
            let value = value.map_err(|_| RpcError::bad(format!("{name} is not a string")));
            value.map(|text| text.flatten().unwrap_or_default())
        };
        let request = match fields.get("request") {
            None => RawValue::NULL.to_owned(),
            // JSON within a string.
            Some(value) if value.get().starts_with('"') => {
                parse_json(&serde_json::from_str::<String>(value.get()).map_err(RpcError::bad)?)?
            }
            Some(value) => value.clone(),
        };
        Self::new(text("service")?, text("method")?, request, text("address")?)
    }

    fn new(service: String, method: String, request: Box<RawValue>, address: String) -> Result<Self, RpcError> {
        if service.is_empty() && address.is_empty() {
            return Err(RpcError::bad("service is missing; name the service to call"));
        }
        if method.is_empty() {
            return Err(RpcError::bad("method is missing; name the method to call"));
        }
        Ok(Self { service, method, request, address })
    }
}

/// Parses JSON; an empty text is `null`.
fn parse_json(text: &str) -> Result<Box<RawValue>, RpcError> {
    if text.trim().is_empty() {
        return to_raw_value(&()).map_err(RpcError::bad);
    }
    serde_json::from_str(text).map_err(|e| RpcError::bad(format!("request is not JSON: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_form_or_json() {
        let text_of = |call: Result<CallRequest, RpcError>| match call {
            Ok(call) => format!("{} {} {} {}", call.service, call.method, call.request, call.address),
            Err(failure) => failure.body["detail"].as_str().unwrap().to_owned(),
        };
        for (body, expected) in [
            (r#"{"service":"a","method":"M.X","request":{"n":1e400}}"#, r#"a M.X {"n":1e400} "#),
            (r#"{"Service":"a","METHOD":"M.X","request":"{\"n\":1}"}"#, r#"a M.X {"n":1} "#),
            (r#"{"method":"M","address":"h:1"}"#, " M null h:1"),
            (r#"{"service":"a","method":null}"#, "method is missing; name the method to call"),
            (r#"{"method":"M"}"#, "service is missing; name the service to call"),
            (r#"{"service":7,"method":"M"}"#, "service is not a string"),
            (
                r#"{"service":"a","method":"M","request":"{"}"#,
                "request is not JSON: EOF while parsing an object at line 1 column 1",
            ),
        ] {
            assert_eq!(text_of(CallRequest::from_json(body.as_bytes())), expected, "{body}");
        }
        let form = "service=a&method=M.X&request=%7B%22n%22%3A+1%7D";
        assert_eq!(text_of(CallRequest::from_form(form.as_bytes())), r#"a M.X {"n": 1} "#);
        assert_eq!(
            text_of(CallRequest::from_form(b"service=a&method=M&request=x")),
            "request is not JSON: expected value at line 1 column 1"
        );
        assert_eq!(text_of(CallRequest::from_form(b"\xff")), "the form is not UTF-8");
    }

    #[test]
    fn a_nodes_error_keeps_its_code() {
        let reply_to = |error: Value| {
            let failure = RpcError::from_node(&error);
            (failure.status.as_u16(), failure.body)
        };
        let with_code = json!({"id": "x", "code": 409, "detail": "taken", "status": "Conflict"});
        assert_eq!(reply_to(json!(with_code.to_string())), (409, with_code.clone()));
        assert_eq!(reply_to(with_code.clone()), (409, with_code));
        let plain = |detail: &str| json!({"id": CLIENT_ERROR_ID, "code": 500, "detail": detail, "status": "Internal Server Error"});
        assert_eq!(reply_to(json!("no such method")), (500, plain("no such method")));
        assert_eq!(reply_to(json!({"code": -32601, "message": "m"})), (500, plain(r#"{"code":-32601,"message":"m"}"#)));
        assert_eq!(reply_to(json!(r#"{"code":200,"detail":"x"}"#)).0, 500, "an error is never a success");
    }

    #[test]
    fn only_addresses_with_host_and_port_are_accepted() {
        for (text, expected) in
            [("127.0.0.1:80", "127.0.0.1:80"), ("[::1]:80", "[::1]:80"), ("host.example:1", "host.example:1")]
        {
            assert_eq!(parse_address(text).unwrap(), expected);
        }
        for text in ["127.0.0.1", "", "a b:80", ":80", "host:0"] {
            assert!(parse_address(text).is_err(), "{text}");
        }
    }
}
