//! Events: changes of the catalog, delivered to the subscribers of the services.
//!
//! ```text
//! catalog ─▶ history ─▶ one task ─▶ a queue for each subscription ─▶ its socket
//! ```
//! The catalog's writer only wakes the task. The task follows the numbers of the [`History`], so every subscriber
//! receives every change of its services once and in order. It pushes into bounded queues and never waits: a slow
//! consumer is lagged ([`Notification::Lagged`]) and delays no other subscriber.
//!
//! - `queue`: the events that wait for one subscription
//! - `hub`: the subscriptions by service, and the delivery of a batch to them
//! - here: subscribing, resuming and the task
//!
//! Owns: subscriptions, their queues, and the set of instances after each change for subscribers that request it. Does
//! not own: the definition of a change (`catalog::changes`), the decision to resume ([`crate::catalog::history`]), the
//! representation of an event (the frontends').

mod hub;
mod queue;
#[cfg(test)]
mod tests;

pub use queue::QUEUE_MAX;

use crate::catalog::{Catalog, Change, History, Position, Snapshot, StoredEntry};
use bytes::Bytes;
use hub::Hub;
use queue::Queue;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// A change as it is delivered to subscribers.
#[derive(Debug)]
pub struct Event {
    /// The change.
    pub change: Arc<Change>,
    /// All instances of the service after the change, in the order of their keys, if a subscriber requests them.
    pub set: Option<Arc<[Arc<StoredEntry>]>>,
    rendered: OnceLock<Bytes>,
    rendered_v1: OnceLock<Bytes>,
}

impl Event {
    fn new(change: Arc<Change>, set: Option<Arc<[Arc<StoredEntry>]>>) -> Arc<Self> {
        Arc::new(Self { change, set, rendered: OnceLock::new(), rendered_v1: OnceLock::new() })
    }

    /// The event as text of the one frontend that requests sets, rendered once for all of its subscribers.
    pub fn rendered(&self, write: impl FnOnce(&Self) -> Bytes) -> Bytes {
        self.rendered.get_or_init(|| write(self)).clone()
    }

    /// The event as text of plain HTTP (`skyhound_frontends::v1`), rendered once for all of its subscribers.
    pub fn rendered_v1(&self, write: impl FnOnce(&Self) -> Bytes) -> Bytes {
        self.rendered_v1.get_or_init(|| write(self)).clone()
    }
}

/// A notification that a subscriber receives.
#[derive(Debug, Clone)]
pub enum Notification {
    /// A change.
    Event(Arc<Event>),
    /// The queue overflowed, or too much changed at once: the subscriber's state is invalid, and it has to start over
    /// with the complete set ([`Events::subscribe`]).
    Lagged,
}

/// The services that a subscription selects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// Every service.
    All,
    /// These services; upper and lower case are the same.
    Services(Vec<String>),
}

impl Selection {
    fn matches(&self, service: &str) -> bool {
        match self {
            Self::All => true,
            Self::Services(services) => services.iter().any(|selected| selected.eq_ignore_ascii_case(service)),
        }
    }
}

/// All subscriptions to the changes of a catalog.
#[derive(Debug)]
pub struct Events {
    catalog: Arc<Catalog>,
    hub: Mutex<Hub>,
}

/// A subscription. It ends when it is dropped.
#[derive(Debug)]
pub struct EventSubscription {
    events: Arc<Events>,
    queue: Arc<Queue>,
}

impl Events {
    /// Starts the task that delivers the changes of a catalog. Requires a tokio runtime; the task ends with the last
    /// owner of the events.
    pub fn start(catalog: Arc<Catalog>) -> Arc<Self> {
        let hub = Mutex::new(Hub::new(catalog.snapshot().changes()));
        let events = Arc::new(Self { catalog, hub });
        let (weak, mut changed) = (Arc::downgrade(&events), events.catalog.changed());
        tokio::spawn(async move {
            // The sender is in the catalog, which the events own.
            while changed.changed().await.is_ok()
                && let Some(events) = weak.upgrade()
            {
                events.deliver_pending(&mut events.lock());
            }
        });
        events
    }

    /// Subscribes to the changes from now on. Returns the snapshot before them. With `sets` the events contain the
    /// complete set of instances.
    pub fn subscribe(self: &Arc<Self>, selection: Selection, sets: bool) -> (EventSubscription, Arc<Snapshot>) {
        let mut hub = self.lock();
        let snapshot = self.deliver_pending(&mut hub);
        let queue = hub.add(selection, sets, &snapshot);
        (EventSubscription { events: Arc::clone(self), queue }, snapshot)
    }

    /// Subscribes to the changes after a position. `None` if the subscriber cannot be resumed there and has to start
    /// over with [`Events::subscribe`] and its snapshot.
    pub fn resume(self: &Arc<Self>, selection: Selection, after: Position) -> Option<EventSubscription> {
        let mut hub = self.lock();
        let snapshot = self.deliver_pending(&mut hub);
        let missed = self.catalog.with_history(|history, _| {
            let changes = history.after(after, snapshot.position()).ok()?;
            // Later changes are delivered to the queue like to all others.
            let delivered = changes.filter(|change| change.number <= hub.delivered());
            Some(delivered.filter(|change| selection.matches(&change.service)).cloned().collect::<Vec<_>>())
        })?;
        let queue = hub.add(selection, false, &snapshot);
        queue.push_missed(missed.into_iter().map(|change| Event::new(change, None)));
        Some(EventSubscription { events: Arc::clone(self), queue })
    }

    /// The number of subscriptions.
    pub fn subscriptions(&self) -> usize {
        self.lock().subscriptions()
    }

    /// Delivers the changes that the hub has not delivered yet. Returns the snapshot that contains exactly the delivered
    /// changes.
    fn deliver_pending(&self, hub: &mut Hub) -> Arc<Snapshot> {
        let (changes, snapshot) = self.catalog.with_history(|history: &History, snapshot| {
            let changes = history.numbered(hub.delivered()).map(|changes| changes.cloned().collect::<Vec<_>>());
            (changes, Arc::clone(snapshot))
        });
        hub.deliver_up_to(snapshot.changes(), changes);
        snapshot
    }

    fn lock(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventSubscription {
    /// Waits for the next notification. Nothing follows [`Notification::Lagged`]. Cancel safe.
    pub async fn next(&mut self) -> Notification {
        loop {
            if let Some(next) = self.try_next() {
                return next;
            }
            // An event that was pushed since then left a permit.
            self.queue.notified().await;
        }
    }

    /// Returns the next notification, if there is one. The events of a batch become available together.
    pub fn try_next(&mut self) -> Option<Notification> {
        self.queue.pop()
    }

    /// Returns whether another notification has to be received before the subscriber is at the position of the event
    /// that it received last.
    pub fn has_more_at(&self, at: Position) -> bool {
        self.queue.has_more_at(at)
    }
}

impl Drop for EventSubscription {
    fn drop(&mut self) {
        self.events.lock().remove(&self.queue);
    }
}
