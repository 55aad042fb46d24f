//! `skyhound provide`: hold a registration, perhaps for as long as a command runs.

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

/// How long a command may take to end after a refusal before it is killed.
const END_WITHIN: Duration = Duration::from_secs(10);
/// Exit status of a refusal.
const REFUSED: u8 = 1;
/// Exit status of arguments that cannot be meant.
const BAD_USAGE: u8 = 2;

const EXAMPLES: &str = "\
Examples:
  Be `web.services.skydns.local` on port 8080 until Ctrl-C:
    skyhound provide web --port 8080

  Run a server, and be in DNS exactly as long as it runs:
    skyhound provide web --port 8080 -- ./server --listen :8080

  A daemon with a certificate of one's own authority:
    skyhound provide web --port 8080 -s https://node1:8053 --cacert ca.pem

  Two daemons: the second takes over while the first is away:
    skyhound provide web -p 8080 -s http://node1:8053 -s http://node2:8053

  A spare that gets no load until all of priority 1 are gone:
    skyhound provide db --port 5432 --category services,production --priority 2

  Tell a script when it is in DNS:
    skyhound provide web --port 8080 --json | jq --unbuffered -r .event

With COMMAND:
  It is started at once and registered meanwhile; the registration goes when it
  ends. SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2 are passed on to
  it (the terminal's Ctrl-C reaches it directly). If skyhound is killed, it gets
  SIGTERM (Linux). While no daemon is there it goes on running, and is registered
  when one is back. Only when a daemon refuses the very first registration is it
  ended (SIGTERM, after 10 s SIGKILL), because no waiting would mend that.

Exit status:
  0    stopped by SIGINT or SIGTERM, and left DNS
  1    the daemon refused the registration; its sentence is on stderr
  2    bad usage
  126  COMMAND cannot be executed
  127  COMMAND was not found
  *    with COMMAND: its exit status, or 128 + N when signal N killed it

Servers with https:// are checked against the system's certificates, or those
of --cacert.";

/// Register a service and hold the registration: it is in DNS exactly as long as this runs
#[derive(Debug, Clone, Args)]
#[command(after_long_help = EXAMPLES, after_help = "`--help` shows examples and the exit status.")]
pub struct ProvideArgs {
    /// The service's name: one label such as `web`, or several with dots between
    pub service: String,

    /// The port that the service listens on
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,

    /// The daemon: http://HOST:PORT, https://, ws://, wss://, or HOST:PORT. Repeat it (or separate with
    /// commas) for several: the first one is preferred, the others are tried in turn while it is away
    #[arg(short, long, value_name = "URL", env = "SKYHOUND_SERVER", value_delimiter = ',',
          default_value = skyhound_client::DEFAULT_SERVER)]
    pub server: Vec<Server>,

    #[command(flatten)]
    #[allow(missing_docs, reason = "its fields are documented")]
    pub tls: TlsArgs,

    /// The address or name where the service is [default: the address that the daemon sees]
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,

    /// The categories, as in the name from left to right [default: the daemon's, `services`]
    #[arg(long, value_name = "CATEGORY", value_delimiter = ',')]
    pub category: Vec<String>,

    /// Begins this instance's id, so that it is recognised in lists
    #[arg(long)]
    pub prefix: Option<String>,

    /// SRV priority: the lowest is tried first [default: 1]
    #[arg(long, value_name = "N")]
    pub priority: Option<u16>,

    /// SRV weight: the share of the load within a priority [default: 100]
    #[arg(long, value_name = "N")]
    pub weight: Option<u16>,

    /// The service's version, such as 1.2.3
    #[arg(long, value_name = "VERSION")]
    pub version: Option<String>,

    /// How long answers may be cached, in seconds [default: the daemon's]
    #[arg(long, value_name = "SECONDS")]
    pub ttl: Option<u32>,

    /// What TXT questions are answered
    #[arg(long)]
    pub text: Option<String>,

    /// SkyDNS group
    #[arg(long)]
    pub group: Option<String>,

    /// Anything else, repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub meta: Vec<(String, String)>,

    /// One JSON object per event instead of sentences: on stdout; with COMMAND on stderr
    #[arg(long)]
    pub json: bool,

    /// Say only what goes wrong
    #[arg(short, long, conflicts_with = "json")]
    pub quiet: bool,

    /// What to run; its life is the registration's
    #[arg(last = true, value_name = "COMMAND", value_hint = clap::ValueHint::CommandWithArguments)]
    pub command: Vec<OsString>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE".into()),
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

