//! Publication of an event to the subscribers of a service (hound-dog's `POST /etcd/event`).
//!
//! Owns: the encoding, and the rule when another server is tried. Does not own: the delivery; a daemon forwards an
//! event to all others on the same store.

use crate::discover::{Discover, DiscoverError};
use crate::error::{Loss, RequestError};
use crate::http::{self, HttpRequest};
use bytes::Bytes;
use serde_json::json;

/// The subscribers that receive an event.
///
/// ```
/// use skyhound_client::Audience;
///
/// let audience = Audience::Services(vec!["web".into(), "api".into()]);
/// assert_ne!(audience, Audience::All);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// The subscribers of these services.
    Services(Vec<String>),
    /// All subscribers.
    All,
}

impl Discover {
    /// Publishes an event at most once: another daemon is tried only after one did not accept the connection, or
    /// responded that it cannot forward events now.
    ///
    /// # Errors
    /// [`DiscoverError::Refused`] if a daemon rejects the event, [`DiscoverError::Lost`] if no daemon accepted it, or
    /// if a connection broke so that the outcome is unknown.
    pub async fn publish(&self, event_type: &str, event_body: &str, to: &Audience) -> Result<(), DiscoverError> {
        let (services, broadcast) = match to {
            Audience::Services(services) => (services.as_slice(), false),
            Audience::All => (&[][..], true),
        };
        let event = json!({
            "event_type": event_type, "event_body": event_body, "services": services, "broadcast": broadcast,
        });
        let body = Bytes::from(event.to_string());
        let mut last = None;
        for server in self.servers_or_default() {
            let request =
                HttpRequest { target: "/etcd/event", accept: "*/*", last_event_id: None, body: Some(body.clone()) };
            match http::send(&server, request, &self.tls, self.timing).await {
                Ok(_) => return Ok(()),
                Err(RequestError::Refused(refusal)) => return Err(refusal.into()),
                Err(RequestError::Lost(reason)) => {
                    let not_delivered = matches!(reason, Loss::Unreachable(_) | Loss::Unavailable { .. });
                    last = Some(DiscoverError::Lost { server, reason });
                    if !not_delivered {
                        break;
                    }
                }
            }
        }
        // At least one server was tried.
        last.map_or(Ok(()), Err)
    }
}
