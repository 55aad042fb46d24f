//! One node of the tree of names, and how a change copies the path to it.
//!
//! A node never changes once a [`super::Snapshot`] that holds it is published: a change copies the nodes
//! from the root to its place and shares all others, so applying one costs O(depth × log siblings) and
//! readers hold what they began with.

use super::answer_slot::AnswerSlot;
use super::children::Children;
use super::values::{Value, Values};
use skyhound_model::{Entry, Key, Label};
use skyhound_store::{LeaseId, Revision};
use std::num::NonZeroU32;
use std::sync::Arc;

/// An entry with what the store knows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEntry {
    /// Its key.
    pub key: Key,
    /// What stands there.
    pub entry: Entry,
    /// The revision that put it.
    pub revision: Revision,
    /// The lease that it hangs on.
    pub lease: Option<LeaseId>,
    /// The term of that lease in seconds, once the store has said it.
    pub lease_ttl_s: Option<NonZeroU32>,
    /// The service that it is an instance of, in lower case.
    pub service: Option<Arc<str>>,
    /// Whether it comes from a key of hound-dog's peers.
    pub foreign: bool,
}

impl StoredEntry {
    /// Whether it was registered here to stay until it is removed.
    pub fn is_persistent(&self) -> bool {
        self.lease.is_none() && !self.foreign && self.entry.details.is_some()
    }
}

/// A name that exists: something stands at it or below it.
#[derive(Debug, Clone, Default)]
pub struct Node {
    children: Children,
    values: Values,
    /// Narrow: there are as many nodes as entries, and not four billion of either.
    entries: u32,
    quarantined: u32,
    answer_slot: AnswerSlot,
}

impl Node {
    /// The entries at this very name, in the order of their keys. What a peer of hound-dog's wrote says a name with
    /// what it is, so that two such at one name are one instance, and nothing beside an entry of the SkyDNS layout.
    pub fn own(&self) -> impl Iterator<Item = &Arc<StoredEntry>> {
        let values = self.values.as_slice();
        let entries = || {
            values.iter().filter_map(|value| match value {
                Value::Entry(stored) => Some(stored),
                Value::Bad(_) => None,
            })
        };
        let foreign = values.len() > 1 && entries().all(|stored| stored.foreign);
        let shown = if foreign { 1 } else { usize::MAX };
        entries().filter(move |stored| foreign || values.len() == 1 || !stored.foreign).take(shown)
    }

    /// The nodes one label below, in the order of labels.
    pub fn children(&self) -> impl Iterator<Item = (&Label, &Arc<Node>)> {
        self.children.iter()
    }

    /// The node below by that label, which has to be in lower case.
    pub fn child(&self, label: &[u8]) -> Option<&Arc<Node>> {
        self.children.get(label)
    }

    /// How many entries stand at this name and below it.
    pub fn entries(&self) -> usize {
        self.entries as usize
    }

    /// How many values at this name and below it are no entries.
    pub fn quarantined(&self) -> usize {
        self.quarantined as usize
    }

    /// What a reader keeps with this node until anything at it or below it changes.
    pub fn answer_slot(&self) -> &AnswerSlot {
        &self.answer_slot
    }

    pub(super) fn values(&self) -> &[Value] {
        self.values.as_slice()
    }

    /// Puts a value at the end of `path`; says what stood under its key before.
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

    /// Removes the value under `key` at the end of `path`, and every node that nothing is left below.
    pub(super) fn remove(self: &mut Arc<Self>, path: &[Label], key: &Key) -> Option<Value> {
        // Looks before it copies: a delete of what is not here must not touch the path.
        let before = self.at(path)?.values().iter().find(|held| held.key() == key)?.clone();
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

    /// This node, to be changed: a copy where others hold it too, and without what was kept with it.
    fn make_mut(self: &mut Arc<Self>) -> &mut Self {
        let node = Arc::make_mut(self);
        // A copy has none already. A node that only this change holds is not copied.
        node.answer_slot = AnswerSlot::default();
        node
    }

    /// The node at the end of `path`.
    pub(super) fn at(&self, path: &[Label]) -> Option<&Node> {
        path.iter().try_fold(self, |node, label| node.children.get(label.as_bytes()).map(Arc::as_ref))
    }

    /// How many entries and how many others stand at this very name.
    fn counts(&self) -> (u32, u32) {
        let bad = self.values().iter().filter(|value| matches!(value, Value::Bad(_))).count();
        (narrow(self.own().count()), narrow(bad))
    }

    /// What stands at or below this node was so many and is now so many.
    fn recount(&mut self, before: (u32, u32), now: (u32, u32)) {
        self.entries = self.entries - before.0 + now.0;
        self.quarantined = self.quarantined - before.1 + now.1;
    }
}

fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
