//! Metrics that are read from the catalog, the registry and the process at each scrape.
//!
//! Owns: their names, help texts and labels. Does not own: the values, nor the counters of HTTP and of the frontends
//! ([`skyhound_net::metrics`]).

use skyhound_core::catalog::Catalog;
use skyhound_core::registry::Registry;
use skyhound_frontends::app::App;
use skyhound_net::metrics::Scrape;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{SystemTime, UNIX_EPOCH};

/// Adds the parts of the app to each scrape.
pub fn watch(app: &Arc<App>) {
    let (catalog, registry) = (Arc::clone(&app.catalog), Arc::clone(&app.registry));
    app.metrics.collect(move |scrape| {
        collect_catalog(scrape, &catalog);
        collect_registry(scrape, &registry);
    });
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    app.metrics.collect(move |scrape| collect_process(scrape, started));
}

fn collect_catalog(scrape: &mut Scrape<'_>, catalog: &Catalog) {
    let (snapshot, health) = (catalog.snapshot(), catalog.health());
    scrape.gauge_count("skyhound_catalog_entries", "Entries in the catalog", snapshot.root().entries());
    scrape.gauge_count(
        "skyhound_catalog_quarantined_values",
        "Values of the store that cannot be parsed",
        snapshot.quarantine().count(),
    );
    let revision = usize::try_from(snapshot.revision().0).unwrap_or_default();
    scrape.gauge_count("skyhound_catalog_revision", "Revision of the store that the catalog contains", revision);
    scrape.gauge(
        "skyhound_catalog_stale_seconds",
        "Time since the catalog was last current; 0 while it is, NaN before it was loaded",
        health.age().map_or(f64::NAN, |age| age.as_secs_f64()),
    );
}

fn collect_registry(scrape: &mut Scrape<'_>, registry: &Registry) {
    scrape.gauge_count("skyhound_registry_claims", "Active claims of this node", registry.claims());
    scrape.gauge_count("skyhound_registry_entries", "Entries that this node keeps alive", registry.entries());
    scrape.gauge_count("skyhound_registry_leases", "Leases that this node renews", registry.leases());
    let stats = registry.stats();
    let commits = [("ok", stats.commits.load(Relaxed)), ("failed", stats.commit_errors.load(Relaxed))];
    scrape.counters("skyhound_registry_commits", "Group commits to the store, by outcome", "outcome", commits);
    let writes = [("put", stats.puts.load(Relaxed)), ("delete", stats.deletes.load(Relaxed))];
    scrape.counters("skyhound_registry_writes", "Entries written to the store, by operation", "operation", writes);
    scrape.counter(
        "skyhound_registry_lost_entries",
        "Entries that disappeared from the store under an active claim and were written again",
        stats.lost.load(Relaxed),
    );
}

/// Adds the metrics that Prometheus's own client libraries define for a process, under their names.
fn collect_process(scrape: &mut Scrape<'_>, started: f64) {
    scrape.gauge("process_start_time_seconds", "Start time of the process since the Unix epoch", started);
    let count = |value: u64| usize::try_from(value).unwrap_or_default();
    if let Some(bytes) = resident_bytes() {
        scrape.gauge_count("process_resident_memory_bytes", "Resident memory size", count(bytes));
    }
    // One of them is the listing's own.
    if let Ok(open) = std::fs::read_dir("/proc/self/fd").map(|fds| fds.count().saturating_sub(1)) {
        scrape.gauge_count("process_open_fds", "Number of open file descriptors", open);
    }
    if let Some(max) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
        scrape.gauge_count("process_max_fds", "Maximum number of open file descriptors", count(max));
    }
}

/// Returns the resident memory, `VmRSS` of proc(5) in kB; `None` outside Linux.
pub(crate) fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kb| kb * 1024)
}
