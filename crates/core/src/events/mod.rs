//! Who hears of what: changes of the catalog, told to those who listen for a service.
//!
//! ```text
//! catalog ─▶ history ─▶ one task ─▶ a queue for each listener ─▶ its socket
//! ```
//! The catalog's writer only wakes the task. The task follows the numbers of the [`History`], so that every
//! listener hears every change of its services once and in order; it pushes into queues that have an end and never
//! waits: a listener that does not read loses its place ([`Notification::Lagged`]) and costs the others nothing.
//!
//! Owns: listeners, their queues, and the set of instances after each change, for who wants it. Does not own: what a
//! change is ([`crate::catalog::history`]), how a dialect says it.

use crate::catalog::{Catalog, Change, ChangeKind, History, Position, Snapshot, StoredEntry};
use bytes::Bytes;
use skyhound_model::Key;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use tokio::sync::Notify;

/// How many events wait for a listener. Whoever is further behind takes the whole set.
pub const QUEUE_MAX: usize = 1024;

/// A change, as listeners are told of it.
#[derive(Debug)]
pub struct Event {
    /// What changed.
    pub change: Arc<Change>,
    /// All instances of the service after it, in the order of their keys, if a listener wants them.
    pub set: Option<Arc<[Arc<StoredEntry>]>>,
    rendered: OnceLock<Bytes>,
    rendered_v1: OnceLock<Bytes>,
}

impl Event {
    fn new(change: Arc<Change>, set: Option<Arc<[Arc<StoredEntry>]>>) -> Arc<Self> {
        Arc::new(Self { change, set, rendered: OnceLock::new(), rendered_v1: OnceLock::new() })
    }

    /// The event in the words of the one dialect that listens for sets, written once for all of its listeners.
    pub fn rendered(&self, write: impl FnOnce(&Self) -> Bytes) -> Bytes {
        self.rendered.get_or_init(|| write(self)).clone()
    }

    /// The event in plain HTTP's words (`skyhound_frontends::v1`), written once for all of its listeners.
    pub fn rendered_v1(&self, write: impl FnOnce(&Self) -> Bytes) -> Bytes {
        self.rendered_v1.get_or_init(|| write(self)).clone()
    }
}

/// What a listener hears.
#[derive(Debug, Clone)]
pub enum Notification {
    /// A change.
    Event(Arc<Event>),
    /// More than it could take, or the store lost its history: what it knows is not worth anything any more. It takes
    /// the whole set ([`Events::subscribe`] anew).
    Lagged,
}

/// For what a listener listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// Every service.
    All,
    /// These, in any case.
    Services(Vec<String>),
}

impl Selection {
    fn matches(&self, service: &str) -> bool {
        match self {
            Self::All => true,
            Self::Services(services) => services.iter().any(|one| one.eq_ignore_ascii_case(service)),
        }
    }
}

/// All listeners.
#[derive(Debug)]
pub struct Events {
    catalog: Arc<Catalog>,
    hub: Mutex<Hub>,
}

/// One who listens. Dropping it ends that.
#[derive(Debug)]
pub struct EventSubscription {
    events: Arc<Events>,
    queue: Arc<Queue>,
}

/// What waits for one listener.
#[derive(Debug)]
struct Queue {
    selection: Selection,
    waiting: Mutex<Waiting>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<Arc<Event>>,
    /// So many of them are of batches that are told whole.
    complete: usize,
    /// How many it took at the beginning, for what it had missed.
    missed: usize,
    lagged: bool,
}

/// Listeners by what they listen for.
#[derive(Debug, Default)]
struct Hub {
    /// The number of the last change that was told.
    delivered: u64,
    services: HashMap<String, ServiceSubscribers>,
    all: Vec<Weak<Queue>>,
}

/// The listeners of a service.
#[derive(Debug, Default)]
struct ServiceSubscribers {
    queues: Vec<Weak<Queue>>,
    /// The service's instances after the last change that was told, while one of these wants sets.
    set: Option<BTreeMap<Key, Arc<StoredEntry>>>,
}

