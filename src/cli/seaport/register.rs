//! `skyhound seaport register`: run a command on a port that is free, registered as long as this runs.

use super::{HubArgs, RETRY};
use crate::cli::command::{self, RunningCommand, Signals};
use crate::cli::progress;
use clap::Args;
use rustix::process::Signal;
use serde_json::{Value, json};
use skyhound_frontends::seaport::client::{Client, KnownServices};
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

/// How long the hub is waited for before a port is chosen without asking it.
const ASK_WITHIN: Duration = Duration::from_secs(3);
/// How often a port is tried before there is none.
const TRIES: usize = 1000;
/// Ports that are given by themselves, as in the original.
const RANGE: &str = "10000-65535";

/// Run COMMAND with a free port as its last argument, registered at a hub for as long as this runs. It is started again
/// a second after it ends
#[derive(Debug, Args)]
#[command(after_help = "\
The port is free on this machine, in the range, and not registered for this host. While no hub is there the command
runs all the same, and is registered when one is back. A SIGTERM, SIGINT or SIGHUP is passed on, and is the end.")]
pub(super) struct RegisterArgs {
    #[command(flatten)]
    hub: HubArgs,

    /// The service, NAME or NAME@VERSION
    #[arg(value_name = "NAME@VERSION")]
    name: String,

    /// What else to say of it, repeatable; VALUE is JSON, or a text. `--meta.KEY=VALUE` is the same
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    meta: Vec<(String, Value)>,

    /// The ports to choose from
    #[arg(long, value_name = "A-B", default_value = RANGE, value_parser = range)]
    range: RangeInclusive<u16>,

    /// What to run
    #[arg(last = true, required = true, value_name = "COMMAND", value_hint = clap::ValueHint::CommandWithArguments)]
    command: Vec<OsString>,
}

fn pair(text: &str) -> Result<(String, Value), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => {
            Ok((key.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| value.into())))
        }
        _ => Err("write it as KEY=VALUE".into()),
    }
}

fn range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let ends = text.split_once('-').and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
    match ends {
        Some((from, to)) if (1..=to).contains(&from) => Ok(from..=to),
        _ => Err("write it as 10000-65535".into()),
    }
}

/// Runs it. To be polled on the main thread, see [`command`].
pub(super) async fn run(args: RegisterArgs) -> ExitCode {
    let key = match args.hub.key() {
        Ok(key) => key,
        Err(code) => return code,
    };
    // Before anything else: a signal that comes early ends it as well.
    let mut signals = match Signals::take(&[Signal::TERM, Signal::INT, Signal::HUP]) {
        Ok(signals) => signals,
        Err(error) => {
            progress::error(&format!("cannot take over signals: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let first = match timeout(ASK_WITHIN, Hub::join(&args.hub.hub, key.as_ref())).await {
        Ok(Ok(hub)) => Some(hub),
        Ok(Err(problem)) => lost(&args.hub.hub, &problem),
        Err(_) => lost(&args.hub.hub, "not all was said in time"),
    };
    let Some(port) = free_port(args.range.clone(), first.as_ref()) else {
        let (from, to) = args.range.into_inner();
        progress::error(&format!("no port from {from} to {to} is free here and not registered; give another --range"));
        return ExitCode::FAILURE;
    };
    let service = Service::new(&args, port);
    progress::info(&format!("{} gets port {port}", args.name));
    let (stop, stopped) = watch::channel(false);
    let holding = tokio::spawn(service.hold(args.hub.hub.clone(), key, first, stopped));
    let code = run_repeatedly(&args.command, port, &mut signals).await;
    stop.send_replace(true);
    let _ = timeout(ASK_WITHIN, holding).await;
    code
}

fn lost(hub: &str, problem: &str) -> Option<Hub> {
    progress::warning(&format!("{hub}: {problem}; a port is chosen without it"));
    None
}

/// Runs the command again and again, until a signal.
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
                // It was passed on; the command says when it has ended.
                _ = signals.next() => stopping = true,
            }
        };
        let code = match ended {
            Ok(status) if stopping => return command::exit_code(status),
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        progress::warning(&format!("{} ended ({code}); starting it again in {RETRY:?}", words[0].display()));
        tokio::select! {
            () = sleep(RETRY) => {}
            _ = signals.next() => return ExitCode::SUCCESS,
        }
    }
}

