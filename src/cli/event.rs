//! `skyhound event`: publishes an event to the subscribers of services.

use super::services::NO_RESPONSE;
use super::{DaemonArgs, progress};
use clap::Args;
use skyhound_client::{Audience, DiscoverError};
use std::process::ExitCode;

/// The exit status if the daemon rejects the event.
const REJECTED: u8 = 1;

/// Publish an event to a service's subscribers (hound-dog's custom events)
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "`--help` shows examples and the exit status.",
    after_long_help = "\
Examples:
  Publish to the subscribers of two services, at any daemon:
    skyhound event config-changed '{\"rev\":7}' --service web --service api

  Publish to all subscribers:
    skyhound event maintenance 'in five minutes' --broadcast

Exit status:
  0  the daemon accepted the event
  1  the daemon rejected the event; its error is on stderr
  2  no response, or bad usage"
)]
pub struct EventArgs {
    /// Type of the event
    #[arg(value_name = "TYPE")]
    pub event_type: String,

    /// Body of the event
    #[arg(value_name = "BODY", default_value = "")]
    pub event_body: String,

    /// Service whose subscribers receive the event. Repeat it, or separate with commas, for several
    #[arg(long, value_name = "SERVICE", value_delimiter = ',', required_unless_present = "broadcast")]
    pub service: Vec<String>,

    /// Publish to all subscribers of all services
    #[arg(long, conflicts_with = "service")]
    pub broadcast: bool,

    #[command(flatten)]
    #[allow(missing_docs, reason = "its fields are documented")]
    pub daemon: DaemonArgs,
}

/// Runs the verb.
pub async fn run(args: EventArgs) -> ExitCode {
    let audience = if args.broadcast { Audience::All } else { Audience::Services(args.service) };
    match args.daemon.discover().publish(&args.event_type, &args.event_body, &audience).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            progress::error(&progress::discover_error(&error));
            ExitCode::from(if matches!(error, DiscoverError::Refused(_)) { REJECTED } else { NO_RESPONSE })
        }
    }
}
