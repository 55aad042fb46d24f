//! One node of the tree of names, and the copy of the path to it that a change makes.
//!
//! A node never changes once a [`super::Snapshot`] that holds it is published: a change copies the nodes from the root to
//! the changed one and shares all others. A change therefore costs O(depth × log siblings), and readers keep a
//! consistent tree.
//!
//! Owns: the tree, the counters in it, and the entries that readers see at a name. Does not own: the children of a node
//! (`children`), the values at a name (`values`).

use super::answer_slot::AnswerSlot;
use super::children::Children;
use super::stored_entry::StoredEntry;
use super::values::{Value, Values};
use skyhound_model::{Key, Label};
use std::sync::Arc;

/// A name that exists: it, or a name below it, has a value.
#[derive(Debug, Clone, Default)]
pub struct Node {
    children: Children,
    values: Values,
    /// The number of entries at this name and below it. 32 bits: there are as many nodes as entries, and fewer than four
    /// billion of either.
    entries: u32,
    /// The number of values that are no entries.
    quarantined: u32,
    answer_slot: AnswerSlot,
}

impl Node {
    /// The entries at exactly this name that readers see, in the order of their keys. The name of an entry in the mirror
    /// keyspace follows from its contents, so two of them at one name are one instance, and an entry of the SkyDNS layout
    /// takes precedence over them.
    pub fn own(&self) -> impl Iterator<Item = &Arc<StoredEntry>> {
        let values = self.values.as_slice();
        let entries = || {
            values.iter().filter_map(|value| match value {
                Value::Entry(stored) => Some(stored),
                Value::Bad(_) => None,
            })
        };
        let all_mirror = entries().all(|stored| stored.in_mirror);
        let limit = if all_mirror { 1 } else { usize::MAX };
        entries().filter(move |stored| all_mirror || !stored.in_mirror).take(limit)
    }

    /// The child nodes, in the order of labels.
    pub fn children(&self) -> impl Iterator<Item = (&Label, &Arc<Node>)> {
        self.children.iter()
    }

    /// The child node of a label, which must be in lower case.
    pub fn child(&self, label: &[u8]) -> Option<&Arc<Node>> {
        self.children.get(label)
    }

    /// The number of entries at this name and below it.
    pub fn entries(&self) -> usize {
        self.entries as usize
    }

    /// The number of values at this name and below it that are no entries.
    pub fn quarantined(&self) -> usize {
        self.quarantined as usize
    }

    /// The rendered answers of this node, until anything at it or below it changes.
    pub fn answer_slot(&self) -> &AnswerSlot {
        &self.answer_slot
    }

    pub(super) fn values(&self) -> &[Value] {
        self.values.as_slice()
    }

    /// Puts a value at the end of `path`. Returns the earlier value of its key.
    pub(super) fn put(self: &mut Arc<Self>, path: &[Label], value: &Value) -> Option<Value> {
        let node = self.make_mut();
        if let Some((first, rest)) = path.split_first() {
            let child = node.children.get_or_new(first);
            let counts = (child.entries, child.quarantined);
            let before = child.put(rest, value);
            let now = (child.entries, child.quarantined);
            node.recount(counts, now);
            return before;
        }
        let counts = node.counts();
        let before = node.values.put(value.clone());
        node.recount(counts, node.counts());
        before
    }

    /// Removes the value of `key` at the end of `path`, and every node that has no values left. Returns the value.
    pub(super) fn remove(self: &mut Arc<Self>, path: &[Label], key: &Key) -> Option<Value> {
        // Found before the path is copied: the removal of a missing key must not copy it.
        let before = self.at(path)?.values().iter().find(|value| value.key() == key)?.clone();
        self.remove_existing(path, key);
        Some(before)
    }

    fn remove_existing(self: &mut Arc<Self>, path: &[Label], key: &Key) {
        let node = self.make_mut();
        if let Some((first, rest)) = path.split_first() {
            let Some(child) = node.children.get_mut(first.as_bytes()) else { return };
            let counts = (child.entries, child.quarantined);
            child.remove_existing(rest, key);
            let now = (child.entries, child.quarantined);
            if now == (0, 0) {
                node.children.remove(first.as_bytes());
            }
            node.recount(counts, now);
        } else {
            let counts = node.counts();
            node.values.remove(key);
            node.recount(counts, node.counts());
        }
    }

    /// Returns this node for a change: a copy if others hold it too, and without rendered answers.
    fn make_mut(self: &mut Arc<Self>) -> &mut Self {
        let node = Arc::make_mut(self);
        // A copy starts empty already, but a node that only this change holds is not copied.
        node.answer_slot = AnswerSlot::default();
        node
    }

    /// The node at the end of `path`.
    pub(super) fn at(&self, path: &[Label]) -> Option<&Node> {
        path.iter().try_fold(self, |node, label| node.children.get(label.as_bytes()).map(Arc::as_ref))
    }

    /// The number of entries and of other values at exactly this name.
    fn counts(&self) -> (u32, u32) {
        let bad = self.values().iter().filter(|value| matches!(value, Value::Bad(_))).count();
        (narrow(self.own().count()), narrow(bad))
    }

    /// Replaces the counts of one part of the subtree, of a child or of the values here, in the counters of this node.
    fn recount(&mut self, before: (u32, u32), now: (u32, u32)) {
        self.entries = self.entries - before.0 + now.0;
        self.quarantined = self.quarantined - before.1 + now.1;
    }
}

fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
