//! Keys that `skyhound dnssec-keygen` makes.

use super::program;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokio::process::Command;

/// A key in its files, which go with it.
pub struct KeyFiles {
    /// The files without their extensions, as `--dnssec-key` takes them.
    pub stem: PathBuf,
    /// The printed DS record.
    pub ds: String,
    _dir: TempDir,
}

impl KeyFiles {
    /// A new one.
    pub async fn make(zone: &str, algorithm: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let made = Command::new(program())
            .args(["dnssec-keygen", zone, "--algorithm", algorithm, "--out"])
            .arg(dir.path())
            .output()
            .await
            .unwrap();
        let ds = String::from_utf8(made.stdout).unwrap().trim().to_owned();
        let mut files = std::fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().path());
        let public = files.find(|path| path.extension().is_some_and(|e| e == "key")).unwrap();
        Self { stem: public.with_extension(""), ds, _dir: dir }
    }
}

/// The DNSKEY record in the files of a key, as zone files have it.
pub fn record(stem: &Path) -> String {
    let text = std::fs::read_to_string(format!("{}.key", stem.display())).unwrap();
    text.lines().find(|line| !line.starts_with(';')).unwrap().to_owned()
}
