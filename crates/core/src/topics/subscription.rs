//! Who listens here: subscriptions, queues that several of them share, and what waits for each.
//!
//! Owns: what goes to whom on this node, and how much waits. Does not own: how a message comes here, nor which node's
//! turn it is ([`super::members`]).

use super::members::Members;
use super::{QUEUE_BYTES, QUEUE_MAX, QUEUES_MAX, Topics};
use bytes::Bytes;
use skyhound_model::Revision;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tokio::sync::Notify;

/// A message.
#[derive(Debug)]
pub struct Message {
    /// Its topic; `None` for everybody.
    pub topic: Option<Box<str>>,
    /// What was published.
    pub body: Bytes,
    rendered: OnceLock<Option<Bytes>>,
}

impl Message {
    pub(super) fn new(topic: Option<&str>, body: Bytes) -> Arc<Self> {
        Arc::new(Self { topic: topic.map(Into::into), body, rendered: OnceLock::new() })
    }

    /// The message in the words of the dialect whose topics these are, written once for all of its subscriptions;
    /// `None` if it says nothing to them.
    pub fn rendered(&self, write: impl FnOnce(&Self) -> Option<Bytes>) -> Option<Bytes> {
        self.rendered.get_or_init(|| write(self)).clone()
    }
}

/// What a subscription hears.
#[derive(Debug, Clone)]
pub enum Received {
    /// A message.
    Message(Arc<Message>),
    /// More than its queue holds. Nothing more comes.
    Lagged,
}

/// One who listens. Dropping it ends that.
#[derive(Debug)]
pub struct Subscription {
    pub(super) owner: Arc<Topics>,
    pub(super) kind: SubscriptionKind,
    pub(super) inbox: Arc<Inbox>,
}

/// Where a subscription stands.
#[derive(Debug)]
pub(super) enum SubscriptionKind {
    /// By itself, with topics of its own.
    Direct { id: u64, topics: Box<[String]> },
    /// In a queue.
    QueueMember { topic: Box<str>, queue: Box<str> },
}

/// All who listen here, and who is a member of queues anywhere.
#[derive(Debug)]
pub(super) struct Hub {
    next: u64,
    /// Why messages are not heard.
    pub(super) feed_error: Option<String>,
    /// Why memberships are not written.
    pub(super) membership_error: Option<String>,
    all: BTreeMap<u64, Arc<Inbox>>,
    topics: HashMap<String, BTreeMap<u64, Arc<Inbox>>>,
    /// The queues that have members here, by topic and by name.
    queues: HashMap<Box<str>, BTreeMap<Box<str>, Queue>>,
    pub(super) members: Members,
    /// Nobody becomes a member any more, and who is one is not to be one.
    pub(super) leaving: bool,
}

/// A queue's members here. They share what waits.
#[derive(Debug)]
struct Queue {
    members: u32,
    inbox: Arc<Inbox>,
}

/// What waits for a subscription, or for the members of a queue.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    waiting: Mutex<Waiting>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    messages: VecDeque<Arc<Message>>,
    bytes: usize,
    lagged: bool,
}

impl Hub {
    pub(super) fn new(node: &str) -> Self {
        Self {
            next: 0,
            feed_error: None,
            membership_error: None,
            all: BTreeMap::new(),
            topics: HashMap::new(),
            queues: HashMap::new(),
            members: Members::new(node),
            leaving: false,
        }
    }

    /// One more who listens to these topics by himself.
    pub(super) fn subscribe(&mut self, topics: Box<[String]>) -> (SubscriptionKind, Arc<Inbox>) {
        let inbox = Arc::<Inbox>::default();
        self.next += 1;
        let id = self.next;
        self.all.insert(id, Arc::clone(&inbox));
        for topic in &topics {
            self.topics.entry(topic.clone()).or_default().insert(id, Arc::clone(&inbox));
        }
        (SubscriptionKind::Direct { id, topics }, inbox)
    }

    /// One more member of a queue; `None` when that would be one of too many queues.
    pub(super) fn join(&mut self, topic: &str, queue: &str) -> Option<(SubscriptionKind, Arc<Inbox>)> {
        let known = self.queues.get(topic).is_some_and(|queues| queues.contains_key(queue));
        if !known && self.queues.values().map(BTreeMap::len).sum::<usize>() >= QUEUES_MAX {
            return None;
        }
        let queues = self.queues.entry(topic.into()).or_default();
        let joined = queues.entry(queue.into()).or_insert_with(|| Queue { members: 0, inbox: Arc::default() });
        joined.members += 1;
        if joined.inbox.lock().lagged {
            // Those who were in it hear so and go; who comes now has missed nothing.
            joined.inbox = Arc::default();
        }
        Some((SubscriptionKind::QueueMember { topic: topic.into(), queue: queue.into() }, Arc::clone(&joined.inbox)))
    }

