//! The JSON that sockets and lists send: `{"namespace": …, "body": …}`, and `{"ip","port"}` for an instance.
//!
//! `namespace` is the service, in lower case, as in the original's README (its code sends the key's prefix, by which a
//! subscriber of two services cannot tell them apart); `*` for an event to all subscribers. The body of an event is an
//! object, where the original's code has the object as a string.

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use skyhound_core::catalog::{ChangeKind, StoredEntry};
use skyhound_core::events::Event;
use skyhound_core::topics::Message;
use skyhound_model::RemovalReason;
use std::collections::HashSet;
use std::sync::Arc;

/// The namespace of an event to all subscribers.
pub const BROADCAST_NAMESPACE: &str = "*";

/// The address of an instance.
#[derive(Debug, Clone, Serialize, PartialEq, Eq, Hash)]
pub struct Endpoint {
    ip: String,
    port: u16,
}

#[derive(Serialize)]
struct Envelope<'a, B> {
    namespace: &'a str,
    body: B,
}

#[derive(Serialize)]
struct Membership<I> {
    key_event: &'static str,
    services: I,
}

/// The addresses of instances, each once: a peer of hound-dog's and one of another frontend may register the same.
pub fn endpoints<'s>(instances: impl IntoIterator<Item = &'s Arc<StoredEntry>>) -> Vec<Endpoint> {
    let mut seen = HashSet::new();
    let endpoints = instances.into_iter().filter_map(|stored| stored.location());
    let endpoints = endpoints.map(|(host, port)| Endpoint { ip: host.to_string(), port });
    endpoints.filter(|endpoint| seen.insert(endpoint.clone())).collect()
}

/// The message about a change of a service's instances: all of them after the change.
pub fn membership_change(event: &Event) -> Bytes {
    let key_event = match event.change.kind {
        ChangeKind::Put => "PUT",
        ChangeKind::Removed(RemovalReason::Deregistered) => "DELETE",
        ChangeKind::Removed(RemovalReason::Expired) => "EXPIRE",
    };
    membership(&event.change.service, key_event, event.set.iter().flat_map(|set| set.iter()))
}

/// The message with a service's instances for a subscriber that missed changes.
pub fn full_membership<'s>(service: &str, instances: impl IntoIterator<Item = &'s Arc<StoredEntry>>) -> Bytes {
    membership(service, "PUT", instances)
}

fn membership<'s>(
    service: &str,
    key_event: &'static str,
    instances: impl IntoIterator<Item = &'s Arc<StoredEntry>>,
) -> Bytes {
    json(&Envelope { namespace: service, body: Membership { key_event, services: endpoints(instances) } })
}

/// The message about a custom event. `None` for a message that is no event of hound-dog's: any program may put any value
/// under its keys.
pub fn custom_event(message: &Message) -> Option<Bytes> {
    let body: &RawValue = serde_json::from_slice(&message.body).ok().filter(|body: &&RawValue| {
        // It is sent unchanged, with the fields of newer peers.
        body.get().starts_with('{')
    })?;
    let topic = message.topic.as_ref().map(|topic| topic.to_ascii_lowercase());
    Some(json(&Envelope { namespace: topic.as_deref().unwrap_or(BROADCAST_NAMESPACE), body }))
}

fn json(value: &impl Serialize) -> Bytes {
    // Strings, numbers and lists of them always become JSON.
    serde_json::to_vec(value).unwrap_or_default().into()
}
