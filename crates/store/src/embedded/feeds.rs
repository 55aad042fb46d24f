//! The readers of changes, and what each has been told.
//!
//! Owns that telling never waits: a reader who is too far behind is cut off. Does not own the past
//! (`history`), nor what is durable.

use crate::{Batch, Change, Feed, Revision, StoreError};
use tokio::sync::mpsc::{self, error::TrySendError};

/// The most feeds at a time. The catalog has one of each prefix, a broker's topics a few more.
pub(super) const FEEDS_MAX: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Feeds {
    readers: Vec<Reader>,
}

#[derive(Debug)]
struct Reader {
    prefix: Box<[u8]>,
    /// All up to here was told.
    delivered: Revision,
    sender: mpsc::Sender<Result<Batch, StoreError>>,
}

impl Feeds {
    /// A feed that begins with `past`: all batches after `after`, of any prefix.
    pub(super) fn open<'a>(
        &mut self,
        prefix: Box<[u8]>,
        after: Revision,
        past: impl Iterator<Item = &'a Batch>,
    ) -> Result<Feed, StoreError> {
        self.readers.retain(|reader| !reader.sender.is_closed());
        if self.readers.len() >= FEEDS_MAX {
            return Err(StoreError::Rejected(format!("there are {FEEDS_MAX} feeds already")));
        }
        let past: Vec<_> = past.filter_map(|batch| filter_below(&prefix, batch)).collect();
        let delivered = past.last().map_or(after, |batch| batch.revision);
        let (sender, feed) = Feed::resume(past);
        self.readers.push(Reader { prefix, delivered, sender });
        Ok(feed)
    }

    /// Tells a batch to all whom it concerns; those who cannot take it are cut off.
    pub(super) fn deliver(&mut self, batch: &Batch) {
        self.readers.retain_mut(|reader| match filter_below(&reader.prefix, batch) {
            Some(batch) => reader.deliver(batch),
            None => true,
        });
    }

    /// Tells those who have read everything that there is nothing more up to a revision, so that
    /// whoever waits for a revision with changes elsewhere is not left waiting. Returns whether someone
    /// is still to be told, having been busy.
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
    /// Whether the reader stays.
    fn deliver(&mut self, batch: Batch) -> bool {
        self.delivered = batch.revision;
        // Only this thread fills the channel, so the last place is still free when it is needed.
        let (message, stays) = match self.sender.capacity() {
            0 | 1 => (Err(StoreError::FeedOverrun), false),
            _ => (Ok(batch), true),
        };
        match self.sender.try_send(message) {
            Ok(()) | Err(TrySendError::Full(_)) => stays,
            Err(TrySendError::Closed(_)) => false,
        }
    }
}

/// The part of a batch that is below a prefix.
fn filter_below(prefix: &[u8], batch: &Batch) -> Option<Batch> {
    let concerns = |change: &&Change| match change {
        Change::Put(item) => item.key.as_bytes().starts_with(prefix),
        Change::Delete(key) => key.as_bytes().starts_with(prefix),
    };
    let changes: Vec<_> = batch.changes.iter().filter(concerns).cloned().collect();
    (!changes.is_empty()).then_some(Batch { revision: batch.revision, changes })
}
