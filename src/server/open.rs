//! The store, and the parts that depend on nothing else: catalog, registry, snapshot file.

use super::StartError;
use crate::config::{Settings, StoreSettings};
use skyhound_core::catalog::follow::{COMPARE_EVERY, Follow};
use skyhound_core::catalog::{Catalog, Health, Keyspace, SnapshotFile, snapshot_file};
use skyhound_core::registry::{REGISTER_DEADLINE, Registry, RegistrySettings};
use skyhound_model::Naming;
use skyhound_store::embedded::Embedded;
use skyhound_store::etcd::Etcd;
use skyhound_store::{Revision, Store};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::task::JoinHandle;
use tracing::warn;

/// How long start-up waits for the first load of the store before it listens nevertheless. A store that responds is
/// loaded by then; without it, DNS answers SERVFAIL until the store is loaded.
pub const FIRST_LOAD_TIMEOUT: Duration = Duration::from_secs(5);

/// The file of the embedded store, in `--data-dir`.
pub const STORE_FILE: &str = "skyhound.redb";

/// Opens the store. Returns it with its location in words.
pub(super) async fn open_store(settings: &StoreSettings) -> Result<(Arc<dyn Store>, String), StartError> {
    Ok(match settings {
        StoreSettings::Memory => (Arc::new(Embedded::in_memory_after(Revision(unix_micros()))?), "memory only".into()),
        StoreSettings::Disk(dir) => {
            let file = dir.join(STORE_FILE);
            (Arc::new(Embedded::open(&file)?), file.display().to_string())
        }
        StoreSettings::Etcd(etcd) => {
            let location = format!("etcd at {}", etcd.endpoints.join(", "));
            (Arc::new(Etcd::connect(etcd.clone()).await?), location)
        }
    })
}

/// Microseconds since 1970, the first revision of a store in memory: more of them pass between two starts than a
/// store has revisions. JSON holds them exactly.
fn unix_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or_default()
}

/// Returns the keyspace that the catalog reads. hound-dog's peers share an etcd, but never an embedded store.
pub(super) fn keyspace(settings: &Settings) -> Keyspace {
    let shared = settings.store.is_shared();
    Keyspace::new(naming(settings), settings.hound_dog_namespace.as_deref().filter(|_| shared))
}

pub(super) fn naming(settings: &Settings) -> Naming {
    Naming {
        root: settings.dns_root.clone(),
        layout: settings.layout.clone(),
        default_category: settings.default_category.clone(),
        default_ttl: u32::try_from(settings.timeout.as_secs()).unwrap_or(u32::MAX),
    }
}

/// Returns the file for snapshots of the catalog, if there is one. A snapshot is valid for one store and prefix.
pub(super) fn snapshot_file(
    settings: &Settings,
    store_location: &str,
    keyspace: &Arc<Keyspace>,
) -> Option<SnapshotFile> {
    let source = format!("{store_location}{}", settings.layout.prefix());
    settings.snapshot_file.clone().map(|path| SnapshotFile::new(path, &source, Arc::clone(keyspace)))
}

pub(super) fn start_registry(settings: &Settings, store: &Arc<dyn Store>, catalog: &Arc<Catalog>) -> Arc<Registry> {
    let settings = RegistrySettings {
        ttl: settings.timeout,
        deadline: REGISTER_DEADLINE,
        max_persistent: settings.max_persistent,
        layout: settings.layout.clone(),
    };
    Registry::start(Arc::clone(store), Arc::clone(catalog), settings)
}

/// Starts to follow the store, and waits up to [`FIRST_LOAD_TIMEOUT`] for the first load.
pub(super) async fn follow(store: &Arc<dyn Store>, catalog: &Arc<Catalog>) -> JoinHandle<()> {
    let follow = Follow { store: Arc::clone(store), compare_every: COMPARE_EVERY };
    let follower = tokio::spawn(follow.run(Arc::clone(catalog)));
    if tokio::time::timeout(FIRST_LOAD_TIMEOUT, catalog.ready()).await.is_err() {
        warn!("the store is not loaded yet; DNS answers SERVFAIL and registrations fail until it is");
    }
    follower
}

/// The task that saves snapshots of the catalog to a file.
#[derive(Debug)]
pub(super) struct SnapshotSaver {
    file: SnapshotFile,
    catalog: Arc<Catalog>,
    task: JoinHandle<()>,
}

impl SnapshotSaver {
    /// Starts to save snapshots periodically.
    pub(super) fn start(file: SnapshotFile, catalog: &Arc<Catalog>) -> Self {
        let task = tokio::spawn(snapshot_file::save_periodically(file.clone(), Arc::clone(catalog)));
        Self { file, catalog: Arc::clone(catalog), task }
    }

    /// Saves the last snapshot, unless it is stale.
    pub(super) async fn finish(self) {
        self.task.abort();
        if self.catalog.health() == Health::Current {
            snapshot_file::save(&self.file, self.catalog.snapshot()).await;
        }
    }
}
