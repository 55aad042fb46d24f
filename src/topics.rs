//! Messages: said once, heard by everybody who listens at that time, on every node.
//!
//! ```text
//! publish ─▶ a key of the store ─▶ feed ─▶ one task ─▶ a queue for each subscription ─▶ its socket
//! ```
//! A second line beside that of entries, and a simpler one: it never touches the catalog. A message is a put on the
//! key of its topic; the store gives it its place in the order and takes it to all nodes. The value stays there until
//! the next message on that topic replaces it, on no lease: so hound-dog leaves its own, whose peers hear puts and
//! nothing else, and a lease for each message would cost the store more than the message does.
//!
//! - In the order of the store, so that one publisher's messages on a topic come in the order that it sent them.
//! - Each once to each subscription. After an interruption the feed goes on where it ended; if the store does not
//!   remember that far back, what was said meanwhile is lost: messages are no state, and nobody can ask for them anew.
//! - A subscription that is not read has a queue with an end ([`Heard::Behind`]), and nobody waits for it.
//!
//! Owns: topics, queues, the feed and how it is taken up again. Does not own: what a message says (the dialect's).

use crate::model::Key;
use crate::store::{Batch, COMMIT_MAX, Change, Feed, Op, Revision, Store, StoreError, Write};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
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
/// How long the store may take for a message, or to agree to tell messages.
pub const DEADLINE: Duration = Duration::from_secs(5);
/// The first and the longest pause before a feed that ended is opened again.
const RETRY: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(2)];

/// To whom a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To<'a> {
    /// To all subscriptions, whatever their topics.
    Everybody,
    /// To those of these topics; each name once, at most [`TOPICS_MAX`].
    Topics(&'a [String]),
}

/// Why a message was not published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
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
pub struct Unheard(String);

/// A message.
#[derive(Debug)]
pub struct Message {
    /// Its topic; `None` for everybody.
    pub topic: Option<Box<str>>,
    /// What was published.
    pub body: Bytes,
    said: OnceLock<Option<Bytes>>,
}

impl Message {
    /// The message in the words of the dialect whose topics these are, written once for all of its subscriptions;
    /// `None` if it says nothing to them.
    pub fn said(&self, write: impl FnOnce(&Self) -> Option<Bytes>) -> Option<Bytes> {
        self.said.get_or_init(|| write(self)).clone()
    }
}

/// What a subscription hears.
#[derive(Debug, Clone)]
pub enum Heard {
    /// A message.
    Message(Arc<Message>),
    /// More than its queue holds. Nothing more comes.
    Behind,
}

/// The topics below one key.
pub struct Topics {
    store: Arc<dyn Store>,
    /// The key of messages for everybody. Those of a topic go to `ROOT/TOPIC`.
    root: String,
    hub: Mutex<Hub>,
    /// Up to where messages were told; `None` before the store was ever asked.
    position: watch::Sender<Option<Revision>>,
    follower: OnceLock<AbortHandle>,
}

/// What a key is.
enum Place<'k> {
    /// Everybody's.
    Everybody,
    /// A topic's.
    Topic(&'k str),
    /// Others': it only begins like ours.
    Elsewhere,
}

/// One who listens. Dropping it ends that.
#[derive(Debug)]
pub struct Subscription {
    owner: Arc<Topics>,
    id: u64,
    topics: Box<[String]>,
    queue: Arc<Queue>,
}

#[derive(Debug, Default)]
struct Hub {
    next: u64,
    /// Why messages are not heard.
    lost: Option<String>,
    all: BTreeMap<u64, Arc<Queue>>,
    topics: HashMap<String, BTreeMap<u64, Arc<Queue>>>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    messages: VecDeque<Arc<Message>>,
    bytes: usize,
    behind: bool,
}

impl Topics {
    /// Topics below this key, without a slash at its end. Nothing is asked of the store before the first subscription:
    /// on an etcd for many things, who does not listen does not pay.
    pub fn new(store: Arc<dyn Store>, root: impl Into<String>) -> Arc<Self> {
        Arc::new(Self {
            store,
            root: root.into(),
            hub: Mutex::default(),
            position: watch::Sender::new(None),
            follower: OnceLock::new(),
        })
    }

