//! `skyhound seaport register`: runs a command on a free port, registered for as long as the verb runs.

use super::{HubArgs, RETRY};
use crate::cli::command::{self, RunningCommand, Signals};
use crate::cli::progress;
use clap::Args;
use rustix::process::Signal;
use serde_json::{Value, json};
use skyhound_frontends::seaport::client::{HubClient, KnownServices};
use skyhound_frontends::seaport::keys::KeyPair;
use skyhound_frontends::seaport::meta::ServiceMeta;
use skyhound_frontends::seaport::row::Row;
use std::ffi::OsString;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::ops::RangeInclusive;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// The time limit for the hub's services. After it a port is chosen without them.
const SYNC_TIMEOUT: Duration = Duration::from_secs(3);
/// The limit for tried ports.
const PORT_ATTEMPTS: usize = 1000;
/// The default range of ports: the original's.
const RANGE: &str = "10000-65535";

/// Run COMMAND with a free port as its last argument, registered at a hub for as long as this verb runs. The command is
/// restarted a second after it ends
#[derive(Debug, Args)]
#[command(after_help = "\
The port is free on this machine, in the range, and not registered for this host. The command also runs while no hub is
reachable, and is registered when one is. A SIGTERM, SIGINT or SIGHUP is forwarded to the command and ends this verb.")]
pub(super) struct RegisterArgs {
    #[command(flatten)]
    hub: HubArgs,

    /// Service, NAME or NAME@VERSION
    #[arg(value_name = "NAME@VERSION")]
    name: String,

    /// Further field of the service, repeatable; VALUE is JSON, or a text. `--meta.KEY=VALUE` is the same
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    meta: Vec<(String, Value)>,

    /// Range of ports to choose from
    #[arg(long, value_name = "A-B", default_value = RANGE, value_parser = range)]
    range: RangeInclusive<u16>,

    /// Command to run
    #[arg(last = true, required = true, value_name = "COMMAND", value_hint = clap::ValueHint::CommandWithArguments)]
    command: Vec<OsString>,
}

fn pair(text: &str) -> Result<(String, Value), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => {
            Ok((key.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| value.into())))
        }
        _ => Err("expected KEY=VALUE".into()),
    }
}

fn range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let ends = text.split_once('-').and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
    match ends {
        Some((from, to)) if (1..=to).contains(&from) => Ok(from..=to),
        _ => Err("expected a range of ports, as in 10000-65535".into()),
    }
}

