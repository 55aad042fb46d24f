//! `skyhound seaport …`: what the original's command does, also when the binary is run by the name `seaport`.
//!
//! Owns: the arguments, in the original's spelling. Does not own: the protocol ([`skyhound_frontends::seaport`]).

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

/// Between two tries to reach a hub, as in the original.
const RETRY: Duration = Duration::from_secs(1);

const EXAMPLES: &str = "\
Examples:
  A hub, and nothing else to install:
    skyhound seaport listen 9090

  Run a server on a port that is free, known to everybody as web@1.2.3:
    skyhound seaport register localhost:9090 web@1.2.3 -- node server.js

  Who is web, as far as this version goes:
    skyhound seaport query localhost:9090 web@1.2.x

With a link named `seaport` to this binary, `skyhound` can be left out.";

/// Speak seaport: be a hub, ask one, register with one
#[derive(Debug, Args)]
#[command(version, after_help = EXAMPLES)]
pub struct SeaportArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Listen(Box<listen::ListenArgs>),
    /// Print everything that a hub knows, as JSON
    Show(query::ShowArgs),
    Query(query::QueryArgs),
    Watch(query::WatchArgs),
    Register(register::RegisterArgs),
}

/// Which hub, and who asks.
#[derive(Debug, Args)]
struct HubArgs {
    /// The hub: HOST:PORT, or PORT on this machine
    #[arg(value_name = "HOST:PORT", value_parser = hub)]
    hub: String,

    /// JSON file with an RSA key, `public` and `private` as PEM texts, for a hub that wants one
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
        _ => Err("write it as HOST:PORT, or PORT".into()),
    }
}

/// The process's arguments, with what the original spells differently: `--meta.KEY=V`.
pub(super) fn arguments(mut given: Vec<OsString>) -> Vec<OsString> {
    if given.get(1).is_none_or(|verb| verb != "seaport") {
        return given;
    }
    // Behind `--` all is the command's own.
    let end = given.iter().position(|argument| argument == "--").unwrap_or(given.len());
    for argument in &mut given[..end] {
        if let Some(pair) = argument.to_str().and_then(|argument| argument.strip_prefix("--meta.")) {
            *argument = format!("--meta={pair}").into();
        }
    }
    given
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
    fn meta_has_dots() {
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
