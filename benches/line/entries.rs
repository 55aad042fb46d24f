//! The cost of a large catalog: memory of the whole daemon for an entry, and time until it is ready.

use crate::Failure;
use crate::figures::{float, micros};
use crate::process;
use crate::report::{Report, Table};
use crate::stage::{Node, Stage, daemon_in};
use clap::Args;
use serde_json::json;
use skyhound::server::STORE_FILE;
use skyhound_model::{Entry, Instance, Layout, Name, Naming, Registration};
use skyhound_store::embedded::Embedded;
use skyhound_store::{COMMIT_MAX, LeaseId, Op, Store, WRITE_MAX, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Memory of a daemon for an entry, and its start
///
/// Writes --entries into an embedded store, each on a lease, then starts a daemon on it and looks at it when it knows
/// them all and rests. A daemon on an empty store is subtracted.
#[derive(Debug, Args)]
#[command(after_help = "\
ROWS
  skydns        {\"host\":…,\"port\":…,\"priority\":…,\"weight\":…}, as other writers put it, three of each service
  provide, 3    as /provide writes it, with what ours adds, three of each service
  provide, all  the same, all of one service

COLUMNS
  ready_s         from the start of the process until it knows all entries
  empty_kib       memory (RssAnon) of a daemon on an empty store
  full_kib        memory with the entries, once it is at rest
  bytes_per_entry (full - empty) / entries: catalog, store, leases, and what the allocator keeps
  file_per_entry  bytes of the store's file; not in memory")]
pub(crate) struct Options {
    /// Entries in the store
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=16_000_000))]
    entries: u32,
}

/// The number of entries that a session attaches to one lease.
const ON_A_LEASE: usize = 1_000;
/// Longer than any run.
const TERM: Duration = Duration::from_secs(24 * 3600);
/// Commits under way at one time; the writer makes one group, and one fsync, of them.
const AT_ONCE: usize = 256;

/// How often a daemon is looked at that should come to rest, how long it may take, and from which share of a processor
/// it counts as busy.
const LOOK: Duration = Duration::from_secs(1);
const REST_DEADLINE: Duration = Duration::from_secs(120);
const BUSY: f64 = 0.05;

/// The writer of the entries, and their distribution over services.
#[derive(Debug, Clone, Copy)]
enum Shape {
    SkyDns,
    Spread,
    Crowded,
}

pub(crate) async fn run(options: &Options, stage: &Stage) -> Result<Report, Failure> {
    let count = usize::try_from(options.entries)?;
    let mut report = Report::new("entries", json!({ "entries": options.entries }));
    let mut table = Table::new(
        "entries",
        "A daemon with an embedded store that held them when it started.",
        ["ready_s", "empty_kib", "full_kib", "bytes_per_entry", "file_per_entry"],
    );
    let empty = {
        let node = daemon_in(stage.files()?, &[]).await;
        node.empty().await?;
        process::resident(node.daemon.pid())?.anonymous
    };
    for (name, shape) in [("skydns", Shape::SkyDns), ("provide, 3", Shape::Spread), ("provide, all", Shape::Crowded)] {
        let files = stage.files()?;
        let file = files.path().join(STORE_FILE);
        fill(&file, shape, count).await?;
        let size = std::fs::metadata(&file)?.len();
        let began = Instant::now();
        let node = daemon_in(files, &[]).await;
        node.knows(float(count)).await?;
        let ready = began.elapsed();
        at_rest(&node).await?;
        let full = process::resident(node.daemon.pid())?.anonymous;
        table.row(
            name,
            [
                Some(ready.as_secs_f64()),
                Some(empty / 1024.0),
                Some(full / 1024.0),
                Some((full - empty) / float(count)),
                Some(float(usize::try_from(size)?) / float(count)),
            ],
        );
    }
    report.table(table);
    Ok(report)
}

/// Waits until a daemon has nothing more to do with what it read: the lease TTLs are read after it is ready.
async fn at_rest(node: &Node) -> Result<(), Failure> {
    let began = Instant::now();
    let mut spent = node.cpu_us()?;
    loop {
        sleep(LOOK).await;
        let before = std::mem::replace(&mut spent, node.cpu_us()?);
        if spent - before < micros(LOOK) * BUSY {
            return Ok(());
        }
        if began.elapsed() > REST_DEADLINE {
            return Err("the daemon does not come to rest".into());
        }
    }
}

/// Writes them into a new file, in the order in which they come: that of no key.
async fn fill(file: &Path, shape: Shape, count: usize) -> Result<(), Failure> {
    let store = Arc::new(Embedded::open(file)?);
    let naming = Naming {
        root: Name::parse("skydns.local.")?,
        layout: Layout::new("/skydns"),
        default_category: "services".into(),
        default_ttl: 30,
    };
    let (mut commits, mut lease) = (JoinSet::new(), LeaseId(0));
    for from in (0..count).step_by(ON_A_LEASE / 2) {
        if from % ON_A_LEASE == 0 {
            lease = store.grant(TERM).await?;
        }
        let until = count.min(from + ON_A_LEASE / 2);
        let puts = (from..until).map(|at| put(&naming, shape, at, lease)).collect::<Result<Vec<_>, _>>()?;
        let writes: Vec<_> =
            puts.chunks(WRITE_MAX).map(|ops| Write { guards: Vec::new(), ops: ops.to_vec() }).collect();
        debug_assert!(writes.len() <= COMMIT_MAX);
        if commits.len() >= AT_ONCE {
            commits.join_next().await.transpose()?.transpose()?;
        }
        let store = Arc::clone(&store);
        commits.spawn(async move { store.commit(writes).await });
    }
    while let Some(committed) = commits.join_next().await {
        committed??;
    }
    Ok(())
}

/// Entry number `at`.
fn put(naming: &Naming, shape: Shape, at: usize, lease: LeaseId) -> Result<Op, Failure> {
    let [.., a, b, c] = at.to_be_bytes();
    let registration = Registration {
        service: if matches!(shape, Shape::Crowded) { "service".into() } else { format!("service-{}", at / 3) },
        host: Ipv4Addr::new(10, a, b, c).to_string(),
        port: 8080,
        frontend: "skyapi",
        ..Registration::default()
    };
    let Instance { key, entry, .. } = registration.accept(naming, IpAddr::V4(Ipv4Addr::LOCALHOST))?;
    let entry = match shape {
        // What SkyDNS's own writers say.
        Shape::SkyDns => Entry { ttl: 0, details: None, ..entry },
        Shape::Spread | Shape::Crowded => entry,
    };
    Ok(Op::Put { key, value: entry.encode().into(), lease: Some(lease) })
}
