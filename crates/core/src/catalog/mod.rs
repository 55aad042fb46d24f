//! The contents of the store in memory: one immutable [`Snapshot`], which readers take and release.
//!
//! ```text
//! store ─▶ follow ─▶ Snapshot + batch = next Snapshot ─▶ Catalog::publish ─▶ readers
//!                                    └─▶ changes ─▶ history ─▶ events
//! ```
//! - [`follow`]: the only writer; `removal_reasons`, `lease_ttls`: facts that it queries from the store
//! - [`keyspace`], `mirror_keyspace`: key and value → name, entry and service
//! - [`snapshot`]: the state at one revision; [`node`], `children`, `values`, [`stored_entry`], [`quarantine`],
//!   `service_index`: its tree and its index; [`answer_slot`]: rendered answers in the nodes of the tree
//! - `changes`: the difference of two snapshots as readers see it; [`history`]: the recent changes
//! - [`position`], `digest`: the position of a reader in the history
//! - [`snapshot_file`]: the last snapshot on disk
//!
//! A module imports only modules before it in the order position, digest, keyspace, snapshot, changes, history, follow;
//! only [`node`] and `children` are one recursive type. The catalog imports neither the registry nor events nor topics.
//!
//! Owns: the current snapshot with its [`Health`], and waiting for a revision. Does not own: writes to the store.
//! Reading takes no lock and never calls the store.

pub mod answer_slot;
mod changes;
mod children;
mod digest;
pub mod follow;
mod health;
pub mod history;
pub mod keyspace;
mod lease_ttls;
mod mirror_keyspace;
pub mod node;
pub mod position;
pub mod quarantine;
mod removal_reasons;
mod service_index;
pub mod snapshot;
pub mod snapshot_file;
pub mod stored_entry;
mod values;

pub use changes::{Change, ChangeKind};
pub use health::Health;
pub use history::History;
pub use keyspace::Keyspace;
pub use mirror_keyspace::DEFAULT_MIRROR_NAMESPACE;
pub use node::Node;
pub use position::{Part, PerPart, Position, Revisions};
pub use quarantine::Quarantined;
pub use snapshot::Snapshot;
pub use snapshot_file::SnapshotFile;
pub use stored_entry::StoredEntry;

use arc_swap::ArcSwap;
use history::{Step, StepSource, WINDOW};
use lease_ttls::LearntTtl;
use skyhound_model::{Key, RemovalReason};
use skyhound_store::{Batch, Revision};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// A gap in the numbers of changes. A subscriber that finds one starts over with the complete set.
const NUMBER_GAP: u64 = WINDOW as u64 + 1;

/// Receives every batch of the SkyDNS layout, in order, after the snapshot contains it. Must not block.
pub type BatchObserver = Box<dyn Fn(&Batch) + Send + Sync>;

/// The current snapshot.
pub struct Catalog {
    current: ArcSwap<Snapshot>,
    revision: watch::Sender<Revision>,
    health: watch::Sender<Health>,
    /// The recent changes. Under this lock the snapshot contains exactly these changes.
    history: Mutex<History>,
    /// The number of the last change.
    changed: watch::Sender<u64>,
    observer: OnceLock<BatchObserver>,
    snapshot_file: OnceLock<SnapshotFile>,
}

/// A batch of a part that is in the next snapshot, and its source.
#[derive(Debug, Clone, Copy)]
struct Update<'b> {
    part: Part,
    source: StepSource,
    batch: &'b Batch,
}

impl Catalog {
    /// An empty catalog that was never read.
    pub fn new(keyspace: impl Into<Arc<Keyspace>>) -> Arc<Self> {
        Arc::new(Self::with(Snapshot::empty(keyspace), Health::NeverLoaded))
    }

    /// A catalog that counts as current and never changes: for queries that take a catalog and are meant for one
    /// snapshot.
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

    /// Returns the current snapshot. A reader takes it once per request, so that the response is of one revision.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Returns the relation of the snapshot to the store.
    pub fn health(&self) -> Health {
        *self.health.borrow()
    }

