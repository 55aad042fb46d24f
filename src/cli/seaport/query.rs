//! `skyhound seaport show | query | watch`: the services of a hub, and their changes.

use super::{HubArgs, RETRY};
use crate::cli::{print, progress};
use clap::Args;
use serde_json::Value;
use skyhound_frontends::seaport::client::{HubClient, KnownServices, address};
use skyhound_frontends::seaport::meta::{ServiceMeta, ServicePattern};
use skyhound_frontends::seaport::row::Row;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// The time limit for a hub's complete state.
const SYNC_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    #[command(flatten)]
    hub: HubArgs,
}

/// Print the matching services, as a JSON array
#[derive(Debug, Args)]
pub(super) struct QueryArgs {
    #[command(flatten)]
    hub: HubArgs,

    /// NAME, or NAME@RANGE with a range of versions in npm's form: web@1.2.x, web@~1.2, 'web@>=1 <2'
    pattern: String,

    /// Print only this field of each service; further fields select within it
    field: Vec<String>,
}

/// Print services as they are registered and removed
#[derive(Debug, Args)]
pub(super) struct WatchArgs {
    #[command(flatten)]
    hub: HubArgs,

    /// Also print all fields of each service
    #[arg(short, long)]
    verbose: bool,
}

pub(super) async fn show(args: ShowArgs) -> ExitCode {
    query(QueryArgs { hub: args.hub, pattern: String::new(), field: Vec::new() }).await
}

pub(super) async fn query(args: QueryArgs) -> ExitCode {
    let pattern = match ServicePattern::parse(&args.pattern) {
        Ok(pattern) => pattern,
        Err(problem) => {
            progress::error(&format!("PATTERN: the range {problem}"));
            return ExitCode::from(crate::cli::serve::BAD_SETTINGS);
        }
    };
    let services = match sync(&args.hub).await {
        Ok(services) => services,
        Err(code) => return code,
    };
    let found = services.services().filter(|(_, meta)| pattern.matches(meta));
    let pick = |meta: &ServiceMeta| {
        args.field.iter().fold(Value::Object(meta.clone()), |value, field| value[field.as_str()].clone())
    };
    let found: Value = found.map(|(_, meta)| pick(meta)).collect();
    print(format!("{found:#}\n").as_bytes())
}

/// Receives the current services of a hub.
async fn sync(args: &HubArgs) -> Result<KnownServices, ExitCode> {
    let key = args.key()?;
    let syncing = async {
        let mut client = HubClient::connect(&args.hub, key).await?;
        let mut known = KnownServices::default();
        loop {
            match client.next().await? {
                Row::Synced => return Ok(known),
                Row::Error(_, message) => progress::warning(&message),
                row => drop(known.apply(&row)),
            }
        }
    };
    let synced = timeout(SYNC_TIMEOUT, syncing).await;
    let synced = synced.unwrap_or_else(|_| Err(format!("the hub did not send all services within {SYNC_TIMEOUT:?}")));
    synced.map_err(|problem: String| {
        progress::error(&format!("cannot query {}: {problem}", args.hub));
        ExitCode::FAILURE
    })
}

pub(super) async fn watch(args: WatchArgs) -> ExitCode {
    let key = match args.hub.key() {
        Ok(key) => key,
        Err(code) => return code,
    };
    let (mut known, mut turn) = (KnownServices::default(), 0);
    loop {
        let hubs: Vec<String> = [args.hub.hub.clone()].into_iter().chain(known.hubs()).collect();
        let hub = &hubs[turn % hubs.len()];
        let ended = match HubClient::connect(hub, key.clone()).await {
            Ok(client) => follow(client, &mut known, args.verbose).await,
            Err(problem) => WatchEnd::Lost(problem),
        };
        match ended {
            WatchEnd::Lost(problem) => progress::warning(&format!("{hub}: {problem}; retrying in {RETRY:?}")),
            WatchEnd::OutputClosed => return ExitCode::SUCCESS,
        }
        turn += 1;
        sleep(RETRY).await;
    }
}

enum WatchEnd {
    /// The connection to the hub ended, for this reason.
    Lost(String),
    /// The reader of the output closed it.
    OutputClosed,
}

/// Prints the changes, including those during a lost connection.
async fn follow(mut client: HubClient, known: &mut KnownServices, verbose: bool) -> WatchEnd {
    // A known service that the hub does not send again before `synced` was removed meanwhile.
    let mut missing: BTreeSet<String> = known.services().map(|(id, _)| id.clone()).collect();
    loop {
        let row = match client.next().await {
            Ok(row) => row,
            Err(problem) => return WatchEnd::Lost(problem),
        };
        let printed = match &row {
            Row::Register(id, meta) => {
                missing.remove(id);
                let changed = known.apply(&row).is_none_or(|before| before != *meta);
                if changed { print_change("REGISTER", meta, verbose) } else { Ok(()) }
            }
            Row::Free(id) => {
                missing.remove(id);
                known.apply(&row).map_or(Ok(()), |meta| print_change("FREE", &meta, verbose))
            }
            Row::Synced => std::mem::take(&mut missing)
                .into_iter()
                .filter_map(|id| known.apply(&Row::Free(id)))
                .try_for_each(|meta| print_change("FREE", &meta, verbose)),
            _ => Ok(()),
        };
        if printed.is_err() {
            return WatchEnd::OutputClosed;
        }
    }
}

/// Prints one change: a line, and with `verbose` all fields below it.
fn print_change(kind: &str, meta: &ServiceMeta, verbose: bool) -> io::Result<()> {
    let field = |field: &str| meta.get(field).and_then(Value::as_str);
    let version = field("version").map(|version| format!("@{version}")).unwrap_or_default();
    let (role, id) = (field("role").unwrap_or_default(), field("id").unwrap_or_default());
    let mut text = format!("{kind} {role}{version} {} [{id}]\n", address(meta).unwrap_or_default());
    if verbose {
        for line in format!("{:#}", Value::Object(meta.clone())).lines() {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {line}");
        }
    }
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
