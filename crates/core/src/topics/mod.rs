//! Pub/sub: messages that are delivered once to the subscribers of the moment, on every node.
//!
//! ```text
//! publish ─▶ a key of the store ─▶ feed ─▶ one task ─▶ a queue for each subscription ─▶ its socket
//! ```
//! This path is parallel to that of entries and simpler: it never uses the catalog. A message is a put on the key of its
//! topic; the store orders it and carries it to all nodes. The value stays until the next message of the topic replaces
//! it, or for ever: hound-dog leaves its own messages, because its peers receive nothing but puts. Where clients create
//! the topics, the value is attached to a lease that expires. One lease carries all messages of half its TTL, as a
//! lease for each would cost the store more than the message.
//!
//! - Messages are in the order of the store, so those of one publisher on a topic arrive in the order of sending.
//! - Each subscription receives each message once. After an interruption the feed resumes at its end. If the store has
//!   compacted that revision, the messages in between are lost: messages are no state, and no client can request them
//!   again.
//! - Each queue group delivers each message to one of its members on all nodes. The store holds the memberships next to
//!   the messages, and the same feed carries them: at the revision of a message all nodes know the same members, and
//!   each node decides by itself whether it delivers the message (`members`). No message costs an additional write.
//! - The queue of a subscription is bounded. A slow consumer is lagged ([`Received::Lagged`]) and delays no other.
//!
//! Modules: `publish`: message → store; `follow`: store → subscriptions; `subscription`, `hub` and `inbox`: the
//! subscriptions of this node, their index and their queues; `members`: the members on all nodes; `membership`: this
//! node's members in the store; here: subscribing.
//!
//! Owns all of that. Does not own: the contents of a message (the frontend's).

mod follow;
mod hub;
mod inbox;
mod members;
mod membership;
mod publish;
mod subscription;
#[cfg(test)]
mod tests;

pub use inbox::{QUEUE_BYTES, QUEUE_MAX};
pub use publish::{MESSAGE_MAX, PublishError, Recipients, TOPICS_MAX};
pub use subscription::{Message, Received, Subscription};

use hub::Hub;
use publish::MessageLease;
use skyhound_store::{LeaseId, Revision, Store};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;

/// The limit of queue groups with members on one node: all of them are attached to one lease, and are removed at one
/// revision when the node dies.
pub const QUEUES_MAX: usize = 10_000;
/// The limit for the store to accept a message or a membership, or to open the feed of messages.
pub const DEADLINE: Duration = Duration::from_secs(5);
/// The first and the longest pause before a feed that ended is opened again.
const RETRY: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(2)];

/// The feed of messages or the membership of a queue group is not available: the store is unavailable, and has been
/// since no client was subscribed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot subscribe to messages: {0}")]
pub struct SubscribeError(String);

/// The topics below one key.
pub struct Topics {
    store: Arc<dyn Store>,
    /// The key of messages for all subscribers. Those of a topic have the key `ROOT/TOPIC`.
    root: String,
    /// The name of this node for other nodes. It differs after each start, as the memberships of the earlier process have
    /// ended.
    node: String,
    hub: Mutex<Hub>,
    /// The revision up to which messages were delivered; `None` before the store was first read.
    position: watch::Sender<Option<Revision>>,
    tasks: OnceLock<[AbortHandle; 2]>,
    /// The TTL of the lease of memberships: the time for which they outlive a node that died.
    ttl: Duration,
    lease: Mutex<Option<LeaseId>>,
    /// The maximum time for which the last message of a topic stays in the store; `None`: for ever.
    retention: Option<Duration>,
    message_lease: Mutex<Option<MessageLease>>,
    /// Notified when the members here, or their memberships in the store, change.
    changed: Arc<Notify>,
    /// Notified when a message is taken out of a queue, or a member leaves.
    dequeued: Notify,
}

