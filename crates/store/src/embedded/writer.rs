//! The one thread that changes the store.
//!
//! It takes all requests that wait, makes one [`Draft`] of them, makes that durable with one write, and
//! only then shows it: to readers through the [`View`], to feeds, and to the callers, in this order.
//! Whatever cannot be made durable is dropped with its draft.

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

/// The most requests that are written together, and the most that wait; more make their callers wait.
pub(super) const GROUP_MAX: usize = 1024;
/// The longest the writer sleeps, and how long it leaves the file alone after a failure: every try reads
/// the file from end to end.
const TICK: Duration = Duration::from_secs(1);
/// How soon a reader of a feed who was busy is told that there is nothing more.
const BOOKMARK: Duration = Duration::from_millis(100);

/// Tells a caller its outcome, or why it could not be made durable.
type Acknowledge = Box<dyn FnOnce(Result<(), StoreError>)>;

pub(super) struct Writer {
    state: State,
    disk: Option<Disk>,
    /// A draft of which only the file knows whether it happened, while the file cannot be read.
    in_doubt: Option<Draft>,
    fault: Option<Fault>,
    history: History,
    feeds: Feeds,
    /// A reader of a feed waits for a bookmark.
    bookmark_due: bool,
    view: Arc<ArcSwap<View>>,
    /// The file was removed or replaced under us.
    file_replaced: Arc<AtomicBool>,
    clock: Clock,
}

/// Why the last write failed, until one succeeds.
struct Fault {
    reason: String,
    /// Until then no other is tried.
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

    /// Until the last handle is gone and everything that was asked has been answered.
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

    /// Says so when somebody removes the file under us. Writing goes on: who lives can be found, which a refusal would
    /// not make any safer.
    fn check_file(&self) {
        let Some(disk) = &self.disk else { return };
        let file_replaced = !disk.is_current_file();
        if self.file_replaced.swap(file_replaced, Ordering::Relaxed) != file_replaced && file_replaced {
            let path = disk.path().display();
            tracing::error!(%path, "the store's file was removed or replaced; what it holds ends with this process");
        }
    }

    /// How long there is nothing to do without a request.
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
                // Before anything expires: a caller who waited for a slow disk asked in time. And apart
                // from what has to be written, so that a full disk lets no lease run out.
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
            // A caller who is gone wants nothing more, here and below.
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

    /// Makes a draft durable and shows it; or drops it and says why.
    fn persist(&mut self, draft: Draft, now: Duration) -> Result<(), StoreError> {
        if draft.journal.is_empty() {
            return Ok(());
        }
        if let Some(fault) = self.fault.as_ref().filter(|fault| self.in_doubt.is_some() || now < fault.retry_at) {
            return Err(StoreError::Unwritable(fault.reason.clone()));
        }
        let written = match &mut self.disk {
            Some(disk) => disk.write(&draft.journal, draft.state.revision),
            None => Ok(()),
        };
        match written {
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

    /// Asks a file that could not be read once more what became of the last draft.
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

/// Puts a mutation into the draft; what is left is to tell its caller.
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

/// The time that leases are measured by: it stands still while the store does.
///
/// A machine that was suspended, or a disk that took a minute, kept every holder from keeping its lease;
/// had the time gone on, all would be gone at the first look.
struct Clock {
    read: Instant,
    time: Duration,
}

impl Clock {
    fn now(&mut self) -> Duration {
        let read = Instant::now();
        // The writer looks at least once a tick; whatever is much longer was a standstill.
        self.time += read.duration_since(self.read).min(TICK * 2);
        self.read = read;
        self.time
    }
}
