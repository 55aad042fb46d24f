//! What a peer is still to be told: first all that is known, then every change.
//!
//! Owns: the place of the peer in the changes, and what differs when it has lost it. Does not own: how a change is said,
//! and which of them the peer made itself ([`super::peer`]).

use super::meta;
use super::row::Row;
use crate::app::App;
use skyhound_core::catalog::{Change, Kind, Snapshot, Stored};
use skyhound_core::events::{Heard, Listener, Selection};
use skyhound_model::Key;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Something to be said.
#[derive(Debug)]
pub(super) enum New {
    /// An instance that is there, or describes itself anew.
    Put(Arc<Stored>),
    /// One of which only the note has changed that says which hub it came from.
    Noted(Arc<Stored>),
    /// One that is gone, as it was last.
    Gone(Arc<Stored>),
    /// Something else.
    Row(Row),
}

/// What one peer is still to be told.
#[derive(Debug)]
pub(super) struct News {
    app: Arc<App>,
    listener: Listener,
    pending: VecDeque<New>,
    /// What was taken from here so far: this, and then these changes.
    told: Arc<Snapshot>,
    since: HashMap<Key, Arc<Change>>,
}

impl News {
    /// All that is known, between two rows.
    pub(super) fn new(app: &Arc<App>, first: Option<Row>, last: Row) -> Self {
        let (listener, told) = app.events.listen(Selection::All, false);
        let known = instances(&told).map(|stored| New::Put(Arc::clone(stored)));
        let pending = first.map(New::Row).into_iter().chain(known).chain([New::Row(last)]).collect();
        Self { app: Arc::clone(app), listener, pending, told, since: HashMap::new() }
    }

    /// The next thing, if it is there.
    pub(super) fn pop(&mut self) -> Option<New> {
        self.pending.pop_front()
    }

    /// Waits until there is something. Safe to cancel.
    pub(super) async fn come(&mut self) {
        if !self.pending.is_empty() {
            return;
        }
        match self.listener.next().await {
            Heard::Event(event) => {
                let change = &event.change;
                let stored = Arc::clone(&change.instance);
                self.pending.push_back(match change.kind {
                    Kind::Put if self.is_told(&stored) => New::Noted(stored),
                    Kind::Put => New::Put(stored),
                    Kind::Gone(_) => New::Gone(stored),
                });
                let now = self.app.catalog.snapshot();
                if now.changes() == change.number {
                    (self.told, self.since) = (now, HashMap::new());
                } else {
                    self.since.insert(change.instance.key.clone(), Arc::clone(change));
                }
            }
            Heard::Behind => self.catch_up(),
        }
    }

    /// Whether the same was told before, but for that note.
    fn is_told(&self, stored: &Stored) -> bool {
        let before = match self.since.get(&stored.key) {
            Some(change) => (change.kind == Kind::Put).then_some(&change.instance),
            None => self.told.entry(&stored.key),
        };
        before.is_some_and(|before| meta::is_same(&before.entry, &stored.entry))
    }

    /// What differs between what was told and what is known now.
    fn catch_up(&mut self) {
        let (listener, now) = self.app.events.listen(Selection::All, false);
        let mut was: HashMap<&Key, &Arc<Stored>> = instances(&self.told).map(|stored| (&stored.key, stored)).collect();
        for (key, change) in &self.since {
            match change.kind {
                Kind::Put => drop(was.insert(key, &change.instance)),
                Kind::Gone(_) => drop(was.remove(key)),
            }
        }
        let mut puts = Vec::new();
        for stored in instances(&now) {
            if was.remove(&stored.key).is_none_or(|was| was.entry != stored.entry) {
                puts.push(New::Put(Arc::clone(stored)));
            }
        }
        // Gone first: an id may have moved.
        self.pending.extend(was.into_values().map(|stored| New::Gone(Arc::clone(stored))));
        self.pending.extend(puts);
        (self.listener, self.told, self.since) = (listener, now, HashMap::new());
    }
}

/// Every instance.
fn instances(snapshot: &Snapshot) -> impl Iterator<Item = &Arc<Stored>> {
    snapshot.services().flat_map(|service| snapshot.instances(service))
}