    /// Publishes. When it returns, the store has the message, and every node will hear of it.
    pub async fn publish(&self, to: To<'_>, body: Bytes) -> Result<(), PublishError> {
        if body.len() > MESSAGE_MAX {
            return Err(PublishError::TooLarge(body.len()));
        }
        let keys: Vec<Key> = match to {
            To::Everybody => vec![Key::from(&self.root)],
            To::Topics(topics) => topics.iter().map(|topic| Key::from(format!("{}/{topic}", self.root))).collect(),
        };
        let put = |key: &Key| Write {
            guards: Vec::new(),
            ops: vec![Op::Put { key: key.clone(), value: body.clone(), lease: None }],
        };
        // Each put has a copy of its own on the way to etcd.
        let each = (MESSAGE_MAX / body.len().max(1)).clamp(1, COMMIT_MAX);
        for keys in keys.chunks(each) {
            let commit = self.store.commit(keys.iter().map(put).collect());
            match timeout(DEADLINE, commit).await {
                Ok(Ok(_)) => {}
                Ok(Err(StoreError::Rejected(why))) => return Err(PublishError::Rejected(why)),
                Ok(Err(error)) => return Err(PublishError::Unavailable(error.to_string())),
                Err(_) => return Err(PublishError::Unavailable(format!("not within {DEADLINE:?}"))),
            }
        }
        Ok(())
    }

    /// A subscription to these topics, in any case ([`Message::topic`] says in which), and to what goes to everybody. When it returns, every message that
    /// the store takes from now on will be heard. Within a tokio runtime.
    pub async fn subscribe(
        self: &Arc<Self>,
        topics: impl IntoIterator<Item = String>,
    ) -> Result<Subscription, Unheard> {
        let weak = Arc::downgrade(self);
        self.follower.get_or_init(|| tokio::spawn(follow(weak)).abort_handle());
        let subscription = self.enter(topics);
        let mut position = self.position.subscribe();
        match timeout(DEADLINE, position.wait_for(Option::is_some)).await {
            Ok(Ok(_)) => Ok(subscription),
            _ => Err(Unheard(self.lock().lost.clone().unwrap_or_else(|| format!("not within {DEADLINE:?}")))),
        }
    }

    /// How many listen.
    pub fn subscriptions(&self) -> usize {
        self.lock().all.len()
    }

    fn enter(self: &Arc<Self>, topics: impl IntoIterator<Item = String>) -> Subscription {
        let mut topics: Vec<String> = topics.into_iter().map(|topic| topic.to_ascii_lowercase()).collect();
        topics.sort_unstable();
        topics.dedup();
        let queue = Arc::<Queue>::default();
        let mut hub = self.lock();
        hub.next += 1;
        let id = hub.next;
        hub.all.insert(id, Arc::clone(&queue));
        for topic in &topics {
            hub.topics.entry(topic.clone()).or_default().insert(id, Arc::clone(&queue));
        }
        Subscription { owner: Arc::clone(self), id, topics: topics.into(), queue }
    }

    /// A feed that goes on where the last one ended, or from now on.
    async fn open(&self) -> Result<Feed, StoreError> {
        let told = *self.position.borrow();
        if let Some(after) = told {
            match self.store.feed(self.root.as_bytes(), after).await {
                Err(StoreError::Compacted(_)) => {}
                // Its history is another one: it was restored from a backup.
                Err(StoreError::FeedLost(_)) if self.store.status().await?.revision < after => {}
                other => return other,
            }
            warn!(root = self.root, after = after.0, "the store does not remember the last messages: some are lost");
        }
        let now = self.store.status().await?.revision;
        let feed = self.store.feed(self.root.as_bytes(), now).await?;
        self.position.send_replace(Some(now));
        Ok(feed)
    }

    fn tell(&self, batch: &Batch) {
        let hub = self.lock();
        for change in &batch.changes {
            // What is removed says nothing.
            let Change::Put(item) = change else { continue };
            let (topic, queues) = match self.place(&item.key) {
                Place::Everybody => (None, Some(&hub.all)),
                Place::Topic(topic) => (Some(topic), hub.topics.get(&topic.to_ascii_lowercase())),
                Place::Elsewhere => continue,
            };
            let Some(queues) = queues else { continue };
            let (topic, body) = (topic.map(Into::into), item.value.clone());
            let message = Arc::new(Message { topic, body, said: OnceLock::new() });
            for queue in queues.values() {
                queue.push(&message);
            }
        }
        drop(hub);
        self.position.send_replace(Some(batch.revision));
    }