/// Runs it. To be polled on the main thread (`block_on`), see [`super::command`].
pub async fn run(args: ProvideArgs) -> ExitCode {
    if let Err(error) = args.tls.check() {
        progress::error(&with_sources(&error));
        return ExitCode::from(BAD_USAGE);
    }
    let form = match (args.json, args.command.is_empty()) {
        (false, _) if args.quiet => OutputFormat::Warnings,
        (false, _) => OutputFormat::Sentences,
        (true, true) => OutputFormat::JsonOut,
        (true, false) => OutputFormat::JsonErr,
    };
    let progress = Progress::new(form, &args.service, args.port);
    if args.command.is_empty() { alone(&args, progress).await } else { with_command(&args, progress).await }
}

/// Until SIGINT or SIGTERM. A SIGHUP keeps its default action: the process ends, and so does what stands in
/// DNS; and `nohup` works.
async fn alone(args: &ProvideArgs, mut progress: Progress) -> ExitCode {
    let mut signals = match Signals::take(&[Signal::TERM, Signal::INT]) {
        Ok(signals) => signals,
        Err(error) => {
            progress.trouble("failed", &format!("cannot take over signals: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let (provider, mut events) = Provider::start_with_events(args.into());
    tokio::select! {
        () = tell_until_refused(&mut events, &mut progress) => return ExitCode::from(REFUSED),
        _ = signals.next() => {}
    }
    // A second signal ends a close that the daemon does not answer.
    tokio::select! {
        () = leave(provider, events, &mut progress) => {}
        _ = signals.next() => {}
    }
    ExitCode::SUCCESS
}

/// For as long as the command runs.
async fn with_command(args: &ProvideArgs, mut progress: Progress) -> ExitCode {
    let mut running = match RunningCommand::start(&args.command) {
        Ok(running) => running,
        Err(error) => return command::cannot_run(&args.command[0], &error),
    };
    let (provider, mut events) = Provider::start_with_events(args.into());
    let ended = tokio::select! {
        ended = running.end() => ended,
        () = tell_until_refused(&mut events, &mut progress) => {
            end_refused(&mut running, &progress).await;
            return ExitCode::from(REFUSED);
        }
    };
    leave(provider, events, &mut progress).await;
    match ended {
        Ok(status) => command::exit_code(status),
        Err(error) => {
            progress.trouble("failed", &format!("cannot learn how {} ended: {error}", args.command[0].display()));
            ExitCode::FAILURE
        }
    }
}

/// Tells everything; done when nothing is left to wait for.
async fn tell_until_refused(events: &mut Events, progress: &mut Progress) {
    while let Some(event) = events.next().await {
        progress.event(&event);
    }
}

/// Closes, and tells it; but not what happens meanwhile, which is of no interest any more.
async fn leave(provider: Provider, mut events: Events, progress: &mut Progress) {
    provider.close().await;
    while let Some(event) = events.next().await {
        if matches!(event, Event::State(State::Closed)) {
            progress.event(&event);
        }
    }
}

/// Ends a command whose registration can never be: running on unseen would look like success to whoever
/// deploys it.
async fn end_refused(running: &mut RunningCommand, progress: &Progress) {
    progress.trouble("ending", "ending the command, because it can never be found as it is registered");
    running.terminate();
    if tokio::time::timeout(END_WITHIN, running.end()).await.is_err() {
        running.kill();
        // SIGKILL cannot be refused; what `wait` says of it decides nothing.
        let _ = running.end().await;
    }
}
