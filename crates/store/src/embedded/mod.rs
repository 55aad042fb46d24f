//! The default store: one process, one writer, one file; or no file, for tests.
//!
//! ```text
//! callers ─▶ Request ─▶ writer ─▶ Draft ─▶ disk ─▶ View ─▶ lists
//!            bounded    a group   of State  fsync    └────▶ feeds, history
//! ```
//! - `state`, `row` and `lessor`: what the store holds and how it changes, without clock or file.
//! - `disk` and `open`: the file, its tables, its errors.
//! - `history` and `feeds`: the changes of late, and who is told of them.
//! - `writer`: the thread that joins them.
//!
//! Owns: that nothing is seen or acknowledged before it is durable, and that a group of commits costs one
//! fsync. Deliberately absent: replication. More nodes means etcd.
//!
//! All is in memory; the file is read once, when it is opened. A list is taken from an immutable map that
//! shares its parts with the writer's, so that neither waits for the other.

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

/// Items that a list takes before it lets other tasks run.
const LIST_STRIDE: usize = 8192;

/// Where the writer puts the outcome of a request.
type ResponseSender<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the writer is asked.
enum Request {
    Mutate(Mutation),
    Renew { leases: Vec<LeaseId>, response: ResponseSender<Vec<bool>> },
    Feed { prefix: Box<[u8]>, after: Revision, response: ResponseSender<Feed> },
}

/// What has to be durable before it is answered.
enum Mutation {
    Commit { writes: Vec<Write>, response: ResponseSender<Commit> },
    Grant { ttl: Duration, response: ResponseSender<LeaseId> },
    Revoke { lease: LeaseId, response: ResponseSender<()> },
}

/// What everyone may see: durable, and of one revision.
struct View {
    revision: Revision,
    items: OrdMap<Key, Row>,
    /// For the terms alone: the deadlines are those of an earlier time.
    lessor: Lessor,
    /// Why the last write failed, until one succeeds.
    fault: Option<String>,
}

impl View {
    fn of(state: &State, fault: Option<String>) -> Self {
        Self { revision: state.revision, items: state.items.clone(), lessor: state.lessor.clone(), fault }
    }
}

/// The store of a single node. The laws are [`Store`]'s; a caller who gives up waiting for a commit does
/// not undo it.
///
/// Dropping it answers what has been asked, ends every feed, and closes the file: afterwards the file may
/// be opened again. This waits for the last write, so drop it where a wait of one fsync is allowed.
pub struct Embedded {
    view: Arc<ArcSwap<View>>,
    /// `None` in memory.
    path: Option<PathBuf>,
    requests: mpsc::Sender<Request>,
    file_replaced: Arc<AtomicBool>,
    /// After `requests`, because fields are dropped in this order and the writer ends when they are closed.
    _writer: JoinOnDrop,
}

impl Embedded {
    /// A store in a file. Makes the file and the directories above it when they are not there.
    ///
    /// Reads the whole file, which blocks: seconds for a million entries. Every lease in it gets
    /// a fresh term.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let file = path.to_path_buf();
        let (disk, state) = Disk::open(path.to_path_buf(), Box::new(move || open::open_file(&file)))?;
        Self::start(state, Some(disk))
    }

    /// A store that is gone when it is dropped.
    pub fn in_memory() -> Result<Self, OpenError> {
        Self::start(State::default(), None)
    }

    /// The same, with its first change at the revision behind this one. Whoever listened to the process that was here
    /// before knows revisions of another store; with these far ahead of them, it can be told so.
    pub fn in_memory_after(revision: Revision) -> Result<Self, OpenError> {
        Self::start(State { revision, ..State::default() }, None)
    }

    fn start(state: State, disk: Option<Disk>) -> Result<Self, OpenError> {
        let path = disk.as_ref().map(|disk| disk.path().to_path_buf());
        let view = Arc::new(ArcSwap::from_pointee(View::of(&state, None)));
        let (requests, inbox) = mpsc::channel(GROUP_MAX);
        let file_replaced = Arc::<AtomicBool>::default();
        let writer = Writer::new(state, disk, Arc::clone(&view), Arc::clone(&file_replaced));
        // The thread's own runtime: it blocks in every fsync, and needs of it only a receive with a deadline.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(OpenError::Thread)?;
        let thread = std::thread::Builder::new().name("store".into());
        let thread = thread.spawn(move || runtime.block_on(writer.run(inbox))).map_err(OpenError::Thread)?;
        Ok(Self { view, path, requests, file_replaced, _writer: JoinOnDrop(Some(thread)) })
    }

    async fn request<T>(&self, request: impl FnOnce(ResponseSender<T>) -> Request) -> Result<T, StoreError> {
        let stopped = || StoreError::Unreachable("the store's writer has stopped".into());
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
            return Err(StoreError::Unreachable("the store's writer has stopped".into()));
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
            file_replaced.then(|| format!("{location} was removed or replaced: what it held ends with this process"));
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

/// A thread that is waited for.
struct JoinOnDrop(Option<JoinHandle<()>>);

impl Drop for JoinOnDrop {
    fn drop(&mut self) {
        // A panic of the writer has been printed by then, and has been told to every caller.
        if let Some(Err(_)) = self.0.take().map(JoinHandle::join) {
            tracing::error!("the store's writer ended in a panic");
        }
    }
}
