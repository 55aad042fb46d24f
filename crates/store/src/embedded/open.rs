//! Creation and opening of the file, with errors that name the remedy.

use redb::{Database, DatabaseError};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// Page cache of the file, in bytes. It is small, because reads use the map in memory, and a commit reads again only the
/// upper pages of three trees.
const CACHE_BYTES: usize = 32 * 1024 * 1024;

/// The reason why the store could not be opened, with the file and the remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another store has the file open.
    #[error("{path} is in use by another process: stop that process, or use another file")]
    InUse {
        /// Path of the file.
        path: PathBuf,
    },
    /// The file or its directory could not be created, read or written.
    #[error(
        "cannot {action} {path}: allow this user to write there and make sure that there is space, or use another file"
    )]
    Io {
        /// Action that failed: `create the directory`, `open`, …
        action: &'static str,
        /// Path of the file or directory.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
    /// The file is not a store, or it is damaged.
    #[error(
        "{path} is damaged or was not written by this program ({problem}): restore a copy, or move the file to start with an empty store"
    )]
    Damaged {
        /// Path of the file.
        path: PathBuf,
        /// Problem that was found.
        problem: String,
    },
    /// This version does not support the layout of the file.
    #[error(
        "{path} has layout {found}, but this version supports {supported}: use the version that wrote it, or move the file to start with an empty store"
    )]
    Layout {
        /// Path of the file.
        path: PathBuf,
        /// Layout of the file.
        found: u64,
        /// Layout of this version.
        supported: u64,
    },
    /// The system could not start a thread for the writer.
    #[error("cannot start the store's writer thread")]
    Thread(#[source] io::Error),
}

impl OpenError {
    /// Maps an error of redb.
    pub(super) fn from_redb(path: &Path, error: redb::Error) -> Self {
        let path = path.to_path_buf();
        match error {
            redb::Error::DatabaseAlreadyOpen => Self::InUse { path },
            // The errors of redb for a file of another format or a truncated one.
            redb::Error::Io(source)
                if matches!(source.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
            {
                Self::Damaged { path, problem: source.to_string() }
            }
            redb::Error::Io(source) => Self::Io { action: "read or write", path, source },
            other => Self::Damaged { path, problem: other.to_string() },
        }
    }
}

/// Opens the file, and creates it and the directories above it if they do not exist. Only this user can read them,
/// because values may contain private data of their writers.
pub(super) fn open_file(path: &Path) -> Result<Database, OpenError> {
    let fails = |action, path: &Path| {
        let path = path.to_path_buf();
        move |source| OpenError::Io { action, path, source }
    };
    // The parent of a bare file name is the empty path.
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_dir(dir).map_err(fails("create the directory", dir))?;
    let existed = path.exists();
    let file = create_file(path).map_err(fails("open", path))?;
    if !existed {
        // Otherwise a power failure could remove the whole file with acknowledged commits.
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(fails("write to the directory", dir))?;
    }
    let opened = Database::builder().set_cache_size(CACHE_BYTES).create_file(file);
    opened.map_err(|error: DatabaseError| OpenError::from_redb(path, error.into()))
}

/// Returns the identity of the file at a path, which changes if the file is replaced. `None` if there is no file, or if
/// it cannot be determined.
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
fn create_dir(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

#[cfg(not(unix))]
fn create_dir(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)
}

fn create_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
