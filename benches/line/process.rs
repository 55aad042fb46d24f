//! Figures of the system and the processes: processor time, memory, descriptors, metrics.

use crate::Failure;
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::{Map, Value, json};
use std::fs;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, ToSocketAddrs};

/// The unit in which Linux reports processor time to programs (`USER_HZ`), on every architecture that Rust's tier 1
/// has. The kernel's own count behind it is exact.
const TICKS_PER_S: f64 = 100.0;
/// The time limit of a request for the metrics of a process.
const SCRAPE_DEADLINE: Duration = Duration::from_secs(10);

/// Processor time of a process so far, user and system, in microseconds.
pub(crate) fn cpu_us(pid: u32) -> Result<f64, Failure> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // proc(5): the name in brackets may hold anything; the fields behind it begin with the third.
    let fields = stat.rsplit_once(')').ok_or("no name in /proc/PID/stat")?.1;
    let mut times = fields.split_whitespace().skip(11);
    let mut ticks = || -> Result<f64, Failure> { Ok(times.next().ok_or("no times in /proc/PID/stat")?.parse()?) };
    Ok((ticks()? + ticks()?) / TICKS_PER_S * 1e6)
}

/// Memory of a process in RAM.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resident {
    /// All of it, in bytes (`VmRSS`).
    pub(crate) all: f64,
    /// Memory that is not mapped from files, as the program is itself above all (`RssAnon`).
    pub(crate) anonymous: f64,
}

/// Memory of a process in RAM.
pub(crate) fn resident(pid: u32) -> Result<Resident, Failure> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let bytes = |field: &str| -> Result<f64, Failure> {
        // A process that has ended and was not waited for has a status without memory.
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let line = line.ok_or_else(|| format!("process {pid} has ended:\n{status}"))?;
        Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? * 1024.0)
    };
    Ok(Resident { all: bytes("VmRSS:")?, anonymous: bytes("RssAnon:")? })
}

/// Raises this process's own limit of descriptors so that it may hold `sockets`, which daemons started
/// later inherit. An error says what is missing.
pub(crate) fn may_hold(sockets: usize) -> Result<(), Failure> {
    // The daemon keeps 512 for itself beside its connections; here it is the runtime's and the pipes'.
    let wanted = u64::try_from(sockets)? + 512;
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|soft| soft >= wanted) {
        return Ok(());
    }
    if let Some(hard) = limit.maximum.filter(|hard| *hard < wanted) {
        let fit = hard.saturating_sub(512);
        return Err(format!(
            "{sockets} sockets need {wanted} descriptors and this process may have {hard}: \
             raise the hard limit (ulimit -Hn, LimitNOFILE=), or measure with --sockets {fit}"
        )
        .into());
    }
    limit.current = limit.maximum.map_or(Some(wanted), Some);
    Ok(setrlimit(Resource::Nofile, limit)?)
}

/// One scrape of a process's metrics.
#[derive(Debug)]
pub(crate) struct Scrape(String);

impl Scrape {
    /// Asks for `/metrics`.
    pub(crate) async fn of(address: impl ToSocketAddrs) -> Result<Self, Failure> {
        let ask = async {
            let mut stream = TcpStream::connect(address).await?;
            stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
            let mut text = Vec::new();
            stream.read_to_end(&mut text).await?;
            Ok::<_, Failure>(String::from_utf8_lossy(&text).into_owned())
        };
        let text = tokio::time::timeout(SCRAPE_DEADLINE, ask).await??;
        if text.starts_with("HTTP/1.1 200") { Ok(Self(text)) } else { Err(format!("no metrics: {text}").into()) }
    }

    /// The number of a series, by its name with its labels as printed; `None` when it is not there, as counters
    /// that never counted may not be.
    pub(crate) fn get(&self, series: &str) -> Option<f64> {
        let value = |line: &str| line.strip_prefix(series)?.strip_prefix(' ')?.trim().parse().ok();
        self.0.lines().find_map(value)
    }

    /// The sum over all series whose line begins so.
    pub(crate) fn sum(&self, begin: &str) -> f64 {
        let lines = self.0.lines().filter(|line| line.starts_with(begin));
        lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }
}

/// The machine that the numbers were measured on.
pub(crate) fn machine() -> Map<String, Value> {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let mut machine = Map::new();
    machine.insert("cores".into(), json!(cores));
    machine.insert("processor".into(), json!(model.map_or("unknown", |(_, model)| model)));
    machine.insert("load before".into(), json!(load.split(' ').next().unwrap_or_default()));
    machine.insert("build".into(), json!(if cfg!(debug_assertions) { "debug: no numbers to keep" } else { "release" }));
    machine
}
