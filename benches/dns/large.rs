//! The cost of an answer in a large tree, and in one that changes: `cargo bench --bench dns-large`.
//!
//! The same thousand names are asked for by `dnsperf` in a tree of 1,000 entries, in one of 1,000,000, and in
//! that while 1,000 entries elsewhere change in every second. Counted is the CPU of the threads that answer,
//! from `/proc`, by answered query. The three take turns; the ratios of the rounds' medians count.

// A bench: what goes wrong ends it.
#![allow(clippy::unwrap_used, clippy::cast_precision_loss)]

#[allow(dead_code, unreachable_pub)]
use skyhound_core::catalog::Catalog;
use skyhound_core::catalog::Keyspace;
use skyhound_core::catalog::follow::{COMPARE_EVERY, Follow};
use skyhound_dns::{DnsServer, DnsSettings};
use skyhound_model::{Key, Layout, Name};
use skyhound_store::{Batch, Change, Item, Revision, StoreError};
use skyhound_test_support::read_only_store::ReadOnlyStore;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

const ROUNDS: usize = 7;
const SECONDS: u64 = 2;
/// Changes in a second, and how many of them come at once.
const CHANGES: u64 = 1_000;
const AT_ONCE: u64 = 10;

/// Entry number `at`: three of each service.
fn item(at: u64, revision: u64) -> Item {
    let key = format!("/skydns/test/b/s{}/{}", at / 3, at % 3);
    let value = format!(r#"{{"host":"10.{}.{}.{}","port":80}}"#, at >> 16 & 255, at >> 8 & 255, at & 255);
    Item { key: Key::from(key), value: value.into(), revision: Revision(revision), lease: None }
}

struct Tree {
    server: DnsServer,
    sender: mpsc::Sender<Result<Batch, StoreError>>,
    entries: u64,
    /// The threads that answer from it.
    threads: Vec<PathBuf>,
}

impl Tree {
    async fn of(entries: u64) -> Self {
        let before = answering();
        let store = Arc::new(ReadOnlyStore::once((0..entries).map(|at| item(at, 1)).collect()));
        let catalog = Catalog::new(Keyspace::from(Layout::new("/skydns")));
        let began = Instant::now();
        let follow = Follow { store: store.clone(), compare_every: COMPARE_EVERY };
        tokio::spawn(follow.run(catalog.clone()));
        catalog.ready().await;
        println!("{entries} entries read in {:.2} s", began.elapsed().as_secs_f64());
        let listen: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let settings = DnsSettings::new(vec![Name::parse("b.test").unwrap()]);
        let server = DnsServer::bind(&[listen], settings, catalog).await.unwrap();
        // A thread names itself once it runs.
        let cores = std::thread::available_parallelism().unwrap().get();
        let threads = loop {
            let threads: Vec<_> = answering().into_iter().filter(|thread| !before.contains(thread)).collect();
            if threads.len() == cores {
                break threads;
            }
            tokio::task::yield_now().await;
        };
        let sender = store.sender().unwrap();
        Self { server, sender, entries, threads }
    }

    /// CPU for each answered query, in microseconds, and queries in a second.
    async fn load(&self, questions: &std::path::Path) -> (f64, f64) {
        let before = self.spent();
        let mut command = Command::new("dnsperf");
        command.args(["-s", "127.0.0.1", "-c", "16", "-q", "100", "-e", "-p"]);
        command.arg(self.server.local_addrs()[0].port().to_string()).arg("-d").arg(questions);
        command.args(["-l", &SECONDS.to_string()]);
        let output =
            tokio::task::spawn_blocking(move || command.output()).await.unwrap().expect("dnsperf is installed");
        let spent = self.spent() - before;
        let text = String::from_utf8(output.stdout).unwrap();
        let number = |head: &str| -> f64 {
            let line = text.lines().find_map(|line| line.trim().strip_prefix(head)).unwrap();
            line.split_whitespace().next().unwrap().parse().unwrap()
        };
        (spent / number("Queries completed:") * 1e6, number("Queries per second:"))
    }

    /// Seconds of CPU of the threads that answer.
    fn spent(&self) -> f64 {
        // The scheduler's own count in nanoseconds (proc(5), schedstat): ticks are too coarse for one thread.
        let spent = |thread: &PathBuf| -> f64 {
            let text = std::fs::read_to_string(thread.join("schedstat")).unwrap();
            text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
        };
        self.threads.iter().map(spent).sum()
    }
}

/// The threads of this process that answer DNS.
fn answering() -> Vec<PathBuf> {
    let threads = std::fs::read_dir("/proc/self/task").unwrap().map(|entry| entry.unwrap().path());
    threads
        .filter(|path| std::fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.starts_with("dns-udp")))
        .collect()
}

/// Changes entries that nobody asks for, [`CHANGES`] in a second, each in a batch of its own, until it is stopped.
async fn change(tree: &Tree, end: &AtomicBool, revision: &mut u64) {
    let mut tick = tokio::time::interval(Duration::from_millis(1_000 * AT_ONCE / CHANGES));
    while !end.load(Relaxed) {
        tick.tick().await;
        for _ in 0..AT_ONCE {
            *revision += 1;
            let item = item(tree.entries - 1 - *revision % (tree.entries / 2), *revision);
            let batch = Batch { revision: Revision(*revision), changes: vec![Change::Put(item)] };
            tree.sender.send(Ok(batch)).await.unwrap();
        }
    }
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    // Under `cargo test` there is nothing to measure.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let questions = dir.path().join("questions");
    let mut text = String::new();
    (0..333).for_each(|at| writeln!(text, "s{at}.b.test SRV").unwrap());
    std::fs::write(&questions, text).unwrap();
    let (small, large) = (Tree::of(999).await, Tree::of(999_999).await);
    let (mut costs, mut revision) = ([const { Vec::new() }; 3], 1);
    for _ in 0..ROUNDS {
        costs[0].push(small.load(&questions).await.0);
        costs[1].push(large.load(&questions).await.0);
        let end = AtomicBool::new(false);
        let load = async {
            let cost = large.load(&questions).await.0;
            end.store(true, Relaxed);
            cost
        };
        costs[2].push(tokio::join!(load, change(&large, &end, &mut revision)).0);
    }
    let costs = costs.map(median);
    for (what, cost) in
        ["1,000 entries", "1,000,000 entries", "1,000,000, of which 1,000 change in a second"].iter().zip(costs)
    {
        println!("{what:45} {cost:6.2} µs CPU a query, {:.2} × that of 1,000", cost / costs[0]);
    }
    println!("changes elsewhere cost the query path {:+.1} %", (costs[2] / costs[1] - 1.0) * 100.0);
}
