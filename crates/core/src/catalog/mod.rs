//! What is known, in memory: one immutable [`Snapshot`] that readers take and let go.
//!
//! Owns: the current snapshot, when it was last heard to be true, and waiting for a revision. Reading
//! takes no lock and never calls the store. [`follow`] is the only writer.

pub mod answer_slot;
mod children;
mod digest;
pub mod follow;
pub mod history;
pub mod keyspace;
mod lease_ttls;
pub mod node;
pub mod quarantine;
mod service_index;
pub mod snapshot;
pub mod snapshot_file;
mod values;

pub use history::{Change, ChangeKind, History, Position};
pub use keyspace::Keyspace;
pub use node::{Node, StoredEntry};
pub use quarantine::Quarantined;
pub use snapshot::Snapshot;
pub use snapshot_file::SnapshotFile;

use arc_swap::ArcSwap;
use history::{Part, WINDOW};
use skyhound_model::{Key, RemovalReason};
use skyhound_store::{Batch, Revision};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How much the snapshot can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// The store was never read: the snapshot is empty because nothing is known, not because nothing is there.
    NeverLoaded,
    /// The store's changes are being followed.
    Current,
    /// The store does not answer: the snapshot is what was true at that time.
    Stale {
        /// When it was last heard to be true.
        since: Instant,
    },
}

impl Health {
    /// How long ago the snapshot was last heard to be true; `None` when it never was.
    pub fn age(self) -> Option<Duration> {
        match self {
            Self::NeverLoaded => None,
            Self::Current => Some(Duration::ZERO),
            Self::Stale { since } => Some(since.elapsed()),
        }
    }

    /// As the operator's routes say it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NeverLoaded => "never_loaded",
            Self::Current => "current",
            Self::Stale { .. } => "stale",
        }
    }
}

/// Hears of every batch of the SkyDNS layout, in order, after the snapshot has it. Must not block.
pub type BatchObserver = Box<dyn Fn(&Batch) + Send + Sync>;

/// The current snapshot.
pub struct Catalog {
    current: ArcSwap<Snapshot>,
    revision: watch::Sender<Revision>,
    health: watch::Sender<Health>,
    /// What changed lately. Who holds it sees a snapshot that has just these changes.
    history: Mutex<History>,
    /// The number of the last change.
    changed: watch::Sender<u64>,
    observer: OnceLock<BatchObserver>,
    snapshot_file: OnceLock<SnapshotFile>,
}

impl Catalog {
    /// An empty catalog that was never read.
    pub fn new(keyspace: impl Into<Arc<Keyspace>>) -> Arc<Self> {
        Arc::new(Self::with(Snapshot::empty(keyspace), Health::NeverLoaded))
    }

    /// A catalog that is followed and never changes: for asking about one snapshot what would be asked about
    /// the current one.
    pub fn fixed(snapshot: Arc<Snapshot>) -> Arc<Self> {
        let catalog = Self::with(snapshot.as_ref().clone(), Health::Current);
        catalog.current.store(snapshot);
        Arc::new(catalog)
    }

    fn with(snapshot: Snapshot, health: Health) -> Self {
        Self {
            revision: watch::Sender::new(snapshot.revision()),
            current: ArcSwap::from_pointee(snapshot),
            health: watch::Sender::new(health),
            history: Mutex::default(),
            changed: watch::Sender::new(0),
            observer: OnceLock::new(),
            snapshot_file: OnceLock::new(),
        }
    }

    /// The current snapshot. Take it once per question, so that an answer is of one revision.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// How much the snapshot can be trusted.
    pub fn health(&self) -> Health {
        *self.health.borrow()
    }

    /// Waits until the snapshot holds `revision`. Never, if the store is not followed: bound it.
    pub async fn reached(&self, revision: Revision) {
        // The sender lives as long as `self`, so that the wait cannot fail.
        let _ = self.revision.subscribe().wait_for(|now| *now >= revision).await;
    }

    /// Waits until the store was read once.
    pub async fn ready(&self) {
        let _ = self.health.subscribe().wait_for(|health| *health != Health::NeverLoaded).await;
    }

    /// Sets which copy is taken up when the store cannot be read at the start. Before [`follow`] begins.
    pub fn set_snapshot_file(&self, snapshot_file: SnapshotFile) {
        let taken = self.snapshot_file.set(snapshot_file);
        debug_assert!(taken.is_ok(), "the catalog has a copy already");
    }

    /// What changed lately, with the snapshot that has just these changes. Short: the catalog waits for its end.
    pub fn with_history<T>(&self, read: impl FnOnce(&History, &Arc<Snapshot>) -> T) -> T {
        let history = self.lock();
        read(&history, &self.snapshot())
    }

    /// The number of the last change, to wait for the next.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Publishes what was known so long ago. For [`follow`], which is the only writer.
    fn restore(&self, snapshot: Snapshot, age: Duration) {
        let revision = snapshot.revision();
        // With a gap in the numbers: whoever listens takes the whole set.
        let before = usize::try_from(self.snapshot().changes()).unwrap_or_default();
        let snapshot = snapshot.with_changes(before + WINDOW + 1);
        let number = snapshot.changes();
        let mut history = self.lock();
        history.reset(&snapshot);
        self.current.store(Arc::new(snapshot));
        drop(history);
        self.changed.send_replace(number);
        self.revision.send_replace(revision);
        // Since the machine's own start, if it was before that: there is no earlier instant.
        let since = Instant::now().checked_sub(age).unwrap_or_else(Instant::now);
        self.health.send_replace(Health::Stale { since });
    }

    /// Sets who hears of batches. One listener, set before [`follow`] begins; a second is not taken.
    pub fn observe_batches(&self, observer: BatchObserver) {
        let taken = self.observer.set(observer);
        debug_assert!(taken.is_ok(), "the catalog has a listener already");
    }

    /// Publishes a snapshot of a test.
    #[cfg(any(test, feature = "testing"))]
    pub fn set(&self, snapshot: Snapshot, health: Health) {
        self.current.store(Arc::new(snapshot));
        self.health.send_replace(health);
    }

    /// Publishes the snapshot after a batch, which a feed told or a listing came to. `reason` is asked about entries that
    /// are gone.
    fn publish(
        &self,
        next: Snapshot,
        (part, batch): (Part, &Batch),
        listed: bool,
        reason: impl Fn(&Key) -> RemovalReason,
    ) {
        let before = self.snapshot();
        // The first reading, or what was missed in an hour: nobody wants to hear that one by one.
        let too_many = batch.changes.len() > WINDOW;
        let changes = if too_many { Vec::new() } else { history::changes(&before, &next, part, batch, reason) };
        // With a gap in the numbers: who counts on all of them takes the whole set.
        let next = next.with_changes(if too_many { WINDOW + 1 } else { changes.len() });
        let number = next.changes();
        let (previous, has) = (before.position().part(part), next.position().part(part));
        let mut history = self.lock();
        if too_many || has < previous {
            history.reset(&next);
        } else if listed {
            history.jump(part, previous, has);
        }
        history.record_digest(part, &next);
        history.add(&changes);
        self.current.store(Arc::new(next));
        drop(history);
        if part == Part::Own {
            self.revision.send_replace(batch.revision);
        }
        if number != before.changes() {
            self.changed.send_replace(number);
        }
        if part == Part::Own
            && let Some(observer) = self.observer.get()
        {
            observer(batch);
        }
    }

    fn lock(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let revision = self.current.load().revision();
        f.debug_struct("Catalog").field("revision", &revision).field("health", &self.health()).finish_non_exhaustive()
    }
}
