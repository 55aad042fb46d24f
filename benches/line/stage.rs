//! Starts what is measured: daemons on each store, and an etcd that writes to the disk.

use crate::Failure;
use crate::process::{self, Scrape};
use clap::ValueEnum;
use skyhound_test_support::daemon::Daemon;
use skyhound_test_support::etcd::EtcdProcess;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::time::sleep;

/// The time limit for a daemon to remove the entries of its peers.
const EMPTY_DEADLINE: Duration = Duration::from_secs(60);
/// The interval at which it is asked whether it has.
const GLANCE: Duration = Duration::from_millis(10);

/// The store of a daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Memory,
    Disk,
    Etcd,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Etcd => "etcd",
        }
    }
}

/// The names of several, for a report.
pub(crate) fn names(kinds: &[Kind]) -> Vec<&'static str> {
    kinds.iter().map(|kind| kind.name()).collect()
}

/// The folders for files.
#[derive(Debug)]
pub(crate) struct Stage {
    dir: PathBuf,
}

impl Stage {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// A directory for them, gone when dropped.
    pub(crate) fn files(&self) -> Result<TempDir, Failure> {
        std::fs::create_dir_all(&self.dir)?;
        Ok(TempDir::with_prefix_in("line-", &self.dir)?)
    }

    /// An etcd if any of the stores is one.
    pub(crate) async fn etcd_for(&self, kinds: &[Kind]) -> Result<Option<Etcd>, Failure> {
        if kinds.contains(&Kind::Etcd) { self.etcd().await.map(Some) } else { Ok(None) }
    }

    /// An etcd of one member.
    pub(crate) async fn etcd(&self) -> Result<Etcd, Failure> {
        let files = self.files()?;
        let data = files.path().join("data");
        // The later flags count: the tests' etcd keeps its data elsewhere and does not wait for the disk.
        let process = EtcdProcess::options()
            .arg(format!("--data-dir={}", data.display()))
            .arg("--unsafe-no-fsync=false")
            .start()
            .await;
        Ok(Etcd { process, _files: files })
    }

    /// A daemon on a store, with further arguments.
    pub(crate) async fn daemon(&self, kind: Kind, etcd: Option<&Etcd>, args: &[&str]) -> Result<Node, Failure> {
        let files = self.files()?;
        let endpoint = etcd.map(Etcd::endpoint);
        let store = match (kind, &endpoint) {
            (Kind::Memory, _) => vec!["--in-memory"],
            (Kind::Disk, _) => return Ok(daemon_in(files, args).await),
            (Kind::Etcd, Some(endpoint)) => vec!["--etcd-api", endpoint],
            (Kind::Etcd, None) => return Err("there is no etcd for a daemon on etcd".into()),
        };
        Ok(start(files, &[&store, args].concat()).await)
    }
}

/// A daemon on the embedded store in a directory, which may hold one.
pub(crate) async fn daemon_in(files: TempDir, args: &[&str]) -> Node {
    let dir = files.path().display().to_string();
    start(files, &[&["--data-dir", &dir], args].concat()).await
}

async fn start(files: TempDir, args: &[&str]) -> Node {
    let args = [args, &["--log-level=error"]].concat();
    // Any free ports: a run may start more daemons than there are addresses for daemons that restart.
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Node { daemon: Daemon::start_on(free, free, &args).await, _files: files }
}

/// A daemon. Gone, with its files, when dropped.
pub(crate) struct Node {
    pub(crate) daemon: Daemon,
    _files: TempDir,
}

impl Node {
    /// Its processor time so far, in microseconds.
    pub(crate) fn cpu_us(&self) -> Result<f64, Failure> {
        process::cpu_us(self.daemon.pid())
    }

    pub(crate) async fn scrape(&self) -> Result<Scrape, Failure> {
        Scrape::of(self.daemon.http).await
    }

    /// Waits until it knows and holds nothing any more; returns the time that this took.
    pub(crate) async fn empty(&self) -> Result<Duration, Failure> {
        self.knows(0.0).await
    }

    /// Waits until it knows so many entries; returns the time that this took.
    pub(crate) async fn knows(&self, entries: f64) -> Result<Duration, Failure> {
        let began = Instant::now();
        loop {
            let known = self.scrape().await?.get("skyhound_catalog_entries").ok_or("no such metric")?;
            #[allow(clippy::float_cmp, reason = "whole numbers")]
            if known == entries {
                return Ok(began.elapsed());
            }
            if began.elapsed() > EMPTY_DEADLINE {
                return Err(format!("the daemon knows {known} entries, and should know {entries}").into());
            }
            sleep(GLANCE).await;
        }
    }
}

/// A running etcd.
pub(crate) struct Etcd {
    process: EtcdProcess,
    _files: TempDir,
}

impl Etcd {
    pub(crate) fn endpoint(&self) -> String {
        self.process.endpoint()
    }

    pub(crate) async fn scrape(&self) -> Result<Scrape, Failure> {
        Scrape::of(self.endpoint().trim_start_matches("http://")).await
    }

    /// Its processor time so far, in microseconds, as it reports itself.
    pub(crate) async fn cpu_us(&self) -> Result<f64, Failure> {
        let seconds = self.scrape().await?.get("process_cpu_seconds_total").ok_or("etcd does not say its CPU time")?;
        Ok(seconds * 1e6)
    }

    pub(crate) async fn client(&self) -> Result<etcd_client::Client, Failure> {
        Ok(etcd_client::Client::connect([self.endpoint()], None).await?)
    }
}