/// Runs the verb. The future has to be polled on the main thread, see [`command`].
pub(super) async fn run(args: RegisterArgs) -> ExitCode {
    let key = match args.hub.key() {
        Ok(key) => key,
        Err(code) => return code,
    };
    // Before anything else, so that an early signal ends the verb as well.
    let mut signals = match Signals::take(&[Signal::TERM, Signal::INT, Signal::HUP]) {
        Ok(signals) => signals,
        Err(error) => {
            progress::error(&format!("cannot handle signals: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let first = first_hub(&args.hub.hub, key.as_ref()).await;
    let Some(port) = free_port(args.range.clone(), first.as_ref()) else {
        let (from, to) = args.range.into_inner();
        progress::error(&format!(
            "no port from {from} to {to} is free on this machine and not registered; select another range with --range"
        ));
        return ExitCode::FAILURE;
    };
    let service = CommandService::new(&args, port);
    progress::info(&format!("{} uses port {port}", args.name));
    let (stop, stopped) = watch::channel(false);
    let holding = tokio::spawn(service.hold(args.hub.hub.clone(), key, first, stopped));
    let code = run_repeatedly(&args.command, port, &mut signals).await;
    stop.send_replace(true);
    let _ = timeout(SYNC_TIMEOUT, holding).await;
    code
}

/// Connects to the hub and receives its services. `None`, with a warning, when it fails.
async fn first_hub(hub: &str, key: Option<&Arc<KeyPair>>) -> Option<SyncedHub> {
    let synced = timeout(SYNC_TIMEOUT, SyncedHub::join(hub, key)).await;
    let synced = synced.unwrap_or_else(|_| Err(format!("the hub did not send all services within {SYNC_TIMEOUT:?}")));
    synced
        .inspect_err(|problem| progress::warning(&format!("{hub}: {problem}; choosing a port without its services")))
        .ok()
}

/// Runs the command, and restarts it when it ends, until a signal.
async fn run_repeatedly(command: &[OsString], port: u16, signals: &mut Signals) -> ExitCode {
    let words: Vec<OsString> = command.iter().cloned().chain([port.to_string().into()]).collect();
    loop {
        let mut running = match RunningCommand::start(&words) {
            Ok(running) => running,
            Err(error) => return command::cannot_run(&words[0], &error),
        };
        let mut stopping = false;
        let ended = loop {
            tokio::select! {
                ended = running.end() => break ended,
                // The signal was forwarded; the command's end is awaited.
                _ = signals.next() => stopping = true,
            }
        };
        let code = match ended {
            Ok(status) if stopping => return command::exit_code(status),
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        progress::warning(&format!("{} ended ({code}); restarting it in {RETRY:?}", words[0].display()));
        tokio::select! {
            () = sleep(RETRY) => {}
            _ = signals.next() => return ExitCode::SUCCESS,
        }
    }
}

/// Returns a port without a listener and without a registration for this host.
fn free_port(range: RangeInclusive<u16>, hub: Option<&SyncedHub>) -> Option<u16> {
    let registered = |port: u16| {
        hub.is_some_and(|hub| {
            let same_host = |meta: &ServiceMeta| meta.get("host").is_some_and(|host| *host == hub.client.addr.as_str());
            let text = port.to_string();
            let same_port = |meta: &ServiceMeta| {
                meta.get("port").is_some_and(|registered| *registered == port || *registered == text.as_str())
            };
            hub.known.services().any(|(_, meta)| same_host(meta) && same_port(meta))
        })
    };
    let free = |port: u16| {
        let v6 = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port));
        // Any other error may mean that the machine has no IPv6.
        let in_use = v6.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse);
        drop(v6);
        !in_use && TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
    };
    let try_all = range.clone().count() <= PORT_ATTEMPTS;
    let mut candidates: Vec<u16> =
        if try_all { range.collect() } else { (0..PORT_ATTEMPTS).map(|_| fastrand::u16(range.clone())).collect() };
    fastrand::shuffle(&mut candidates);
    candidates.into_iter().find(|port| !registered(*port) && free(*port))
}

/// Waits for the signal to stop.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // A dropped sender is a stop as well.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// A connection that has received all services of its hub.
struct SyncedHub {
    client: HubClient,
    known: KnownServices,
}

impl SyncedHub {
    async fn join(hub: &str, key: Option<&Arc<KeyPair>>) -> Result<Self, String> {
        let mut client = HubClient::connect(hub, key.cloned()).await?;
        let mut known = KnownServices::default();
        loop {
            match client.next().await? {
                Row::Synced => return Ok(Self { client, known }),
                Row::Error(_, message) => progress::warning(&message),
                row => drop(known.apply(&row)),
            }
        }
    }
}

/// The service that the command provides.
struct CommandService {
    id: String,
    meta: ServiceMeta,
}

impl CommandService {
    fn new(args: &RegisterArgs, port: u16) -> Self {
        let mut meta: ServiceMeta = args.meta.iter().cloned().collect();
        let (role, version) = match args.name.split_once('@') {
            Some((role, version)) => (role, Some(version)),
            None => (args.name.as_str(), None),
        };
        let id = match meta.get("id").and_then(Value::as_str) {
            Some(id) => id.to_owned(),
            // 39 digits, as in the original.
            None => format!("{:032X}{:07X}", fastrand::u128(..), fastrand::u32(..1 << 28)),
        };
        meta.insert("role".into(), json!(role));
        if let Some(version) = version {
            meta.insert("version".into(), json!(version));
        }
        meta.insert("port".into(), json!(port));
        meta.insert("id".into(), json!(id));
        Self { id, meta }
    }

    /// Holds the registration at the first hub, or in turn at the other hubs that are known, until the stop.
    async fn hold(
        mut self,
        first: String,
        key: Option<Arc<KeyPair>>,
        mut joined: Option<SyncedHub>,
        mut stop: watch::Receiver<bool>,
    ) {
        let (mut hubs, mut turn) = (vec![first.clone()], 0);
        loop {
            let address = hubs[turn % hubs.len()].clone();
            let hub = if let Some(hub) = joined.take() {
                Ok(hub)
            } else {
                tokio::select! {
                    hub = SyncedHub::join(&address, key.as_ref()) => hub,
                    () = stopped(&mut stop) => return,
                }
            };
            let problem = match hub {
                Ok(mut hub) => {
                    let Some(problem) = self.hold_at(&address, &mut hub, &mut stop).await else {
                        return hub.client.close().await;
                    };
                    hubs = [first.clone()].into_iter().chain(hub.known.hubs()).collect();
                    problem
                }
                Err(problem) => problem,
            };
            progress::warning(&format!("{address}: {problem}; retrying in {RETRY:?}"));
            turn += 1;
            tokio::select! {
                () = sleep(RETRY) => {}
                () = stopped(&mut stop) => return,
            }
        }
    }

    /// Holds the registration at one hub. Returns the problem that ended the connection, or `None` after the stop,
    /// which frees the service.
    async fn hold_at(
        &mut self,
        address: &str,
        hub: &mut SyncedHub,
        stop: &mut watch::Receiver<bool>,
    ) -> Option<String> {
        tokio::select! {
            problem = self.register(address, hub) => Some(problem),
            () = stopped(stop) => {
                hub.client.send(&Row::Free(self.id.clone()));
                None
            }
        }
    }

    /// Registers, and processes rows until the connection is lost. Returns the problem.
    async fn register(&mut self, address: &str, hub: &mut SyncedHub) -> String {
        let mut meta = self.meta.clone();
        // The original's hub does not add the host.
        meta.entry("host").or_insert_with(|| hub.client.addr.as_str().into());
        hub.client.send(&Row::Register(self.id.clone(), meta));
        hub.client.send(&Row::Synced);
        progress::info(&format!("registered {} with {address}", self.id));
        loop {
            match hub.client.next().await {
                Ok(Row::Error(_, message)) => progress::warning(&format!("{address} returned an error: {message}")),
                Ok(Row::Free(id)) if id == self.id => progress::warning("another peer freed this service"),
                // Another peer updated the service.
                Ok(Row::Register(id, meta)) if id == self.id => self.meta = meta,
                Ok(row) => drop(hub.known.apply(&row)),
                Err(problem) => return problem,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_free_and_in_the_range() {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(free_port(port..=port, None), None);
        let found = free_port(20_000..=60_000, None).unwrap();
        assert!((20_000..=60_000).contains(&found));
        assert_eq!(range("5-7"), Ok(5..=7));
        for bad in ["", "5", "7-5", "0-5", "1-70000", "a-b"] {
            assert!(range(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn meta_is_json_or_a_text() {
        assert_eq!(pair("a=1"), Ok(("a".into(), json!(1))));
        assert_eq!(pair("a=x y"), Ok(("a".into(), json!("x y"))));
        assert_eq!(pair("a={\"b\":[]}"), Ok(("a".into(), json!({"b": []}))));
        assert!(pair("a").is_err() && pair("=1").is_err());
    }
}
