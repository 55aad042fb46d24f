//! Registrations a second on every store, with etcd's own speed beside them.
//!
//! A registration here is all of it: connect, handshake, the entry committed and answered by DNS, the 101. All
//! sockets of a round stay open until its end, and what closing them takes is measured too.

use crate::Failure;
use crate::figures::{float, median, percentile, ratio};
use crate::floor::{Entries, How};
use crate::peer::open_many;
use crate::process;
use crate::report::{Report, Table};
use crate::stage::{Etcd, Kind, Stage, names};
use clap::Args;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Instant;

/// Registrations a second, and processor time for each, on every store
///
/// Opens --sockets websockets by --clients at a time and holds them; every round does so on each store, in
/// another order each time, and once more with plain puts to etcd. One round before the first is not counted.
#[derive(Debug, Args)]
#[command(after_help = "\
COLUMNS
  registrations_per_s    median over the rounds, from the first connect to the last 101
  slowest, fastest       of the rounds: how noisy the machine was
  daemon_cpu_us          user and system time of the daemon for each registration
  etcd_cpu_us            the same of etcd
  per_commit             registrations in one group commit
  closed_per_s           sockets reset at once, until DNS answers none of their entries")]
pub(crate) struct Options {
    /// Websockets a round and store
    #[arg(long, default_value_t = 4000, value_parser = clap::value_parser!(u32).range(1..=14_000))]
    sockets: u32,
    /// Handshakes in flight at a time
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u16).range(1..=4000))]
    clients: u16,
    /// Rounds that are counted
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// The stores to compare
    #[arg(long, value_enum, value_delimiter = ',', default_value = "memory,disk,etcd")]
    stores: Vec<Kind>,
}

/// The columns, one number a round.
const COLUMNS: [&str; 5] = ["registrations_per_s", "daemon_cpu_us", "etcd_cpu_us", "per_commit", "closed_per_s"];
type Cells = [Option<f64>; COLUMNS.len()];

/// The measured system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Store(Kind),
    Floor(How),
}

impl Side {
    fn name(self) -> &'static str {
        match self {
            Self::Store(kind) => kind.name(),
            Self::Floor(How::Alone(_)) => "etcd alone, a put each",
            Self::Floor(How::Batched) => "etcd alone, 100 a transaction",
        }
    }
}

/// Every side's numbers, round by round.
#[derive(Debug, Default)]
struct Rounds(BTreeMap<&'static str, Vec<Cells>>);

impl Rounds {
    fn of(&self, side: Side, column: usize) -> Vec<f64> {
        let rounds = self.0.get(side.name()).map_or(&[][..], Vec::as_slice);
        rounds.iter().filter_map(|cells| cells[column]).collect()
    }
}

pub(crate) async fn run(options: &Options, stage: &Stage) -> Result<Report, Failure> {
    let (sockets, clients) = (usize::try_from(options.sockets)?, usize::from(options.clients));
    process::may_hold(sockets)?;
    let etcd = stage.etcd_for(&options.stores).await?;
    let mut sides: Vec<_> = options.stores.iter().copied().map(Side::Store).collect();
    let mut entries = None;
    // The round that is not counted: it fills caches, and etcd, whose entries the floor writes again.
    for kind in &options.stores {
        let storm = Storm { sockets, clients, stage, etcd: etcd.as_ref() };
        let (_, found) = storm.on(*kind).await?;
        entries = found.or(entries);
    }
    if entries.is_some() {
        sides.extend([Side::Floor(How::Alone(clients)), Side::Floor(How::Batched)]);
    }
    let mut rounds = Rounds::default();
    for _ in 0..options.rounds {
        for side in &sides {
            let cells = match (side, &etcd, &entries) {
                (Side::Store(kind), ..) => Storm { sockets, clients, stage, etcd: etcd.as_ref() }.on(*kind).await?.0,
                (Side::Floor(how), Some(etcd), Some(entries)) => {
                    let written = entries.write(etcd, *how).await?;
                    [Some(written.per_s), None, Some(written.etcd_cpu_us), None, None]
                }
                (Side::Floor(_), ..) => continue,
            };
            rounds.0.entry(side.name()).or_default().push(cells);
        }
        sides.rotate_left(1);
    }
    Ok(report(options, &rounds, entries.as_ref()))
}

/// One side's part of a round.
struct Storm<'s> {
    sockets: usize,
    clients: usize,
    stage: &'s Stage,
    etcd: Option<&'s Etcd>,
}