impl Events {
    /// Listens to a catalog. Within a tokio runtime; the task ends with the last owner of the events.
    pub fn start(catalog: Arc<Catalog>) -> Arc<Self> {
        let hub = Hub { delivered: catalog.snapshot().changes(), ..Hub::default() };
        let events = Arc::new(Self { catalog, hub: Mutex::new(hub) });
        let (weak, mut changed) = (Arc::downgrade(&events), events.catalog.changed());
        tokio::spawn(async move {
            // The sender lives in the catalog, and that in the events.
            while changed.changed().await.is_ok()
                && let Some(events) = weak.upgrade()
            {
                events.deliver_pending(&mut events.lock());
            }
        });
        events
    }

    /// A listener for what changes from now on, and the snapshot that it goes on from. With `sets` its events have the
    /// whole set.
    pub fn subscribe(self: &Arc<Self>, selection: Selection, sets: bool) -> (EventSubscription, Arc<Snapshot>) {
        let mut hub = self.lock();
        let snapshot = self.deliver_pending(&mut hub);
        let queue = hub.add(selection, sets, &snapshot);
        (EventSubscription { events: Arc::clone(self), queue }, snapshot)
    }

    /// A listener for what changed after a position, and changes from now on. `None` when that position is not
    /// remembered: then [`Events::subscribe`] and its snapshot are the answer.
    pub fn resume(self: &Arc<Self>, selection: Selection, after: Position) -> Option<EventSubscription> {
        let mut hub = self.lock();
        let snapshot = self.deliver_pending(&mut hub);
        let missed = self.catalog.with_history(|history, _| {
            let changes = history.after(after, snapshot.position()).ok()?;
            let missed = changes.filter(|change| change.number <= hub.delivered && selection.matches(&change.service));
            Some(missed.cloned().collect::<Vec<_>>())
        })?;
        let queue = hub.add(selection, false, &snapshot);
        let mut waiting = queue.lock();
        (waiting.missed, waiting.complete) = (missed.len(), missed.len());
        waiting.events.extend(missed.into_iter().map(|change| Event::new(change, None)));
        drop(waiting);
        Some(EventSubscription { events: Arc::clone(self), queue })
    }

    /// How many listen.
    pub fn subscriptions(&self) -> usize {
        let hub = self.lock();
        let mut queues: Vec<_> =
            hub.services.values().flat_map(|subscribers| &subscribers.queues).chain(&hub.all).collect();
        queues.sort_unstable_by_key(|queue| queue.as_ptr());
        queues.dedup_by_key(|queue| queue.as_ptr());
        queues.len()
    }

    /// Tells what the hub has not told yet. Returns the snapshot that has all that is told now, and nothing more.
    fn deliver_pending(&self, hub: &mut Hub) -> Arc<Snapshot> {
        let (changes, snapshot) = self.catalog.with_history(|history: &History, snapshot| {
            let changes = history.numbered(hub.delivered).map(|changes| changes.cloned().collect::<Vec<_>>());
            (changes, Arc::clone(snapshot))
        });
        let now = snapshot.changes();
        match changes {
            Some(changes) if changes.last().map_or(hub.delivered, |change| change.number) == now => {
                changes.chunk_by(|one, next| one.at == next.at).for_each(|batch| hub.deliver(batch));
            }
            // A gap in the numbers: too much changed at once to tell it one by one.
            _ => hub.lag_all(),
        }
        hub.delivered = now;
        snapshot
    }

