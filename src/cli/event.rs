//! `skyhound event`: says something to everybody who listens for a service.

use super::services::NO_ANSWER;
use super::{DaemonArgs, progress};
use clap::Args;
use skyhound_client::{Audience, DiscoverError};
use std::process::ExitCode;

/// Exit status when the daemon does not pass it on.
const REFUSED: u8 = 1;

/// Say an event to those who listen for a service (hound-dog's custom events)
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "`--help` shows examples and the exit status.",
    after_long_help = "\
Examples:
  To the listeners of two services, wherever they are connected:
    skyhound event config-changed '{\"rev\":7}' --service web --service api

  To everybody:
    skyhound event maintenance 'in five minutes' --broadcast

Exit status:
  0  it is passed on
  1  the daemon refused it; its sentence is on stderr
  2  no answer, or bad usage"
)]
pub struct EventArgs {
    /// What kind of event it is
    #[arg(value_name = "TYPE")]
    pub event_type: String,

    /// What it says
    #[arg(value_name = "BODY", default_value = "")]
    pub event_body: String,

    /// Whose listeners are to hear it. Repeat it, or separate with commas, for several
    #[arg(long, value_name = "SERVICE", value_delimiter = ',', required_unless_present = "broadcast")]
    pub service: Vec<String>,

    /// Everybody is to hear it
    #[arg(long, conflicts_with = "service")]
    pub broadcast: bool,

    #[command(flatten)]
    #[allow(missing_docs, reason = "its fields are documented")]
    pub daemon: DaemonArgs,
}

/// Runs it.
pub async fn run(args: EventArgs) -> ExitCode {
    let to = if args.broadcast { Audience::All } else { Audience::Services(args.service) };
    match args.daemon.discover().publish(&args.event_type, &args.event_body, &to).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            progress::error(&progress::no_answer(&error));
            ExitCode::from(if matches!(error, DiscoverError::Refused(_)) { REFUSED } else { NO_ANSWER })
        }
    }
}
