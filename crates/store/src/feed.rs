//! A feed: the ordered stream of the changes below a prefix.

use crate::{Item, Revision, StoreError};
use skyhound_model::Key;
use tokio::sync::mpsc;

/// Batches that a feed buffers for a reader that lags. If more arrive and the reader does not read for a moment, the feed
/// ends with [`StoreError::FeedOverrun`].
pub const FEED_BACKLOG: usize = 4096;

/// All changes of one revision below a feed's prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Revision.
    pub revision: Revision,
    /// Changes. A batch without changes reports that the feed is complete up to this revision.
    pub changes: Vec<Change>,
}

/// A change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The key has this value now.
    Put(Item),
    /// The key was removed.
    Delete(Key),
}

/// The changes after a revision, as they happen. Dropping the feed ends it.
///
/// ```
/// use skyhound_model::Key;
/// use skyhound_store::{Change, Op, Store, Write, embedded::Embedded};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Embedded::in_memory()?;
/// let listing = store.list(b"/skydns/").await?;
/// let mut feed = store.feed(b"/skydns/", listing.revision).await?;
/// let put = Op::Put { key: Key::from("/skydns/local/web"), value: "{}".into(), lease: None };
/// let commit = store.commit(vec![Write { ops: vec![put], ..Write::default() }]).await?;
/// let batch = feed.next().await?;
/// assert_eq!(batch.revision, commit.revision);
/// assert!(matches!(&batch.changes[..], [Change::Put(item)] if item.key == Key::from("/skydns/local/web")));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Feed {
    /// Changes before the feed was opened; read first.
    past: std::vec::IntoIter<Batch>,
    batches: mpsc::Receiver<Result<Batch, StoreError>>,
}

impl Feed {
    /// Creates a feed and its sender, for implementations of a store. The channel has one slot more than
    /// [`FEED_BACKLOG`], for the error that ends the feed of a reader that filled the others.
    pub fn channel() -> (mpsc::Sender<Result<Batch, StoreError>>, Self) {
        Self::resume(Vec::new())
    }

    /// Creates a feed that begins with batches of the past, which do not count as backlog.
    pub(crate) fn resume(past: Vec<Batch>) -> (mpsc::Sender<Result<Batch, StoreError>>, Self) {
        let (sender, batches) = mpsc::channel(FEED_BACKLOG + 1);
        (sender, Self { past: past.into_iter(), batches })
    }

    /// Returns the next batch.
    ///
    /// # Errors
    /// [`StoreError::Compacted`], [`StoreError::FeedLost`] or [`StoreError::FeedOverrun`]. The feed has ended then, and
    /// the reader lists again.
    pub async fn next(&mut self) -> Result<Batch, StoreError> {
        if let Some(batch) = self.past.next() {
            return Ok(batch);
        }
        self.batches.recv().await.unwrap_or(Err(StoreError::FeedLost("the store closed the feed".into())))
    }
}
