//! Tests of the store with a file that fails.

use super::disk::Disk;
use super::open::OpenError;
use super::*;
use crate::Op;
use bytes::Bytes;
use redb::backends::FileBackend;
use redb::{Database, StorageBackend};
use std::io;
use std::sync::atomic::{AtomicU8, Ordering};
use tokio::time::timeout;

const TIMEOUT: Duration = Duration::from_secs(20);

/// The current failure of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Fault {
    None,
    /// Writes fail: the disk is full.
    Write,
    /// Writes succeed, and then the sync fails: the outcome is unknown.
    Sync,
    /// Reads fail too.
    All,
}

#[derive(Debug, Clone)]
struct Faults(Arc<AtomicU8>);

impl Faults {
    fn set(&self, fault: Fault) {
        self.0.store(fault as u8, Ordering::SeqCst);
    }

    fn check(&self, faults: &[Fault]) -> io::Result<()> {
        let now = self.0.load(Ordering::SeqCst);
        let fails = faults.iter().any(|fault| *fault as u8 == now);
        if fails { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

#[derive(Debug)]
struct Failing {
    file: FileBackend,
    faults: Faults,
}

impl StorageBackend for Failing {
    fn len(&self) -> io::Result<u64> {
        self.faults.check(&[Fault::All])?;
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.faults.check(&[Fault::All])?;
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.faults.check(&[Fault::All, Fault::Write])?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.faults.check(&[Fault::All, Fault::Sync])?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.faults.check(&[Fault::All, Fault::Write])?;
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
}

/// Opens a store on a file whose failures the test controls.
fn open(path: &Path) -> (Embedded, Faults) {
    let faults = Faults(Arc::default());
    let (file, shared) = (path.to_path_buf(), faults.clone());
    let opener = move || {
        let fails = |error| OpenError::from_redb(&file, error);
        let open = std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&file);
        let backend = FileBackend::new(open.map_err(|e| fails(e.into()))?).map_err(|e| fails(e.into()))?;
        let backend = Failing { file: backend, faults: shared.clone() };
        Database::builder().create_with_backend(backend).map_err(|error| fails(error.into()))
    };
    let (disk, state) = Disk::open(path.to_path_buf(), Box::new(opener)).unwrap();
    (Embedded::start(state, Some(disk)).unwrap(), faults)
}

async fn put(store: &Embedded, key: &str, lease: Option<LeaseId>) -> Result<Commit, StoreError> {
    let op = Op::Put { key: Key::from(key), value: Bytes::new(), lease };
    store.commit(vec![Write { guards: Vec::new(), ops: vec![op] }]).await
}

async fn keys(store: &Embedded) -> Vec<String> {
    store.list(b"").await.unwrap().items.iter().map(|item| item.key.to_string()).collect()
}

/// Waits until a commit succeeds again.
async fn wait_until_writable(store: &Embedded) {
    let again = async {
        while put(store, "healed", None).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(TIMEOUT, again).await.unwrap();
    store.status().await.unwrap();
}

/// Asserts that the file has the contents that the store shows.
async fn assert_same_after_restart(store: Embedded, path: &Path) {
    let before = store.list(b"").await.unwrap();
    drop(store);
    assert_eq!(Embedded::open(path).unwrap().list(b"").await.unwrap(), before);
}

#[tokio::test]
async fn a_write_refused_by_a_full_disk_has_not_happened() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let (store, faults) = open(&path);
    let first = put(&store, "a", None).await.unwrap().revision;
    let mut feed = store.feed(b"", first).await.unwrap();
    faults.set(Fault::Write);
    for key in ["a", "b", "c"] {
        let error = put(&store, key, None).await.unwrap_err();
        // Either is correct: redb may or may not be able to open the file without writing to it.
        assert!(matches!(error, StoreError::Unwritable(_) | StoreError::Unreachable(_)), "{error:?}");
    }
    assert!(matches!(put(&store, "d", None).await, Err(StoreError::Unwritable(_))));
    assert_eq!(keys(&store).await, ["a"]);
    assert!(store.status().await.is_err());
    faults.set(Fault::None);
    wait_until_writable(&store).await;
    assert_eq!(keys(&store).await, ["a", "healed"]);
    let batch = timeout(TIMEOUT, feed.next()).await.unwrap().unwrap();
    assert_eq!(batch.revision, Revision(first.0 + 1));
    assert_same_after_restart(store, &path).await;
}

#[tokio::test]
async fn an_unknown_outcome_is_reported_and_resolved_later() {
    for fault in [Fault::Sync, Fault::All] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.redb");
        let (store, faults) = open(&path);
        let first = put(&store, "a", None).await.unwrap().revision;
        let mut feed = store.feed(b"", first).await.unwrap();
        faults.set(fault);
        let error = put(&store, "b", None).await.unwrap_err();
        assert!(error.outcome_unknown(), "{error:?}");
        // Until the outcome is known no write is attempted, so these outcomes are certain.
        assert!(matches!(put(&store, "c", None).await, Err(StoreError::Unwritable(_))));
        assert_eq!(keys(&store).await, ["a"], "not durable, not visible");
        faults.set(Fault::None);
        wait_until_writable(&store).await;
        let found = keys(&store).await;
        assert!(found == ["a", "healed"] || found == ["a", "b", "healed"], "{found:?}");
        for _ in 1..found.len() {
            assert_eq!(timeout(TIMEOUT, feed.next()).await.unwrap().unwrap().changes.len(), 1);
        }
        assert_same_after_restart(store, &path).await;
    }
}

#[tokio::test]
async fn leases_are_renewed_while_nothing_can_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let (store, faults) = open(&path);
    // A busy machine may renew late, but not by that much.
    let ttl = Duration::from_secs(2);
    let renewed = store.grant(ttl).await.unwrap();
    let abandoned = store.grant(ttl).await.unwrap();
    put(&store, "renewed", Some(renewed)).await.unwrap();
    let put = put(&store, "abandoned", Some(abandoned)).await.unwrap();
    let mut feed = store.feed(b"", put.revision).await.unwrap();
    faults.set(Fault::Sync);
    let mut renewals = tokio::time::interval(ttl / 4);
    // Until the deadline of the other one is long past.
    for _ in 0..9 {
        renewals.tick().await;
        assert_eq!(store.renew(&[renewed]).await.unwrap(), [true]);
    }
    assert_eq!(keys(&store).await, ["abandoned", "renewed"], "an expiry is durable before it is visible");
    faults.set(Fault::None);
    let expired = timeout(TIMEOUT, async {
        loop {
            renewals.tick().await;
            assert_eq!(store.renew(&[renewed]).await.unwrap(), [true]);
            if keys(&store).await == ["renewed"] {
                return feed.next().await.unwrap();
            }
        }
    });
    assert_eq!(expired.await.unwrap().changes, [crate::Change::Delete(Key::from("abandoned"))]);
}
