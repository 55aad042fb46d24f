//! The command line: one file per verb.
//!
//! Owns: the arguments, the output and the exit status of each verb. Does not own: the settings of the daemon
//! ([`crate::config`]), nor the client ([`skyhound_client`]).

pub mod command;
pub mod completion;
pub mod config;
pub mod dnssec;
pub mod event;
pub mod explain;
pub mod instances;
mod invoked_as;
pub mod micro;
mod notify;
mod progress;
pub mod provide;
pub mod resolve;
pub mod seaport;
pub mod serve;
pub mod services;
pub mod tls;
pub mod watch;

use clap::{Args, CommandFactory, Parser, Subcommand};
use skyhound_base::errors::with_sources;
use skyhound_client::{Discover, Server};
use std::io::{self, Write};
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples, each in a separate terminal:
  Run the daemon, on unprivileged ports of this machine:
    skyhound serve

  Register `web.services.skydns.local` for as long as a program runs:
    skyhound provide web --port 8080 -- python3 -m http.server 8080

  Find it through DNS:
    dig @127.0.0.1 -p 5300 SRV web.services.skydns.local
    skyhound resolve web.services.skydns.local --server 127.0.0.1:5300

  Watch the changes:
    skyhound watch

`skyhound VERB --help` shows examples and the exit status of each verb.
";

/// Service registration and discovery: a service is in DNS exactly as long as its WebSocket is open
#[derive(Debug, Parser)]
#[command(name = "skyhound", version, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Serve(Box<serve::ServeArgs>),
    Config(Box<config::ConfigArgs>),
    Provide(provide::ProvideArgs),
    Resolve(resolve::ResolveArgs),
    Services(services::ServicesArgs),
    Instances(instances::InstancesArgs),
    Watch(watch::WatchArgs),
    Event(event::EventArgs),
    Explain(explain::ExplainArgs),
    Micro(Box<micro::MicroArgs>),
    DnssecKeygen(dnssec::KeygenArgs),
    Seaport(Box<seaport::SeaportArgs>),
    Completion(completion::CompletionArgs),
    Man(completion::ManArgs),
}

/// The daemons that a verb uses.
#[derive(Debug, Clone, Args)]
pub struct DaemonArgs {
    /// Daemon: http://HOST:PORT, https://, or HOST:PORT. Repeat it (or separate with commas) for several: the first one
    /// is preferred, the others are tried in turn while it is unavailable
    #[arg(short, long, value_name = "URL", env = "SKYHOUND_SERVER", value_delimiter = ',',
          default_value = skyhound_client::DEFAULT_SERVER)]
    pub server: Vec<Server>,

    #[command(flatten)]
    #[allow(missing_docs, reason = "its fields are documented")]
    pub tls: tls::TlsArgs,
}

impl DaemonArgs {
    fn discover(&self) -> Discover {
        Discover { tls: self.tls.files(), ..Discover::with_servers(self.server.clone()) }
    }
}

/// Parses the arguments and runs the verb.
pub async fn run() -> ExitCode {
    let given = invoked_as::arguments(std::env::args_os());
    match Cli::parse_from(seaport::arguments(given)).verb {
        Verb::Serve(args) => serve::run(*args).await,
        Verb::Config(args) => config::run(*args),
        Verb::Provide(args) => provide::run(args).await,
        Verb::Resolve(args) => resolve::run(args).await,
        Verb::Services(args) => services::run(args).await,
        Verb::Instances(args) => instances::run(args).await,
        Verb::Watch(args) => watch::run(args).await,
        Verb::Event(args) => event::run(args).await,
        Verb::Explain(args) => explain::run(args).await,
        Verb::Micro(args) => micro::run(*args).await,
        Verb::DnssecKeygen(args) => dnssec::keygen(&args),
        Verb::Seaport(args) => seaport::run(*args).await,
        Verb::Completion(args) => completion::completion(&args, Cli::command()),
        Verb::Man(args) => completion::man(&args, Cli::command()),
    }
}

/// Writes to stdout. A reader that closes the pipe (`| head`) is not an error; `println!` would panic.
fn print(bytes: &[u8]) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            progress::error(&format!("cannot write to stdout: {error}"));
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}
