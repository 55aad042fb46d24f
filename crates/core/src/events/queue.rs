//! The bounded queue of one subscription.
//!
//! | state | push | pop |
//! |---|---|---|
//! | open | appends the event; an event over [`QUEUE_MAX`] makes the queue lagged | the next event of a complete batch |
//! | lagged | drops the event | [`Notification::Lagged`], always |
//!
//! Owns: the events that wait, their limit, and the boundary of the last complete batch. Does not own: the choice of
//! events ([`super::hub`]).

use super::{Event, Notification, Selection};
use crate::catalog::Position;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// The limit of events that wait for a subscription. A slower consumer has to start over with the complete set.
pub const QUEUE_MAX: usize = 1024;

#[derive(Debug)]
pub(super) struct Queue {
    pub(super) selection: Selection,
    waiting: Mutex<Waiting>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<Arc<Event>>,
    /// The number of waiting events that belong to complete batches.
    complete: usize,
    /// The number of events that the subscriber had missed at its start; they do not count against the limit.
    missed: usize,
    lagged: bool,
}

impl Waiting {
    fn lagged() -> Self {
        Self { lagged: true, ..Self::default() }
    }
}

impl Queue {
    pub(super) fn new(selection: Selection) -> Self {
        Self { selection, waiting: Mutex::default(), wake: Notify::new() }
    }

    /// Fills a new queue with the events that a resumed subscriber missed.
    pub(super) fn push_missed(&self, missed: impl Iterator<Item = Arc<Event>>) {
        let mut waiting = self.lock();
        waiting.events.extend(missed);
        (waiting.missed, waiting.complete) = (waiting.events.len(), waiting.events.len());
    }

    /// Appends an event of a batch that is not complete yet.
    pub(super) fn push(&self, event: &Arc<Event>) {
        let mut waiting = self.lock();
        if waiting.lagged {
            return;
        }
        if waiting.events.len() < QUEUE_MAX + waiting.missed {
            waiting.events.push_back(Arc::clone(event));
        } else {
            *waiting = Waiting::lagged();
        }
    }

    /// Makes the events available that were pushed since the last batch.
    pub(super) fn complete_batch(&self) {
        let mut waiting = self.lock();
        waiting.complete = waiting.events.len();
        drop(waiting);
        self.wake.notify_one();
    }

    /// Drops the events and makes the subscriber start over.
    pub(super) fn mark_lagged(&self) {
        *self.lock() = Waiting::lagged();
        self.wake.notify_one();
    }

    pub(super) fn pop(&self) -> Option<Notification> {
        let mut waiting = self.lock();
        if waiting.lagged {
            return Some(Notification::Lagged);
        }
        waiting.complete = waiting.complete.checked_sub(1)?;
        let event = waiting.events.pop_front();
        if waiting.events.is_empty() {
            // There may be 10,000 subscriptions, each with the allocation of its largest batch.
            waiting.events.shrink_to(0);
        }
        event.map(Notification::Event)
    }

    /// Returns whether the next event is of the same batch as one at this position, or the queue is lagged.
    pub(super) fn has_more_at(&self, at: Position) -> bool {
        let waiting = self.lock();
        waiting.lagged || waiting.events.front().is_some_and(|next| next.change.at == at)
    }

    /// Waits for a push.
    pub(super) async fn notified(&self) {
        self.wake.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
