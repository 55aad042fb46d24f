//! The queue of slots that have to be written.

use skyhound_model::Key;
use std::collections::{HashSet, VecDeque};

/// Keys in the order in which they were added, each at most once.
#[derive(Debug, Default)]
pub(super) struct WriteQueue {
    order: VecDeque<Key>,
    /// The keys of `order`. A flag in the slot would lose its value with the slot: a slot that is dropped and created
    /// again would be queued twice, and one commit would name its key twice.
    queued: HashSet<Key>,
}

impl WriteQueue {
    pub(super) fn push_back(&mut self, key: Key) {
        if self.queued.insert(key.clone()) {
            self.order.push_back(key);
        }
    }

    pub(super) fn push_front(&mut self, key: Key) {
        if self.queued.insert(key.clone()) {
            self.order.push_front(key);
        }
    }

    pub(super) fn pop_front(&mut self) -> Option<Key> {
        let key = self.order.pop_front()?;
        self.queued.remove(&key);
        Some(key)
    }

    /// All keys, the next one first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Key> {
        self.order.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_queued_once_until_it_is_taken() {
        let (a, b) = (Key::from("a"), Key::from("b"));
        let mut queue = WriteQueue::default();
        for key in [&a, &b, &a] {
            queue.push_back(key.clone());
        }
        queue.push_front(b.clone());
        assert_eq!(queue.iter().collect::<Vec<_>>(), [&a, &b]);
        assert_eq!(queue.pop_front(), Some(a.clone()));
        queue.push_front(a.clone());
        assert_eq!((queue.pop_front(), queue.pop_front(), queue.len()), (Some(a), Some(b), 0));
        assert!(queue.is_empty() && queue.pop_front().is_none());
    }
}
