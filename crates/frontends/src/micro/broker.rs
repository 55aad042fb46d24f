//! `/broker?topic=T`: a websocket that publishes on a topic and receives the messages published there, on any node.
//!
//! Every message of a client is published on T unchanged. Every publication is sent as the text
//! `{"Header": null, "Body": "<base64>"}`, to its sender too. With `queue=Q`, each message goes to one of all sockets
//! with the same queue, on all daemons of the same store.
//!
//! Owns: the key of a topic, the JSON of a publication. Does not own: topics and queue groups
//! ([`skyhound_core::topics`]), the connection ([`crate::connection`]: pings follow `--timeout`, where the original sends
//! one every 54 s).

use super::{FRONTEND, Micro};
use crate::connection::{ConnectionHandler, Outgoing, serve};
use crate::ensure_running;
use crate::error::invalid;
use crate::form::Form;
use bytes::Bytes;
use data_encoding::BASE64;
use serde_json::json;
use skyhound_core::registry::Claim;
use skyhound_core::topics::{Message, Received, Recipients, Subscription, Topics};
use skyhound_net::websocket::{Handshake, Utf8Bytes};
use skyhound_net::{HttpError, Peer, Reply, Request};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

/// The prefix of topics in the store.
pub const TOPICS_PREFIX: &str = "/skyhound/topics";
/// The longest time that the last message of a topic stays in the store: the number of topics has no limit.
pub const MESSAGE_TTL: Duration = Duration::from_secs(3600);
/// Limit of the name of a topic or a queue, in bytes.
pub const NAME_MAX: usize = 256;

/// The key of a topic or a queue. [`Topics`] compares keys without their case, and micro's topics have one: every byte is
/// written as its number, except lower-case letters, digits, `.`, `-` and `_`.
fn topic_key(topic: &str) -> String {
    topic.bytes().fold(String::with_capacity(topic.len()), |mut key, byte| {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_' => key.push(byte.into()),
            // A write to a String cannot fail.
            _ => drop(write!(key, "%{byte:02x}")),
        }
        key
    })
}

/// Handles GET.
pub(super) async fn open(mut request: Request, peer: Peer, micro: Arc<Micro>) -> Result<Reply, HttpError> {
    let mut params =
        Form::read(request.uri().query().unwrap_or_default(), &["topic", "queue"], |_, _| Ok(())).map_err(invalid)?;
    let Some(topic) = params.text("topic") else {
        return Err(HttpError::bad_request("topic is missing; name it, as in /broker?topic=news"));
    };
    let queue = params.text("queue");
    if topic.len().max(queue.as_ref().map_or(0, String::len)) > NAME_MAX {
        return Err(HttpError::bad_request(format!("topic and queue are limited to {NAME_MAX} bytes each")));
    }
    let handshake = Handshake::read(&mut request)?;
    ensure_running(&peer)?;
    let topic = topic_key(&topic);
    let topics = Arc::clone(&micro.app.topics);
    let subscription = match queue {
        Some(queue) => topics.join(&topic, &topic_key(&queue)).await,
        None => topics.subscribe([topic.clone()]).await,
    };
    let subscription = subscription.map_err(|error| HttpError::unavailable(error.to_string()))?;
    let (reply, upgrade) = handshake.accept();
    let handler = Box::new(TopicConnection { topics, topic: [topic], subscription });
    tokio::spawn(serve(Arc::clone(&micro.app), handler, upgrade, peer.permit));
    Ok(reply)
}

/// The handler of a socket on a topic.
struct TopicConnection {
    topics: Arc<Topics>,
    topic: [String; 1],
    subscription: Subscription,
}

impl ConnectionHandler for TopicConnection {
    const FRONTEND: &'static str = FRONTEND;

    async fn on_text(&mut self, text: Utf8Bytes) -> Result<Option<Bytes>, Bytes> {
        self.publish(text.into()).await.map(|()| None)
    }

    async fn on_binary(&mut self, bytes: Bytes) -> Option<Result<Option<Bytes>, Bytes>> {
        Some(self.publish(bytes).await.map(|()| None))
    }

    async fn next_message(&mut self) -> Outgoing {
        loop {
            match self.subscription.next().await {
                Received::Message(message) => {
                    if let Some(text) = message.rendered(publication_json) {
                        return Outgoing::Text(text);
                    }
                }
                Received::Lagged => return Outgoing::Lagged,
            }
        }
    }

    fn into_claim(self) -> Option<Claim> {
        None
    }
}

impl TopicConnection {
    /// Publishes a message. An error has the form of a publication, because clients read nothing else.
    async fn publish(&self, body: Bytes) -> Result<(), Bytes> {
        let published = self.topics.publish(Recipients::Topics(&self.topic), body).await;
        published.map_err(|error| {
            json!({ "Header": { "Error": format!("the message was not published: {error}") }, "Body": "" })
                .to_string()
                .into()
        })
    }
}

/// A publication in the JSON of the original's clients.
fn publication_json(message: &Message) -> Option<Bytes> {
    let body = BASE64.encode(&message.body);
    message.topic.as_ref().map(|_| Bytes::from(format!(r#"{{"Header":null,"Body":"{body}"}}"#)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_keys_keep_case_and_any_character() {
        assert_eq!((topic_key("go.micro-news_1"), topic_key("News")), ("go.micro-news_1".into(), "%4eews".into()));
        assert_eq!((topic_key("a/../b"), topic_key("%4eews")), ("a%2f..%2fb".into(), "%254eews".into()));
    }
}
