//! The subscriptions by service, and the delivery of batches to their queues.
//!
//! Owns: that index, the number of the last delivered change, and the set of instances of each service with a
//! subscriber that requests it. Does not own: the queues ([`super::queue`]).

use super::queue::Queue;
use super::{Event, Selection};
use crate::catalog::{Change, ChangeKind, Snapshot, StoredEntry};
use skyhound_model::Key;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};

#[derive(Debug)]
pub(super) struct Hub {
    /// The number of the last change that was delivered.
    delivered: u64,
    services: HashMap<String, ServiceSubscribers>,
    all: Vec<Weak<Queue>>,
}

/// The subscribers of a service.
#[derive(Debug, Default)]
struct ServiceSubscribers {
    queues: Vec<Weak<Queue>>,
    /// The service's instances after the last delivered change, while a subscriber requests sets.
    set: Option<BTreeMap<Key, Arc<StoredEntry>>>,
}

impl Hub {
    /// A hub without subscribers, for which the changes up to this number count as delivered.
    pub(super) fn new(delivered: u64) -> Self {
        Self { delivered, services: HashMap::new(), all: Vec::new() }
    }

    pub(super) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Adds the queue of a subscription; `now` is the snapshot after the last delivered change.
    pub(super) fn add(&mut self, selection: Selection, sets: bool, now: &Snapshot) -> Arc<Queue> {
        let queue = Arc::new(Queue::new(selection));
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

    /// Removes the queue of a subscription that ended.
    pub(super) fn remove(&mut self, queue: &Arc<Queue>) {
        let is_other = |other: &Weak<Queue>| other.as_ptr() != Arc::as_ptr(queue);
        let Selection::Services(services) = &queue.selection else { return self.all.retain(is_other) };
        for service in services {
            let service = service.to_ascii_lowercase();
            let Some(subscribers) = self.services.get_mut(&service) else { continue };
            if let Some(at) = subscribers.queues.iter().position(|other| !is_other(other)) {
                subscribers.queues.swap_remove(at);
            }
            if subscribers.queues.is_empty() {
                self.services.remove(&service);
            }
        }
    }

    /// The number of subscriptions; one that selects several services counts once.
    pub(super) fn subscriptions(&self) -> usize {
        let named = self.services.values().flat_map(|subscribers| &subscribers.queues);
        let mut queues: Vec<_> = named.chain(&self.all).map(Weak::as_ptr).collect();
        queues.sort_unstable();
        queues.dedup();
        queues.len()
    }

    /// Delivers the changes up to this number. Without all of them (`None`, or a gap in the numbers, because too much
    /// changed at once) every subscriber starts over.
    pub(super) fn deliver_up_to(&mut self, number: u64, changes: Option<Vec<Arc<Change>>>) {
        match changes {
            Some(changes) if changes.last().map_or(self.delivered, |change| change.number) == number => {
                changes.chunk_by(|one, next| one.at == next.at).for_each(|batch| self.deliver(batch));
            }
            _ => self.lag_all(),
        }
        self.delivered = number;
    }

    /// Delivers a batch. No subscriber receives a part of it before the batch is complete in its queue.
    fn deliver(&mut self, batch: &[Arc<Change>]) {
        let mut reached = Vec::new();
        for change in batch {
            let mut subscribers = self.services.get_mut(&*change.service);
            let set = subscribers.as_mut().and_then(|subscribers| subscribers.set_after(change));
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
    /// Applies a change to the set of instances and returns the set; `None` if no subscriber requests it.
    fn set_after(&mut self, change: &Change) -> Option<Arc<[Arc<StoredEntry>]>> {
        let set = self.set.as_mut()?;
        match change.kind {
            ChangeKind::Put => drop(set.insert(change.instance.key.clone(), Arc::clone(&change.instance))),
            ChangeKind::Removed(_) => drop(set.remove(&change.instance.key)),
        }
        Some(set.values().cloned().collect())
    }
}
