//! The open feeds, and the revision up to which each has received the changes.
//!
//! Owns: delivery that never waits; the feed of a reader that lags too far ends. Does not own: past changes (`history`),
//! nor durability.

use crate::{Batch, Change, Feed, Revision, StoreError};
use tokio::sync::mpsc::{self, error::TrySendError};

/// Limit of the number of open feeds. The catalog has one for each prefix, the topics of pub/sub a few more.
pub(super) const FEEDS_MAX: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Feeds {
    readers: Vec<Reader>,
}

#[derive(Debug)]
struct Reader {
    prefix: Box<[u8]>,
    /// Revision up to which everything was delivered.
    delivered: Revision,
    sender: mpsc::Sender<Result<Batch, StoreError>>,
}

impl Feeds {
    /// Opens a feed that begins with `past`: all batches after `after`, of any prefix.
    pub(super) fn open<'a>(
        &mut self,
        prefix: Box<[u8]>,
        after: Revision,
        past: impl Iterator<Item = &'a Batch>,
    ) -> Result<Feed, StoreError> {
        self.readers.retain(|reader| !reader.sender.is_closed());
        if self.readers.len() >= FEEDS_MAX {
            return Err(StoreError::Rejected(format!(
                "{FEEDS_MAX} feeds are open, which is the limit; close one first"
            )));
        }
        let past: Vec<_> = past.filter_map(|batch| filter_below(&prefix, batch)).collect();
        let delivered = past.last().map_or(after, |batch| batch.revision);
        let (sender, feed) = Feed::resume(past);
        self.readers.push(Reader { prefix, delivered, sender });
        Ok(feed)
    }

    /// Delivers a batch to the feeds that it concerns, and ends those whose backlog is full.
    pub(super) fn deliver(&mut self, batch: &Batch) {
        self.readers.retain_mut(|reader| match filter_below(&reader.prefix, batch) {
            Some(batch) => reader.deliver(batch),
            None => true,
        });
    }

    /// Delivers an empty batch to the readers that have read everything and whose last batch is older than `revision`:
    /// a reader that waits for a revision with changes of other prefixes only would wait without end. Returns true if a
    /// busy reader still needs one.
    pub(super) fn bookmark(&mut self, revision: Revision) -> bool {
        let mut busy = false;
        self.readers.retain_mut(|reader| {
            if reader.delivered >= revision {
                return true;
            }
            let idle = reader.sender.capacity() == reader.sender.max_capacity();
            busy |= !idle;
            !idle || reader.deliver(Batch { revision, changes: Vec::new() })
        });
        busy
    }
}

impl Reader {
    /// Delivers a batch; returns false if the feed has ended.
    fn deliver(&mut self, batch: Batch) -> bool {
        self.delivered = batch.revision;
        // Only this thread fills the channel, so the last slot is free when the error needs it.
        let (message, is_open) = match self.sender.capacity() {
            0 | 1 => (Err(StoreError::FeedOverrun), false),
            _ => (Ok(batch), true),
        };
        match self.sender.try_send(message) {
            Ok(()) | Err(TrySendError::Full(_)) => is_open,
            Err(TrySendError::Closed(_)) => false,
        }
    }
}

/// Returns the part of a batch that is below a prefix.
fn filter_below(prefix: &[u8], batch: &Batch) -> Option<Batch> {
    let concerns = |change: &&Change| match change {
        Change::Put(item) => item.key.as_bytes().starts_with(prefix),
        Change::Delete(key) => key.as_bytes().starts_with(prefix),
    };
    let changes: Vec<_> = batch.changes.iter().filter(concerns).cloned().collect();
    (!changes.is_empty()).then_some(Batch { revision: batch.revision, changes })
}