/// A port that nobody listens on and nobody has registered for this host.
fn free_port(range: RangeInclusive<u16>, hub: Option<&Hub>) -> Option<u16> {
    let registered = |port: u16| {
        hub.is_some_and(|hub| {
            let here = |meta: &ServiceMeta| meta.get("host").is_some_and(|host| *host == hub.client.addr.as_str());
            let text = port.to_string();
            let same =
                |meta: &ServiceMeta| meta.get("port").is_some_and(|known| *known == port || *known == text.as_str());
            hub.known.services().any(|(_, meta)| here(meta) && same(meta))
        })
    };
    let free = |port: u16| {
        let v6 = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port));
        // Not in use with IPv6 may mean that there is none.
        let in_use = v6.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse);
        drop(v6);
        !in_use && TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
    };
    let few = range.clone().count() <= TRIES;
    let mut candidates: Vec<u16> =
        if few { range.collect() } else { (0..TRIES).map(|_| fastrand::u16(range.clone())).collect() };
    fastrand::shuffle(&mut candidates);
    candidates.into_iter().find(|port| !registered(*port) && free(*port))
}

/// Waits until it is to stop.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Without a sender it is over as well.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// A connection that has heard all.
struct Hub {
    client: Client,
    known: KnownServices,
}

impl Hub {
    async fn join(hub: &str, key: Option<&Arc<KeyPair>>) -> Result<Self, String> {
        let mut client = Client::connect(hub, key.cloned()).await?;
        let mut known = KnownServices::default();
        loop {
            match client.next().await? {
                Row::Synced => return Ok(Self { client, known }),
                Row::Error(_, sentence) => progress::warning(&sentence),
                row => drop(known.apply(&row)),
            }
        }
    }
}

/// What is registered.
struct Service {
    id: String,
    meta: ServiceMeta,
}

impl Service {
    fn new(args: &RegisterArgs, port: u16) -> Self {
        let mut meta: ServiceMeta = args.meta.iter().cloned().collect();
        let (role, version) = match args.name.split_once('@') {
            Some((role, version)) => (role, Some(version)),
            None => (args.name.as_str(), None),
        };
        let id = match meta.get("id").and_then(Value::as_str) {
            Some(id) => id.to_owned(),
            // 39 digits, as the original's.
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

    /// Holds the registration, at this hub or at another that it has told of, until it is to stop.
    async fn hold(
        mut self,
        first: String,
        key: Option<Arc<KeyPair>>,
        mut joined: Option<Hub>,
        mut stop: watch::Receiver<bool>,
    ) {
        let (mut hubs, mut turn) = (vec![first.clone()], 0);
        loop {
            let at = hubs[turn % hubs.len()].clone();
            let hub = if let Some(hub) = joined.take() {
                Ok(hub)
            } else {
                tokio::select! {
                    hub = Hub::join(&at, key.as_ref()) => hub,
                    () = stopped(&mut stop) => return,
                }
            };
            let problem = match hub {
                Ok(mut hub) => {
                    let problem = tokio::select! {
                        problem = self.registered(&at, &mut hub) => problem,
                        () = stopped(&mut stop) => {
                            hub.client.send(&Row::Free(self.id.clone()));
                            return hub.client.close().await;
                        }
                    };
                    hubs = [first.clone()].into_iter().chain(hub.known.hubs()).collect();
                    problem
                }
                Err(problem) => problem,
            };
            progress::warning(&format!("{at}: {problem}; trying again in {RETRY:?}"));
            turn += 1;
            tokio::select! {
                () = sleep(RETRY) => {}
                () = stopped(&mut stop) => return,
            }
        }
    }

    /// Registers, and listens until the connection is lost.
    async fn registered(&mut self, at: &str, hub: &mut Hub) -> String {
        let mut meta = self.meta.clone();
        // The original's hub does not fill it in.
        meta.entry("host").or_insert_with(|| hub.client.addr.as_str().into());
        hub.client.send(&Row::Register(self.id.clone(), meta));
        hub.client.send(&Row::Synced);
        progress::info(&format!("registered {} with {at}", self.id));
        loop {
            match hub.client.next().await {
                Ok(Row::Error(_, sentence)) => progress::warning(&format!("{at} reports: {sentence}")),
                Ok(Row::Free(id)) if id == self.id => progress::warning("another peer has freed this service"),
                // Another peer describes it anew.
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
        let taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
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
