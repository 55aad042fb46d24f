//! What is read from the parts at each scrape: the catalog, the registry, the process.

use skyhound_frontends::app::App;
use skyhound_net::metrics::Scrape;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{SystemTime, UNIX_EPOCH};

/// Has the app's parts asked at each scrape.
pub fn watch(app: &Arc<App>) {
    let (catalog, registry) = (Arc::clone(&app.catalog), Arc::clone(&app.registry));
    app.metrics.collect(move |scrape| {
        self::catalog(scrape, &catalog);
        self::registry(scrape, &registry);
    });
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    app.metrics.collect(move |scrape| process(scrape, started));
}

// A gauge is a float in Prometheus; counts stay below 2^52.
#[allow(clippy::cast_precision_loss)]
fn catalog(scrape: &mut Scrape<'_>, catalog: &skyhound_core::catalog::Catalog) {
    let (snapshot, health) = (catalog.snapshot(), catalog.health());
    scrape.gauge("skyhound_catalog_entries", "Entries known to this node", snapshot.root().entries() as f64);
    let bad = snapshot.quarantine().count();
    scrape.gauge("skyhound_catalog_quarantined", "Values of the store that are no entries", bad as f64);
    let revision = snapshot.revision().0;
    scrape.gauge("skyhound_catalog_revision", "Revision of the store that is known", revision as f64);
    let stale = health.age().map_or(f64::NAN, |age| age.as_secs_f64());
    scrape.gauge(
        "skyhound_catalog_stale_seconds",
        "How long the store has not been followed; NaN: it was never read",
        stale,
    );
}

#[allow(clippy::cast_precision_loss)]
fn registry(scrape: &mut Scrape<'_>, registry: &skyhound_core::registry::Registry) {
    scrape.gauge("skyhound_claims", "Living claims on entries", registry.claims() as f64);
    scrape.gauge("skyhound_held_entries", "Entries that this node keeps alive", registry.entries() as f64);
    scrape.gauge("skyhound_held_leases", "Leases that they hang on", registry.leases() as f64);
    let stats = registry.stats();
    let commits = [("done", &stats.commits), ("failed", &stats.commit_errors)].map(|(of, n)| (of, n.load(Relaxed)));
    scrape.counters("skyhound_commits", "Group commits to the store", "outcome", commits);
    let writes = [("put", &stats.puts), ("delete", &stats.deletes)].map(|(of, n)| (of, n.load(Relaxed)));
    scrape.counters("skyhound_writes", "Entries written to the store", "kind", writes);
    let lost = stats.lost.load(Relaxed);
    scrape.counter("skyhound_entries_lost", "Entries that vanished under a living claim and were put again", lost);
}

/// The names are those of Prometheus's own client libraries, without a prefix.
#[allow(clippy::cast_precision_loss)]
fn process(scrape: &mut Scrape<'_>, started: f64) {
    scrape.gauge("process_start_time_seconds", "When this process started, seconds since 1970", started);
    if let Some(bytes) = resident_bytes() {
        scrape.gauge("process_resident_memory_bytes", "Memory resident in RAM", bytes as f64);
    }
    // One of them is the listing's own.
    if let Ok(open) = std::fs::read_dir("/proc/self/fd").map(|fds| fds.count().saturating_sub(1)) {
        scrape.gauge("process_open_fds", "Open descriptors", open as f64);
    }
    if let Some(most) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
        scrape.gauge("process_max_fds", "Descriptors that this process may have", most as f64);
    }
}

/// proc(5): `VmRSS` in kB; there is none outside Linux.
pub(crate) fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kb| kb * 1024)
}
