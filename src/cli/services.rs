//! `skyhound services`: the services with their numbers of instances.

use super::{DaemonArgs, progress};
use clap::Args;
use skyhound_client::Service;
use std::fmt::Write as _;
use std::process::ExitCode;

/// The exit status of an empty result.
pub(super) const NONE: u8 = 1;
/// The exit status if no daemon responds.
pub(super) const NO_RESPONSE: u8 = 2;

/// List the services that have instances
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "`--help` shows examples and the exit status.",
    after_long_help = "\
Examples:
  List all services with their numbers of instances:
    skyhound services

  List the services with only one instance:
    skyhound services --json | jq -r 'select(.instances == 1).name'

Columns: instances, service.

Exit status:
  0  at least one service exists
  1  no service exists
  2  no response, or bad usage"
)]
pub struct ServicesArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "its fields are documented")]
    pub daemon: DaemonArgs,

    /// Print one JSON object per service and line
    #[arg(long)]
    pub json: bool,
}

/// Runs the verb.
pub async fn run(args: ServicesArgs) -> ExitCode {
    match args.daemon.discover().services().await {
        Ok(services) if services.is_empty() => {
            progress::error("there are no services");
            ExitCode::from(NONE)
        }
        Ok(services) => super::print(lines(&services, args.json).as_bytes()),
        Err(error) => {
            progress::error(&progress::discover_error(&error));
            ExitCode::from(NO_RESPONSE)
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
