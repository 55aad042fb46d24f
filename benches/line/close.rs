//! From the close of a socket to NXDOMAIN: closed in order and reset, at the same daemon and at another one.

use crate::Failure;
use crate::ask::{Ask, Outcome};
use crate::figures::{micros, spread};
use crate::peer::Peer;
use crate::report::{Report, Table};
use crate::stage::{Kind, Node, Stage, names};
use clap::Args;
use serde_json::json;
use std::time::{Duration, Instant};

/// Time from the close of a socket to NXDOMAIN, here and at a second daemon
///
/// One after the other: a service registers, DNS answers it, its socket is closed, and DNS is asked again and
/// again until the name is gone.
#[derive(Debug, Args)]
#[command(after_help = "\
ROWS
  close frame      the client closes in order, as programs do that end well
  reset            the connection is reset, as by a process that was killed
COLUMNS
  p50, p99, max    microseconds, from the close to the answer that says NXDOMAIN; the question is part of it")]
pub(crate) struct Options {
    /// Closes of each way, on each store, and at the second daemon
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    closes: u32,
    /// The stores of the daemon that is asked itself; the second daemon is always on etcd
    #[arg(long, value_enum, value_delimiter = ',', default_value = "memory,disk,etcd")]
    stores: Vec<Kind>,
}

pub(crate) async fn run(options: &Options, stage: &Stage) -> Result<Report, Failure> {
    let mut report = Report::new("close", json!({ "closes": options.closes, "stores": names(&options.stores) }));
    let etcd = stage.etcd().await?;
    let mut here = Vec::new();
    for kind in &options.stores {
        here.push((*kind, stage.daemon(*kind, Some(&etcd), &["--timeout=600"]).await?));
    }
    let one = stage.daemon(Kind::Etcd, Some(&etcd), &["--timeout=600"]).await?;
    let two = stage.daemon(Kind::Etcd, Some(&etcd), &["--timeout=600"]).await?;
    let mut sides = Vec::new();
    for in_order in [true, false] {
        for (kind, node) in &here {
            sides.push(Side::new(format!("{}, same daemon", kind.name()), in_order, node, node)?);
        }
        sides.push(Side::new("etcd, second daemon".into(), in_order, &one, &two)?);
    }
    for at in 0..options.closes {
        for (number, side) in sides.iter_mut().enumerate() {
            side.sample(&format!("close-{number}-{at}")).await?;
        }
    }
    let mut table = Table::new("closes", "From the close to NXDOMAIN.", ["p50_us", "p99_us", "max_us"]);
    for side in &sides {
        let times: Vec<_> = side.times.iter().map(|time| micros(*time)).collect();
        let way = if side.in_order { "close frame" } else { "reset" };
        table.row(format!("{way}: {}", side.name), spread(&times));
    }
    report.table(table);
    Ok(report)
}

/// A way to close, where it happens, and where it is looked for.
struct Side<'n> {
    name: String,
    in_order: bool,
    at: &'n Node,
    ask: Ask,
    times: Vec<Duration>,
}

impl<'n> Side<'n> {
    fn new(name: String, in_order: bool, at: &'n Node, asked: &Node) -> Result<Self, Failure> {
        Ok(Self { name, in_order, at, ask: Ask::new(asked.daemon.dns)?, times: Vec::new() })
    }

    async fn sample(&mut self, service: &str) -> Result<(), Failure> {
        let mut peer = Peer::provide(self.at.daemon.http, service, 8080).await?;
        self.ask.until(service, Outcome::Records)?;
        let began = Instant::now();
        let gone = if self.in_order {
            peer.send_close().await?;
            self.ask.until(service, Outcome::NoName)?
        } else {
            peer.reset()?;
            self.ask.until(service, Outcome::NoName)?
        };
        self.times.push(gone.at - began);
        Ok(())
    }
}
