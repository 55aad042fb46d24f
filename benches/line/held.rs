//! The cost of held registrations: nothing should be written while nothing changes.

use crate::Failure;
use crate::figures::float;
use crate::peer::{Crowd, open_many};
use crate::process::{self, Scrape};
use crate::report::{Report, Table};
use crate::stage::{Kind, Stage};
use clap::Args;
use serde_json::json;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Writes to etcd and processor time while sockets are held
///
/// Opens --sockets registrations on etcd and counts, for --hold seconds in which nothing changes, what reaches etcd.
/// The same is counted first for as long with a daemon that holds nothing: what it costs to be there at all.
#[derive(Debug, Args)]
#[command(after_help = "\
COLUMNS
  puts, deletes, txns    operations that etcd counted
  keep_alives            messages on the leases' streams
  daemon_cpu_ms          processor time of the daemon in that time
  etcd_cpu_ms            the same of etcd
The original writes every record again twice in each --timeout.")]
pub(crate) struct Options {
    /// Websockets to hold
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=15_000))]
    sockets: u32,
    /// Seconds to hold them
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=3600))]
    hold: u32,
}

/// The series of etcd 3.4 and later, and what they are called here.
const COUNTED: [(&str, &str); 4] = [
    ("puts", "etcd_debugging_mvcc_put_total"),
    ("deletes", "etcd_debugging_mvcc_delete_total"),
    ("txns", r#"grpc_server_handled_total{grpc_code="OK",grpc_method="Txn""#),
    ("keep_alives", r#"grpc_server_msg_received_total{grpc_method="LeaseKeepAlive""#),
];

pub(crate) async fn run(options: &Options, stage: &Stage) -> Result<Report, Failure> {
    let sockets = usize::try_from(options.sockets)?;
    process::may_hold(sockets)?;
    let mut report = Report::new("held", json!({ "sockets": options.sockets, "hold": options.hold }));
    let mut table = Table::new(
        "held",
        "While nothing changes, for the whole time.",
        ["puts", "deletes", "txns", "keep_alives", "daemon_cpu_ms", "etcd_cpu_ms", "pings"],
    );
    let etcd = stage.etcd().await?;
    let node = stage.daemon(Kind::Etcd, Some(&etcd), &[]).await?;
    for count in [0, sockets] {
        let mut crowd = Crowd::hold(open_many(node.daemon.http, count, 64).await?);
        node.knows(float(count)).await?;
        let (before, cpu, etcd_cpu, pings) =
            (etcd.scrape().await?, node.cpu_us()?, etcd.cpu_us().await?, crowd.pings());
        sleep_until(Instant::now() + Duration::from_secs(options.hold.into())).await;
        let (cpu, etcd_cpu, pings) = (node.cpu_us()? - cpu, etcd.cpu_us().await? - etcd_cpu, crowd.pings() - pings);
        let after = etcd.scrape().await?;
        crowd.all_held().await?;
        let [puts, deletes, txns, keep_alives] = COUNTED.map(|(_, series)| Some(grown(&before, &after, series)));
        let cells = [puts, deletes, txns, keep_alives, Some(cpu / 1e3), Some(etcd_cpu / 1e3), Some(float(pings))];
        table.row(format!("{count} sockets"), cells);
        crowd.close().await;
    }
    report.table(table);
    Ok(report)
}

fn grown(before: &Scrape, after: &Scrape, series: &str) -> f64 {
    after.sum(series) - before.sum(series)
}
