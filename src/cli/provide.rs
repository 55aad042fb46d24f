//! `skyhound provide`: holds a registration until a signal, or for as long as a command runs.
//!
//! Owns: the arguments, the order of registration, command and signals. Does not own: the command ([`super::command`]),
//! nor the messages (`super::progress`).

use super::command::{self, RunningCommand, Signals};
use super::progress::{self, OutputFormat, Progress};
use super::tls::TlsArgs;
use super::with_sources;
use clap::Args;
use rustix::process::Signal;
use skyhound_client::{Event, Events, Provide, Provider, Server, State};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

/// The time limit for the command's end after a rejection. Then it is killed.
const END_TIMEOUT: Duration = Duration::from_secs(10);
/// The exit status if the daemon rejects the registration.
const REJECTED: u8 = 1;
/// The exit status of invalid arguments.
const BAD_USAGE: u8 = 2;

const EXAMPLES: &str = "\
Examples:
  Register `web.services.skydns.local` on port 8080 until Ctrl-C:
    skyhound provide web --port 8080

  Run a server, registered exactly as long as it runs:
    skyhound provide web --port 8080 -- ./server --listen :8080

  Use a daemon whose certificate is signed by a private authority:
    skyhound provide web --port 8080 -s https://node1:8053 --cacert ca.pem

  Use a second daemon while the first is unavailable:
    skyhound provide web -p 8080 -s http://node1:8053 -s http://node2:8053

  Register a spare that gets no load while an instance of priority 1 exists:
    skyhound provide db --port 5432 --category services,production --priority 2

  Report events to a script:
    skyhound provide web --port 8080 --json | jq --unbuffered -r .event

With COMMAND:
  The command is started at once and registered meanwhile; the registration is
  removed when it ends. SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2
  are forwarded to it (the terminal's Ctrl-C reaches it directly). If skyhound is
  killed, the command receives SIGTERM (Linux). It also runs while no daemon is
  reachable, and is registered when one is. It is ended (SIGTERM, after 10 s
  SIGKILL) only if a daemon rejects the first registration, because a retry
  would fail as well.

Exit status:
  0    stopped by SIGINT or SIGTERM, and deregistered
  1    the daemon rejected the registration; its error is on stderr
  2    bad usage
  126  COMMAND cannot be executed
  127  COMMAND was not found
  *    with COMMAND: its exit status, or 128 + N when signal N killed it

Certificates of https:// servers are verified against the system's authorities,
or those of --cacert.";

/// Register a service: it is in DNS exactly as long as this verb runs
#[derive(Debug, Clone, Args)]
#[command(after_long_help = EXAMPLES, after_help = "`--help` shows examples and the exit status.")]
pub struct ProvideArgs {
    /// Name of the service: one label such as `web`, or several separated by dots
    pub service: String,

    /// Port that the service listens on
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,

    /// Daemon: http://HOST:PORT, https://, ws://, wss://, or HOST:PORT. Repeat it (or separate with commas) for several:
    /// the first one is preferred, the others are tried in turn while it is unavailable
    #[arg(short, long, value_name = "URL", env = "SKYHOUND_SERVER", value_delimiter = ',',
          default_value = skyhound_client::DEFAULT_SERVER)]
    pub server: Vec<Server>,

    #[command(flatten)]
    #[allow(missing_docs, reason = "its fields are documented")]
    pub tls: TlsArgs,

    /// Address or name of the service's host [default: the source address of the connection to the daemon]
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,

    /// Categories, as in the name from left to right [default: the daemon's, `services`]
    #[arg(long, value_name = "CATEGORY", value_delimiter = ',')]
    pub category: Vec<String>,

    /// Prefix of this instance's id, to recognise it in lists
    #[arg(long)]
    pub prefix: Option<String>,

    /// SRV priority: the lowest is tried first [default: 1]
    #[arg(long, value_name = "N")]
    pub priority: Option<u16>,

    /// SRV weight: the share of the load within a priority [default: 100]
    #[arg(long, value_name = "N")]
    pub weight: Option<u16>,

    /// Version of the service, such as 1.2.3
    #[arg(long, value_name = "VERSION")]
    pub version: Option<String>,

    /// TTL of the DNS records, in seconds [default: the daemon's]
    #[arg(long, value_name = "SECONDS")]
    pub ttl: Option<u32>,

    /// Text of the TXT record
    #[arg(long)]
    pub text: Option<String>,

    /// SkyDNS group
    #[arg(long)]
    pub group: Option<String>,

    /// Further metadata, repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub meta: Vec<(String, String)>,

    /// Print one JSON object per event instead of text: to stdout, with COMMAND to stderr
    #[arg(long)]
    pub json: bool,

    /// Print only problems
    #[arg(short, long, conflicts_with = "json")]
    pub quiet: bool,

    /// Command to run; the registration ends with it
    #[arg(last = true, value_name = "COMMAND", value_hint = clap::ValueHint::CommandWithArguments)]
    pub command: Vec<OsString>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".into()),
    }
}

