//! The one thread that changes the store.
//!
//! Group commit: the thread takes all waiting requests, applies them to one [`Draft`], makes the draft durable with one
//! write, and only then publishes it: to lists through the [`View`], to feeds, and to the callers, in this order. A draft
//! that cannot be made durable is dropped.
//!
//! | result of the write | the draft | callers receive | later |
//! |---|---|---|---|
//! | durable | published | their outcomes | – |
//! | not written | dropped | [`StoreError::Unwritable`] | writes are rejected as `Unwritable` for [`TICK`] |
//! | unknown | in doubt | [`StoreError::Unreachable`] | writes are rejected as `Unwritable` until the file is read again, every [`TICK`] |
//!
//! Owns: the order of these steps, and the clock of the leases. Does not own: the state (`state`), the file (`disk`).

use super::disk::{Disk, Failure};
use super::feeds::Feeds;
use super::history::History;
use super::state::{Draft, State};
use super::{Mutation, Request, ResponseSender, View};
use crate::{Feed, LeaseId, Revision, StoreError};
use arc_swap::ArcSwap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Limit of the number of requests in one write, and of those that wait in the queue. Callers wait while it is full.
pub(super) const GROUP_MAX: usize = 1024;
/// Longest sleep of the writer, and the pause after a failure of the file: every attempt reads the file from end to end.
const TICK: Duration = Duration::from_secs(1);
/// Delay of a bookmark for a reader of a feed that was busy.
const BOOKMARK: Duration = Duration::from_millis(100);

/// Sends a caller its outcome, or the error that kept it from being durable.
type Acknowledge = Box<dyn FnOnce(Result<(), StoreError>)>;

pub(super) struct Writer {
    state: State,
    disk: Option<Disk>,
    /// A draft that may be in the file, while the file cannot be read.
    in_doubt: Option<Draft>,
    fault: Option<Fault>,
    history: History,
    feeds: Feeds,
    /// A reader of a feed waits for a bookmark.
    bookmark_due: bool,
    view: Arc<ArcSwap<View>>,
    /// Set if the file was removed or replaced while it is open.
    file_replaced: Arc<AtomicBool>,
    clock: Clock,
}

/// The failure of the last write, until one succeeds.
struct Fault {
    reason: String,
    /// Time of the next attempt.
    retry_at: Duration,
}

impl Writer {
    pub(super) fn new(
        state: State,
        disk: Option<Disk>,
        view: Arc<ArcSwap<View>>,
        file_replaced: Arc<AtomicBool>,
    ) -> Self {
        let history = History::from(state.revision);
        let clock = Clock { read: Instant::now(), time: Duration::ZERO };
        let (feeds, bookmark_due) = (Feeds::default(), false);
        Self { state, disk, in_doubt: None, fault: None, history, feeds, bookmark_due, view, file_replaced, clock }
    }