impl Storm<'_> {
    /// Returns the measurements, and the entries that were in etcd meanwhile.
    async fn on(&self, kind: Kind) -> Result<(Cells, Option<Entries>), Failure> {
        let etcd = self.etcd.filter(|_| kind == Kind::Etcd);
        // No ping is due while the sockets are open: nobody answers any.
        let node = self.stage.daemon(kind, etcd, &["--timeout=600"]).await?;
        let count = float(self.sockets);
        let etcd_cpu = async || -> Result<Option<f64>, Failure> {
            Ok(match etcd {
                Some(etcd) => Some(etcd.cpu_us().await? / count),
                None => None,
            })
        };
        let (cpu, etcd_before, began) = (node.cpu_us()?, etcd_cpu().await?, Instant::now());
        let peers = open_many(node.daemon.http, self.sockets, self.clients).await?;
        let took = began.elapsed();
        let cpu = (node.cpu_us()? - cpu) / count;
        let etcd_us = etcd_cpu().await?.zip(etcd_before).map(|(after, before)| after - before);
        let scrape = node.scrape().await?;
        let held = scrape.get("skyhound_registry_claims");
        if held != Some(count) {
            return Err(format!("{count} sockets are open and the daemon holds {held:?} claims").into());
        }
        let commits = scrape.get(r#"skyhound_registry_commits_total{outcome="ok"}"#).ok_or("no count of commits")?;
        let entries = match etcd {
            Some(etcd) => Some(Entries::of(etcd).await?),
            None => None,
        };
        for peer in peers {
            peer.reset()?;
        }
        let closing = node.empty().await?;
        let cells = [count / took.as_secs_f64(), cpu, 0.0, count / commits, count / closing.as_secs_f64()].map(Some);
        Ok(([cells[0], cells[1], etcd_us, cells[3], cells[4]], entries))
    }
}

fn report(options: &Options, rounds: &Rounds, entries: Option<&Entries>) -> Report {
    let mut report = Report::new(
        "registrations",
        json!({
            "sockets": options.sockets, "clients": options.clients, "rounds": options.rounds,
            "stores": names(&options.stores),
        }),
    );
    let alone = How::Alone(usize::from(options.clients));
    let stores: Vec<_> = options.stores.iter().copied().map(Side::Store).collect();
    let floor = [Side::Floor(alone), Side::Floor(How::Batched)];
    let mut speed = Table::new(
        "rates",
        "Medians over the rounds. Under etcd alone it is puts, not registrations: no socket, no DNS.",
        ["registrations_per_s", "slowest", "fastest", "daemon_cpu_us", "etcd_cpu_us", "per_commit", "closed_per_s"],
    );
    for side in stores.iter().chain(if entries.is_some() { &floor[..] } else { &[] }) {
        let column = |at: usize| Some(rounds.of(*side, at)).filter(|all| !all.is_empty());
        let middle = |at: usize| column(at).map(|all| median(&all));
        let end = |percent: f64| column(0).map(|all| percentile(&all, percent));
        speed.row(side.name(), [middle(0), end(0.0), end(100.0), middle(1), middle(2), middle(3), middle(4)]);
    }
    report.table(speed);
    report.table(ratios(rounds, &stores, entries.map(|_| floor)));
    if let Some(entries) = entries {
        report.note(format!(
            "etcd alone writes the {} entries of the daemon again, byte for byte and on leases, with {} puts under way \
             at a time, or one transaction at a time.",
            entries.len(),
            options.clients
        ));
    }
    report.note("The clients run on the same cores as the daemon and etcd; processor time tells them apart.");
    report
}

/// Each pair's ratio is taken within a round.
fn ratios(rounds: &Rounds, stores: &[Side], floor: Option<[Side; 2]>) -> Table {
    let mut table =
        Table::new("ratios", "Ratios within a round, medians.", ["registrations_per_s", "daemon_cpu", "etcd_cpu"]);
    let pairs =
        stores.iter().enumerate().flat_map(|(at, under)| stores[at + 1..].iter().map(move |over| (*over, *under)));
    let floors = floor.into_iter().flatten().map(|under| (Side::Store(Kind::Etcd), under));
    for (over, under) in pairs.chain(floors) {
        let columns = [0, 1, 2].map(|column| {
            let (over, under) = (rounds.of(over, column), rounds.of(under, column));
            if over.is_empty() || under.is_empty() { None } else { Some(ratio(&over, &under)) }
        });
        table.row(format!("{} / {}", over.name(), under.name()), columns);
    }
    table
}