impl From<&ProvideArgs> for Provide {
    fn from(args: &ProvideArgs) -> Self {
        Self {
            servers: args.server.clone(),
            host: args.host.clone(),
            category: args.category.clone(),
            prefix: args.prefix.clone(),
            priority: args.priority,
            weight: args.weight,
            version: args.version.clone(),
            ttl: args.ttl,
            text: args.text.clone(),
            group: args.group.clone(),
            meta: args.meta.iter().cloned().collect::<BTreeMap<_, _>>(),
            tls: args.tls.files(),
            ..Self::new(args.service.clone(), args.port)
        }
    }
}

/// Runs the verb. The future has to be polled on the main thread (`block_on`), see [`super::command`].
pub async fn run(args: ProvideArgs) -> ExitCode {
    if let Err(error) = args.tls.check() {
        progress::error(&with_sources(&error));
        return ExitCode::from(BAD_USAGE);
    }
    let format = match (args.json, args.command.is_empty()) {
        (false, _) if args.quiet => OutputFormat::Warnings,
        (false, _) => OutputFormat::Text,
        (true, true) => OutputFormat::JsonOut,
        (true, false) => OutputFormat::JsonErr,
    };
    let progress = Progress::new(format, &args.service, args.port);
    if args.command.is_empty() { until_signal(&args, progress).await } else { with_command(&args, progress).await }
}

/// Holds the registration until SIGINT or SIGTERM. A SIGHUP keeps its default action: the process ends, and with it the
/// registration; and `nohup` works.
async fn until_signal(args: &ProvideArgs, mut progress: Progress) -> ExitCode {
    let mut signals = match Signals::take(&[Signal::TERM, Signal::INT]) {
        Ok(signals) => signals,
        Err(error) => {
            progress.problem("failed", &format!("cannot handle signals: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let (provider, mut events) = Provider::start_with_events(args.into());
    tokio::select! {
        () = report_until_rejected(&mut events, &mut progress) => return ExitCode::from(REJECTED),
        _ = signals.next() => {}
    }
    // A second signal ends a close that the daemon does not confirm.
    tokio::select! {
        () = deregister(provider, events, &mut progress) => {}
        _ = signals.next() => {}
    }
    ExitCode::SUCCESS
}

/// Holds the registration for as long as the command runs.
async fn with_command(args: &ProvideArgs, mut progress: Progress) -> ExitCode {
    let mut running = match RunningCommand::start(&args.command) {
        Ok(running) => running,
        Err(error) => return command::cannot_run(&args.command[0], &error),
    };
    let (provider, mut events) = Provider::start_with_events(args.into());
    let ended = tokio::select! {
        ended = running.end() => ended,
        () = report_until_rejected(&mut events, &mut progress) => {
            end_rejected(&mut running, &progress).await;
            return ExitCode::from(REJECTED);
        }
    };
    deregister(provider, events, &mut progress).await;
    match ended {
        Ok(status) => command::exit_code(status),
        Err(error) => {
            progress.problem("failed", &format!("cannot wait for {}: {error}", args.command[0].display()));
            ExitCode::FAILURE
        }
    }
}

/// Reports each event; returns when no more events follow, which is after a rejection.
async fn report_until_rejected(events: &mut Events, progress: &mut Progress) {
    while let Some(event) = events.next().await {
        progress.event(&event);
    }
}

/// Closes the registration, and reports only that: the other events of that time are irrelevant.
async fn deregister(provider: Provider, mut events: Events, progress: &mut Progress) {
    provider.close().await;
    while let Some(event) = events.next().await {
        if matches!(event, Event::State(State::Closed)) {
            progress.event(&event);
        }
    }
}

/// Ends a command whose registration was rejected: a command that runs without a registration would look like a
/// successful deployment.
async fn end_rejected(running: &mut RunningCommand, progress: &Progress) {
    progress.problem("ending", "ending the command, because its registration was rejected");
    running.terminate();
    if tokio::time::timeout(END_TIMEOUT, running.end()).await.is_err() {
        running.kill();
        // SIGKILL cannot be ignored; the exit status is not used.
        let _ = running.end().await;
    }
}
