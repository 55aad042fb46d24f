//! Messages: said once, heard by everybody who listens at that time, on every node.
//!
//! ```text
//! publish ─▶ a key of the store ─▶ feed ─▶ one task ─▶ a line for each subscription ─▶ its socket
//! ```
//! A second line beside that of entries, and a simpler one: it never touches the catalog. A message is a put on the
//! key of its topic; the store gives it its place in the order and takes it to all nodes. The value stays there until
//! the next message on that topic replaces it, or for ever: so hound-dog leaves its own, whose peers hear puts and
//! nothing else. Where topics are of the clients' making, it hangs on a lease that runs out; one for all messages of half
//! that time, as a lease for each would cost the store more than the message does.
//!
//! - In the order of the store, so that one publisher's messages on a topic come in the order that it sent them.
//! - Each once to each subscription. After an interruption the feed goes on where it ended; if the store does not
//!   remember that far back, what was said meanwhile is lost: messages are no state, and nobody can ask for them anew.
//! - Each to one member of each queue, of all members on all nodes. Who is a member stands in the store beside the
//!   messages, and comes by the same feed: at a message's revision all nodes know the same members, and each can tell
//!   by itself whether the message is its own (`members`). No message costs a write more for that.
//! - A subscription that is not read has a line with an end ([`Received::Lagged`]), and nobody waits for it.
//!
//! - `subscription`: who listens here, and what waits for whom; `members`: who is a member anywhere, and whose turn it is;
//! - `presence`: our members in the store; here: publishing, the feed and how it is taken up again.
//!
//! Owns all of that. Does not own: what a message says (the dialect's).

mod members;
mod presence;
mod subscription;
#[cfg(test)]
mod tests;

pub use subscription::{Message, Received, Subscription};

use bytes::Bytes;
use presence::MEMBERS;
use skyhound_base::Backoff;
use skyhound_model::Key;
use skyhound_store::{Batch, COMMIT_MAX, Change, Feed, LeaseId, Op, Revision, Store, StoreError, Write};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;
use subscription::Hub;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

/// The longest message, in bytes. etcd takes requests of 1.5 MiB, all in all, unless it is told otherwise.
pub const MESSAGE_MAX: usize = 1024 * 1024;
/// The most topics that one message goes to: one commit, unless the message is long.
pub const TOPICS_MAX: usize = COMMIT_MAX;
/// The most messages that wait for a subscription.
pub const QUEUE_MAX: usize = 1024;
/// The most bytes of messages that wait for a subscription. All subscriptions share a message, but the slowest
/// decides how long it is kept.
pub const QUEUE_BYTES: usize = 4 * MESSAGE_MAX;
/// The most queues that have members on one node: they hang on one lease, and go at one revision when the node dies.
pub const QUEUES_MAX: usize = 10_000;
/// How long the store may take for a message or a membership, or to agree to tell messages.
pub const DEADLINE: Duration = Duration::from_secs(5);
/// The first and the longest pause before a feed that ended is opened again.
const RETRY: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(2)];

/// To whom a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recipients<'a> {
    /// To all subscriptions, whatever their topics.
    All,
    /// To those of these topics; each name once, at most [`TOPICS_MAX`].
    Topics(&'a [String]),
}

/// Why a message was not published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Over [`MESSAGE_MAX`].
    #[error("the message is {0} bytes; {MESSAGE_MAX} is the most")]
    TooLarge(usize),
    /// The store is away or slow. It may have the message all the same, or a part of the topics may have it.
    #[error("the store does not answer: {0}")]
    Unavailable(String),
    /// The store cannot take it.
    #[error("{0}")]
    Rejected(String),
}

/// The store does not tell messages: it is away, and was since nobody listened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("messages cannot be heard: {0}")]
pub struct SubscribeError(String);

/// The topics below one key.
pub struct Topics {
    store: Arc<dyn Store>,
    /// The key of messages for everybody. Those of a topic go to `ROOT/TOPIC`.
    root: String,
    /// How other nodes call this one: another name after each start, as what it was a member of before is over.
    node: String,
    hub: Mutex<Hub>,
    /// Up to where messages were told; `None` before the store was ever asked.
    position: watch::Sender<Option<Revision>>,
    tasks: OnceLock<[AbortHandle; 2]>,
    /// The term of the lease that memberships hang on: so long they outlive a node that died.
    ttl: Duration,
    lease: Mutex<Option<LeaseId>>,
    /// How long the last message of a topic stays in the store, at the most; `None`: for ever.
    retention: Option<Duration>,
    /// The lease that messages hang on now, and since when. Nobody keeps it alive.
    message_lease_slot: Mutex<Option<(LeaseId, Instant)>>,
    /// The members here, or what the store has of them, changed.
    changed: Arc<Notify>,
    /// A message was taken out of a queue, or a member left.
    dequeued: Notify,
}

