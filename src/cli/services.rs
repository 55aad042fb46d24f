//! `skyhound services`: which services there are.

use super::{DaemonArgs, progress};
use clap::Args;
use skyhound_client::Service;
use std::fmt::Write as _;
use std::process::ExitCode;

/// Exit status when there is nothing.
pub(super) const NONE: u8 = 1;
/// Exit status when there is no answer.
pub(super) const NO_ANSWER: u8 = 2;

/// List the services that have instances
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "`--help` shows examples and the exit status.",
    after_long_help = "\
Examples:
  How many instances each has:
    skyhound services

  Those that have only one:
    skyhound services --json | jq -r 'select(.instances == 1).name'

Columns: instances, service.

Exit status:
  0  there are services
  1  there are none
  2  no answer, or bad usage"
)]
pub struct ServicesArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "its fields are documented")]
    pub daemon: DaemonArgs,

    /// One JSON object per service and line
    #[arg(long)]
    pub json: bool,
}

/// Runs it.
pub async fn run(args: ServicesArgs) -> ExitCode {
    match args.daemon.discover().services().await {
        Ok(services) if services.is_empty() => {
            progress::error("there are no services now");
            ExitCode::from(NONE)
        }
        Ok(services) => super::print(lines(&services, args.json).as_bytes()),
        Err(error) => {
            progress::error(&progress::no_answer(&error));
            ExitCode::from(NO_ANSWER)
        }
    }
}

fn lines(services: &[Service], json: bool) -> String {
    services.iter().fold(String::new(), |mut text, service| {
        // Writing to a String cannot fail.
        let _ = if json {
            writeln!(text, "{}", serde_json::json!(service))
        } else {
            writeln!(text, "{:>6} {}", service.instances, service.name)
        };
        text
    })
}
