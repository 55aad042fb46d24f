//! Making or finding the file, and saying what is wrong with it in words that help.

use redb::{Database, DatabaseError};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// Page cache of the file, in bytes. Small: reads are answered from our own map, and the pages that a
/// commit needs again are the upper ones of three trees.
const CACHE_BYTES: usize = 32 * 1024 * 1024;

/// Why the store could not be opened. Each names the file, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another store has the file open.
    #[error("{path} is in use by another process: stop that one, or give this one a file of its own")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file or its directory could not be made, read or written.
    #[error(
        "cannot {action} {path}: give this user the right to write there and see that there is space, or choose another place"
    )]
    Io {
        /// What was tried: `create the directory`, `open`, …
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not a store, or is no longer whole.
    #[error(
        "{path} is damaged or was not made by this program ({what}): put a copy back, or move it away to begin with an empty store"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// The file's layout is another than the one that this version reads.
    #[error(
        "{path} has layout {found} and this version reads {supported}: use the version that wrote it, or move it away to begin with an empty store"
    )]
    Layout {
        /// The file.
        path: PathBuf,
        /// The layout of the file.
        found: u64,
        /// The layout of this version.
        supported: u64,
    },
    /// The system has no thread for the writer.
    #[error("cannot start the store's writer thread")]
    Thread(#[source] io::Error),
}

impl OpenError {
    /// The edge between redb's errors and ours.
    pub(super) fn from_redb(path: &Path, error: redb::Error) -> Self {
        let path = path.to_path_buf();
        match error {
            redb::Error::DatabaseAlreadyOpen => Self::InUse { path },
            // redb says so of a file that is not its own, or ends too early.
            redb::Error::Io(source)
                if matches!(source.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
            {
                Self::Damaged { path, what: source.to_string() }
            }
            redb::Error::Io(source) => Self::Io { action: "read or write", path, source },
            other => Self::Damaged { path, what: other.to_string() },
        }
    }
}

/// Opens the file, and makes it and the directories above it when they are not there: readable by this
/// user alone, because values may hold what their writers consider private.
pub(super) fn open_file(path: &Path) -> Result<Database, OpenError> {
    let fails = |action, path: &Path| {
        let path = path.to_path_buf();
        move |source| OpenError::Io { action, path, source }
    };
    // A bare file name has the empty path above it.
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_dir(dir).map_err(fails("create the directory", dir))?;
    let existed = path.exists();
    let file = make_file(path).map_err(fails("open", path))?;
    if !existed {
        // Otherwise a power failure could take the whole file, with commits that were acknowledged.
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(fails("write to the directory", dir))?;
    }
    let opened = Database::builder().set_cache_size(CACHE_BYTES).create_file(file);
    opened.map_err(|error: DatabaseError| OpenError::from_redb(path, error.into()))
}

/// Which file a path leads to: another after it was removed or replaced. `None` when to none, or nobody can tell.
pub(super) fn identity(path: &Path) -> Option<(u64, u64)> {
    #[cfg(unix)]
    return fs::metadata(path).ok().map(|file| {
        use std::os::unix::fs::MetadataExt;
        (file.dev(), file.ino())
    });
    #[cfg(not(unix))]
    return path.exists().then_some((0, 0));
}

#[cfg(unix)]
fn make_dir(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

#[cfg(not(unix))]
fn make_dir(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)
}

fn make_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
