//! The memory and processor time of the daemon for held sockets.

use crate::Failure;
use crate::figures::float;
use crate::peer::{Crowd, open_many};
use crate::process::{self, Resident};
use crate::report::{Report, Table};
use crate::stage::{Kind, Stage, names};
use clap::Args;
use serde_json::json;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Resident memory and processor time of a held socket
///
/// Opens --sockets registrations, lets each be pinged twice, and looks at the daemon before, with them, and after
/// they have closed. On etcd a second daemon follows along without a socket: what it grows by is what the entries
/// take alone.
#[derive(Debug, Args)]
#[command(after_help = "\
COLUMNS
  before, open, held           resident memory (VmRSS) in KiB: at start, with all sockets open, after --hold seconds
  closed, again                when all have ended at once, and when as many are open again: what is not given back
                               to the system is used again, and does not grow
  bytes_per_socket             (held - before) / sockets: socket, claim, entry, lease and store together
  anonymous_per_socket         the same without pages of files (RssAnon): without the program's own code
  cpu_us_per_minute            processor time of the daemon for one socket in a minute of being held
  pings                        how many pings of the daemon each socket answered
The kernel's own buffers for a connection are in neither of them.")]
pub(crate) struct Options {
    /// Websockets to hold
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=15_000))]
    sockets: u32,
    /// Seconds to hold them; the daemon pings every 15
    #[arg(long, default_value_t = 35, value_parser = clap::value_parser!(u32).range(1..=3600))]
    hold: u32,
    /// The stores, one after the other
    #[arg(long, value_enum, value_delimiter = ',', default_value = "memory,disk,etcd")]
    stores: Vec<Kind>,
}

/// Handshakes at a time: what they take while they last is the allocator's afterwards.
const CLIENTS: usize = 64;

pub(crate) async fn run(options: &Options, stage: &Stage) -> Result<Report, Failure> {
    let sockets = usize::try_from(options.sockets)?;
    process::may_hold(sockets)?;
    let mut report = Report::new(
        "memory",
        json!({ "sockets": options.sockets, "hold": options.hold, "stores": names(&options.stores) }),
    );
    let mut table = Table::new(
        "sockets",
        "Memory and processor time of the daemon that holds them.",
        [
            "before_kib",
            "open_kib",
            "held_kib",
            "closed_kib",
            "again_kib",
            "bytes_per_socket",
            "anonymous_per_socket",
            "cpu_us_per_minute",
            "pings",
        ],
    );
    let mut entries = Table::new(
        "entries",
        "A second daemon on the same etcd, which holds no socket: the entries alone.",
        ["before_kib", "held_kib", "bytes_per_entry", "anonymous_per_entry"],
    );
    for kind in &options.stores {
        let etcd = stage.etcd_for(&[*kind]).await?;
        let node = stage.daemon(*kind, etcd.as_ref(), &[]).await?;
        let second = match &etcd {
            Some(etcd) => Some(stage.daemon(Kind::Etcd, Some(etcd), &[]).await?),
            None => None,
        };
        let look = || process::resident(node.daemon.pid());
        let look_second = || second.as_ref().map(|second| process::resident(second.daemon.pid())).transpose();
        let (before, second_before) = (look()?, look_second()?);

        let mut crowd = Crowd::hold(open_many(node.daemon.http, sockets, CLIENTS).await?);
        let open = look()?;
        let (cpu, began, pings) = (node.cpu_us()?, Instant::now(), crowd.pings());
        sleep_until(began + Duration::from_secs(options.hold.into())).await;
        let (cpu, took, pings) = (node.cpu_us()? - cpu, began.elapsed(), crowd.pings() - pings);
        let (held, second_held) = (look()?, look_second()?);

        crowd.all_held().await?;
        let known = node.scrape().await?.get("skyhound_websocket_connections");
        if known != Some(float(sockets)) {
            return Err(format!("{sockets} sockets are held and the daemon counts {known:?}").into());
        }
        crowd.close().await;
        node.empty().await?;
        let closed = look()?;
        let crowd = Crowd::hold(open_many(node.daemon.http, sockets, CLIENTS).await?);
        let again = look()?;
        crowd.close().await;

        let count = float(sockets);
        let per_socket = |what: fn(&Resident) -> f64| Some((what(&held) - what(&before)) / count);
        table.row(
            kind.name(),
            [
                Some(before.all / 1024.0),
                Some(open.all / 1024.0),
                Some(held.all / 1024.0),
                Some(closed.all / 1024.0),
                Some(again.all / 1024.0),
                per_socket(|r| r.all),
                per_socket(|r| r.anonymous),
                Some(cpu / count / (took.as_secs_f64() / 60.0)),
                Some(float(pings) / count),
            ],
        );
        if let Some((held, before)) = second_held.zip(second_before) {
            entries.row(
                "etcd, second daemon",
                [
                    Some(before.all / 1024.0),
                    Some(held.all / 1024.0),
                    Some((held.all - before.all) / count),
                    Some((held.anonymous - before.anonymous) / count),
                ],
            );
        }
    }
    report.table(table);
    if options.stores.contains(&Kind::Etcd) {
        report.table(entries);
        report.note("A socket with its claim, without its entry: the difference of the two on etcd.");
    }
    Ok(report)
}
