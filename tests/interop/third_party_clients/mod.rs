//! Tools of other projects find registered instances, with the unchanged snippets of `docs/clients.md`.
//!
//! A snippet is a fenced block whose first line names a file. In it 127.0.0.1 stands for the address of the test's own
//! daemon, and so do its ports. Each test registers three instances with `skyhound provide`, has the tool find them,
//! ends one as `kill -9` does, and has the tool see it gone. How soon is printed, and asserted only as far as a busy
//! machine allows.
//!
//! A missing tool is skipped, with a message; under CI that is a failure.

mod host;
mod programs;
mod proxies;
mod shop;
mod snippet;

use std::io::Write;
use std::path::{Path, PathBuf};

/// A program by its name, also where only root looks for it. `None`, with a message, when it is not there.
fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = folders.map(|folder| folder.join(name)).find(|file| file.exists());
    if found.is_none() {
        missing(name, "tests/run installs it");
    }
    found
}

/// Writes to the output that a tool is skipped. Past the capture of `cargo test`, which shows nothing of a test that
/// passes.
fn left_out(what: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "LEFT OUT: {what} is not tried: {why}");
}

/// Skips a missing tool. Panics in CI, which has all of them.
fn missing(what: &str, why: &str) {
    assert!(std::env::var_os("CI").is_none(), "{what} is not there: {why}");
    left_out(what, why);
}

/// The Python in which `tests/run` installs clients.
fn python() -> Option<&'static Path> {
    let python = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/python/bin/python"));
    let has = |module: &str| {
        let import = std::process::Command::new(python).args(["-c", &format!("import {module}")]).output();
        import.is_ok_and(|done| done.status.success())
    };
    if has("dns.resolver") {
        return Some(python);
    }
    missing("dnspython", "tests/run installs it where there is a python3 with venv");
    None
}