    /// Runs until the last handle is dropped and all requests have their outcomes.
    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut group = Vec::with_capacity(GROUP_MAX);
        loop {
            let wait = self.time_until_next();
            if let Ok(0) = tokio::time::timeout(wait, requests.recv_many(&mut group, GROUP_MAX)).await {
                return;
            }
            let now = self.clock.now();
            self.process_group(group.drain(..), now);
            self.check_file();
        }
    }

    /// Reports that the file was removed or replaced. Writing continues: live instances stay in DNS, and rejecting writes
    /// would not make anything safer.
    fn check_file(&self) {
        let Some(disk) = &self.disk else { return };
        let file_replaced = !disk.is_current_file();
        if self.file_replaced.swap(file_replaced, Ordering::Relaxed) != file_replaced && file_replaced {
            let path = disk.path().display();
            tracing::error!(%path, "the store's file was removed or replaced; its contents end with this process");
        }
    }

    /// Returns the time until there is work without a request.
    fn time_until_next(&self) -> Duration {
        let lease = self.state.lessor.next_deadline().filter(|_| self.fault.is_none());
        let lease = lease.map_or(TICK, |deadline| deadline.saturating_sub(self.clock.time));
        lease.min(if self.bookmark_due { BOOKMARK } else { TICK })
    }

    fn process_group(&mut self, group: impl Iterator<Item = Request>, now: Duration) {
        self.resolve_in_doubt(now);
        let mut mutations = Vec::new();
        let mut feed_requests = Vec::new();
        for request in group {
            match request {
                // Before the expiry: the request of a caller that waited for a slow disk was in time. And without a
                // write, so that no lease expires because of a full disk.
                Request::Renew { leases, response } => self.renew(&leases, now, response),
                Request::Feed { prefix, after, response } => feed_requests.push((prefix, after, response)),
                Request::Mutate(mutation) => mutations.push(mutation),
            }
        }
        let mut draft = Draft::of(&self.state);
        draft.expire(now);
        let acknowledgements: Vec<_> = mutations.into_iter().map(|mutation| stage(&mut draft, mutation, now)).collect();
        let durable = self.persist(draft, now);
        for acknowledge in acknowledgements {
            acknowledge(durable.clone());
        }
        for (prefix, after, response) in feed_requests {
            let feed = self.open_feed(prefix, after);
            // An error means that the caller no longer waits, here and below.
            let _ = response.send(feed);
        }
        self.bookmark_due = self.feeds.bookmark(self.state.revision);
    }

    fn renew(&mut self, leases: &[LeaseId], now: Duration, response: ResponseSender<Vec<bool>>) {
        if let Some(in_doubt) = &mut self.in_doubt {
            for id in leases {
                in_doubt.state.lessor.renew(*id, now);
            }
        }
        let alive = leases.iter().map(|id| self.state.lessor.renew(*id, now)).collect();
        let _ = response.send(Ok(alive));
    }

    fn open_feed(&mut self, prefix: Box<[u8]>, after: Revision) -> Result<Feed, StoreError> {
        let revision = self.state.revision;
        if after > revision {
            return Err(StoreError::FeedLost(format!(
                "revision {after} is ahead of the store, which is at {revision}"
            )));
        }
        self.feeds.open(prefix, after, self.history.since(after)?)
    }

    /// Makes a draft durable and publishes it, or drops it and returns the error.
    fn persist(&mut self, draft: Draft, now: Duration) -> Result<(), StoreError> {
        if draft.journal.is_empty() {
            return Ok(());
        }
        if let Some(fault) = self.fault.as_ref().filter(|fault| self.in_doubt.is_some() || now < fault.retry_at) {
            return Err(StoreError::Unwritable(fault.reason.clone()));
        }
        let result = match &mut self.disk {
            Some(disk) => disk.write(&draft.journal, draft.state.revision),
            None => Ok(()),
        };
        match result {
            Ok(()) => {
                self.publish(draft);
                Ok(())
            }
            Err(Failure::NotWritten(reason)) => {
                self.report_fault(reason.clone(), now);
                Err(StoreError::Unwritable(reason))
            }
            Err(Failure::Unknown(reason)) => {
                self.report_fault(reason.clone(), now);
                self.in_doubt = Some(draft);
                Err(StoreError::Unreachable(reason))
            }
        }
    }

    /// Reads a file again that could not be read, to find out if the draft in doubt is in it.
    fn resolve_in_doubt(&mut self, now: Duration) {
        if self.fault.as_ref().is_some_and(|fault| now < fault.retry_at) {
            return;
        }
        let (Some(in_doubt), Some(disk)) = (self.in_doubt.take(), &mut self.disk) else { return };
        match disk.recover() {
            Ok(true) => self.publish(in_doubt),
            Ok(false) => {}
            Err(error) => {
                self.in_doubt = Some(in_doubt);
                self.report_fault(error.to_string(), now);
            }
        }
    }

    fn publish(&mut self, draft: Draft) {
        self.state = draft.state;
        if self.fault.take().is_some() {
            tracing::info!("the store can write again");
        }
        self.view.store(Arc::new(View::of(&self.state, None)));
        for batch in draft.journal.batches {
            self.feeds.deliver(&batch);
            self.history.push(batch);
        }
    }

    fn report_fault(&mut self, reason: String, now: Duration) {
        if self.fault.as_ref().is_none_or(|fault| fault.reason != reason) {
            tracing::error!(path = ?self.disk.as_ref().map(Disk::path), reason, "the store cannot write");
        }
        self.view.store(Arc::new(View::of(&self.state, Some(reason.clone()))));
        self.fault = Some(Fault { reason, retry_at: now + TICK });
    }
}

/// Applies a mutation to the draft; the caller receives its outcome later.
fn stage(draft: &mut Draft, mutation: Mutation, now: Duration) -> Acknowledge {
    fn acknowledge<T: 'static>(response: ResponseSender<T>, outcome: Result<T, StoreError>) -> Acknowledge {
        Box::new(move |durable| {
            let _ = response.send(durable.and(outcome));
        })
    }
    match mutation {
        Mutation::Commit { writes, response } => acknowledge(response, draft.commit(writes)),
        Mutation::Grant { ttl, response } => acknowledge(response, draft.grant(ttl, now)),
        Mutation::Revoke { lease, response } => {
            draft.revoke(lease);
            acknowledge(response, Ok(()))
        }
    }
}

/// The clock of the leases, which stops while the store does.
///
/// While a machine is suspended, or a disk takes a minute, no client can renew its lease; if the clock continued, all
/// leases would expire at the next check.
struct Clock {
    read: Instant,
    time: Duration,
}

impl Clock {
    fn now(&mut self) -> Duration {
        let read = Instant::now();
        // The writer reads the clock at least once per tick, so anything much longer was a standstill.
        self.time += read.duration_since(self.read).min(TICK * 2);
        self.read = read;
        self.time
    }
}
