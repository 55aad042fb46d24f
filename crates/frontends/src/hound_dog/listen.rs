//! What a socket of hound-dog's hears: changes of services, and what is said to them.

use super::{DIALECT, Dog, words};
use crate::hold::{News, Talk};
use bytes::Bytes;
use skyhound_core::events::{self, Listener, Selection};
use skyhound_core::registry::Claim;
use skyhound_core::topics::{self, Subscription};
use skyhound_net::HttpError;
use skyhound_net::websocket::Utf8Bytes;
use std::collections::VecDeque;
use std::sync::Arc;

/// A socket's ear, and the claim that hangs on the socket if it registered something.
#[derive(Debug)]
pub(super) struct Ear {
    dog: Arc<Dog>,
    services: Box<[String]>,
    changes: Listener,
    messages: Subscription,
    /// What it takes to know everything again.
    missed: VecDeque<Bytes>,
    /// Boxed because most sockets have none.
    claim: Option<Box<Claim>>,
}

impl Ear {
    /// Listens to services. From here on nothing is missed.
    pub(super) async fn open(dog: &Arc<Dog>, services: Vec<String>) -> Result<Self, HttpError> {
        let (changes, _) = dog.app.events.listen(Selection::Services(services.clone()), true);
        let messages = dog.topics.subscribe(services.iter().cloned()).await;
        let messages = messages.map_err(|error| HttpError::unavailable(error.to_string()))?;
        let (services, missed) = (services.into(), VecDeque::new());
        Ok(Self { dog: Arc::clone(dog), services, changes, messages, missed, claim: None })
    }

    /// With a claim.
    pub(super) fn with(mut self, claim: Claim) -> Self {
        self.claim = Some(Box::new(claim));
        self
    }

    /// More has changed than was kept: each service's instances once, as they are now.
    fn start_over(&mut self) {
        let (changes, now) = self.dog.app.events.listen(Selection::Services(self.services.to_vec()), true);
        self.changes = changes;
        let names = self.services.iter().map(|service| service.to_ascii_lowercase());
        self.missed = names.map(|service| words::whole(&service, now.instances(&service))).collect();
    }
}

impl Talk for Ear {
    const DIALECT: &'static str = DIALECT;

    /// Nothing that a peer could say means anything, in the original as here.
    async fn told(&mut self, _: Utf8Bytes) -> Result<Option<Bytes>, Bytes> {
        Ok(None)
    }

    async fn news(&mut self) -> News {
        loop {
            if let Some(text) = self.missed.pop_front() {
                return News::Text(text);
            }
            tokio::select! {
                heard = self.changes.next() => match heard {
                    events::Heard::Event(event) => return News::Text(event.said(words::change)),
                    events::Heard::Behind => self.start_over(),
                },
                heard = self.messages.next() => match heard {
                    topics::Heard::Message(message) => {
                        if let Some(text) = message.said(words::said) {
                            return News::Text(text);
                        }
                    }
                    // Messages are no state: there is nothing to say instead.
                    topics::Heard::Behind => return News::Behind,
                },
            }
        }
    }

    fn claim(self) -> Option<Claim> {
        self.claim.map(|claim| *claim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hold::hold;

    /// There are 10,000 of them, and more.
    #[test]
    fn a_listening_socket_is_a_small_task() {
        fn size_of_future<A, B, C, D, F>(_: impl Fn(A, B, C, D) -> F) -> usize {
            size_of::<F>()
        }
        let size = size_of_future(hold::<Ear>);
        assert!(size <= 896, "{size} bytes");
    }
}
