//! The file: its tables, and the durability of writes to it.
//!
//! | table | key | value |
//! |---|---|---|
//! | `entries` | key | revision, lease (0: none), value |
//! | `leases` | lease id | lease TTL in seconds |
//! | `meta` | `layout`, `revision`, `serial` | number |
//!
//! A group of commits is one transaction with one fsync. It writes only the entries and leases that changed and two
//! numbers. The file does not contain the deadlines of leases, so that a renewal costs no write; a restart renews every
//! lease.
//!
//! redb's commit in one phase is sufficient: it writes checksums, verifies them after a crash, and uses the last complete
//! state. The verification walks the file, as the read at the start does anyway; redb's quick repair would avoid the walk
//! at the price of a second fsync in every commit.

use super::open::{OpenError, identity};
use super::row::Row;
use super::state::{Journal, State};
use crate::{Change, Item, LeaseId, Revision};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableHandle};
use skyhound_model::Key;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

const ENTRIES: TableDefinition<'_, &[u8], (u64, i64, &[u8])> = TableDefinition::new("entries");
const LEASES: TableDefinition<'_, i64, u64> = TableDefinition::new("leases");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// Number of the layout above. Another layout needs another number.
const LAYOUT: u64 = 1;

/// Opens the file of a [`Disk`], again after every failure.
pub(super) type Opener = Box<dyn Fn() -> Result<Database, OpenError> + Send>;

/// The file, open except between a failure and the recovery from it.
pub(super) struct Disk {
    path: PathBuf,
    open: Opener,
    db: Option<Database>,
    /// Identity of the file that was opened.
    identity: Option<(u64, u64)>,
    /// Number of transactions in the file. It shows after a failure if the last one took effect.
    serial: u64,
}

/// The outcome of a write that failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The write is not in the file.
    NotWritten(String),
    /// The file cannot be read now; a later [`Disk::recover`] finds out.
    Unknown(String),
}

impl Disk {
    /// Opens the file and reads its contents. The deadline of every lease is one TTL after zero.
    pub(super) fn open(path: PathBuf, open: Opener) -> Result<(Self, State), OpenError> {
        // redb panics on many damaged pages. None of its data is used after that.
        let read = catch_unwind(AssertUnwindSafe(|| read(&path, &open)));
        let (db, state, serial) = read.unwrap_or_else(|_| {
            Err(OpenError::Damaged { path: path.clone(), problem: "its pages are inconsistent".into() })
        })?;
        let identity = identity(&path);
        Ok((Self { path, open, db: Some(db), identity, serial }, state))
    }

