//! From a handshake to the answer in DNS: at the daemon that took it, and at another one on the same etcd.

use crate::ask::{Ask, Outcome};
use crate::figures::{float, micros, spread};
use crate::peer::Peer;
use crate::report::{Report, Table};
use crate::stage::{Kind, Node, Stage, names};
use crate::{Failure, process};
use clap::Args;
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;

/// Time from a handshake to the answer in DNS, here and at a second daemon
///
/// One registration after the other, each of a service of its own. From the moment the 101 is read, DNS is asked
/// for that service over UDP, again and again, until it answers.
#[derive(Debug, Args)]
#[command(after_help = "\
TABLES
  same daemon      asked where it was registered: a 101 promises that it is answered there
  second daemon    two daemons on one etcd, registered at one and asked at the other
COLUMNS
  p50, p99, max    microseconds; the answer to a question is part of it, and one alone takes 50 to 100
  first_percent    how many were answered at the first question")]
pub(crate) struct Options {
    /// Registrations on each store, and at the second daemon
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    registrations: u32,
    /// The stores of the daemon that is asked itself; the second daemon is always on etcd
    #[arg(long, value_enum, value_delimiter = ',', default_value = "memory,disk,etcd")]
    stores: Vec<Kind>,
}

/// One registration.
#[derive(Debug, Clone, Copy)]
struct Sample {
    /// The time from sending the handshake to reading the 101.
    handshake: Duration,
    /// The time from there to the answer.
    answer: Duration,
    /// The number of questions until then.
    questions: usize,
}

pub(crate) async fn run(options: &Options, stage: &Stage) -> Result<Report, Failure> {
    let count = usize::try_from(options.registrations)?;
    process::may_hold(count)?;
    let mut report =
        Report::new("answer", json!({ "registrations": options.registrations, "stores": names(&options.stores) }));
    let etcd = stage.etcd().await?;
    let mut here = Vec::new();
    for kind in &options.stores {
        here.push((*kind, stage.daemon(*kind, Some(&etcd), &["--timeout=600"]).await?));
    }
    let one = stage.daemon(Kind::Etcd, Some(&etcd), &["--timeout=600"]).await?;
    let two = stage.daemon(Kind::Etcd, Some(&etcd), &["--timeout=600"]).await?;
    let mut sides: Vec<_> =
        here.iter().map(|(kind, node)| Side::new(kind.name(), "here", node, node)).collect::<Result<_, _>>()?;
    sides.push(Side::new("etcd", "there", &one, &two)?);
    // One registration each in turn, so that what disturbs disturbs all of them.
    for at in 0..count {
        for side in &mut sides {
            side.sample(at).await?;
        }
    }
    let mut same = table("same_daemon", "Same daemon: registered at it and asked at it.");
    let mut second = table("second_daemon", "Second daemon: registered at one, asked at the other, both on one etcd.");
    for side in &sides {
        side.rows(if side.whom == "here" { &mut same } else { &mut second });
    }
    report.table(same);
    report.table(second);
    Ok(report)
}

fn table(key: &'static str, about: &'static str) -> Table {
    Table::new(key, about, ["p50_us", "p99_us", "max_us", "first_percent"])
}

/// The DNS server that is asked, and the peer that registers.
struct Side<'n> {
    name: &'static str,
    whom: &'static str,
    at: &'n Node,
    ask: Ask,
    held: Vec<Peer>,
    samples: Vec<Sample>,
}

impl<'n> Side<'n> {
    fn new(name: &'static str, whom: &'static str, at: &'n Node, asked: &Node) -> Result<Self, Failure> {
        let ask = Ask::new(asked.daemon.dns)?;
        Ok(Self { name, whom, at, ask, held: Vec::new(), samples: Vec::new() })
    }

    async fn sample(&mut self, at: usize) -> Result<(), Failure> {
        let service = format!("{}-{}-{at}", self.whom, self.name);
        let mut stream = Peer::connect(self.at.daemon.http).await?;
        let request = Peer::request(&service, 8080);
        let sent = Instant::now();
        stream.write_all(request.as_bytes()).await?;
        let peer = Peer::accepted(stream).await?;
        let accepted = Instant::now();
        let answered = self.ask.until(&service, Outcome::Records)?;
        self.held.push(peer);
        self.samples.push(Sample {
            handshake: accepted - sent,
            answer: answered.at - accepted,
            questions: answered.questions,
        });
        Ok(())
    }

    fn rows(&self, table: &mut Table) {
        let first = self.samples.iter().filter(|sample| sample.questions == 1).count();
        let first = float(first) * 100.0 / float(self.samples.len());
        for (what, first, time) in [
            ("handshake to 101", None, (|s| s.handshake) as fn(&Sample) -> Duration),
            ("101 to answer", Some(first), |s| s.answer),
            ("handshake to answer", None, |s| s.handshake + s.answer),
        ] {
            let times: Vec<_> = self.samples.iter().map(|sample| micros(time(sample))).collect();
            let [p50, p99, max] = spread(&times);
            table.row(format!("{}: {what}", self.name), [p50, p99, max, first]);
        }
    }
}
