//! The straight line, measured from outside: real daemons, real sockets, a real etcd.
//!
//! A measurement alternates its sides over several rounds in one run, prints medians and ratios, and takes
//! the processor time of the daemon rather than the clock wherever it can: machines are shared and noisy.
//! Nothing here fails because something is slow.
//!
//! - [`registrations`]: how many a second, on every store, and what etcd itself could do
//! - [`answer`]: from the handshake to the answer in DNS, at this daemon and at another one
//! - [`close`]: from the close of a socket to NXDOMAIN
//! - [`memory`]: what 10,000 held sockets take
//! - [`entries`]: what a catalog of a million entries takes, and how soon it is ready
//! - [`held`]: what holding costs etcd and the processor
//! - [`fanout`]: from a change to the last of 10,000 sockets that receive it
//!
//! The others are tools: [`peer`] is a client that holds a socket, [`ask`] one that asks DNS, [`stage`] starts
//! the processes, [`process`] looks at them, [`figures`] does sums, [`report`] prints.

mod answer;
mod ask;
mod close;
mod entries;
mod fanout;
mod figures;
mod floor;
mod held;
mod memory;
mod peer;
mod process;
mod registrations;
mod report;
mod stage;

use clap::{CommandFactory, Parser, Subcommand};
use report::Report;
use std::path::PathBuf;
use std::process::ExitCode;

/// The reason why a measurement ends early: something does not work, and there is no number to print.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Measures a running skyhound from outside.
#[derive(Debug, Parser)]
#[command(
    name = "cargo bench --bench line --",
    bin_name = "cargo bench --bench line --",
    after_help = "\
EXAMPLES
  cargo bench --bench line -- registrations          every store, five rounds, about two minutes
  cargo bench --bench line -- memory --sockets 2000 --stores memory
  cargo bench --bench line -- answer --json > answer.json
  cargo bench --profile dev --bench line -- close    the debug build: to try the measurement, not the daemon

All processes are started for the run, listen on loopback only, and are gone when it ends. Needs the program
etcd for everything that compares with it. Each socket takes a descriptor here and one in the daemon.
benches/README.md says how to read the numbers."
)]
struct Arguments {
    #[command(subcommand)]
    measurement: Option<Measurement>,

    /// Print one JSON object instead of tables
    #[arg(long, global = true)]
    json: bool,

    /// Directory for the files of etcd and of the embedded store; a real disk, or the numbers flatter
    #[arg(long, global = true, value_name = "DIR", default_value = env!("CARGO_TARGET_TMPDIR"))]
    dir: PathBuf,

    /// The flag that cargo adds by itself.
    #[arg(long, global = true, hide = true)]
    bench: bool,
}

#[derive(Debug, Subcommand)]
enum Measurement {
    Registrations(registrations::Options),
    Answer(answer::Options),
    Close(close::Options),
    Memory(memory::Options),
    Entries(entries::Options),
    Held(held::Options),
    Fanout(fanout::Options),
}

impl Measurement {
    async fn run(self, stage: &stage::Stage) -> Result<Report, Failure> {
        match self {
            Self::Registrations(options) => registrations::run(&options, stage).await,
            Self::Answer(options) => answer::run(&options, stage).await,
            Self::Close(options) => close::run(&options, stage).await,
            Self::Memory(options) => memory::run(&options, stage).await,
            Self::Entries(options) => entries::run(&options, stage).await,
            Self::Held(options) => held::run(&options, stage).await,
            Self::Fanout(options) => fanout::run(&options, stage).await,
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // A bare `cargo bench` or `cargo test --benches` gets here too: nothing was asked, nothing is wrong.
    let Some(measurement) = arguments.measurement else {
        println!("{}", Arguments::command().render_help());
        return ExitCode::SUCCESS;
    };
    let stage = stage::Stage::new(arguments.dir);
    match measurement.run(&stage).await {
        Ok(report) => {
            print!("{}", if arguments.json { report.json() } else { report.text() });
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
