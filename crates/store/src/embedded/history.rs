//! The latest changes, kept so that a feed can resume where an earlier one ended.

use crate::{Batch, Change, Revision, StoreError};
use std::collections::VecDeque;

/// Limit of the number of batches in the window.
pub(super) const HISTORY_BATCHES: usize = 10_000;
/// Limit of the approximate size of the window, in bytes: values may be of any size.
pub(super) const HISTORY_BYTES: usize = 64 * 1024 * 1024;
/// Approximate size of a change without its key and value.
const CHANGE_BYTES: usize = 96;

/// A window of batches that ends at the store's revision. A feed from before the window is refused.
#[derive(Debug)]
pub(super) struct History {
    batches: VecDeque<Batch>,
    bytes: usize,
    /// All changes after this revision are in the window.
    floor: Revision,
}

impl History {
    /// Creates an empty window that begins after a revision.
    pub(super) fn from(floor: Revision) -> Self {
        Self { batches: VecDeque::new(), bytes: 0, floor }
    }

    /// Adds the next batch of the store, and drops the oldest ones over the limits.
    pub(super) fn push(&mut self, batch: Batch) {
        self.bytes += size(&batch);
        self.batches.push_back(batch);
        while self.batches.len() > HISTORY_BATCHES || self.bytes > HISTORY_BYTES {
            let Some(oldest) = self.batches.pop_front() else { break };
            self.bytes -= size(&oldest);
            self.floor = oldest.revision;
        }
    }

    /// Returns all batches after a revision, or an error if some of them have left the window.
    pub(super) fn since(&self, after: Revision) -> Result<impl Iterator<Item = &Batch>, StoreError> {
        if after < self.floor {
            return Err(StoreError::Compacted(after));
        }
        let first = self.batches.partition_point(|batch| batch.revision <= after);
        Ok(self.batches.range(first..))
    }
}

fn size(batch: &Batch) -> usize {
    let size_of_change = |change: &Change| match change {
        Change::Put(item) => item.key.as_bytes().len() + item.value.len() + CHANGE_BYTES,
        Change::Delete(key) => key.as_bytes().len() + CHANGE_BYTES,
    };
    batch.changes.iter().map(size_of_change).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Item;
    use bytes::Bytes;
    use skyhound_model::Key;

    fn batch(revision: u64, value: &Bytes) -> Batch {
        let revision = Revision(revision);
        let item = Item { key: Key::from("a"), value: value.clone(), revision, lease: None };
        Batch { revision, changes: vec![Change::Put(item)] }
    }

    fn revisions(history: &History, after: u64) -> Option<Vec<u64>> {
        Some(history.since(Revision(after)).ok()?.map(|batch| batch.revision.0).collect())
    }

    #[test]
    fn revisions_before_the_floor_are_refused() {
        let mut history = History::from(Revision(7));
        assert_eq!(revisions(&history, 6), None);
        assert_eq!(revisions(&history, 7), Some(vec![]));
        history.push(batch(8, &Bytes::new()));
        assert_eq!(revisions(&history, 7), Some(vec![8]));
        assert_eq!(revisions(&history, 8), Some(vec![]));
    }

    #[test]
    fn the_window_drops_the_oldest_batches() {
        let mut history = History::from(Revision(0));
        let last = HISTORY_BATCHES as u64 + 5;
        (1..=last).for_each(|revision| history.push(batch(revision, &Bytes::new())));
        assert_eq!(revisions(&history, 4), None);
        assert_eq!(revisions(&history, 5).map(|all| all.len()), Some(HISTORY_BATCHES));
        assert_eq!(revisions(&history, last - 1), Some(vec![last]));
    }

    #[test]
    fn large_values_shorten_the_window() {
        let mut history = History::from(Revision(0));
        let quarter = Bytes::from(vec![0; HISTORY_BYTES / 4]);
        (1..=5).for_each(|revision| history.push(batch(revision, &quarter)));
        assert_eq!(revisions(&history, 1), None);
        assert_eq!(revisions(&history, 2), Some(vec![3, 4, 5]));
    }
}