    fn place<'k>(&self, key: &'k Key) -> Place<'k> {
        let rest = key.as_bytes().strip_prefix(self.root.as_bytes()).map(std::str::from_utf8);
        match rest {
            Some(Ok("")) => Place::Everybody,
            Some(Ok(rest)) => match rest.strip_prefix('/') {
                Some("") | None => Place::Elsewhere,
                Some(topic) => Place::Topic(topic),
            },
            Some(Err(_)) | None => Place::Elsewhere,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Topics {
    fn drop(&mut self) {
        if let Some(follower) = self.follower.get() {
            follower.abort();
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
    let [least, most] = RETRY;
    let mut pause = least;
    while let Some(strong) = topics.upgrade() {
        let opened = strong.open().await;
        let error = match opened {
            Ok(feed) => {
                pause = least;
                if strong.lock().lost.take().is_some() {
                    info!(root = strong.root, "messages are heard again");
                }
                drop(strong);
                deliver(&topics, feed).await
            }
            Err(error) => error,
        };
        let Some(strong) = topics.upgrade() else { return };
        if strong.lock().lost.replace(error.to_string()).is_none() {
            warn!(root = strong.root, %error, "messages are not heard for now");
        } else {
            debug!(root = strong.root, %error, "messages are still not heard");
        }
        drop(strong);
        sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        pause = (pause * 2).min(most);
    }
}

/// Tells what a feed tells, until it ends.
async fn deliver(topics: &Weak<Topics>, mut feed: Feed) -> StoreError {
    loop {
        match (feed.next().await, topics.upgrade()) {
            (Ok(batch), Some(topics)) => topics.tell(&batch),
            (Ok(_), None) => return StoreError::FeedLost("nobody listens any more".into()),
            (Err(error), _) => return error,
        }
    }
}

impl Subscription {
    /// What comes next. Safe to cancel.
    pub async fn next(&mut self) -> Heard {
        loop {
            if let Some(heard) = self.queue.pop() {
                return heard;
            }
            // What was pushed since the look left a permit.
            self.queue.news.notified().await;
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut hub = self.owner.lock();
        hub.all.remove(&self.id);
        for topic in &self.topics {
            if let Some(queues) = hub.topics.get_mut(topic) {
                queues.remove(&self.id);
                if queues.is_empty() {
                    hub.topics.remove(topic);
                }
            }
        }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, message: &Arc<Message>) {
        let mut waiting = self.lock();
        let bytes = waiting.bytes + message.body.len();
        if waiting.behind || waiting.messages.len() == QUEUE_MAX || bytes > QUEUE_BYTES {
            *waiting = Waiting { behind: true, ..Waiting::default() };
        } else {
            waiting.bytes = bytes;
            waiting.messages.push_back(Arc::clone(message));
        }
        drop(waiting);
        self.news.notify_one();
    }

    fn pop(&self) -> Option<Heard> {
        let mut waiting = self.lock();
        if waiting.behind {
            return Some(Heard::Behind);
        }
        let message = waiting.messages.pop_front()?;
        waiting.bytes -= message.body.len();
        if waiting.messages.is_empty() {
            // There may be 10,000 of them, and each heard something once.
            waiting.messages = VecDeque::new();
        }
        Some(Heard::Message(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::embedded::Embedded;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn topics() -> (Arc<Embedded>, Arc<Topics>) {
        let store = Arc::new(Embedded::in_memory().unwrap());
        (Arc::clone(&store), Topics::new(store, "event"))
    }

    async fn subscribe(topics: &Arc<Topics>, to: &[&str]) -> Subscription {
        topics.subscribe(to.iter().map(ToString::to_string)).await.unwrap()
    }

    async fn publish(topics: &Topics, to: &[&str], body: &str) {
        let names: Vec<_> = to.iter().map(ToString::to_string).collect();
        let to = if names.is_empty() { To::Everybody } else { To::Topics(&names) };
        topics.publish(to, Bytes::copy_from_slice(body.as_bytes())).await.unwrap();
    }

    async fn heard(subscription: &mut Subscription) -> (String, String) {
        match timeout(PATIENCE, subscription.next()).await.expect("a message in time") {
            Heard::Message(message) => {
                let topic = message.topic.as_deref().unwrap_or("*").to_owned();
                (topic, String::from_utf8(message.body.to_vec()).unwrap())
            }
            Heard::Behind => panic!("behind"),
        }
    }

    fn said(topic: &str, body: &str) -> (String, String) {
        (topic.to_owned(), body.to_owned())
    }

    #[tokio::test]
    async fn each_message_comes_once_in_order_to_whom_it_concerns() {
        let (_, topics) = topics();
        let mut both = subscribe(&topics, &["a", "B", "a"]).await;
        let mut one = subscribe(&topics, &["c"]).await;
        publish(&topics, &["a"], "1").await;
        publish(&topics, &["a"], "2").await;
        publish(&topics, &["c", "b", "nobody"], "3").await;
        publish(&topics, &[], "4").await;
        for (topic, body) in [("a", "1"), ("a", "2"), ("b", "3"), ("*", "4")] {
            assert_eq!(heard(&mut both).await, said(topic, body));
        }
        assert_eq!(heard(&mut one).await, said("c", "3"));
        assert_eq!(heard(&mut one).await, said("*", "4"));
        drop((both, one));
        assert!(topics.subscriptions() == 0 && topics.lock().topics.is_empty());
    }

    #[tokio::test]
    async fn keys_that_only_begin_like_ours_say_nothing() {
        let (store, topics) = topics();
        let mut all = subscribe(&topics, &["a"]).await;
        for key in ["eventual", "event/", "event/b", "event/a/b"] {
            let ops = vec![Op::Put { key: Key::from(key), value: Bytes::from("no"), lease: None }];
            store.commit(vec![Write { guards: vec![], ops }]).await.unwrap();
        }
        let ops = vec![Op::Delete { key: Key::from("event/b") }];
        store.commit(vec![Write { guards: vec![], ops }]).await.unwrap();
        publish(&topics, &["A"], "yes").await;
        assert_eq!(heard(&mut all).await, said("A", "yes"));
    }

    #[tokio::test]
    async fn who_does_not_read_is_told_so_and_nobody_waits() {
        let (_, topics) = topics();
        let (mut slow, mut quick) = (subscribe(&topics, &["a"]).await, subscribe(&topics, &["a"]).await);
        for at in 0..=QUEUE_MAX {
            publish(&topics, &["a"], &at.to_string()).await;
            assert_eq!(heard(&mut quick).await.1, at.to_string());
        }
        assert!(matches!(slow.next().await, Heard::Behind));
        let mut slow = subscribe(&topics, &["a"]).await;
        let long = "x".repeat(MESSAGE_MAX);
        for _ in 0..=QUEUE_BYTES / MESSAGE_MAX {
            publish(&topics, &["a"], &long).await;
            heard(&mut quick).await;
        }
        assert!(matches!(slow.next().await, Heard::Behind), "by bytes");
    }

    #[tokio::test]
    async fn a_message_is_whole_or_refused() {
        let (_, topics) = topics();
        let mut all = subscribe(&topics, &["a"]).await;
        let over = Bytes::from(vec![b'x'; MESSAGE_MAX + 1]);
        assert_eq!(topics.publish(To::Everybody, over).await, Err(PublishError::TooLarge(MESSAGE_MAX + 1)));
        publish(&topics, &["b", "a"], &"x".repeat(MESSAGE_MAX)).await;
        assert_eq!(heard(&mut all).await.1.len(), MESSAGE_MAX);
    }

    #[tokio::test]
    async fn a_history_that_is_gone_is_gone_on_from() {
        let (_, topics) = topics();
        let mut all = subscribe(&topics, &["a"]).await;
        // As after a restore: the store is before what was told.
        topics.position.send_replace(Some(Revision(1_000_000)));
        let mut feed = topics.open().await.unwrap();
        assert_eq!(*topics.position.borrow(), Some(Revision(0)));
        publish(&topics, &["a"], "1").await;
        assert_eq!(timeout(PATIENCE, feed.next()).await.unwrap().unwrap().changes.len(), 1);
        assert_eq!(heard(&mut all).await.1, "1");
    }
}
