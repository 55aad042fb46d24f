//! Who hears of what: changes of the catalog, told to those who listen for a service.
//!
//! ```text
//! catalog ─▶ history ─▶ one task ─▶ a queue for each listener ─▶ its socket
//! ```
//! The catalog's writer only wakes the task. The task follows the numbers of the [`History`], so that every
//! listener hears every change of its services once and in order; it pushes into queues that have an end and never
//! waits: a listener that does not read loses its place ([`Heard::Behind`]) and costs the others nothing.
//!
//! Owns: listeners, their queues, and the set of instances after each change, for who wants it. Does not own: what a
//! change is ([`crate::catalog::history`]), how a dialect says it.

use crate::catalog::{Catalog, Change, History, Kind, Position, Snapshot, Stored};
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
    pub set: Option<Arc<[Arc<Stored>]>>,
    said: OnceLock<Bytes>,
    plain: OnceLock<Bytes>,
}

impl Event {
    fn new(change: Arc<Change>, set: Option<Arc<[Arc<Stored>]>>) -> Arc<Self> {
        Arc::new(Self { change, set, said: OnceLock::new(), plain: OnceLock::new() })
    }

    /// The event in the words of the one dialect that listens for sets, written once for all of its listeners.
    pub fn said(&self, write: impl FnOnce(&Self) -> Bytes) -> Bytes {
        self.said.get_or_init(|| write(self)).clone()
    }

    /// The event in plain HTTP's words (`skyhound_frontends::v1`), written once for all of its listeners.
    pub fn plain(&self, write: impl FnOnce(&Self) -> Bytes) -> Bytes {
        self.plain.get_or_init(|| write(self)).clone()
    }
}

