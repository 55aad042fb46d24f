//! What a peer is still to be told: first all that is known, then every change.
//!
//! Owns: the place of the peer in the changes, and what differs when it has lost it. Does not own: how a change is said,
//! and which of them the peer made itself ([`super::peer`]).

use super::meta;
use super::row::Row;
use crate::app::App;
use skyhound_core::catalog::{Change, ChangeKind, Snapshot, StoredEntry};
use skyhound_core::events::{EventSubscription, Notification, Selection};
use skyhound_model::Key;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Something to be said.
#[derive(Debug)]
pub(super) enum OutboxItem {
    /// An instance that is there, or describes itself anew.
    Put(Arc<StoredEntry>),
    /// One of which only the note has changed that says which hub it came from.
    SourceChanged(Arc<StoredEntry>),
    /// One that is gone, as it was last.
    Removed(Arc<StoredEntry>),
    /// Something else.
    Row(Row),
}

/// What one peer is still to be told.
#[derive(Debug)]
pub(super) struct Outbox {
    app: Arc<App>,
    listener: EventSubscription,
    pending: VecDeque<OutboxItem>,
    /// What was taken from here so far: this, and then these changes.
    sent: Arc<Snapshot>,
    since: HashMap<Key, Arc<Change>>,
}

impl Outbox {
    /// All that is known, between two rows.
    pub(super) fn new(app: &Arc<App>, first: Option<Row>, last: Row) -> Self {
        let (listener, sent) = app.events.subscribe(Selection::All, false);
        let known = instances(&sent).map(|stored| OutboxItem::Put(Arc::clone(stored)));
        let pending = first.map(OutboxItem::Row).into_iter().chain(known).chain([OutboxItem::Row(last)]).collect();
        Self { app: Arc::clone(app), listener, pending, sent, since: HashMap::new() }
    }

    /// The next thing, if it is there.
    pub(super) fn pop(&mut self) -> Option<OutboxItem> {
        self.pending.pop_front()
    }

    /// Waits until there is something. Safe to cancel.
    pub(super) async fn wait(&mut self) {
        if !self.pending.is_empty() {
            return;
        }
        match self.listener.next().await {
            Notification::Event(event) => {
                let change = &event.change;
                let stored = Arc::clone(&change.instance);
                self.pending.push_back(match change.kind {
                    ChangeKind::Put if self.was_sent(&stored) => OutboxItem::SourceChanged(stored),
                    ChangeKind::Put => OutboxItem::Put(stored),
                    ChangeKind::Removed(_) => OutboxItem::Removed(stored),
                });
                let now = self.app.catalog.snapshot();
                if now.changes() == change.number {
                    (self.sent, self.since) = (now, HashMap::new());
                } else {
                    self.since.insert(change.instance.key.clone(), Arc::clone(change));
                }
            }
            Notification::Lagged => self.catch_up(),
        }
    }

    /// Whether the same was told before, but for that note.
    fn was_sent(&self, stored: &StoredEntry) -> bool {
        let previous = match self.since.get(&stored.key) {
            Some(change) => (change.kind == ChangeKind::Put).then_some(&change.instance),
            None => self.sent.entry(&stored.key),
        };
        previous.is_some_and(|previous| meta::differs_only_in_hub(&previous.entry, &stored.entry))
    }

    /// What differs between what was told and what is known now.
    fn catch_up(&mut self) {
        let (listener, now) = self.app.events.subscribe(Selection::All, false);
        let mut previous: HashMap<&Key, &Arc<StoredEntry>> =
            instances(&self.sent).map(|stored| (&stored.key, stored)).collect();
        for (key, change) in &self.since {
            match change.kind {
                ChangeKind::Put => drop(previous.insert(key, &change.instance)),
                ChangeKind::Removed(_) => drop(previous.remove(key)),
            }
        }
        let mut put = Vec::new();
        for stored in instances(&now) {
            if previous.remove(&stored.key).is_none_or(|previous| previous.entry != stored.entry) {
                put.push(OutboxItem::Put(Arc::clone(stored)));
            }
        }
        // Gone first: an id may have moved.
        self.pending.extend(previous.into_values().map(|stored| OutboxItem::Removed(Arc::clone(stored))));
        self.pending.extend(put);
        (self.listener, self.sent, self.since) = (listener, now, HashMap::new());
    }
}

/// Every instance.
fn instances(snapshot: &Snapshot) -> impl Iterator<Item = &Arc<StoredEntry>> {
    snapshot.services().flat_map(|service| snapshot.instances(service))
}
