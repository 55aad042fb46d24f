//! The file: what stands in it, and when a write to it has happened.
//!
//! | table | key | value |
//! |---|---|---|
//! | `entries` | the key | revision, lease (0: none), value |
//! | `leases` | the lease | its term in seconds |
//! | `meta` | `layout`, `revision`, `serial` | a number |
//!
//! A group of commits is one transaction with one fsync, and writes only what it changes: the entries
//! and leases that it touched and two numbers. When leases end is not in the file, so that keeping one
//! costs no write; after a restart each has a fresh term.
//!
//! redb's commit in one phase is enough: it writes checksums, and after a crash it verifies them and
//! takes the last state that is whole. That walks the file, as reading it all at the start does anyway;
//! its quick repair would save the walk at the price of a second fsync in every commit.

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

/// The layout above. Another one gets another number.
const LAYOUT: u64 = 1;

/// How a [`Disk`] comes to its file, again after every failure.
pub(super) type Opener = Box<dyn Fn() -> Result<Database, OpenError> + Send>;

/// The file, open except between a failure and the recovery from it.
pub(super) struct Disk {
    path: PathBuf,
    open: Opener,
    db: Option<Database>,
    /// Which file it is.
    identity: Option<(u64, u64)>,
    /// Transactions in the file so far. Tells after a failure whether the last one happened.
    serial: u64,
}

/// Why a write did not succeed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It is certain not to be in the file.
    NotWritten(String),
    /// The file cannot be read now; a later [`Disk::recover`] will know.
    Unknown(String),
}

impl Disk {
    /// The file and what it holds. Leases end one term after zero.
    pub(super) fn open(path: PathBuf, open: Opener) -> Result<(Self, State), OpenError> {
        // redb panics on many pages that are damaged. Nothing that it held is used after that.
        let read = catch_unwind(AssertUnwindSafe(|| read(&path, &open)));
        let (db, state, serial) = read.unwrap_or_else(|_| {
            Err(OpenError::Damaged { path: path.clone(), what: "its pages make no sense".into() })
        })?;
        let identity = identity(&path);
        Ok((Self { path, open, db: Some(db), identity, serial }, state))
    }

    /// Whether the path still leads to the file. If not, what is written goes to a file that nobody will find again.
    pub(super) fn is_current_file(&self) -> bool {
        identity(&self.path) == self.identity
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a journal durable, up to `revision`. After an error nothing of it is in the file, or
    /// [`Disk::recover`] must be asked before the next write.
    pub(super) fn write(&mut self, journal: &Journal, revision: Revision) -> Result<(), Failure> {
        let Some(db) = &self.db else { return Err(Failure::NotWritten("the file is not open".into())) };
        let Err(error) = write(db, journal, revision, self.serial + 1) else {
            self.serial += 1;
            return Ok(());
        };
        // redb does nothing more on a file after an I/O error until it is opened again. The error may
        // also have come after the last byte: then the transaction stands, and counts.
        match self.recover() {
            Ok(true) => Ok(()),
            Ok(false) => Err(Failure::NotWritten(error.to_string())),
            Err(_) => Err(Failure::Unknown(error.to_string())),
        }
    }

    /// Opens the file again after a failure; returns whether the transaction that failed is in it.
    pub(super) fn recover(&mut self) -> Result<bool, OpenError> {
        // The file must be let go before it can be had again.
        self.db = None;
        let db = (self.open)()?;
        let serial = read_serial(&db).map_err(|error| OpenError::from_redb(&self.path, error))?;
        let happened = match serial.checked_sub(self.serial) {
            Some(0) => false,
            Some(1) => true,
            _ => {
                let what = "another file stands in its place".into();
                return Err(OpenError::Damaged { path: self.path.clone(), what });
            }
        };
        self.db = Some(db);
        self.serial = serial;
        Ok(happened)
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").field("path", &self.path).field("serial", &self.serial).finish_non_exhaustive()
    }
}

/// Opens the file, verifies it, and reads it all.
fn read(path: &Path, open: &Opener) -> Result<(Database, State, u64), OpenError> {
    let fails = |error| OpenError::from_redb(path, error);
    let mut db = open()?;
    // After a crash redb has verified it already, but not after it was closed well.
    if !db.check_integrity().map_err(|error| fails(error.into()))? {
        tracing::warn!(path = %path.display(), "the store's file was not whole and has been repaired");
    }
    match prepare(&db).map_err(fails)? {
        Some(LAYOUT) => {}
        Some(found) => return Err(OpenError::Layout { path: path.to_path_buf(), found, supported: LAYOUT }),
        None => return Err(OpenError::Damaged { path: path.to_path_buf(), what: "it has other tables".into() }),
    }
    let (state, serial) = load(&db).map_err(fails)?;
    Ok((db, state, serial))
}

/// Makes the tables of a new file; returns the layout, `None` when the file is not ours.
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
            return Err(redb::Error::Corrupted(format!("{key} hangs on a lease that is not there")));
        }
        state.items.insert(key, row);
    }
    Ok((state, read_serial(db)?))
}

/// Every other one, then those between. What fills a tree from left to right leaves each of its leaves half empty
/// behind it; those between fill them up.
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
    // A key that a group changes several times is written once, in the order of the tree.
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