/// What a listener hears.
#[derive(Debug, Clone)]
pub enum Heard {
    /// A change.
    Event(Arc<Event>),
    /// More than it could take, or the store lost its history: what it knows is not worth anything any more. It takes
    /// the whole set ([`Events::listen`] anew).
    Behind,
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
    fn holds(&self, service: &str) -> bool {
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
pub struct Listener {
    events: Arc<Events>,
    queue: Arc<Queue>,
}

/// What waits for one listener.
#[derive(Debug)]
struct Queue {
    selection: Selection,
    waiting: Mutex<Waiting>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<Arc<Event>>,
    /// So many of them are of batches that are told whole.
    whole: usize,
    /// How many it took at the beginning, for what it had missed.
    missed: usize,
    behind: bool,
}

/// Listeners by what they listen for.
#[derive(Debug, Default)]
struct Hub {
    /// The number of the last change that was told.
    told: u64,
    services: HashMap<String, Ears>,
    all: Vec<Weak<Queue>>,
}

/// The listeners of a service.
#[derive(Debug, Default)]
struct Ears {
    queues: Vec<Weak<Queue>>,
    /// The service's instances after the last change that was told, while one of these wants sets.
    set: Option<BTreeMap<Key, Arc<Stored>>>,
}

impl Events {
    /// Listens to a catalog. Within a tokio runtime; the task ends with the last owner of the events.
    pub fn start(catalog: Arc<Catalog>) -> Arc<Self> {
        let hub = Hub { told: catalog.snapshot().changes(), ..Hub::default() };
        let events = Arc::new(Self { catalog, hub: Mutex::new(hub) });
        let (weak, mut changed) = (Arc::downgrade(&events), events.catalog.changed());
        tokio::spawn(async move {
            // The sender lives in the catalog, and that in the events.
            while changed.changed().await.is_ok()
                && let Some(events) = weak.upgrade()
            {
                events.tell_from(&mut events.lock());
            }
        });
        events
    }

    /// A listener for what changes from now on, and the snapshot that it goes on from. With `sets` its events have the
    /// whole set.
    pub fn listen(self: &Arc<Self>, selection: Selection, sets: bool) -> (Listener, Arc<Snapshot>) {
        let mut hub = self.lock();
        let snapshot = self.tell_from(&mut hub);
        let queue = hub.enter(selection, sets, &snapshot);
        (Listener { events: Arc::clone(self), queue }, snapshot)
    }

    /// A listener for what changed after a position, and changes from now on. `None` when that position is not
    /// remembered: then [`Self::listen`] and its snapshot are the answer.
    pub fn resume(self: &Arc<Self>, selection: Selection, after: Position) -> Option<Listener> {
        let mut hub = self.lock();
        let snapshot = self.tell_from(&mut hub);
        let missed = self.catalog.with_history(|history, _| {
            let changes = history.after(after, snapshot.position()).ok()?;
            let missed = changes.filter(|change| change.number <= hub.told && selection.holds(&change.service));
            Some(missed.cloned().collect::<Vec<_>>())
        })?;
        let queue = hub.enter(selection, false, &snapshot);
        let mut waiting = queue.lock();
        (waiting.missed, waiting.whole) = (missed.len(), missed.len());
        waiting.events.extend(missed.into_iter().map(|change| Event::new(change, None)));
        drop(waiting);
        Some(Listener { events: Arc::clone(self), queue })
    }

    /// How many listen.
    pub fn listeners(&self) -> usize {
        let hub = self.lock();
        let mut queues: Vec<_> = hub.services.values().flat_map(|ears| &ears.queues).chain(&hub.all).collect();
        queues.sort_unstable_by_key(|queue| queue.as_ptr());
        queues.dedup_by_key(|queue| queue.as_ptr());
        queues.len()
    }

    /// Tells what the hub has not told yet. Returns the snapshot that has all that is told now, and nothing more.
    fn tell_from(&self, hub: &mut Hub) -> Arc<Snapshot> {
        let (changes, snapshot) = self.catalog.with_history(|history: &History, snapshot| {
            let changes = history.numbered(hub.told).map(|changes| changes.cloned().collect::<Vec<_>>());
            (changes, Arc::clone(snapshot))
        });
        let now = snapshot.changes();
        match changes {
            Some(changes) if changes.last().map_or(hub.told, |change| change.number) == now => {
                changes.chunk_by(|one, next| one.at == next.at).for_each(|batch| hub.tell(batch));
            }
            // A gap in the numbers: too much changed at once to tell it one by one.
            _ => hub.all_behind(),
        }
        hub.told = now;
        snapshot
    }

    fn lock(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener {
    /// The next event. After [`Heard::Behind`] nothing more comes. Cancel safe.
    pub async fn next(&mut self) -> Heard {
        loop {
            if let Some(heard) = self.try_next() {
                return heard;
            }
            // What was pushed since the look left a permit.
            self.queue.news.notified().await;
        }
    }

    /// The next event, if it is there. A batch is there when all of it is.
    pub fn try_next(&mut self) -> Option<Heard> {
        let mut waiting = self.queue.lock();
        if waiting.behind {
            return Some(Heard::Behind);
        }
        waiting.whole = waiting.whole.checked_sub(1)?;
        let event = waiting.events.pop_front();
        if waiting.events.is_empty() {
            // There may be 10,000 listeners, and each heard something once.
            waiting.events.shrink_to(0);
        }
        event.map(Heard::Event)
    }

    /// Whether there is more to hear before a reader is at the position of the event that was heard last.
    pub fn is_before(&self, at: Position) -> bool {
        let waiting = self.queue.lock();
        waiting.behind || waiting.events.front().is_some_and(|next| next.change.at == at)
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, event: &Arc<Event>) {
        let mut waiting = self.lock();
        if waiting.behind {
            return;
        }
        if waiting.events.len() < QUEUE_MAX + waiting.missed {
            waiting.events.push_back(Arc::clone(event));
        } else {
            *waiting = Waiting { behind: true, ..Waiting::default() };
        }
    }

    /// All of a batch was pushed.
    fn whole(&self) {
        let mut waiting = self.lock();
        waiting.whole = waiting.events.len();
        drop(waiting);
        self.news.notify_one();
    }

    fn behind(&self) {
        *self.lock() = Waiting { behind: true, ..Waiting::default() };
        self.news.notify_one();
    }
}

impl Hub {
    fn enter(&mut self, selection: Selection, sets: bool, now: &Snapshot) -> Arc<Queue> {
        let queue = Arc::new(Queue { selection, waiting: Mutex::default(), news: Notify::new() });
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
            let ears = self.services.entry(service).or_default();
            if ears.set.is_none() {
                ears.set = set;
            }
            ears.queues.push(Arc::downgrade(&queue));
        }
        queue
    }

    /// Forgets a listener's places; called when it goes.
    fn leave(&mut self, queue: &Arc<Queue>) {
        let other = |held: &Weak<Queue>| held.as_ptr() != Arc::as_ptr(queue);
        let Selection::Services(services) = &queue.selection else { return self.all.retain(other) };
        for service in services {
            let service = service.to_ascii_lowercase();
            let Some(ears) = self.services.get_mut(&service) else { continue };
            if let Some(at) = ears.queues.iter().position(|held| !other(held)) {
                ears.queues.swap_remove(at);
            }
            if ears.queues.is_empty() {
                self.services.remove(&service);
            }
        }
    }

    /// Tells a batch. Nobody hears a part of it before all of it is there to be heard.
    fn tell(&mut self, batch: &[Arc<Change>]) {
        let mut told = Vec::new();
        for change in batch {
            let mut ears = self.services.get_mut(&*change.service);
            let set = ears.as_mut().and_then(|ears| ears.after(change));
            let event = Event::new(Arc::clone(change), set);
            let named = ears.into_iter().flat_map(|ears| &ears.queues);
            for queue in named.chain(&self.all).filter_map(Weak::upgrade) {
                queue.push(&event);
                told.push(queue);
            }
        }
        for queue in told {
            queue.whole();
        }
    }

    fn all_behind(&mut self) {
        let services = std::mem::take(&mut self.services);
        let named = services.values().flat_map(|ears| &ears.queues);
        named.chain(&std::mem::take(&mut self.all)).filter_map(Weak::upgrade).for_each(|queue| queue.behind());
    }
}

impl Ears {
    /// The service's instances after a change, if anybody wants them.
    fn after(&mut self, change: &Change) -> Option<Arc<[Arc<Stored>]>> {
        let set = self.set.as_mut()?;
        match change.kind {
            Kind::Put => drop(set.insert(change.instance.key.clone(), Arc::clone(&change.instance))),
            Kind::Gone(_) => drop(set.remove(&change.instance.key)),
        }
        Some(set.values().cloned().collect())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.events.lock().leave(&self.queue);
    }
}

#[cfg(test)]
mod tests;
