//! The rows and changes that are still to be sent to a peer: first the complete state, then every change.
//!
//! Owns: the peer's position in the changes, and the difference to send after it lagged. Does not own: the encoding of
//! a change, and the suppression of changes that the peer made itself ([`super::peer`]).

use super::meta;
use super::row::Row;
use crate::app::App;
use skyhound_core::catalog::{Change, ChangeKind, Snapshot, StoredEntry};
use skyhound_core::events::{EventSubscription, Notification, Selection};
use skyhound_model::Key;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// An item to be sent.
#[derive(Debug)]
pub(super) enum OutboxItem {
    /// A new or updated instance.
    Put(Arc<StoredEntry>),
    /// An instance of which only the source hub has changed.
    SourceChanged(Arc<StoredEntry>),
    /// A removed instance, in its last state.
    Removed(Arc<StoredEntry>),
    /// A row that is no change.
    Row(Row),
}

/// The items to be sent to one peer.
#[derive(Debug)]
pub(super) struct Outbox {
    app: Arc<App>,
    subscription: EventSubscription,
    pending: VecDeque<OutboxItem>,
    /// The state that was queued so far: this snapshot, and the changes since.
    sent: Arc<Snapshot>,
    since: HashMap<Key, Arc<Change>>,
}

impl Outbox {
    /// Queues the complete state between two rows.
    pub(super) fn new(app: &Arc<App>, first: Option<Row>, last: Row) -> Self {
        let (subscription, sent) = app.events.subscribe(Selection::All, false);
        let state = instances(&sent).map(|stored| OutboxItem::Put(Arc::clone(stored)));
        let pending = first.map(OutboxItem::Row).into_iter().chain(state).chain([OutboxItem::Row(last)]).collect();
        Self { app: Arc::clone(app), subscription, pending, sent, since: HashMap::new() }
    }

    /// Takes the next item.
    pub(super) fn pop(&mut self) -> Option<OutboxItem> {
        self.pending.pop_front()
    }

    /// Waits until there is an item. Safe to cancel.
    pub(super) async fn wait(&mut self) {
        if !self.pending.is_empty() {
            return;
        }
        match self.subscription.next().await {
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

    /// Reports that the same instance was sent before, apart from its source hub.
    fn was_sent(&self, stored: &StoredEntry) -> bool {
        let previous = match self.since.get(&stored.key) {
            Some(change) => (change.kind == ChangeKind::Put).then_some(&change.instance),
            None => self.sent.entry(&stored.key),
        };
        previous.is_some_and(|previous| meta::differs_only_in_hub(&previous.entry, &stored.entry))
    }

    /// Queues the difference between the sent state and the current one, after the subscription lagged.
    fn catch_up(&mut self) {
        let (subscription, now) = self.app.events.subscribe(Selection::All, false);
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
        // Removals first: an id may have moved to another key.
        self.pending.extend(previous.into_values().map(|stored| OutboxItem::Removed(Arc::clone(stored))));
        self.pending.extend(put);
        (self.subscription, self.sent, self.since) = (subscription, now, HashMap::new());
    }
}

/// Returns all instances.
fn instances(snapshot: &Snapshot) -> impl Iterator<Item = &Arc<StoredEntry>> {
    snapshot.services().flat_map(|service| snapshot.instances(service))
}
