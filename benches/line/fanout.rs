//! From a change to the last of 10,000 sockets that receive it.

use crate::Failure;
use crate::figures::{float, percentile};
use crate::peer::Peer;
use crate::process;
use crate::report::{Report, Table};
use crate::stage::{Kind, Node, Stage, names};
use clap::Args;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// The time limit of a round.
const ROUND_DEADLINE: Duration = Duration::from_secs(60);
/// Handshakes at a time.
const CLIENTS: usize = 64;
/// The monitored service.
const SERVICE: &str = "bench";

/// From a change to the last of many listening sockets
///
/// Opens --sockets websockets on /etcd/monitor, all of them on one service with --instances instances. Then, round
/// by round, an instance registers (PUT), the service gets an event (event), and the instance closes its socket
/// (DELETE): from the moment that this is sent until each socket has read its message.
#[derive(Debug, Args)]
#[command(after_help = "\
COLUMNS
  p50_ms, last_ms              when the socket in the middle, and the last one, had its message: medians over the rounds
  last_max_ms                  the last socket of the slowest round
  daemon_cpu_us                processor time of the daemon for one message to one socket, writing it to the store and
                               all included
  before, open, after          resident memory (VmRSS) in KiB: at start, with all sockets open, after the rounds
  bytes_per_socket             (open - before) / sockets; grown_per_socket: (after - before) / sockets
Clients and daemon share the machine: what the clients take is about as much again.")]
pub(crate) struct Options {
    /// Websockets that listen
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=14_000))]
    sockets: u32,
    /// Rounds
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Other instances of the service: each message of a change names them all
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=1000))]
    instances: u32,
    /// The stores, one after the other
    #[arg(long, value_enum, value_delimiter = ',', default_value = "memory,etcd")]
    stores: Vec<Kind>,
}

pub(crate) async fn run(options: &Options, stage: &Stage) -> Result<Report, Failure> {
    let sockets = usize::try_from(options.sockets)?;
    process::may_hold(sockets + usize::try_from(options.instances)? + 8)?;
    let mut report = Report::new(
        "fanout",
        json!({
            "sockets": options.sockets, "rounds": options.rounds, "instances": options.instances,
            "stores": names(&options.stores),
        }),
    );
    let mut times = Table::new(
        "times",
        "From what is sent to what each socket has read.",
        ["p50_ms", "last_ms", "last_max_ms", "daemon_cpu_us"],
    );
    let mut memory = Table::new(
        "memory",
        "Memory of the daemon that holds them.",
        ["before_kib", "open_kib", "after_kib", "bytes_per_socket", "grown_per_socket"],
    );
    for kind in &options.stores {
        let etcd = stage.etcd_for(&[*kind]).await?;
        let node = stage.daemon(*kind, etcd.as_ref(), &["--timeout=600"]).await?;
        let mut others = Vec::new();
        for at in 0..options.instances {
            others.push(Peer::provide(node.daemon.http, SERVICE, u16::try_from(10_000 + at)?).await?);
        }
        let before = process::resident(node.daemon.pid())?;
        let crowd = Listeners::open(node.daemon.http, sockets).await?;
        let open = process::resident(node.daemon.pid())?;
        for (what, rounds) in rounds(&node, &crowd, options.rounds).await? {
            let p50: Vec<_> = rounds.iter().map(|round| round.p50_ms).collect();
            let last: Vec<_> = rounds.iter().map(|round| round.last_ms).collect();
            let cpu: Vec<_> = rounds.iter().map(|round| round.cpu_us).collect();
            let [p50, middle, slowest] =
                [(&p50, 50.0), (&last, 50.0), (&last, 100.0)].map(|(all, at)| percentile(all, at));
            let cpu = cpu.iter().sum::<f64>() / float(cpu.len()) / float(sockets);
            times.row(format!("{}: {what}", kind.name()), [Some(p50), Some(middle), Some(slowest), Some(cpu)]);
        }
        let after = process::resident(node.daemon.pid())?;
        let per_socket = |now: f64| Some((now - before.all) / float(sockets));
        let kib = |bytes: f64| Some(bytes / 1024.0);
        let (each, grown) = (per_socket(open.all), per_socket(after.all));
        memory.row(kind.name(), [kib(before.all), kib(open.all), kib(after.all), each, grown]);
        crowd.all_held()?;
        drop((crowd, others));
    }
    report.table(times);
    report.table(memory);
    Ok(report)
}

/// One message to all.
struct Round {
    p50_ms: f64,
    last_ms: f64,
    /// The processor time of the daemon.
    cpu_us: f64,
}

