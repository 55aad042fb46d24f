//! `skyhound seaport …`: the verbs of the original's command, also when the binary is run by the name `seaport`.
//!
//! Owns: the arguments, in the original's form. Does not own: the protocol ([`skyhound_frontends::seaport`]).

mod listen;
mod query;
mod register;

use clap::{Args, Subcommand};
use skyhound_frontends::seaport::keys::{KeyPair, read_pair};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// The pause between two connection attempts to a hub: the original's.
const RETRY: Duration = Duration::from_secs(1);

const EXAMPLES: &str = "\
Examples:
  Run a hub without further settings:
    skyhound seaport listen 9090

  Run a server on a free port, registered as web@1.2.3:
    skyhound seaport register localhost:9090 web@1.2.3 -- node server.js

  Find the instances of web in a range of versions:
    skyhound seaport query localhost:9090 web@1.2.x

Through a link named `seaport` to this binary, the verbs work without `skyhound`.";

/// Run a seaport hub, query it, or register with it
#[derive(Debug, Args)]
#[command(version, after_help = EXAMPLES)]
pub struct SeaportArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Listen(Box<listen::ListenArgs>),
    /// Print all services of a hub, as JSON
    Show(query::ShowArgs),
    Query(query::QueryArgs),
    Watch(query::WatchArgs),
    Register(register::RegisterArgs),
}

/// The hub to connect to, and the client's key.
#[derive(Debug, Args)]
struct HubArgs {
    /// Hub: HOST:PORT, or PORT on this machine
    #[arg(value_name = "HOST:PORT", value_parser = hub)]
    hub: String,

    /// JSON file with an RSA key, `public` and `private` as PEM texts, for a hub with keys
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

impl HubArgs {
    fn key(&self) -> Result<Option<Arc<KeyPair>>, ExitCode> {
        let read = |path: &Path| read_pair(path).map(Arc::new);
        self.key.as_deref().map(read).transpose().map_err(|error| {
            super::progress::error(&format!("--key: {error}"));
            ExitCode::from(super::serve::BAD_SETTINGS)
        })
    }
}

fn hub(text: &str) -> Result<String, String> {
    let (host, port) = text.rsplit_once(':').unwrap_or(("localhost", text));
    match port.parse::<u16>() {
        Ok(1..) if !host.is_empty() => Ok(format!("{host}:{port}")),
        _ => Err("expected HOST:PORT, or PORT".into()),
    }
}

/// Translates the original's form of an argument in the process's arguments: `--meta.KEY=V`.
pub(super) fn arguments(mut arguments: Vec<OsString>) -> Vec<OsString> {
    if arguments.get(1).is_none_or(|verb| verb != "seaport") {
        return arguments;
    }
    // The arguments after `--` are the command's own.
    let end = arguments.iter().position(|argument| argument == "--").unwrap_or(arguments.len());
    for argument in &mut arguments[..end] {
        if let Some(pair) = argument.to_str().and_then(|argument| argument.strip_prefix("--meta.")) {
            *argument = format!("--meta={pair}").into();
        }
    }
    arguments
}

/// Runs the verb.
pub async fn run(args: SeaportArgs) -> ExitCode {
    match args.verb {
        Verb::Listen(args) => Box::pin(listen::run(*args)).await,
        Verb::Show(args) => query::show(args).await,
        Verb::Query(args) => query::query(args).await,
        Verb::Watch(args) => query::watch(args).await,
        Verb::Register(args) => register::run(args).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(given: &[&str]) -> Vec<String> {
        arguments(given.iter().map(OsString::from).collect())
            .into_iter()
            .map(|word| word.into_string().unwrap())
            .collect()
    }

    #[test]
    fn meta_arguments_with_dots_are_translated() {
        let given = ["skyhound", "seaport", "register", "9090", "web", "--meta.a=1", "--", "x", "--meta.b=2"];
        assert_eq!(read(&given)[5..], ["--meta=a=1", "--", "x", "--meta.b=2"]);
        assert_eq!(read(&["skyhound", "provide", "--meta.a=1"]), ["skyhound", "provide", "--meta.a=1"]);
    }

    #[test]
    fn a_hub_is_a_host_and_a_port() {
        assert_eq!(hub("9090").unwrap(), "localhost:9090");
        assert_eq!(hub("[::1]:9090").unwrap(), "[::1]:9090");
        for bad in ["", "host", "host:", ":1", "host:0", "host:65536"] {
            assert!(hub(bad).is_err(), "{bad}");
        }
    }
}
