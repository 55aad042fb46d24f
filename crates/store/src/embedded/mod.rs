//! The default store: one process, one writer, one file, or memory only.
//!
//! ```text
//! callers ─▶ Request ─▶ writer ─▶ Draft ─▶ disk ─▶ View ─▶ lists
//!            bounded    a group   of State  fsync    └────▶ feeds, history
//! ```
//! - `state`, `row` and `lessor`: the contents and their changes, without clock or file
//! - `disk` and `open`: the file, its tables, its errors
//! - `history` and `feeds`: the latest changes, and their delivery
//! - `writer`: the thread that combines them
//!
//! Owns: that nothing is visible or acknowledged before it is durable, and that a group of commits costs one fsync.
//! Deliberately absent: replication. More than one node means etcd.
//!
//! All contents are in memory; the file is read once, when it is opened. A list reads an immutable map that shares its
//! parts with the writer's, so that neither waits for the other.

mod disk;
#[cfg(test)]
mod faults;
mod feeds;
mod history;
mod lessor;
mod open;
mod row;
mod state;
mod writer;

pub use open::OpenError;

use super::{Commit, Feed, LeaseId, Listing, Revision, Status, Store, StoreError, Write};
use arc_swap::ArcSwap;
use async_trait::async_trait;
use disk::Disk;
use imbl::OrdMap;
use lessor::Lessor;
use row::Row;
use skyhound_model::Key;
use state::State;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use writer::{GROUP_MAX, Writer};

/// Items that a list reads before it yields to other tasks.
const LIST_STRIDE: usize = 8192;

/// The sender of a request's outcome.
type ResponseSender<T> = oneshot::Sender<Result<T, StoreError>>;

/// A request to the writer.
enum Request {
    Mutate(Mutation),
    Renew { leases: Vec<LeaseId>, response: ResponseSender<Vec<bool>> },
    Feed { prefix: Box<[u8]>, after: Revision, response: ResponseSender<Feed> },
}

/// A request that must be durable before its caller receives the outcome.
enum Mutation {
    Commit { writes: Vec<Write>, response: ResponseSender<Commit> },
    Grant { ttl: Duration, response: ResponseSender<LeaseId> },
    Revoke { lease: LeaseId, response: ResponseSender<()> },
}

/// The visible state: durable, and of one revision.
struct View {
    revision: Revision,
    items: OrdMap<Key, Row>,
    /// For the lease TTLs only: the deadlines are out of date.
    lessor: Lessor,
    /// The error of the last write, until one succeeds.
    fault: Option<String>,
}

impl View {
    fn of(state: &State, fault: Option<String>) -> Self {
        Self { revision: state.revision, items: state.items.clone(), lessor: state.lessor.clone(), fault }
    }
}

/// The store of a single node, with the contract of [`Store`]. A caller that stops waiting for a commit does not undo it.
///
/// Dropping the store completes the pending requests, ends every feed, and closes the file, which can then be opened
/// again. The drop waits for the last write, so drop it where a wait of one fsync is allowed.
///
/// ```
/// use skyhound_model::Key;
/// use skyhound_store::{Op, Store, Write, embedded::Embedded};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// let path = dir.path().join("skyhound.redb");
/// let store = Embedded::open(&path)?;
/// let put = Op::Put { key: Key::from("/skydns/local/web"), value: "{}".into(), lease: None };
/// let commit = store.commit(vec![Write { ops: vec![put], ..Write::default() }]).await?;
/// drop(store);
///
/// let listing = Embedded::open(&path)?.list(b"/skydns/").await?;
/// assert_eq!((listing.revision, listing.items.len()), (commit.revision, 1));
/// # Ok(())
/// # }
/// ```
pub struct Embedded {
    view: Arc<ArcSwap<View>>,
    /// Path of the file; `None` in memory.
    path: Option<PathBuf>,
    requests: mpsc::Sender<Request>,
    file_replaced: Arc<AtomicBool>,
    /// After `requests`, because fields are dropped in this order and the writer ends when the channel is closed.
    _writer: JoinOnDrop,
}