/// What a key is.
enum KeyKind<'k> {
    /// Everybody's.
    Everybody,
    /// A topic's.
    Topic(&'k str),
    /// A node's, with its membership of a queue.
    Membership(&'k str, &'k str),
    /// Others': it only begins like ours.
    Other,
}

impl Topics {
    /// Topics below this key, without a slash at its end; memberships of queues outlive a node that died for a term,
    /// and the last message of a topic stays in the store for as long as it is kept, or for ever. Nothing is asked of the
    /// store before the first subscription: on an etcd for many things, who does not listen does not pay.
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
            message_lease_slot: Mutex::default(),
            changed: Arc::default(),
            dequeued: Notify::new(),
        })
    }

    /// Publishes. When it returns, the store has the message, and every node will hear of it.
    pub async fn publish(&self, to: Recipients<'_>, body: Bytes) -> Result<(), PublishError> {
        if body.len() > MESSAGE_MAX {
            return Err(PublishError::TooLarge(body.len()));
        }
        let keys: Vec<Key> = match to {
            Recipients::All => vec![Key::from(&self.root)],
            Recipients::Topics(topics) => {
                topics.iter().map(|topic| Key::from(format!("{}/{topic}", self.root))).collect()
            }
        };
        // Each put has a copy of its own on the way to etcd.
        let each = (MESSAGE_MAX / body.len().max(1)).clamp(1, COMMIT_MAX);
        for keys in keys.chunks(each) {
            match timeout(DEADLINE, self.put(keys, &body)).await {
                Ok(Ok(())) => {}
                Ok(Err(StoreError::Rejected(reason))) => return Err(PublishError::Rejected(reason)),
                Ok(Err(error)) => return Err(PublishError::Unavailable(error.to_string())),
                Err(_) => return Err(PublishError::Unavailable(format!("not within {DEADLINE:?}"))),
            }
        }
        Ok(())
    }

    async fn put(&self, keys: &[Key], body: &Bytes) -> Result<(), StoreError> {
        match self.put_on(self.message_lease().await?, keys, body).await {
            // It ran out, or another history never had it. Nothing was put.
            Err(StoreError::LeaseNotFound) => {
                self.message_lease_slot().take();
                self.put_on(self.message_lease().await?, keys, body).await
            }
            done => done,
        }
    }

    async fn put_on(&self, lease: Option<LeaseId>, keys: &[Key], body: &Bytes) -> Result<(), StoreError> {
        let put = |key: &Key| Op::Put { key: key.clone(), value: body.clone(), lease };
        let writes = keys.iter().map(|key| Write { guards: Vec::new(), ops: vec![put(key)] });
        self.store.commit(writes.collect()).await.map(drop)
    }

    /// The lease for a message of now.
    async fn message_lease(&self) -> Result<Option<LeaseId>, StoreError> {
        let Some(retention) = self.retention else { return Ok(None) };
        let fresh = self.message_lease_slot().filter(|(_, since)| since.elapsed() < retention / 2);
        if let Some((lease, _)) = fresh {
            return Ok(Some(lease));
        }
        // Two who come here at once have one each: the other one runs out all the same.
        let lease = self.store.grant(retention).await?;
        *self.message_lease_slot() = Some((lease, Instant::now()));
        Ok(Some(lease))
    }

    fn message_lease_slot(&self) -> MutexGuard<'_, Option<(LeaseId, Instant)>> {
        self.message_lease_slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A subscription to these topics, in any case ([`Message::topic`] says in which), and to what goes to everybody.
    /// When it returns, every message that the store takes from now on will be heard. Within a tokio runtime.
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

    /// One more member of a topic's queue, whose members on all nodes get each message once. When it returns, the store
    /// and this node know of the membership, so that messages from now on count on it. Neither name may have a slash.
    /// Within a tokio runtime.
    pub async fn join(self: &Arc<Self>, topic: &str, queue: &str) -> Result<Subscription, SubscribeError> {
        let topic = topic.to_ascii_lowercase();
        let full = || SubscribeError(format!("there are members of {QUEUES_MAX} queues here, and that is the most"));
        let (kind, inbox) = self.lock().join(&topic, queue).ok_or_else(full)?;
        let subscription = Subscription { owner: Arc::clone(self), kind, inbox };
        self.changed.notify_one();
        let queue_id = subscription::queue_id(&topic, queue);
        self.wait_until(|hub, _| hub.leaving || hub.members.own().contains_key(queue_id.as_str())).await?;
        let leaving = self.lock().leaving;
        if leaving { Err(SubscribeError("this daemon is stopping".into())) } else { Ok(subscription) }
    }

    /// How many listen.
    pub fn subscriptions(&self) -> usize {
        self.lock().subscriptions()
    }

    /// Follows the store, and waits until that has brought something about.
    async fn wait_until(
        self: &Arc<Self>,
        mut predicate: impl FnMut(&Hub, Option<Revision>) -> bool,
    ) -> Result<(), SubscribeError> {
        self.tasks.get_or_init(|| {
            let maintain = presence::maintain(Arc::downgrade(self), Arc::clone(&self.changed), self.ttl);
            [tokio::spawn(follow(Arc::downgrade(self))).abort_handle(), tokio::spawn(maintain).abort_handle()]
        });
        let mut position = self.position.subscribe();
        if let Ok(Ok(_)) = timeout(DEADLINE, position.wait_for(|delivered| predicate(&self.lock(), *delivered))).await {
            return Ok(());
        }
        let hub = self.lock();
        let reason = hub.feed_error.clone().or_else(|| hub.membership_error.clone());
        Err(SubscribeError(reason.unwrap_or_else(|| format!("not within {DEADLINE:?}"))))
    }

    /// A feed that goes on where the last one ended, or from now on.
    async fn open(&self) -> Result<Feed, StoreError> {
        let delivered = *self.position.borrow();
        if let Some(after) = delivered {
            match self.store.feed(self.root.as_bytes(), after).await {
                Err(StoreError::Compacted(_)) => {}
                // Its history is another one: it was restored from a backup.
                Err(StoreError::FeedLost(_)) if self.store.status().await?.revision < after => {}
                other => return other,
            }
            warn!(root = self.root, after = after.0, "the store does not remember the last messages: some are lost");
        }
        // In a store of one, a node of another name is this one before it was started again.
        let alone = self.store.status().await?.member.is_none();
        let now = self.store.list(format!("{}{MEMBERS}", self.root).as_bytes()).await?;
        let feed = self.store.feed(self.root.as_bytes(), now.revision).await?;
        let mut hub = self.lock();
        hub.members.clear();
        for item in &now.items {
            if let KeyKind::Membership(queue, node) = self.key_kind(&item.key)
                && (!alone || node == self.node)
            {
                hub.members.set(queue, node, members::count(item));
            }
        }
        drop(hub);
        self.position.send_replace(Some(now.revision));
        self.changed.notify_one();
        Ok(feed)
    }

    fn deliver(&self, batch: &Batch) {
        let mut hub = self.lock();
        let mut ours = false;
        for change in &batch.changes {
            match change {
                Change::Put(item) => match self.key_kind(&item.key) {
                    KeyKind::Everybody => hub.deliver_to_all(item.value.clone()),
                    KeyKind::Topic(topic) => hub.deliver(topic, item.value.clone(), batch.revision),
                    KeyKind::Membership(queue, node) => ours |= hub.members.set(queue, node, members::count(item)),
                    KeyKind::Other => {}
                },
                // A topic's that is removed says nothing.
                Change::Delete(key) => {
                    if let KeyKind::Membership(queue, node) = self.key_kind(key) {
                        ours |= hub.members.set(queue, node, 0);
                    }
                }
            }
        }
        drop(hub);
        self.position.send_replace(Some(batch.revision));
        if ours {
            self.changed.notify_one();
        }
    }

    fn key_kind<'k>(&self, key: &'k Key) -> KeyKind<'k> {
        let rest = key.as_bytes().strip_prefix(self.root.as_bytes()).map(str::from_utf8);
        let Some(Ok(rest)) = rest else { return KeyKind::Other };
        if let Some(membership) = rest.strip_prefix(MEMBERS) {
            return membership
                .rsplit_once('/')
                .map_or(KeyKind::Other, |(queue, node)| KeyKind::Membership(queue, node));
        }
        match rest.strip_prefix('/') {
            None if rest.is_empty() => KeyKind::Everybody,
            Some("") | None => KeyKind::Other,
            Some(topic) => KeyKind::Topic(topic),
        }
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

