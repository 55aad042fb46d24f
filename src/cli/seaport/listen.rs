//! `skyhound seaport listen`: a daemon with the defaults of a plain hub.

use crate::cli::serve;
use crate::config::RawSettings;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

/// Run a hub on PORT of every address. Without further settings it stores services in memory, serves no DNS, and serves
/// HTTP on a free port of this machine; it accepts every setting of `skyhound serve`
#[derive(Debug, Args)]
pub(super) struct ListenArgs {
    /// Port for peers, or ADDRESS:PORT
    #[arg(value_name = "PORT")]
    port: String,

    /// JSON files: an object with `public` and `private` is this hub's RSA key, an array contains the public keys of
    /// the peers that may register. Without files every peer may register
    #[arg(value_name = "KEY.json")]
    keys: Vec<PathBuf>,

    #[command(flatten)]
    raw: RawSettings,
}

pub(super) async fn run(args: ListenArgs) -> ExitCode {
    let listen = if args.port.contains(':') { args.port } else { format!(":{}", args.port) };
    let keys = args.keys.iter().map(|key| key.display().to_string());
    let has_store = !args.raw.etcd_api.is_empty() || args.raw.data_dir.is_some();
    let defaults = RawSettings {
        listen: vec!["127.0.0.1:0".into()],
        dns_listen: vec!["off".into()],
        in_memory: (!has_store).then_some(true),
        ..RawSettings::default()
    };
    let mut raw = args.raw.or(defaults);
    raw.seaport_listen.insert(0, listen);
    raw.seaport_key.extend(keys);
    match raw.resolve() {
        Ok(settings) => serve::with(settings).await,
        Err(error) => serve::failed(&error, serve::BAD_SETTINGS),
    }
}