async fn rounds(node: &Node, crowd: &Listeners, count: u32) -> Result<[(&'static str, Vec<Round>); 3], Failure> {
    let [mut puts, mut events, mut deletes] = [(); 3].map(|()| Vec::new());
    for _ in 0..count {
        let http = node.daemon.http;
        let mut held = None;
        let register = async {
            held = Some(Peer::provide(http, SERVICE, 9999).await?);
            Ok(())
        };
        puts.push(crowd.round(node, register).await?);
        events.push(crowd.round(node, publish(http)).await?);
        let mut held = held.ok_or("an instance that registered")?;
        deletes.push(crowd.round(node, held.send_close()).await?);
    }
    Ok([("PUT", puts), ("event", events), ("DELETE", deletes)])
}

/// Publishes an event to the service's subscribers.
async fn publish(daemon: SocketAddr) -> Result<(), Failure> {
    let body = json!({ "event_type": "bench", "event_body": "0123456789", "services": [SERVICE] }).to_string();
    let mut stream = Peer::connect(daemon).await?;
    let head = format!(
        "POST /etcd/event HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    if answer.starts_with(b"HTTP/1.1 200 ") { Ok(()) } else { Err(String::from_utf8_lossy(&answer).into()) }
}

/// The time of each socket's last message, in nanoseconds since `began`, and how many have had it.
struct Clock {
    began: Instant,
    received_at: Vec<AtomicU64>,
    count: AtomicUsize,
    all: Notify,
    lost: AtomicUsize,
}

/// Many listening sockets. Dropping it resets them.
struct Listeners {
    clock: Arc<Clock>,
    _tasks: JoinSet<()>,
}

impl Listeners {
    async fn open(daemon: SocketAddr, count: usize) -> Result<Self, Failure> {
        let clock = Arc::new(Clock {
            began: Instant::now(),
            received_at: (0..count).map(|_| AtomicU64::new(0)).collect(),
            count: AtomicUsize::new(0),
            all: Notify::new(),
            lost: AtomicUsize::new(0),
        });
        let (mut opening, mut tasks, mut next) = (JoinSet::new(), JoinSet::new(), 0);
        while next < count || !opening.is_empty() {
            if next < count && opening.len() < CLIENTS {
                let at = next;
                opening.spawn(async move { (at, Peer::monitor(daemon, SERVICE).await) });
                next += 1;
                continue;
            }
            if let Some(opened) = opening.join_next().await {
                let (at, peer) = opened?;
                let ((read, write), clock) = (peer?.into_halves()?, Arc::clone(&clock));
                tasks.spawn(async move {
                    // The error is the end of a socket that was to stay, which is counted.
                    let _ = listen(read, write, at, &clock).await;
                    clock.lost.fetch_add(1, Relaxed);
                });
            }
        }
        Ok(Self { clock, _tasks: tasks })
    }

    /// Makes one change that all receive, and measures it.
    async fn round(&self, node: &Node, change: impl Future<Output = Result<(), Failure>>) -> Result<Round, Failure> {
        self.clock.count.store(0, Relaxed);
        let (cpu, began) = (node.cpu_us()?, self.clock.began.elapsed());
        change.await?;
        let delivered = timeout(ROUND_DEADLINE, self.clock.all.notified()).await;
        self.all_held()?;
        delivered.map_err(|_| {
            let count = self.clock.count.load(Relaxed);
            format!("only {count} sockets have received it after {ROUND_DEADLINE:?}")
        })?;
        let cpu_us = node.cpu_us()? - cpu;
        let since = |at: &AtomicU64| Duration::from_nanos(at.load(Relaxed)).saturating_sub(began).as_secs_f64() * 1e3;
        let times: Vec<_> = self.clock.received_at.iter().map(since).collect();
        Ok(Round { p50_ms: percentile(&times, 50.0), last_ms: percentile(&times, 100.0), cpu_us })
    }

    fn all_held(&self) -> Result<(), Failure> {
        match self.clock.lost.load(Relaxed) {
            0 => Ok(()),
            lost => Err(format!("{lost} sockets that were to listen ended").into()),
        }
    }
}

/// Notes when a text came, and answers pings.
async fn listen(read: OwnedReadHalf, mut write: OwnedWriteHalf, at: usize, clock: &Clock) -> Result<(), Failure> {
    // A message with some instances comes in one read.
    let mut read = BufReader::with_capacity(2048, read);
    let mut payload = Vec::new();
    loop {
        let (op, length) = (read.read_u8().await? & 0xf, read.read_u8().await?);
        let length = match length {
            126 => u64::from(read.read_u16().await?),
            127 => read.read_u64().await?,
            short => short.into(),
        };
        payload.resize(usize::try_from(length)?, 0);
        read.read_exact(&mut payload).await?;
        match op {
            0x1 => {
                clock.received_at[at].store(u64::try_from(clock.began.elapsed().as_nanos())?, Relaxed);
                if clock.count.fetch_add(1, Relaxed) + 1 == clock.received_at.len() {
                    clock.all.notify_one();
                }
            }
            0x9 => Peer::pong(&mut write, &payload).await?,
            _ => return Err("a close".into()),
        }
    }
}
