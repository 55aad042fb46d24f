//! Says an event to everybody who listens for a service (hound-dog's `POST /etcd/event`).
//!
//! Owns: the spelling. Does not own: who hears it; a daemon passes it to every other one on the same store.

use super::discover::{Discover, DiscoverError};
use super::http::{self, RequestError};
use super::provider::Loss;
use bytes::Bytes;
use serde_json::json;

/// Who is to hear an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// The listeners of these services.
    Services(Vec<String>),
    /// Every listener.
    All,
}

impl Discover {
    /// Says an event, once: another daemon is asked only when one did not take the connection, or said that it cannot
    /// pass anything on now.
    pub async fn publish(&self, event_type: &str, event_body: &str, to: &Audience) -> Result<(), DiscoverError> {
        let (services, broadcast) = match to {
            Audience::Services(services) => (services.as_slice(), false),
            Audience::All => (&[][..], true),
        };
        let event = json!({
            "event_type": event_type, "event_body": event_body, "services": services, "broadcast": broadcast,
        });
        let body = Bytes::from(event.to_string());
        let servers = self.servers_or_default();
        let mut last = None;
        for server in servers {
            let request = http::HttpRequest {
                target: "/etcd/event",
                accept: "*/*",
                last_event_id: None,
                body: Some(body.clone()),
            };
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
        // There is at least one server.
        last.map_or(Ok(()), Err)
    }
}
