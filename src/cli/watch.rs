//! `skyhound watch`: prints what changes, as it changes.

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

/// Exit status of a refusal.
const REFUSED: u8 = 1;
/// Exit status of arguments that cannot be meant.
const BAD_USAGE: u8 = 2;

/// Print what changes, as it changes: instances that come, change, leave or fall silent
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "`--help` shows examples and the exit status.",
    after_long_help = "\
Examples:
  Everything:
    skyhound watch

  Two services, at whichever of two daemons is there:
    skyhound watch web api -s http://node1:8053 -s http://node2:8053

  Call somebody when an instance falls silent:
    skyhound watch --json | jq --unbuffered -r 'select(.event == \"expire\").instance.name' | xargs -n 1 page

First come all instances that are there, then each change. After a loss it comes
back, and tells what it missed and nothing twice.

Columns: time (UTC), sign, service, host and port, why.
  +  it is there (`new`), or describes itself anew (`changed`)
  -  it is gone: it `left`, or was `missing` when the connection was back
  x  it fell silent (`expired`)

Exit status:
  0  stopped by SIGINT or SIGTERM, or nobody reads on
  1  the daemon refused the question; its sentence is on stderr
  2  bad usage"
)]
pub struct WatchArgs {
    /// The services, in any case [default: all]
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,

    #[command(flatten)]
    #[allow(missing_docs, reason = "its fields are documented")]
    pub daemon: DaemonArgs,

    /// One JSON object per change and line
    #[arg(long)]
    pub json: bool,
}

/// Runs it.
pub async fn run(args: WatchArgs) -> ExitCode {
    let mut signals = match Signals::take(&[Signal::TERM, Signal::INT]) {
        Ok(signals) => signals,
        Err(error) => {
            progress::error(&format!("cannot take over signals: {error}"));
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
        code = tell(&mut watcher, args.json) => code,
        _ = signals.next() => ExitCode::SUCCESS,
    }
}

/// Prints everything, until there is nothing more or nobody to read it.
async fn tell(watcher: &mut Watcher, json: bool) -> ExitCode {
    let mut told = None;
    while let Some(seen) = watcher.next().await {
        let printed = match seen {
            WatchEvent::Put { instance, new } => print("put", if new { "new" } else { "changed" }, &instance, json),
            WatchEvent::Removed { instance, why } => {
                let (event, why) = reason(why);
                print(event, why, &instance, json)
            }
            WatchEvent::Connected { .. } => {
                told = None;
                Ok(())
            }
            WatchEvent::Lost { server, reason, .. } => {
                let sentence = format!("{server} tells nothing: {reason}{}; trying again", progress::hint(&reason));
                // A daemon that stays away is lost again at every attempt.
                if told.as_ref() != Some(&sentence) {
                    progress::warning(&sentence);
                    told = Some(sentence);
                }
                Ok(())
            }
            WatchEvent::Refused(refusal) => {
                progress::error(&refusal.to_string());
                return ExitCode::from(REFUSED);
            }
            // The client may report more one day; what it reports now is above.
            _ => Ok(()),
        };
        match printed {
            Ok(()) => {}
            // A reader that has seen enough (`| head`) is no failure.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
            Err(error) => {
                progress::error(&format!("cannot write to stdout: {error}"));
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::FAILURE
}

/// The event's name, as the daemon has it, and the reason in a word.
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

/// `anstream` drops the colours when stdout is no terminal, or `NO_COLOR` is set.
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

/// As the log has it: RFC 3339, UTC.
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