    fn leave(&mut self, kind: &SubscriptionKind) {
        match kind {
            SubscriptionKind::Direct { id, topics } => {
                self.all.remove(id);
                for topic in topics {
                    if let Some(inboxes) = self.topics.get_mut(topic) {
                        inboxes.remove(id);
                        if inboxes.is_empty() {
                            self.topics.remove(topic);
                        }
                    }
                }
            }
            SubscriptionKind::QueueMember { topic, queue } => {
                let Some(queues) = self.queues.get_mut(topic) else { return };
                if let Some(left) = queues.get_mut(queue) {
                    left.members -= 1;
                    if left.members == 0 {
                        queues.remove(queue);
                    }
                }
                if queues.is_empty() {
                    self.queues.remove(topic);
                }
            }
        }
    }

    /// A message to all who listen by themselves.
    pub(super) fn deliver_to_all(&self, body: Bytes) {
        let message = Message::new(None, body);
        self.all.values().for_each(|inbox| inbox.push(&message));
    }

    /// A message to those of its topic, and to the queues whose turn is this node's.
    pub(super) fn deliver(&self, topic: &str, body: Bytes, at: Revision) {
        let folded = topic.to_ascii_lowercase();
        let alone = self.topics.get(&folded).into_iter().flat_map(BTreeMap::values);
        let queues = self.queues.get(folded.as_str()).into_iter().flatten();
        let queues = queues.filter(|(name, _)| self.members.is_ours(&queue_id(&folded, name), at));
        let mut inboxes = alone.chain(queues.map(|(_, queue)| &queue.inbox)).peekable();
        if inboxes.peek().is_some() {
            let message = Message::new(Some(topic), body);
            inboxes.for_each(|inbox| inbox.push(&message));
        }
    }

    /// The queues of which the store should have another number of members here, and that number.
    pub(super) fn differences(&self) -> Vec<(String, u32)> {
        let here = self.queues.iter().filter(|_| !self.leaving);
        let here = here
            .flat_map(|(topic, queues)| queues.iter().map(move |(name, queue)| (queue_id(topic, name), queue.members)));
        let here: HashMap<String, u32> = here.collect();
        let gone = self.members.own().keys().filter(|queue| !here.contains_key(&***queue));
        let gone: Vec<_> = gone.map(|queue| (queue.to_string(), 0)).collect();
        let other = here.into_iter().filter(|(queue, count)| self.members.own().get(queue.as_str()) != Some(count));
        gone.into_iter().chain(other).collect()
    }

    /// Whether nothing waits for a member of any queue.
    pub(super) fn queues_are_empty(&self) -> bool {
        self.queues.values().flat_map(BTreeMap::values).all(|queue| queue.inbox.lock().messages.is_empty())
    }

    /// Whether nothing is remembered of those who have gone.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.topics.is_empty() && self.queues.is_empty()
    }

    /// How many listen.
    pub(super) fn subscriptions(&self) -> usize {
        let members = self.queues.values().flat_map(BTreeMap::values).map(|queue| queue.members as usize);
        self.all.len() + members.sum::<usize>()
    }
}

/// The name by which a queue is known everywhere.
pub(super) fn queue_id(topic: &str, queue: &str) -> String {
    format!("{topic}/{queue}")
}

impl Subscription {
    /// What comes next. Safe to cancel. The members of a queue take turns: who waits longest gets the next one, and who
    /// is slow gets fewer.
    pub async fn next(&mut self) -> Received {
        loop {
            if let Some(received) = self.inbox.pop() {
                if matches!(self.kind, SubscriptionKind::QueueMember { .. }) {
                    self.owner.dequeued.notify_waiters();
                }
                return received;
            }
            // What was pushed since the look left a permit.
            self.inbox.wake.notified().await;
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

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, message: &Arc<Message>) {
        let mut waiting = self.lock();
        let bytes = waiting.bytes + message.body.len();
        let lagged = waiting.lagged || waiting.messages.len() == QUEUE_MAX || bytes > QUEUE_BYTES;
        if lagged {
            *waiting = Waiting { lagged: true, ..Waiting::default() };
        } else {
            waiting.bytes = bytes;
            waiting.messages.push_back(Arc::clone(message));
        }
        drop(waiting);
        if lagged {
            // All of them: nothing more comes for any.
            self.wake.notify_waiters();
        }
        self.wake.notify_one();
    }

    pub(super) fn pop(&self) -> Option<Received> {
        let mut waiting = self.lock();
        if waiting.lagged {
            return Some(Received::Lagged);
        }
        let message = waiting.messages.pop_front()?;
        waiting.bytes -= message.body.len();
        if waiting.messages.is_empty() {
            // There may be 10,000 of them, and each heard something once.
            waiting.messages = VecDeque::new();
        }
        Some(Received::Message(message))
    }
}