    /// Waits until the snapshot contains `revision`; for ever if the store is not followed, so callers need a timeout.
    pub async fn reached(&self, revision: Revision) {
        // The sender lives as long as `self`, so the wait cannot fail.
        let _ = self.revision.subscribe().wait_for(|now| *now >= revision).await;
    }

    /// Waits until the store was read once.
    pub async fn ready(&self) {
        let _ = self.health.subscribe().wait_for(|health| *health != Health::NeverLoaded).await;
    }

    /// Sets the file that is loaded if the store cannot be read at the start. To be called once, before [`follow`] begins.
    pub fn set_snapshot_file(&self, snapshot_file: SnapshotFile) {
        let set = self.snapshot_file.set(snapshot_file);
        debug_assert!(set.is_ok(), "the snapshot file is set twice");
    }

    /// Calls `read` with the recent changes and the snapshot that contains exactly these changes. `read` must be short:
    /// the catalog's writer waits for it.
    pub fn with_history<T>(&self, read: impl FnOnce(&History, &Arc<Snapshot>) -> T) -> T {
        let history = self.lock_history();
        read(&history, &self.snapshot())
    }

    /// Returns the number of the last change, to wait for the next.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Sets the observer of batches. To be called once, before [`follow`] begins; a second observer is ignored.
    pub fn observe_batches(&self, observer: BatchObserver) {
        let set = self.observer.set(observer);
        debug_assert!(set.is_ok(), "the batch observer is set twice");
    }

    /// Replaces the snapshot of a test.
    #[cfg(any(test, feature = "testing"))]
    pub fn set(&self, snapshot: Snapshot, health: Health) {
        self.current.store(Arc::new(snapshot));
        self.health.send_replace(health);
    }

    /// Publishes the snapshot that contains an update. `reason` returns the removal reason of a key.
    ///
    /// An update with more changes than the history holds (the first listing, or the changes of an hour) is not
    /// delivered one by one: a gap in the numbers makes every subscriber start over.
    fn publish(&self, next: Snapshot, update: Update<'_>, reason: impl Fn(&Key) -> RemovalReason) {
        let Update { part, source, batch } = update;
        let before = self.snapshot();
        let fits = batch.changes.len() <= WINDOW;
        let changes = fits.then(|| changes::between(&before, &next, part, batch, reason));
        let number = before.changes() + changes.as_ref().map_or(NUMBER_GAP, |changes| changes.len() as u64);
        let (from, to) = (before.state()[part].revision, next.state()[part].revision);
        self.replace(next.with_changes(number), |history, next| match &changes {
            Some(changes) => history.record(Step { part, source, from, to }, changes, next.state()),
            None => history.reset(next.state()),
        });
        if part == Part::Primary {
            self.revision.send_replace(batch.revision);
        }
        if number != before.changes() {
            self.changed.send_replace(number);
        }
        if part == Part::Primary
            && let Some(observer) = self.observer.get()
        {
            observer(batch);
        }
    }

    /// Publishes a snapshot that was current before `age`; every subscriber starts over.
    fn restore(&self, snapshot: Snapshot, age: Duration) {
        let (revision, number) = (snapshot.revision(), self.snapshot().changes() + NUMBER_GAP);
        self.replace(snapshot.with_changes(number), |history, next| history.reset(next.state()));
        self.changed.send_replace(number);
        self.revision.send_replace(revision);
        // No instant is before the start of the machine; an older snapshot counts as new.
        let since = Instant::now().checked_sub(age).unwrap_or_else(Instant::now);
        self.health.send_replace(Health::Stale { since });
    }

    /// Replaces the snapshot together with the history.
    fn replace(&self, next: Snapshot, record: impl FnOnce(&mut History, &Snapshot)) {
        let mut history = self.lock_history();
        record(&mut history, &next);
        self.current.store(Arc::new(next));
    }

    /// Adds lease TTLs to the entries of the snapshot. They are no change for readers of the history.
    fn set_ttls(&self, ttls: &[LearntTtl]) {
        if !ttls.is_empty() {
            self.current.store(Arc::new(self.snapshot().with_ttls(ttls)));
        }
    }

    fn lock_history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let revision = self.current.load().revision();
        f.debug_struct("Catalog").field("revision", &revision).field("health", &self.health()).finish_non_exhaustive()
    }
}