impl Topics {
    /// Topics below a key, which has no slash at its end. Memberships of queue groups outlive a node that died for
    /// `ttl`; the last message of a topic stays in the store for `retention`, or for ever. The store is not used before
    /// the first subscription, so that an etcd that serves other purposes pays nothing for a feature without users.
    pub fn new(
        store: Arc<dyn Store>,
        root: impl Into<String>,
        ttl: Duration,
        retention: Option<Duration>,
    ) -> Arc<Self> {
        let node = format!("{:016x}", fastrand::u64(..));
        Arc::new(Self {
            store,
            root: root.into(),
            hub: Mutex::new(Hub::new(&node)),
            node,
            position: watch::Sender::new(None),
            tasks: OnceLock::new(),
            ttl,
            lease: Mutex::default(),
            retention,
            message_lease: Mutex::default(),
            changed: Arc::default(),
            dequeued: Notify::new(),
        })
    }

    /// Subscribes to topics, in upper or lower case ([`Message::topic`] is as published), and to messages for all
    /// subscribers. After it returns, every message that the store accepts is delivered. Requires a tokio runtime.
    pub async fn subscribe(
        self: &Arc<Self>,
        topics: impl IntoIterator<Item = String>,
    ) -> Result<Subscription, SubscribeError> {
        let mut topics: Vec<String> = topics.into_iter().map(|topic| topic.to_ascii_lowercase()).collect();
        topics.sort_unstable();
        topics.dedup();
        let (kind, inbox) = self.lock().subscribe(topics.into());
        let subscription = Subscription { owner: Arc::clone(self), kind, inbox };
        self.wait_until(|_, delivered| delivered.is_some()).await?;
        Ok(subscription)
    }

    /// Adds a member to a queue group of a topic, whose members on all nodes share the messages: each is delivered to one
    /// of them. After it returns, the store and this node have the membership, so that later messages count it. Neither
    /// name may contain a slash. Requires a tokio runtime.
    pub async fn join(self: &Arc<Self>, topic: &str, queue: &str) -> Result<Subscription, SubscribeError> {
        let topic = topic.to_ascii_lowercase();
        let full = || SubscribeError(format!("members of {QUEUES_MAX} queues are here, the limit; try another daemon"));
        let (kind, inbox) = self.lock().join(&topic, queue).ok_or_else(full)?;
        let subscription = Subscription { owner: Arc::clone(self), kind, inbox };
        self.changed.notify_one();
        let queue_id = hub::queue_id(&topic, queue);
        self.wait_until(|hub, _| hub.leaving || hub.members.stored_here().contains_key(queue_id.as_str())).await?;
        let leaving = self.lock().leaving;
        if leaving { Err(SubscribeError("this daemon is stopping; try another one".into())) } else { Ok(subscription) }
    }

    /// The number of subscriptions, including the members of queue groups.
    pub fn subscriptions(&self) -> usize {
        self.lock().subscriptions()
    }

    /// Starts the tasks if necessary, and waits within [`DEADLINE`] until the predicate is true.
    async fn wait_until(
        self: &Arc<Self>,
        mut predicate: impl FnMut(&Hub, Option<Revision>) -> bool,
    ) -> Result<(), SubscribeError> {
        self.tasks.get_or_init(|| {
            let maintain = membership::maintain(Arc::downgrade(self), Arc::clone(&self.changed), self.ttl);
            let follow = follow::follow(Arc::downgrade(self));
            [tokio::spawn(follow).abort_handle(), tokio::spawn(maintain).abort_handle()]
        });
        let mut position = self.position.subscribe();
        if let Ok(Ok(_)) = timeout(DEADLINE, position.wait_for(|delivered| predicate(&self.lock(), *delivered))).await {
            return Ok(());
        }
        let hub = self.lock();
        let reason = hub.feed_error.clone().or_else(|| hub.membership_error.clone());
        Err(SubscribeError(reason.unwrap_or_else(|| format!("no response from the store within {DEADLINE:?}"))))
    }

    fn lock(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Topics {
    fn drop(&mut self) {
        for task in self.tasks.get().into_iter().flatten() {
            task.abort();
        }
    }
}

impl fmt::Debug for Topics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Topics").field("root", &self.root).finish_non_exhaustive()
    }
}
