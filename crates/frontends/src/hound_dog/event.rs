//! `POST /etcd/event`: `{"event_type","event_body","services":[…],"broadcast":bool}` → a message to the subscribers of
//! each service, or to all subscribers.
//!
//! As in the original, the status is 500 when the event could not be published. With `broadcast` it is published once,
//! regardless of `services`.

use super::{HoundDogState, query};
use bytes::Bytes;
use hyper::StatusCode;
use serde_json::{Map, Value, json};
use skyhound_core::topics::{MESSAGE_MAX, PublishError, Recipients, TOPICS_MAX};
use skyhound_net::limits::REGISTRATION_WAIT;
use skyhound_net::route::{self, excerpt};
use skyhound_net::{HttpError, Limits, Reply, Request, http};
use std::sync::Arc;
use tokio::time::timeout;

/// Limit of requests that are read at a time, because each may be [`MESSAGE_MAX`] long.
pub const CONCURRENT_MAX: usize = 64;

/// A request to publish an event.
#[derive(Debug, PartialEq, Eq)]
struct PublishRequest {
    body: Bytes,
    /// The services whose subscribers receive it; `None` means all subscribers.
    services: Option<Vec<String>>,
}

/// Handles `/etcd/event`.
pub(super) async fn publish(state: Arc<HoundDogState>, request: Request) -> Result<Reply, HttpError> {
    let Ok(Ok(_permit)) = timeout(REGISTRATION_WAIT, state.events.acquire()).await else {
        return Err(HttpError::unavailable("too many events are in progress; retry later"));
    };
    // A published message is never longer than its request.
    let limits = Limits { body_bytes: MESSAGE_MAX, ..state.app.limits };
    let publication =
        PublishRequest::parse(&http::read_body(request, &limits).await?).map_err(HttpError::bad_request)?;
    let recipients = publication.services.as_ref().map_or(Recipients::All, |services| Recipients::Topics(services));
    state.topics.publish(recipients, publication.body).await.map_err(|error| {
        let status = match error {
            PublishError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            PublishError::Unavailable(_) | PublishError::Rejected(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        HttpError::new(status, format!("the event was not published: {error}"))
    })?;
    Ok(route::text(StatusCode::OK, ""))
}

impl PublishRequest {
    /// Parses a body; an error is a message for the peer. Unknown fields are ignored, and `null` counts as absent.
    fn parse(body: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(body).map_err(|error| format!("the body is not JSON: {error}"))?;
        let Value::Object(mut fields) = value else {
            return Err(
                r#"the body is not a JSON object; send {"event_type":"…","event_body":"…","services":["…"]}"#.into()
            );
        };
        fields.retain(|_, value| !value.is_null());
        let event_type = text(&mut fields, "event_type")?.filter(|text| !text.is_empty());
        let event_type = event_type.ok_or("event_type is missing; name the type of the event")?;
        let event_body = text(&mut fields, "event_body")?.unwrap_or_default();
        let services = services(fields.remove("services"))?;
        let services = match (broadcast(fields.remove("broadcast"))?, services) {
            (true, _) => None,
            (false, services) if !services.is_empty() => Some(services),
            (false, _) => {
                return Err("services and broadcast are missing; give the services, or broadcast: true".into());
            }
        };
        let body = json!({ "event_type": event_type, "event_body": event_body }).to_string().into();
        Ok(Self { body, services })
    }
}

fn type_error(field: &str, value: &Value, expected: &str) -> String {
    format!("{field} is {}; give {expected}", excerpt(&value.to_string()))
}

fn text(fields: &mut Map<String, Value>, field: &str) -> Result<Option<String>, String> {
    match fields.remove(field) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(type_error(field, &other, "a string")),
    }
}

/// Parses `services`, at most as many as one publication may have ([`query::MONITOR_MAX`] is more).
fn services(value: Option<Value>) -> Result<Vec<String>, String> {
    let Some(value) = value else { return Ok(Vec::new()) };
    let names = value.as_array().and_then(|all| all.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
    let names = names.ok_or_else(|| type_error("services", &value, "a list of names"))?;
    let names = query::parse_services("services", names).map_err(|invalid| invalid.to_string())?;
    if names.len() > TOPICS_MAX {
        return Err(format!("services has {} names; the limit is {TOPICS_MAX}", names.len()));
    }
    Ok(names)
}

/// Parses `broadcast`. The original's README has a number by mistake and its code a boolean; both are accepted.
fn broadcast(value: Option<Value>) -> Result<bool, String> {
    match value {
        None => Ok(false),
        Some(Value::Bool(yes)) => Ok(yes),
        Some(Value::Number(number)) if number.is_i64() || number.is_u64() => Ok(number.as_i64() != Some(0)),
        Some(other) => Err(type_error("broadcast", &other, "true or false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> (String, Option<Vec<String>>) {
        let publication = PublishRequest::parse(body.as_bytes()).unwrap();
        (String::from_utf8(publication.body.to_vec()).unwrap(), publication.services)
    }

    #[test]
    fn a_publication_has_a_body_and_recipients() {
        let body = |text: &str| format!(r#"{{"event_type":"t","event_body":"{text}"}}"#);
        let services = Some(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(parse(r#"{"event_type":"t","event_body":"x","services":["a","b","A"]}"#), (body("x"), services));
        for broadcast in ["true", "1", "-1"] {
            assert_eq!(parse(&format!(r#"{{"event_type":"t","broadcast":{broadcast},"services":["a"]}}"#)).1, None);
        }
        for broadcast in ["false", "0", "null"] {
            let publication = parse(&format!(r#"{{"x":1,"services":["a"],"event_type":"t","broadcast":{broadcast}}}"#));
            assert_eq!(publication, (body(""), Some(vec!["a".to_owned()])));
        }
    }

    #[test]
    fn invalid_publications_are_rejected_with_a_reason() {
        let many = serde_json::to_string(&(0..101).map(|n| n.to_string()).collect::<Vec<_>>()).unwrap();
        for (body, message) in [
            ("", "the body is not JSON: EOF"),
            ("{", "the body is not JSON: EOF"),
            (r#"["event_type"]"#, "the body is not a JSON object; send"),
            ("{}", "event_type is missing"),
            (r#"{"event_type":""}"#, "event_type is missing"),
            (r#"{"event_type":null}"#, "event_type is missing"),
            (r#"{"event_type":7}"#, "event_type is 7; give a string"),
            (r#"{"event_type":"t","event_body":{}}"#, "event_body is {}; give a string"),
            (r#"{"event_type":"t"}"#, "services and broadcast are missing"),
            (r#"{"event_type":"t","services":[],"broadcast":false}"#, "services and broadcast are missing"),
            (r#"{"event_type":"t","services":"a"}"#, "services is \"a\"; give a list of names"),
            (r#"{"event_type":"t","services":["a",1]}"#, "services is [\"a\",1]; give a list of names"),
            (r#"{"event_type":"t","services":[""]}"#, "services has an empty name"),
            (r#"{"event_type":"t","services":["a/b"]}"#, "services has '/' in \"a/b\""),
            (&format!(r#"{{"event_type":"t","services":{many}}}"#), "services has 101 names; the limit is 100"),
            (r#"{"event_type":"t","broadcast":"yes"}"#, "broadcast is \"yes\"; give true or false"),
            (r#"{"event_type":"t","broadcast":1.5}"#, "broadcast is 1.5; give true or false"),
        ] {
            let error = PublishRequest::parse(body.as_bytes()).unwrap_err();
            assert!(error.starts_with(message), "{body}: {error}");
        }
    }
}
