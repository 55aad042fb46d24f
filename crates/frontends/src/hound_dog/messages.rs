//! What sockets and lists say: `{"namespace": …, "body": …}`, and `{"ip","port"}` for an instance.
//!
//! `namespace` is the service, in lower case, as its README has it (its code says the key's prefix, which tells a
//! listener of two services nothing); `*` for what is said to everybody. A body that was said is an object, where
//! its code has the object's text.

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use skyhound_core::catalog::{ChangeKind, StoredEntry};
use skyhound_core::events::Event;
use skyhound_core::topics::Message;
use skyhound_model::RemovalReason;
use std::collections::HashSet;
use std::sync::Arc;

/// For everybody.
pub const BROADCAST_NAMESPACE: &str = "*";

/// An instance.
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

/// The places of instances, each once: a peer of hound-dog's and one of another dialect's may say the same one.
pub fn endpoints<'s>(instances: impl IntoIterator<Item = &'s Arc<StoredEntry>>) -> Vec<Endpoint> {
    let mut seen = HashSet::new();
    let endpoints = instances.into_iter().filter_map(|stored| stored.location());
    let endpoints = endpoints.map(|(host, port)| Endpoint { ip: host.to_string(), port });
    endpoints.filter(|endpoint| seen.insert(endpoint.clone())).collect()
}

/// A change of a service's instances: all of them after it.
pub fn membership_change(event: &Event) -> Bytes {
    let key_event = match event.change.kind {
        ChangeKind::Put => "PUT",
        ChangeKind::Removed(RemovalReason::Deregistered) => "DELETE",
        ChangeKind::Removed(RemovalReason::Expired) => "EXPIRE",
    };
    membership(&event.change.service, key_event, event.set.iter().flat_map(|set| set.iter()))
}

/// A service's instances, for a listener who missed what changed.
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

/// What was said on a topic. `None` for what is no event of hound-dog's: anybody may put anything under its keys.
pub fn custom_event(message: &Message) -> Option<Bytes> {
    let body: &RawValue = serde_json::from_slice(&message.body).ok().filter(|body: &&RawValue| {
        // Kept as it is, with whatever fields a newer peer has.
        body.get().starts_with('{')
    })?;
    let topic = message.topic.as_ref().map(|topic| topic.to_ascii_lowercase());
    Some(json(&Envelope { namespace: topic.as_deref().unwrap_or(BROADCAST_NAMESPACE), body }))
}

fn json(value: &impl Serialize) -> Bytes {
    // Texts, numbers, lists of them: always JSON.
    serde_json::to_vec(value).unwrap_or_default().into()
}