impl Embedded {
    /// Opens a store in a file. Creates the file and the directories above it if they do not exist.
    ///
    /// Blocks while it reads the whole file: seconds for a million entries. Every lease in the file is renewed.
    ///
    /// # Errors
    /// An [`OpenError`] if the file is in use, is not a store, is damaged, or cannot be created, read or written.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let file = path.to_path_buf();
        let (disk, state) = Disk::open(path.to_path_buf(), Box::new(move || open::open_file(&file)))?;
        Self::start(state, Some(disk))
    }

    /// Creates a store in memory, whose contents end with it.
    ///
    /// # Errors
    /// [`OpenError::Thread`] if the system cannot start a thread.
    pub fn in_memory() -> Result<Self, OpenError> {
        Self::start(State::default(), None)
    }

    /// Creates a store in memory whose first change follows a given revision. The subscribers of an earlier process know
    /// revisions of another store; if the revisions of this one are far ahead of them, the difference is detectable.
    ///
    /// # Errors
    /// [`OpenError::Thread`] if the system cannot start a thread.
    pub fn in_memory_after(revision: Revision) -> Result<Self, OpenError> {
        Self::start(State { revision, ..State::default() }, None)
    }

    fn start(state: State, disk: Option<Disk>) -> Result<Self, OpenError> {
        let path = disk.as_ref().map(|disk| disk.path().to_path_buf());
        let view = Arc::new(ArcSwap::from_pointee(View::of(&state, None)));
        let (requests, inbox) = mpsc::channel(GROUP_MAX);
        let file_replaced = Arc::<AtomicBool>::default();
        let writer = Writer::new(state, disk, Arc::clone(&view), Arc::clone(&file_replaced));
        // A runtime for this thread alone: the thread blocks in every fsync, and needs only a receive with a deadline.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(OpenError::Thread)?;
        let thread = std::thread::Builder::new().name("store".into());
        let thread = thread.spawn(move || runtime.block_on(writer.run(inbox))).map_err(OpenError::Thread)?;
        Ok(Self { view, path, requests, file_replaced, _writer: JoinOnDrop(Some(thread)) })
    }

    async fn request<T>(&self, request: impl FnOnce(ResponseSender<T>) -> Request) -> Result<T, StoreError> {
        let stopped = || StoreError::Unreachable("the store's writer thread has ended".into());
        let (response, outcome) = oneshot::channel();
        self.requests.send(request(response)).await.map_err(|_| stopped())?;
        outcome.await.map_err(|_| stopped())?
    }
}

#[async_trait]
impl Store for Embedded {
    async fn list(&self, prefix: &[u8]) -> Result<Listing, StoreError> {
        let view = self.view.load_full();
        let mut items = Vec::new();
        for (key, row) in view.items.range(Key::from(prefix)..) {
            if !key.as_bytes().starts_with(prefix) {
                break;
            }
            items.push(row.item(key));
            if items.len() % LIST_STRIDE == 0 {
                tokio::task::yield_now().await;
            }
        }
        Ok(Listing { revision: view.revision, items })
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<Commit, StoreError> {
        self.request(|response| Request::Mutate(Mutation::Commit { writes, response })).await
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.request(|response| Request::Mutate(Mutation::Grant { ttl, response })).await
    }

    async fn renew(&self, leases: &[LeaseId]) -> Result<Vec<bool>, StoreError> {
        self.request(|response| Request::Renew { leases: leases.to_vec(), response }).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.request(|response| Request::Mutate(Mutation::Revoke { lease, response })).await
    }

    async fn lease_ttl(&self, lease: LeaseId) -> Result<Option<Duration>, StoreError> {
        Ok(self.view.load().lessor.ttl(lease))
    }

    async fn feed(&self, prefix: &[u8], after: Revision) -> Result<Feed, StoreError> {
        self.request(|response| Request::Feed { prefix: prefix.into(), after, response }).await
    }

    async fn status(&self) -> Result<Status, StoreError> {
        let view = self.view.load();
        if self.requests.is_closed() {
            return Err(StoreError::Unreachable("the store's writer thread has ended".into()));
        }
        if let Some(reason) = &view.fault {
            return Err(StoreError::Unwritable(reason.clone()));
        }
        let (kind, location) = match &self.path {
            Some(path) => ("disk", path.display().to_string()),
            None => ("memory", "this process".into()),
        };
        let version = env!("CARGO_PKG_VERSION").into();
        let file_replaced = self.file_replaced.load(Ordering::Relaxed);
        let alarms =
            file_replaced.then(|| format!("{location} was removed or replaced: its contents end with this process"));
        let alarms = alarms.into_iter().collect();
        Ok(Status { kind, version, revision: view.revision, location, member: None, alarms })
    }
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let revision = self.view.load().revision;
        f.debug_struct("Embedded").field("path", &self.path).field("revision", &revision).finish_non_exhaustive()
    }
}

/// A thread that is joined when this is dropped.
struct JoinOnDrop(Option<JoinHandle<()>>);

impl Drop for JoinOnDrop {
    fn drop(&mut self) {
        // The panic hook has printed the panic, and every caller has received an error.
        if let Some(Err(_)) = self.0.take().map(JoinHandle::join) {
            tracing::error!("the store's writer thread panicked");
        }
    }
}
