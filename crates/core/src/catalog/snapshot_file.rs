//! The last snapshot in a file, from which DNS answers after a restart while the store is unavailable.
//!
//! ```text
//! skyhound catalog 1 <revision> <source>\n
//! (key length, key, value length, value, lease)*   lengths 4 bytes, the lease 8, all big-endian
//! ```
//! Owns: the file, which is replaced as a whole or not at all. Does not own: the decision to load it; [`super::follow`]
//! loads it if the store cannot be read, and the first listing replaces all of it. Only for remote stores: the embedded
//! one is a file already.

use super::{Catalog, Health, Keyspace, Node, Snapshot};
use bytes::Bytes;
use skyhound_model::Key;
use skyhound_store::{Batch, Change, Item, LeaseId, Revision};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tracing::{info, warn};

/// The interval of writes, if anything changed.
pub const SAVE_EVERY: Duration = Duration::from_secs(60);
/// The maximum age of a file that is loaded. RFC 8767 section 5 suggests one to three days for stale data.
pub const AGE_MAX: Duration = Duration::from_secs(3 * 86_400);
/// The limit for the length of a key or value; a longer one means a damaged file.
const PART_MAX: usize = 1 << 20;

/// The path of the file, and the store that it belongs to.
#[derive(Debug, Clone)]
pub struct SnapshotFile {
    path: PathBuf,
    /// The store and the prefix, as text: a snapshot of another source is rejected.
    source: String,
    keyspace: Arc<Keyspace>,
}

impl SnapshotFile {
    /// A snapshot file at this path. `source` describes the store and the prefix.
    pub fn new(path: PathBuf, source: &str, keyspace: impl Into<Arc<Keyspace>>) -> Self {
        Self { path, source: source.replace('\n', " "), keyspace: keyspace.into() }
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a snapshot to a temporary file and renames it over the old one.
    pub fn write(&self, snapshot: &Snapshot) -> io::Result<()> {
        if let Some(dir) = self.path.parent() {
            fs::create_dir_all(dir)?;
        }
        let temporary = self.path.with_extension(format!("{}.new", std::process::id()));
        let written = self.write_to(&temporary, snapshot).and_then(|()| fs::rename(&temporary, &self.path));
        if written.is_err() {
            // The temporary file is useless; the first error is the one to report.
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    fn write_to(&self, path: &Path, snapshot: &Snapshot) -> io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        writeln!(file, "{}{} {}", HEADER, snapshot.revision().0, self.source)?;
        write_node(&mut file, snapshot.root())?;
        file.into_inner()?.sync_all()
    }

    /// Reads the snapshot, and the age of the file.
    pub fn read(&self) -> io::Result<(Snapshot, Duration)> {
        let invalid = |reason: &str| io::Error::new(io::ErrorKind::InvalidData, reason.to_owned());
        let file = File::open(&self.path)?;
        // After the clock went back the file counts as new.
        let age = file.metadata()?.modified()?.elapsed().unwrap_or_default();
        if age > AGE_MAX {
            return Err(invalid(&format!(
                "the snapshot is {} s old; the limit is {} s",
                age.as_secs(),
                AGE_MAX.as_secs()
            )));
        }
        let mut file = BufReader::new(file);
        let mut head = String::new();
        file.by_ref().take(PART_MAX as u64).read_line(&mut head)?;
        let rest = head.strip_prefix(HEADER).ok_or_else(|| invalid("the file is not a snapshot of a catalog"))?;
        let damaged = || invalid("the first line is damaged");
        let (revision, source) = rest.trim_end().split_once(' ').ok_or_else(damaged)?;
        let revision = revision.parse().map_err(|_| damaged())?;
        if source != self.source {
            return Err(invalid(&format!("the snapshot is of {source}, not of {}", self.source)));
        }
        let mut changes = Vec::new();
        while let Some(item) = read_item(&mut file)? {
            changes.push(Change::Put(item));
        }
        Ok((Snapshot::empty(Arc::clone(&self.keyspace)).apply(&Batch { revision: Revision(revision), changes }), age))
    }
}

const HEADER: &str = "skyhound catalog 1 ";

fn write_node(file: &mut impl Write, node: &Node) -> io::Result<()> {
    for stored in node.own() {
        for part in [stored.key.as_bytes(), &stored.entry.encode()] {
            file.write_all(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes())?;
            file.write_all(part)?;
        }
        file.write_all(&stored.lease.map_or(0, |lease| lease.0).to_be_bytes())?;
    }
    node.children().try_for_each(|(_, child)| write_node(file, child))
}

/// Reads the next item. Its revision is 0, below all others: any item that the store returns for the key is newer.
fn read_item(file: &mut impl BufRead) -> io::Result<Option<Item>> {
    if file.fill_buf()?.is_empty() {
        return Ok(None);
    }
    let (key, value) = (read_part(file)?, read_part(file)?);
    let mut lease = [0; 8];
    file.read_exact(&mut lease)?;
    let lease = Some(i64::from_be_bytes(lease)).filter(|id| *id != 0).map(LeaseId);
    Ok(Some(Item { key: Key::from(key), value: Bytes::from(value), revision: Revision(0), lease }))
}

fn read_part(file: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    file.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > PART_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is damaged: a length is over the limit"));
    }
    let mut part = vec![0; length];
    file.read_exact(&mut part)?;
    Ok(part)
}

/// Writes the file periodically, for ever, while the catalog is current and changes.
pub async fn save_periodically(file: SnapshotFile, catalog: Arc<Catalog>) {
    let mut last = None;
    loop {
        tokio::time::sleep(SAVE_EVERY).await;
        let snapshot = catalog.snapshot();
        if catalog.health() == Health::Current && last != Some(snapshot.position()) {
            last = Some(snapshot.position());
            save(&file, snapshot).await;
        }
    }
}

/// Writes the file once, off the executor.
pub async fn save(file: &SnapshotFile, snapshot: Arc<Snapshot>) {
    let (file, path) = (file.clone(), file.path().display());
    match tokio::task::spawn_blocking(move || file.write(&snapshot)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            warn!(%error, %path, "cannot write the snapshot file; a restart without the store has an older one or none");
        }
        Err(_) => warn!(%path, "the snapshot file was not written: the daemon is stopping"),
    }
}

