//! The task that follows the store and delivers messages and memberships to the hub.
//!
//! | the last feed ended | the next feed starts |
//! |---|---|
//! | never opened | now, after a listing of the memberships |
//! | the store has its revision | at its end: no message is lost |
//! | its revision is compacted | now: the messages in between are lost |
//! | its revision is above the store's (restored from a backup) | now |
//!
//! Owns: the feed, its retries, and the meaning of the keys. Does not own: the delivery on this node
//! ([`super::hub`]).

use super::membership::MEMBERS;
use super::{RETRY, Topics, members};
use skyhound_base::Backoff;
use skyhound_model::Key;
use skyhound_store::{Batch, Change, Feed, StoreError};
use std::sync::Weak;
use tracing::{debug, info, warn};

/// The meaning of a key.
enum KeyKind<'k> {
    /// A message for all subscribers.
    Broadcast,
    /// A message of a topic.
    Topic(&'k str),
    /// A node's membership of a queue group.
    Membership { queue: &'k str, node: &'k str },
    /// A key of another purpose that begins like the root.
    Other,
}

/// Follows the store until the topics are dropped.
pub(super) async fn follow(topics: Weak<Topics>) {
    let [min, max] = RETRY;
    let mut backoff = Backoff::new(min, max);
    while let Some(strong) = topics.upgrade() {
        let opened = strong.open().await;
        let error = match opened {
            Ok(feed) => {
                backoff.reset();
                if strong.lock().feed_error.take().is_some() {
                    info!(root = strong.root, "receiving messages again");
                }
                drop(strong);
                deliver_feed(&topics, feed).await
            }
            Err(error) => error,
        };
        let Some(strong) = topics.upgrade() else { return };
        if strong.lock().feed_error.replace(error.to_string()).is_none() {
            warn!(root = strong.root, %error, "lost the feed of messages; they are delivered once it is open again");
        } else {
            debug!(root = strong.root, %error, "still cannot open the feed of messages");
        }
        drop(strong);
        tokio::time::sleep(backoff.next_delay()).await;
    }
}

/// Delivers the batches of a feed until it ends.
async fn deliver_feed(topics: &Weak<Topics>, mut feed: Feed) -> StoreError {
    loop {
        match (feed.next().await, topics.upgrade()) {
            (Ok(batch), Some(topics)) => topics.deliver(&batch),
            (Ok(_), None) => return StoreError::FeedLost("the topics were dropped".into()),
            (Err(error), _) => return error,
        }
    }
}

impl Topics {
    /// Opens a feed by the table in the header.
    pub(super) async fn open(&self) -> Result<Feed, StoreError> {
        let delivered = *self.position.borrow();
        let Some(after) = delivered else { return self.open_now().await };
        match self.store.feed(self.root.as_bytes(), after).await {
            Err(StoreError::Compacted(_)) => {}
            Err(StoreError::FeedLost(_)) if self.store.status().await?.revision < after => {}
            other => return other,
        }
        warn!(
            root = self.root,
            after = after.0,
            "the store does not have the last revision; messages since it are lost"
        );
        self.open_now().await
    }

    /// Lists the memberships and opens a feed at the revision of the listing.
    async fn open_now(&self) -> Result<Feed, StoreError> {
        // A store without members has one node: a membership of another name is of this node's earlier process.
        let alone = self.store.status().await?.member.is_none();
        let now = self.store.list(format!("{}{MEMBERS}", self.root).as_bytes()).await?;
        let feed = self.store.feed(self.root.as_bytes(), now.revision).await?;
        let mut hub = self.lock();
        hub.members.clear();
        for item in &now.items {
            if let KeyKind::Membership { queue, node } = self.key_kind(&item.key)
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
        let mut memberships_changed = false;
        for change in &batch.changes {
            let (key, put) = match change {
                Change::Put(item) => (&item.key, Some(item)),
                Change::Delete(key) => (key, None),
            };
            match (self.key_kind(key), put) {
                (KeyKind::Broadcast, Some(item)) => hub.deliver_to_all(item.value.clone()),
                (KeyKind::Topic(topic), Some(item)) => hub.deliver(topic, item.value.clone(), batch.revision),
                (KeyKind::Membership { queue, node }, put) => {
                    memberships_changed |= hub.members.set(queue, node, put.map_or(0, members::count));
                }
                // The removal of a message is no message.
                (KeyKind::Broadcast | KeyKind::Topic(_), None) | (KeyKind::Other, _) => {}
            }
        }
        drop(hub);
        self.position.send_replace(Some(batch.revision));
        if memberships_changed {
            self.changed.notify_one();
        }
    }

    fn key_kind<'k>(&self, key: &'k Key) -> KeyKind<'k> {
        let rest = key.as_bytes().strip_prefix(self.root.as_bytes()).map(str::from_utf8);
        let Some(Ok(rest)) = rest else { return KeyKind::Other };
        if let Some(membership) = rest.strip_prefix(MEMBERS) {
            return membership
                .rsplit_once('/')
                .map_or(KeyKind::Other, |(queue, node)| KeyKind::Membership { queue, node });
        }
        match rest.strip_prefix('/') {
            None if rest.is_empty() => KeyKind::Broadcast,
            Some("") | None => KeyKind::Other,
            Some(topic) => KeyKind::Topic(topic),
        }
    }
}
