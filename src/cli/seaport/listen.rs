//! `skyhound seaport listen`: a daemon whose first purpose is to be a hub.

use crate::cli::serve;
use crate::config::RawSettings;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

/// Be a hub on PORT, of every address. Without further settings it keeps what it knows in memory, answers no DNS, and
/// serves HTTP on a free port of this machine; every setting of `skyhound serve` can be given
#[derive(Debug, Args)]
pub(super) struct ListenArgs {
    /// The port for peers, or ADDRESS:PORT
    #[arg(value_name = "PORT")]
    port: String,

    /// JSON files: an object with `public` and `private` is this hub's RSA key, an array has the public keys whose
    /// peers may register. Without files everybody may
    #[arg(value_name = "KEY.json")]
    keys: Vec<PathBuf>,

    #[command(flatten)]
    raw: RawSettings,
}

pub(super) async fn run(args: ListenArgs) -> ExitCode {
    let own = if args.port.contains(':') { args.port } else { format!(":{}", args.port) };
    let keys = args.keys.iter().map(|key| key.display().to_string());
    let somewhere = !args.raw.etcd_api.is_empty() || args.raw.data_dir.is_some();
    let defaults = RawSettings {
        listen: vec!["127.0.0.1:0".into()],
        dns_listen: vec!["off".into()],
        in_memory: (!somewhere).then_some(true),
        ..RawSettings::default()
    };
    let mut raw = args.raw.or(defaults);
    raw.seaport_listen.insert(0, own);
    raw.seaport_key.extend(keys);
    match raw.resolve() {
        Ok(settings) => serve::with(settings).await,
        Err(error) => serve::failed(&error, serve::BAD_SETTINGS),
    }
}