    fn lock(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventSubscription {
    /// The next event. After [`Notification::Lagged`] nothing more comes. Cancel safe.
    pub async fn next(&mut self) -> Notification {
        loop {
            if let Some(next) = self.try_next() {
                return next;
            }
            // What was pushed since the look left a permit.
            self.queue.wake.notified().await;
        }
    }

    /// The next event, if it is there. A batch is there when all of it is.
    pub fn try_next(&mut self) -> Option<Notification> {
        let mut waiting = self.queue.lock();
        if waiting.lagged {
            return Some(Notification::Lagged);
        }
        waiting.complete = waiting.complete.checked_sub(1)?;
        let event = waiting.events.pop_front();
        if waiting.events.is_empty() {
            // There may be 10,000 listeners, and each heard something once.
            waiting.events.shrink_to(0);
        }
        event.map(Notification::Event)
    }

    /// Whether there is more to hear before a reader is at the position of the event that was heard last.
    pub fn has_more_at(&self, at: Position) -> bool {
        let waiting = self.queue.lock();
        waiting.lagged || waiting.events.front().is_some_and(|next| next.change.at == at)
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, event: &Arc<Event>) {
        let mut waiting = self.lock();
        if waiting.lagged {
            return;
        }
        if waiting.events.len() < QUEUE_MAX + waiting.missed {
            waiting.events.push_back(Arc::clone(event));
        } else {
            *waiting = Waiting { lagged: true, ..Waiting::default() };
        }
    }

    /// All of a batch was pushed.
    fn complete_batch(&self) {
        let mut waiting = self.lock();
        waiting.complete = waiting.events.len();
        drop(waiting);
        self.wake.notify_one();
    }

    fn mark_lagged(&self) {
        *self.lock() = Waiting { lagged: true, ..Waiting::default() };
        self.wake.notify_one();
    }
}

impl Hub {
    fn add(&mut self, selection: Selection, sets: bool, now: &Snapshot) -> Arc<Queue> {
        let queue = Arc::new(Queue { selection, waiting: Mutex::default(), wake: Notify::new() });
        let Selection::Services(services) = &queue.selection else {
            self.all.retain(|other| other.strong_count() > 0);
            self.all.push(Arc::downgrade(&queue));
            return queue;
        };
        let mut services: Vec<_> = services.iter().map(|service| service.to_ascii_lowercase()).collect();
        services.sort_unstable();
        services.dedup();
        for service in services {
            let instances = || now.instances(&service).map(|stored| (stored.key.clone(), Arc::clone(stored))).collect();
            let set = sets.then(instances);
            let subscribers = self.services.entry(service).or_default();
            if subscribers.set.is_none() {
                subscribers.set = set;
            }
            subscribers.queues.push(Arc::downgrade(&queue));
        }
        queue
    }

    /// Forgets a listener's places; called when it goes.
    fn remove(&mut self, queue: &Arc<Queue>) {
        let other = |held: &Weak<Queue>| held.as_ptr() != Arc::as_ptr(queue);
        let Selection::Services(services) = &queue.selection else { return self.all.retain(other) };
        for service in services {
            let service = service.to_ascii_lowercase();
            let Some(subscribers) = self.services.get_mut(&service) else { continue };
            if let Some(at) = subscribers.queues.iter().position(|held| !other(held)) {
                subscribers.queues.swap_remove(at);
            }
            if subscribers.queues.is_empty() {
                self.services.remove(&service);
            }
        }
    }

    /// Tells a batch. Nobody hears a part of it before all of it is there to be heard.
    fn deliver(&mut self, batch: &[Arc<Change>]) {
        let mut reached = Vec::new();
        for change in batch {
            let mut subscribers = self.services.get_mut(&*change.service);
            let set = subscribers.as_mut().and_then(|subscribers| subscribers.after(change));
            let event = Event::new(Arc::clone(change), set);
            let named = subscribers.into_iter().flat_map(|subscribers| &subscribers.queues);
            for queue in named.chain(&self.all).filter_map(Weak::upgrade) {
                queue.push(&event);
                reached.push(queue);
            }
        }
        for queue in reached {
            queue.complete_batch();
        }
    }

    fn lag_all(&mut self) {
        let services = std::mem::take(&mut self.services);
        let named = services.values().flat_map(|subscribers| &subscribers.queues);
        named.chain(&std::mem::take(&mut self.all)).filter_map(Weak::upgrade).for_each(|queue| queue.mark_lagged());
    }
}

impl ServiceSubscribers {
    /// The service's instances after a change, if anybody wants them.
    fn after(&mut self, change: &Change) -> Option<Arc<[Arc<StoredEntry>]>> {
        let set = self.set.as_mut()?;
        match change.kind {
            ChangeKind::Put => drop(set.insert(change.instance.key.clone(), Arc::clone(&change.instance))),
            ChangeKind::Removed(_) => drop(set.remove(&change.instance.key)),
        }
        Some(set.values().cloned().collect())
    }
}

impl Drop for EventSubscription {
    fn drop(&mut self) {
        self.events.lock().remove(&self.queue);
    }
}

#[cfg(test)]
mod tests;
