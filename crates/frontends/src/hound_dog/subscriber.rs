//! The handler of hound-dog's sockets: it sends the changes of services and the events that are published to them.

use super::{FRONTEND, HoundDogState, messages};
use crate::connection::{ConnectionHandler, Outgoing};
use bytes::Bytes;
use skyhound_core::events::{self, EventSubscription, Selection};
use skyhound_core::registry::Claim;
use skyhound_core::topics::{self, Subscription};
use skyhound_net::HttpError;
use skyhound_net::websocket::Utf8Bytes;
use std::collections::VecDeque;
use std::sync::Arc;

/// A socket's subscriptions, with the claim that depends on the socket if it registered something.
#[derive(Debug)]
pub(super) struct Subscriber {
    state: Arc<HoundDogState>,
    services: Box<[String]>,
    changes: EventSubscription,
    messages: Subscription,
    /// The messages with complete sets that a reset has still to send.
    backlog: VecDeque<Bytes>,
    /// Boxed because most sockets have none.
    claim: Option<Box<Claim>>,
}

impl Subscriber {
    /// Subscribes to services. From here on no change is missed.
    pub(super) async fn open(state: &Arc<HoundDogState>, services: Vec<String>) -> Result<Self, HttpError> {
        let (changes, _) = state.app.events.subscribe(Selection::Services(services.clone()), true);
        let messages = state.topics.subscribe(services.iter().cloned()).await;
        let messages = messages.map_err(|error| HttpError::unavailable(error.to_string()))?;
        let (services, backlog) = (services.into(), VecDeque::new());
        Ok(Self { state: Arc::clone(state), services, changes, messages, backlog, claim: None })
    }

    /// Adds the claim of a socket that registers.
    pub(super) fn with_claim(mut self, claim: Claim) -> Self {
        self.claim = Some(Box::new(claim));
        self
    }

    /// Starts over after lost changes: subscribes again, and queues the present instances of each service once.
    fn reset(&mut self) {
        let (changes, snapshot) = self.state.app.events.subscribe(Selection::Services(self.services.to_vec()), true);
        self.changes = changes;
        let names = self.services.iter().map(|service| service.to_ascii_lowercase());
        self.backlog = names.map(|service| messages::full_membership(&service, snapshot.instances(&service))).collect();
    }
}

impl ConnectionHandler for Subscriber {
    const FRONTEND: &'static str = FRONTEND;

    /// Ignores the peer's texts, as the original does.
    async fn on_text(&mut self, _: Utf8Bytes) -> Result<Option<Bytes>, Bytes> {
        Ok(None)
    }

    async fn next_message(&mut self) -> Outgoing {
        loop {
            if let Some(text) = self.backlog.pop_front() {
                return Outgoing::Text(text);
            }
            tokio::select! {
                received = self.changes.next() => match received {
                    events::Notification::Event(event) => return Outgoing::Text(event.rendered(messages::membership_change)),
                    events::Notification::Lagged => self.reset(),
                },
                received = self.messages.next() => match received {
                    topics::Received::Message(message) => {
                        if let Some(text) = message.rendered(messages::custom_event) {
                            return Outgoing::Text(text);
                        }
                    }
                    // Events are not state: no complete set can replace lost ones.
                    topics::Received::Lagged => return Outgoing::Lagged,
                },
            }
        }
    }

    fn into_claim(self) -> Option<Claim> {
        self.claim.map(|claim| *claim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::serve;

    /// A daemon runs 10,000 of them, and more.
    #[test]
    fn a_subscriber_is_a_small_task() {
        fn size_of_future<A, B, C, D, F>(_: impl Fn(A, B, C, D) -> F) -> usize {
            size_of::<F>()
        }
        let size = size_of_future(serve::<Subscriber>);
        assert!(size <= 896, "{size} bytes");
    }
}
