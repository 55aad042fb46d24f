//! Messages, and the subscriptions that receive them.

use super::Topics;
use super::inbox::Inbox;
use bytes::Bytes;
use std::sync::{Arc, OnceLock};

/// A message.
#[derive(Debug)]
pub struct Message {
    /// The topic as published; `None` for a message to all subscribers.
    pub topic: Option<Box<str>>,
    /// The published bytes.
    pub body: Bytes,
    rendered: OnceLock<Option<Bytes>>,
}

impl Message {
    pub(super) fn new(topic: Option<&str>, body: Bytes) -> Arc<Self> {
        Arc::new(Self { topic: topic.map(Into::into), body, rendered: OnceLock::new() })
    }

    /// The message as text of the frontend that owns the topics, rendered once for all of its subscriptions; `None` if
    /// the frontend cannot represent it.
    pub fn rendered(&self, write: impl FnOnce(&Self) -> Option<Bytes>) -> Option<Bytes> {
        self.rendered.get_or_init(|| write(self)).clone()
    }
}

/// A result of [`Subscription::next`].
#[derive(Debug, Clone)]
pub enum Received {
    /// A message.
    Message(Arc<Message>),
    /// The queue overflowed. No message follows.
    Lagged,
}

/// A subscription. It ends when it is dropped.
#[derive(Debug)]
pub struct Subscription {
    pub(super) owner: Arc<Topics>,
    pub(super) kind: SubscriptionKind,
    pub(super) inbox: Arc<Inbox>,
}

#[derive(Debug)]
pub(super) enum SubscriptionKind {
    /// A subscription with topics and a queue of its own.
    Direct { id: u64, topics: Box<[String]> },
    /// A member of a queue group.
    QueueMember { topic: Box<str>, queue: Box<str> },
}

impl Subscription {
    /// Waits for the next message. Cancel safe. The members of a queue group take turns: the one that has waited longest
    /// receives the next message, and a slow member receives fewer.
    pub async fn next(&mut self) -> Received {
        loop {
            if let Some(received) = self.inbox.pop() {
                if matches!(self.kind, SubscriptionKind::QueueMember { .. }) {
                    self.owner.dequeued.notify_waiters();
                }
                return received;
            }
            // A message that was pushed since then left a permit.
            self.inbox.notified().await;
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.owner.lock().leave(&self.kind);
        if matches!(self.kind, SubscriptionKind::QueueMember { .. }) {
            self.owner.dequeued.notify_waiters();
            self.owner.changed.notify_one();
        }
    }
}
