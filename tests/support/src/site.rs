//! A daemon together with what it keeps its entries in.

use std::ops::Deref;

use tempfile::TempDir;

use super::daemon::Daemon;
use super::etcd::EtcdProcess;

/// A daemon on one of the stores. The fields are dropped in this order.
pub struct Site {
    /// The daemon.
    pub daemon: Daemon,
    /// Its etcd, if that is its store.
    pub etcd: Option<EtcdProcess>,
    /// Its file, if that is its store.
    pub dir: Option<TempDir>,
}

impl Site {
    /// Entries in memory.
    pub async fn memory(args: &[&str]) -> Self {
        Self { daemon: Daemon::start(args).await, etcd: None, dir: None }
    }

    /// Entries in a file.
    pub async fn disk(args: &[&str]) -> Self {
        let dir = TempDir::new().expect("a directory for the store");
        let path = dir.path().to_str().expect("a path in UTF-8").to_owned();
        let daemon = Daemon::start(&[&["--data-dir", &path], args].concat()).await;
        Self { daemon, etcd: None, dir: Some(dir) }
    }

    /// Entries in an etcd of its own.
    pub async fn etcd(args: &[&str]) -> Self {
        let etcd = EtcdProcess::start().await;
        let daemon = Self::at(&etcd, args).await;
        Self { daemon, etcd: Some(etcd), dir: None }
    }

    /// A daemon whose store is somebody else's affair.
    pub fn of(daemon: Daemon) -> Self {
        Self { daemon, etcd: None, dir: None }
    }

    /// One more daemon on an etcd.
    pub async fn at(etcd: &EtcdProcess, args: &[&str]) -> Daemon {
        Daemon::start(&[&["--etcd-api", &etcd.endpoint()], args].concat()).await
    }
}

impl Deref for Site {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        &self.daemon
    }
}