    /// Returns true if the path still leads to the file. If not, writes go to a file that cannot be opened again.
    pub(super) fn is_current_file(&self) -> bool {
        identity(&self.path) == self.identity
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a journal durable, up to `revision`. After [`Failure::Unknown`], [`Disk::recover`] must succeed before the
    /// next write.
    pub(super) fn write(&mut self, journal: &Journal, revision: Revision) -> Result<(), Failure> {
        let Some(db) = &self.db else { return Err(Failure::NotWritten("the file is not open".into())) };
        let Err(error) = write(db, journal, revision, self.serial + 1) else {
            self.serial += 1;
            return Ok(());
        };
        // After an I/O error redb rejects all operations until the file is opened again. The error may also have come
        // after the last byte: then the transaction is complete and counts.
        match self.recover() {
            Ok(true) => Ok(()),
            Ok(false) => Err(Failure::NotWritten(error.to_string())),
            Err(_) => Err(Failure::Unknown(error.to_string())),
        }
    }

    /// Opens the file again after a failure; returns true if the transaction that failed is in it.
    pub(super) fn recover(&mut self) -> Result<bool, OpenError> {
        // The file is locked until it is closed.
        self.db = None;
        let db = (self.open)()?;
        let serial = read_serial(&db).map_err(|error| OpenError::from_redb(&self.path, error))?;
        let is_complete = match serial.checked_sub(self.serial) {
            Some(0) => false,
            Some(1) => true,
            _ => {
                let problem = "another file replaced it".into();
                return Err(OpenError::Damaged { path: self.path.clone(), problem });
            }
        };
        self.db = Some(db);
        self.serial = serial;
        Ok(is_complete)
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").field("path", &self.path).field("serial", &self.serial).finish_non_exhaustive()
    }
}

/// Opens the file, verifies it, and reads its contents.
fn read(path: &Path, open: &Opener) -> Result<(Database, State, u64), OpenError> {
    let fails = |error| OpenError::from_redb(path, error);
    let mut db = open()?;
    // redb has verified the file already after a crash, but not after it was closed.
    if !db.check_integrity().map_err(|error| fails(error.into()))? {
        tracing::warn!(path = %path.display(), "repaired the damaged store file");
    }
    match prepare(&db).map_err(fails)? {
        Some(LAYOUT) => {}
        Some(found) => return Err(OpenError::Layout { path: path.to_path_buf(), found, supported: LAYOUT }),
        None => return Err(OpenError::Damaged { path: path.to_path_buf(), problem: "it has other tables".into() }),
    }
    let (state, serial) = load(&db).map_err(fails)?;
    Ok((db, state, serial))
}

/// Creates the tables of a new file; returns the layout, or `None` if another program wrote the file.
fn prepare(db: &Database) -> Result<Option<u64>, redb::Error> {
    let transaction = db.begin_read()?;
    let names: Vec<_> = transaction.list_tables()?.map(|table| table.name().to_owned()).collect();
    if names.iter().any(|name| name == META.name()) {
        return Ok(transaction.open_table(META)?.get("layout")?.map(|layout| layout.value()));
    }
    if !names.is_empty() {
        return Ok(None);
    }
    let transaction = db.begin_write()?;
    transaction.open_table(ENTRIES)?;
    transaction.open_table(LEASES)?;
    transaction.open_table(META)?.insert("layout", LAYOUT)?;
    transaction.commit()?;
    Ok(Some(LAYOUT))
}

fn load(db: &Database) -> Result<(State, u64), redb::Error> {
    let transaction = db.begin_read()?;
    let mut state = State::default();
    let meta = transaction.open_table(META)?;
    state.revision = Revision(meta.get("revision")?.map_or(0, |revision| revision.value()));
    for row in transaction.open_table(LEASES)?.iter()? {
        let (id, seconds) = row?;
        state.lessor.grant(LeaseId(id.value()), Duration::from_secs(seconds.value()), Duration::ZERO);
    }
    let mut rows = Vec::new();
    for row in transaction.open_table(ENTRIES)?.iter()? {
        let (key, entry) = row?;
        let (key, (revision, lease, value)) = (Key::from(key.value()), entry.value());
        let lease = (lease != 0).then_some(LeaseId(lease));
        rows.push((key, Row::new(value, Revision(revision), lease)));
    }
    for (key, row) in alternating(rows) {
        if row.lease().is_some_and(|id| !state.lessor.attach(id, key.clone())) {
            return Err(redb::Error::Corrupted(format!("{key} is attached to a missing lease")));
        }
        state.items.insert(key, row);
    }
    Ok((state, read_serial(db)?))
}

/// Yields every other item, then those between. Insertion in ascending order leaves every leaf of the tree half empty; the
/// items between fill them.
fn alternating<T>(all: Vec<T>) -> impl Iterator<Item = T> {
    let mut between = Vec::with_capacity(all.len() / 2);
    let mut all = all.into_iter();
    let mut first = true;
    std::iter::from_fn(move || {
        if first {
            if let Some(one) = all.next() {
                between.extend(all.next());
                return Some(one);
            }
            first = false;
            all = std::mem::take(&mut between).into_iter();
        }
        all.next()
    })
}

fn read_serial(db: &Database) -> Result<u64, redb::Error> {
    Ok(db.begin_read()?.open_table(META)?.get("serial")?.map_or(0, |serial| serial.value()))
}

fn write(db: &Database, journal: &Journal, revision: Revision, serial: u64) -> Result<(), redb::Error> {
    // A key that a group changes several times is written once, in key order.
    let mut last = BTreeMap::new();
    for change in journal.batches.iter().flat_map(|batch| &batch.changes) {
        match change {
            Change::Put(item) => last.insert(&item.key, Some(item)),
            Change::Delete(key) => last.insert(key, None),
        };
    }
    let transaction = db.begin_write()?;
    {
        let mut entries = transaction.open_table(ENTRIES)?;
        for (key, item) in last {
            match item {
                Some(Item { value, revision, lease, .. }) => {
                    let lease = lease.map_or(0, |id| id.0);
                    entries.insert(key.as_bytes(), (revision.0, lease, value.as_ref()))?;
                }
                None => drop(entries.remove(key.as_bytes())?),
            }
        }
        let mut leases = transaction.open_table(LEASES)?;
        for (id, seconds) in &journal.leases {
            match seconds {
                Some(seconds) => drop(leases.insert(id.0, seconds)?),
                None => drop(leases.remove(id.0)?),
            }
        }
        let mut meta = transaction.open_table(META)?;
        meta.insert("revision", revision.0)?;
        meta.insert("serial", serial)?;
    }
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternating_yields_each_item_once() {
        for (all, order) in [(0, vec![]), (1, vec![0]), (5, vec![0, 2, 4, 1, 3])] {
            assert_eq!(alternating((0..all).collect()).collect::<Vec<_>>(), order);
        }
    }
}