/// Follows the store as long as anybody has the topics.
async fn follow(topics: Weak<Topics>) {
    let [min, max] = RETRY;
    let mut backoff = Backoff::new(min, max);
    while let Some(strong) = topics.upgrade() {
        let opened = strong.open().await;
        let error = match opened {
            Ok(feed) => {
                backoff.reset();
                if strong.lock().feed_error.take().is_some() {
                    info!(root = strong.root, "messages are heard again");
                }
                drop(strong);
                deliver_feed(&topics, feed).await
            }
            Err(error) => error,
        };
        let Some(strong) = topics.upgrade() else { return };
        if strong.lock().feed_error.replace(error.to_string()).is_none() {
            warn!(root = strong.root, %error, "messages are not heard for now");
        } else {
            debug!(root = strong.root, %error, "messages are still not heard");
        }
        drop(strong);
        tokio::time::sleep(backoff.next_delay()).await;
    }
}

/// Tells what a feed tells, until it ends.
async fn deliver_feed(topics: &Weak<Topics>, mut feed: Feed) -> StoreError {
    loop {
        match (feed.next().await, topics.upgrade()) {
            (Ok(batch), Some(topics)) => topics.deliver(&batch),
            (Ok(_), None) => return StoreError::FeedLost("nobody listens any more".into()),
            (Err(error), _) => return error,
        }
    }
}
