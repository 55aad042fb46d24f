//! The last that was known, in a file: what DNS answers after a restart while the store is away.
//!
//! ```text
//! skyhound catalog 1 <revision> <what it is a copy of>\n
//! (key length, key, value length, value, lease)*   lengths 4 bytes, the lease 8, all big-endian
//! ```
//! Owns: the file, whole or not at all. Does not own: when it is true; [`super::follow`] takes it up when the
//! store cannot be read, and the store's own word replaces all of it. Only for stores elsewhere: the embedded one is
//! a file already.

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

/// How often a copy is written, if anything changed.
pub const SAVE_EVERY: Duration = Duration::from_secs(60);
/// The oldest copy that is taken up. RFC 8767 section 5 has one to three days for data past its time.
pub const AGE_MAX: Duration = Duration::from_secs(3 * 86_400);
/// The longest key or value that is believed: anything longer is a damaged file.
const PART_MAX: usize = 1 << 20;

/// Where a copy is kept, and of what.
#[derive(Debug, Clone)]
pub struct SnapshotFile {
    path: PathBuf,
    /// The store and the prefix, as text: a copy of anything else is not taken up.
    source: String,
    keyspace: Arc<Keyspace>,
}

impl SnapshotFile {
    /// A copy in this file. `source` says what it is a copy of.
    pub fn new(path: PathBuf, source: &str, keyspace: impl Into<Arc<Keyspace>>) -> Self {
        Self { path, source: source.replace('\n', " "), keyspace: keyspace.into() }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a copy, beside the old one and then in its place.
    pub fn write(&self, snapshot: &Snapshot) -> io::Result<()> {
        if let Some(dir) = self.path.parent() {
            fs::create_dir_all(dir)?;
        }
        let temporary = self.path.with_extension(format!("{}.new", std::process::id()));
        let written = self.write_to(&temporary, snapshot).and_then(|()| fs::rename(&temporary, &self.path));
        if written.is_err() {
            // What is left of a failed attempt helps nobody; the error to tell is the first one.
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

    /// The copy, and how old it is.
    pub fn read(&self) -> io::Result<(Snapshot, Duration)> {
        let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let file = File::open(&self.path)?;
        // A clock that went back makes a copy as good as new.
        let age = file.metadata()?.modified()?.elapsed().unwrap_or_default();
        if age > AGE_MAX {
            return Err(wrong("it is too old"));
        }
        let mut file = BufReader::new(file);
        let mut head = String::new();
        file.by_ref().take(PART_MAX as u64).read_line(&mut head)?;
        let rest = head.strip_prefix(HEADER).ok_or_else(|| wrong("it is no copy of a catalog"))?;
        let (revision, source) = rest.trim_end().split_once(' ').ok_or_else(|| wrong("its first line is damaged"))?;
        let revision = revision.parse().map_err(|_| wrong("its first line is damaged"))?;
        if source != self.source {
            return Err(wrong(&format!("it is a copy of {source}")));
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

/// The next item. Its revision is 0, before all others: whatever the store says of the key is newer.
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
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is damaged"));
    }
    let mut part = vec![0; length];
    file.read_exact(&mut part)?;
    Ok(part)
}

/// Writes copies for ever, while the store is followed and something changes.
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

/// Writes one copy, off the executor.
pub async fn save(file: &SnapshotFile, snapshot: Arc<Snapshot>) {
    let (to, path) = (file.clone(), file.path().display());
    match tokio::task::spawn_blocking(move || to.write(&snapshot)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => warn!(%error, %path, "the copy of what is known could not be written"),
        Err(_) => warn!(%path, "the copy of what is known was not written: the daemon is ending"),
    }
}

/// Takes up the copy of a catalog that was never read.
pub(super) async fn restore(file: &SnapshotFile, catalog: &Catalog) {
    let (from, path) = (file.clone(), file.path().display());
    match tokio::task::spawn_blocking(move || from.read()).await {
        Ok(Ok((snapshot, age))) => {
            let (entries, age_s) = (snapshot.root().entries(), age.as_secs());
            warn!(entries, age_s, %path, "the store cannot be read; answering from what was known before the start");
            catalog.restore(snapshot, age);
        }
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => info!(%path, "there is no copy from before"),
        Ok(Err(error)) => warn!(%error, %path, "the copy from before is not taken up"),
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

    fn file(dir: &Path, of: &str) -> SnapshotFile {
        SnapshotFile::new(dir.join("below/copy"), of, Keyspace::from(Layout::new("/skydns")))
    }

    #[test]
    fn snapshot_files_round_trip() {
        let dir = tempfile::tempdir().unwrap();
        let copy = file(dir.path(), "etcd at a");
        copy.write(&snapshot()).unwrap();
        let (read, age) = copy.read().unwrap();
        assert!(age < Duration::from_secs(60));
        assert_eq!((read.revision(), read.root().entries(), read.quarantine().count()), (Revision(9), 2, 0));
        let (was, is) = (snapshot(), read);
        for key in ["/skydns/local/a", "/skydns/local/a/b"] {
            let (was, is) = (was.entry(&Key::from(key)).unwrap(), is.entry(&Key::from(key)).unwrap());
            assert_eq!((&was.entry, was.lease), (&is.entry, is.lease));
            assert_eq!(is.revision, Revision(0), "the store's word is newer, whatever it is");
        }
        assert_eq!(fs::read_dir(dir.path().join("below")).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn files_of_another_store_or_damaged_are_rejected() {
        let dir = tempfile::tempdir().unwrap();
        file(dir.path(), "etcd at a").write(&snapshot()).unwrap();
        let other = file(dir.path(), "etcd at b");
        assert_eq!(other.read().unwrap_err().to_string(), "it is a copy of etcd at a");
        let whole = fs::read(other.path()).unwrap();
        let copy = file(dir.path(), "etcd at a");
        for length in 0..whole.len() {
            fs::write(copy.path(), &whole[..length]).unwrap();
            // Cut between two entries it is a smaller copy; anywhere else it is an error. Never a panic.
            if let Ok((read, _)) = copy.read() {
                assert!(read.root().entries() < 2);
            }
        }
    }
}