/// Loads the file into a catalog that was never read.
pub(super) async fn restore(file: &SnapshotFile, catalog: &Catalog) {
    let (file, path) = (file.clone(), file.path().display());
    match tokio::task::spawn_blocking(move || file.read()).await {
        Ok(Ok((snapshot, age))) => {
            let (entries, age_s) = (snapshot.root().entries(), age.as_secs());
            warn!(entries, age_s, %path, "cannot read the store; serving the snapshot file");
            catalog.restore(snapshot, age);
        }
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => info!(%path, "no snapshot file to serve"),
        Ok(Err(error)) => warn!(%error, %path, "rejected the snapshot file; nothing to serve until the store responds"),
        Err(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skyhound_model::Layout;

    fn snapshot() -> Snapshot {
        let put = |key: &str, value: &str, lease| {
            let value = Bytes::copy_from_slice(value.as_bytes());
            Change::Put(Item { key: Key::from(key), value, revision: Revision(7), lease })
        };
        let changes = vec![
            put("/skydns/local/a", r#"{"host":"10.0.0.1","port":80,"text":"é"}"#, None),
            put("/skydns/local/a/b", r#"{"host":"x.local"}"#, Some(LeaseId(-5))),
            put("/skydns/local/bad", "?", None),
        ];
        Snapshot::empty(Keyspace::from(Layout::new("/skydns"))).apply(&Batch { revision: Revision(9), changes })
    }

    fn file(dir: &Path, source: &str) -> SnapshotFile {
        SnapshotFile::new(dir.join("below/copy"), source, Keyspace::from(Layout::new("/skydns")))
    }

    #[test]
    fn snapshot_files_round_trip() {
        let dir = tempfile::tempdir().unwrap();
        let saved = file(dir.path(), "etcd at a");
        saved.write(&snapshot()).unwrap();
        let (read, age) = saved.read().unwrap();
        assert!(age < Duration::from_secs(60));
        assert_eq!((read.revision(), read.root().entries(), read.quarantine().count()), (Revision(9), 2, 0));
        let (was, is) = (snapshot(), read);
        for key in ["/skydns/local/a", "/skydns/local/a/b"] {
            let (was, is) = (was.entry(&Key::from(key)).unwrap(), is.entry(&Key::from(key)).unwrap());
            assert_eq!((&was.entry, was.lease), (&is.entry, is.lease));
            assert_eq!(is.revision, Revision(0), "any item of the store is newer");
        }
        assert_eq!(fs::read_dir(dir.path().join("below")).unwrap().count(), 1, "no temporary file remains");
    }

    #[test]
    fn files_of_another_store_or_damaged_are_rejected() {
        let dir = tempfile::tempdir().unwrap();
        file(dir.path(), "etcd at a").write(&snapshot()).unwrap();
        let other = file(dir.path(), "etcd at b");
        assert_eq!(other.read().unwrap_err().to_string(), "the snapshot is of etcd at a, not of etcd at b");
        let whole = fs::read(other.path()).unwrap();
        let saved = file(dir.path(), "etcd at a");
        for length in 0..whole.len() {
            fs::write(saved.path(), &whole[..length]).unwrap();
            // Truncated between two entries it is a smaller snapshot; anywhere else it is an error. Never a panic.
            if let Ok((read, _)) = saved.read() {
                assert!(read.root().entries() < 2);
            }
        }
    }
}
