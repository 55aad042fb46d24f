//! A read-only store: listed once or more; a test or a benchmark sends its changes. It writes nothing.

use async_trait::async_trait;
use skyhound_store::{Batch, Commit, Feed, Item, LeaseId, Listing, Revision, Status, Store, StoreError, Write};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

type FeedSender = mpsc::Sender<Result<Batch, StoreError>>;

/// A store that holds these items at revision 1.
#[derive(Debug, Default)]
pub struct ReadOnlyStore {
    items: Mutex<Vec<Item>>,
    /// Taken with the first listing: a million items are not held twice.
    once: bool,
    feed: Mutex<Option<FeedSender>>,
    lost: AtomicBool,
}

impl ReadOnlyStore {
    /// Creates a store to be listed any number of times.
    pub fn of(items: Vec<Item>) -> Self {
        Self { items: Mutex::new(items), ..Self::default() }
    }

    /// Creates a store to be listed once.
    pub fn once(items: Vec<Item>) -> Self {
        Self { once: true, ..Self::of(items) }
    }

    /// The sending side of the feed, once there is one.
    pub fn sender(&self) -> Option<FeedSender> {
        self.feed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the feed, and does not list again.
    pub fn lose(&self) {
        self.lost.store(true, Relaxed);
        *self.feed.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn refused<T>() -> Result<T, StoreError> {
    Err(StoreError::Unreachable("a store for reading".to_owned()))
}

#[async_trait]
impl Store for ReadOnlyStore {
    async fn list(&self, _: &[u8]) -> Result<Listing, StoreError> {
        if self.lost.load(Relaxed) {
            return refused();
        }
        let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        let items = if self.once { std::mem::take(&mut *items) } else { items.clone() };
        Ok(Listing { revision: Revision(1), items })
    }

    async fn feed(&self, _: &[u8], _: Revision) -> Result<Feed, StoreError> {
        let (sender, feed) = Feed::channel();
        *self.feed.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        Ok(feed)
    }

    async fn commit(&self, _: Vec<Write>) -> Result<Commit, StoreError> {
        refused()
    }

    async fn grant(&self, _: Duration) -> Result<LeaseId, StoreError> {
        refused()
    }

    async fn renew(&self, _: &[LeaseId]) -> Result<Vec<bool>, StoreError> {
        refused()
    }

    async fn revoke(&self, _: LeaseId) -> Result<(), StoreError> {
        refused()
    }

    async fn status(&self) -> Result<Status, StoreError> {
        refused()
    }
}
