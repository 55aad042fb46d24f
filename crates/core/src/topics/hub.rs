//! The subscriptions of this node by topic and queue group, and the delivery of a message to them.
//!
//! Owns: that index. Does not own: the queues ([`super::inbox`]), the feed ([`super::follow`]), the choice of the node
//! that delivers a message of a queue group ([`super::members`]).

use super::QUEUES_MAX;
use super::inbox::Inbox;
use super::members::Members;
use super::subscription::{Message, SubscriptionKind};
use bytes::Bytes;
use skyhound_store::Revision;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// All subscriptions of this node, and the members of queue groups on all nodes.
#[derive(Debug)]
pub(super) struct Hub {
    last_id: u64,
    /// The reason that no messages are received.
    pub(super) feed_error: Option<String>,
    /// The reason that memberships are not stored.
    pub(super) membership_error: Option<String>,
    all: BTreeMap<u64, Arc<Inbox>>,
    topics: HashMap<String, BTreeMap<u64, Arc<Inbox>>>,
    /// The queue groups with members here, by topic and by name.
    queues: HashMap<Box<str>, BTreeMap<Box<str>, Queue>>,
    pub(super) members: Members,
    /// True during the shutdown: no member is added, and the memberships of all members are removed.
    pub(super) leaving: bool,
}

/// The members of a queue group on this node. They share one inbox.
#[derive(Debug, Default)]
struct Queue {
    members: u32,
    inbox: Arc<Inbox>,
}

impl Hub {
    pub(super) fn new(node: &str) -> Self {
        Self {
            last_id: 0,
            feed_error: None,
            membership_error: None,
            all: BTreeMap::new(),
            topics: HashMap::new(),
            queues: HashMap::new(),
            members: Members::new(node),
            leaving: false,
        }
    }

    /// Adds a subscription with topics of its own.
    pub(super) fn subscribe(&mut self, topics: Box<[String]>) -> (SubscriptionKind, Arc<Inbox>) {
        let inbox = Arc::<Inbox>::default();
        self.last_id += 1;
        let id = self.last_id;
        self.all.insert(id, Arc::clone(&inbox));
        for topic in &topics {
            self.topics.entry(topic.clone()).or_default().insert(id, Arc::clone(&inbox));
        }
        (SubscriptionKind::Direct { id, topics }, inbox)
    }

    /// Adds a member of a queue group; `None` if that would exceed the limit of queue groups.
    pub(super) fn join(&mut self, topic: &str, queue: &str) -> Option<(SubscriptionKind, Arc<Inbox>)> {
        let exists = self.queues.get(topic).is_some_and(|queues| queues.contains_key(queue));
        if !exists && self.queues.values().map(BTreeMap::len).sum::<usize>() >= QUEUES_MAX {
            return None;
        }
        let joined = self.queues.entry(topic.into()).or_default().entry(queue.into()).or_default();
        joined.members += 1;
        if joined.inbox.is_lagged() {
            // The earlier members receive that they lagged, and leave; the new member has missed nothing.
            joined.inbox = Arc::default();
        }
        Some((SubscriptionKind::QueueMember { topic: topic.into(), queue: queue.into() }, Arc::clone(&joined.inbox)))
    }

    /// Removes a subscription that ended.
    pub(super) fn leave(&mut self, kind: &SubscriptionKind) {
        match kind {
            SubscriptionKind::Direct { id, topics } => {
                self.all.remove(id);
                topics.iter().for_each(|topic| self.remove_direct(*id, topic));
            }
            SubscriptionKind::QueueMember { topic, queue } => self.remove_member(topic, queue),
        }
    }

    fn remove_direct(&mut self, id: u64, topic: &str) {
        let Some(inboxes) = self.topics.get_mut(topic) else { return };
        inboxes.remove(&id);
        if inboxes.is_empty() {
            self.topics.remove(topic);
        }
    }

    fn remove_member(&mut self, topic: &str, queue: &str) {
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

    /// Delivers a message to all subscriptions except the members of queue groups.
    pub(super) fn deliver_to_all(&self, body: Bytes) {
        let message = Message::new(None, body);
        self.all.values().for_each(|inbox| inbox.push(&message));
    }

    /// Delivers a message to the subscriptions of its topic, and to the queue groups for which this node delivers it.
    pub(super) fn deliver(&self, topic: &str, body: Bytes, at: Revision) {
        let folded = topic.to_ascii_lowercase();
        let direct = self.topics.get(&folded).into_iter().flat_map(BTreeMap::values);
        let queues = self.queues.get(folded.as_str()).into_iter().flatten();
        let queues = queues.filter(|(name, _)| self.members.delivers_here(&queue_id(&folded, name), at));
        let mut inboxes = direct.chain(queues.map(|(_, queue)| &queue.inbox)).peekable();
        if inboxes.peek().is_some() {
            let message = Message::new(Some(topic), body);
            inboxes.for_each(|inbox| inbox.push(&message));
        }
    }

    /// The queue groups whose number of members here differs from the store's, and that number.
    pub(super) fn differences(&self) -> Vec<(String, u32)> {
        let stored = self.members.stored_here();
        let queues = self.queues.iter().filter(|_| !self.leaving);
        let here: HashMap<String, u32> = queues
            .flat_map(|(topic, queues)| queues.iter().map(move |(name, queue)| (queue_id(topic, name), queue.members)))
            .collect();
        let removed = stored.keys().filter(|queue| !here.contains_key(&***queue));
        let removed: Vec<_> = removed.map(|queue| (queue.to_string(), 0)).collect();
        let changed = here.into_iter().filter(|(queue, count)| stored.get(queue.as_str()) != Some(count));
        removed.into_iter().chain(changed).collect()
    }

    /// Returns whether no message waits for a member of any queue group.
    pub(super) fn queues_are_empty(&self) -> bool {
        self.queues.values().flat_map(BTreeMap::values).all(|queue| queue.inbox.is_empty())
    }

    /// Returns whether no topic and no queue group of an ended subscription remains.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.topics.is_empty() && self.queues.is_empty()
    }

    /// The number of subscriptions, including the members of queue groups.
    pub(super) fn subscriptions(&self) -> usize {
        let members = self.queues.values().flat_map(BTreeMap::values).map(|queue| queue.members as usize);
        self.all.len() + members.sum::<usize>()
    }
}

/// The name of a queue group on all nodes.
pub(super) fn queue_id(topic: &str, queue: &str) -> String {
    format!("{topic}/{queue}")
}
