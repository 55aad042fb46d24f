//! `skyhound watch`: prints the changes of instances as they occur.

use super::command::Signals;
use super::{DaemonArgs, progress};
use clap::Args;
use clap::builder::styling::{AnsiColor, Style};
use rustix::process::Signal;
use serde_json::json;
use skyhound_client::{Instance, RemovalCause, Watch, WatchEvent, Watcher};
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

/// The exit status if the daemon rejects the request.
const REJECTED: u8 = 1;
/// The exit status of invalid arguments.
const BAD_USAGE: u8 = 2;

/// Print changes as they occur: instances that are registered, changed, removed or expired
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "`--help` shows examples and the exit status.",
    after_long_help = "\
Examples:
  Watch all services:
    skyhound watch

  Watch two services, at the available one of two daemons:
    skyhound watch web api -s http://node1:8053 -s http://node2:8053

  Run a program when an instance expires:
    skyhound watch --json | jq --unbuffered -r 'select(.event == \"expire\").instance.name' | xargs -n 1 page

Prints all existing instances first, then each change. Reconnects after a lost
connection and prints the missed changes, none of them twice.

Columns: time (UTC), sign, service, host and port, reason.
  +  the instance was registered (`new`) or updated (`changed`)
  -  the instance was deregistered (`left`), or was `missing` after a reconnect
  x  the instance `expired`

Exit status:
  0  stopped by SIGINT or SIGTERM, or the reader of stdout closed it
  1  the daemon rejected the request; its error is on stderr
  2  bad usage"
)]
pub struct WatchArgs {
    /// Services to watch; case is ignored [default: all]
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,

    #[command(flatten)]
    #[allow(missing_docs, reason = "its fields are documented")]
    pub daemon: DaemonArgs,

    /// Print one JSON object per change and line
    #[arg(long)]
    pub json: bool,
}

/// Runs the verb.
pub async fn run(args: WatchArgs) -> ExitCode {
    let mut signals = match Signals::take(&[Signal::TERM, Signal::INT]) {
        Ok(signals) => signals,
        Err(error) => {
            progress::error(&format!("cannot handle signals: {error}"));
            return ExitCode::FAILURE;
        }
    };
    if let Err(error) = args.daemon.tls.check() {
        progress::error(&super::with_sources(&error));
        return ExitCode::from(BAD_USAGE);
    }
    let (tls, servers) = (args.daemon.tls.files(), args.daemon.server);
    let watch = Watch { servers, services: args.services, tls, ..Watch::default() };
    let mut watcher = Watcher::start(watch);
    tokio::select! {
        code = print_changes(&mut watcher, args.json) => code,
        _ = signals.next() => ExitCode::SUCCESS,
    }
}

/// Prints each change until the watcher ends or the reader of stdout closes it.
async fn print_changes(watcher: &mut Watcher, json: bool) -> ExitCode {
    // The last reported loss: while a daemon is unavailable, every attempt fails.
    let mut reported = None;
    while let Some(event) = watcher.next().await {
        let printed = match event {
            WatchEvent::Put { instance, new } => print("put", if new { "new" } else { "changed" }, &instance, json),
            WatchEvent::Removed { instance, why } => {
                let (event, why) = reason(why);
                print(event, why, &instance, json)
            }
            WatchEvent::Connected { .. } => {
                reported = None;
                Ok(())
            }
            WatchEvent::Lost { server, reason, .. } => {
                let message = format!("lost {server}: {reason}{}; retrying", progress::hint(&reason));
                if reported.as_ref() != Some(&message) {
                    progress::warning(&message);
                    reported = Some(message);
                }
                Ok(())
            }
            WatchEvent::Refused(refusal) => {
                progress::error(&refusal.to_string());
                return ExitCode::from(REJECTED);
            }
            // Later versions of the client may add events; all current ones are above.
            _ => Ok(()),
        };
        match printed {
            Ok(()) => {}
            // A reader that closes the pipe (`| head`) is not an error.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
            Err(error) => {
                progress::error(&format!("cannot write to stdout: {error}"));
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::FAILURE
}

/// Returns the event's name in the daemon's event stream, and the reason in one word.
fn reason(why: RemovalCause) -> (&'static str, &'static str) {
    match why {
        RemovalCause::Deregistered => ("delete", "left"),
        RemovalCause::Expired => ("expire", "expired"),
        RemovalCause::Missing => ("delete", "missing"),
    }
}

fn print(event: &str, why: &str, instance: &Instance, json: bool) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    let time = now();
    if json {
        writeln!(out, "{}", json!({ "time": time, "event": event, "why": why, "instance": instance }))?;
    } else {
        writeln!(out, "{}", line(&time, event, why, instance))?;
    }
    out.flush()
}

/// Formats a change as a line. `anstream` drops the colours if stdout is not a terminal, or `NO_COLOR` is set.
fn line(time: &str, event: &str, why: &str, instance: &Instance) -> String {
    let (sign, colour) = match event {
        "put" => ('+', AnsiColor::Green),
        "expire" => ('x', AnsiColor::Red),
        _ => ('-', AnsiColor::Yellow),
    };
    let style: Style = colour.on_default();
    let service = &instance.service;
    format!("{time} {style}{sign} {service} {} {why}{style:#}", instance.endpoint())
}

/// Returns the time in the format of the log: RFC 3339, UTC.
fn now() -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut text));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_a_line() {
        let instance =
            Instance { service: "web".into(), host: Some("10.0.0.1".into()), port: 80, ..Instance::default() };
        let plain = |event, why| anstream::adapter::strip_str(&line("T", event, why, &instance)).to_string();
        assert_eq!(plain("put", "new"), "T + web 10.0.0.1:80 new");
        assert_eq!(plain("delete", "left"), "T - web 10.0.0.1:80 left");
        assert_eq!(plain("expire", "expired"), "T x web 10.0.0.1:80 expired");
        assert!(now().starts_with("20") && now().ends_with('Z'), "{}", now());
    }
}
