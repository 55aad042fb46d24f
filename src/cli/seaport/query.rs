//! `skyhound seaport show | query | watch`: what a hub knows.

use super::{HubArgs, RETRY};
use crate::cli::{print, progress};
use clap::Args;
use serde_json::Value;
use skyhound_frontends::seaport::client::{Client, KnownServices, address};
use skyhound_frontends::seaport::meta::{Pattern, ServiceMeta};
use skyhound_frontends::seaport::row::Row;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How long a hub may take to say what it knows.
const KNOW_WITHIN: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    #[command(flatten)]
    hub: HubArgs,
}

/// Print the services that match, as a JSON array
#[derive(Debug, Args)]
pub(super) struct QueryArgs {
    #[command(flatten)]
    hub: HubArgs,

    /// NAME, or NAME@RANGE with a range of versions as npm has it: web@1.2.x, web@~1.2, 'web@>=1 <2'
    pattern: String,

    /// Print only this field of each service; further ones go deeper
    field: Vec<String>,
}

/// Print services as they come and go
#[derive(Debug, Args)]
pub(super) struct WatchArgs {
    #[command(flatten)]
    hub: HubArgs,

    /// Also print everything that each service says of itself
    #[arg(short, long)]
    verbose: bool,
}

pub(super) async fn show(args: ShowArgs) -> ExitCode {
    query(QueryArgs { hub: args.hub, pattern: String::new(), field: Vec::new() }).await
}

pub(super) async fn query(args: QueryArgs) -> ExitCode {
    let pattern = match Pattern::parse(&args.pattern) {
        Ok(pattern) => pattern,
        Err(problem) => {
            progress::error(&format!("PATTERN: the range {problem}"));
            return ExitCode::from(crate::cli::serve::BAD_SETTINGS);
        }
    };
    let known = match known(&args.hub).await {
        Ok(known) => known,
        Err(code) => return code,
    };
    let found = known.services().filter(|(_, meta)| pattern.matches(meta));
    let pick = |meta: &ServiceMeta| {
        args.field.iter().fold(Value::Object(meta.clone()), |value, field| value[field.as_str()].clone())
    };
    let found: Value = found.map(|(_, meta)| pick(meta)).collect();
    print(format!("{found:#}\n").as_bytes())
}

/// What a hub knows now.
async fn known(args: &HubArgs) -> Result<KnownServices, ExitCode> {
    let key = args.key()?;
    let all = async {
        let mut client = Client::connect(&args.hub, key).await?;
        let mut known = KnownServices::default();
        loop {
            match client.next().await? {
                Row::Synced => return Ok(known),
                Row::Error(_, sentence) => progress::warning(&sentence),
                row => drop(known.apply(&row)),
            }
        }
    };
    let all =
        timeout(KNOW_WITHIN, all).await.unwrap_or_else(|_| Err(format!("not all was said within {KNOW_WITHIN:?}")));
    all.map_err(|problem: String| {
        progress::error(&format!("cannot ask {}: {problem}", args.hub));
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
        let ended = match Client::connect(hub, key.clone()).await {
            Ok(client) => follow(client, &mut known, args.verbose).await,
            Err(problem) => Ended::Lost(problem),
        };
        match ended {
            Ended::Lost(problem) => progress::warning(&format!("{hub}: {problem}; trying again in {RETRY:?}")),
            Ended::Unread => return ExitCode::SUCCESS,
        }
        turn += 1;
        sleep(RETRY).await;
    }
}

enum Ended {
    /// Why the connection ended.
    Lost(String),
    /// Nobody reads what is printed.
    Unread,
}

/// Prints what changes, and after a loss what has changed since.
async fn follow(mut client: Client, known: &mut KnownServices, verbose: bool) -> Ended {
    // What was known and is not said again before `synced` is gone.
    let mut missing: BTreeSet<String> = known.services().map(|(id, _)| id.clone()).collect();
    loop {
        let row = match client.next().await {
            Ok(row) => row,
            Err(problem) => return Ended::Lost(problem),
        };
        let printed = match &row {
            Row::Register(id, meta) => {
                missing.remove(id);
                let news = known.apply(&row).is_none_or(|before| before != *meta);
                if news { line("REGISTER", meta, verbose) } else { Ok(()) }
            }
            Row::Free(id) => {
                missing.remove(id);
                known.apply(&row).map_or(Ok(()), |meta| line("FREE", &meta, verbose))
            }
            Row::Synced => std::mem::take(&mut missing)
                .into_iter()
                .filter_map(|id| known.apply(&Row::Free(id)))
                .try_for_each(|meta| line("FREE", &meta, verbose)),
            _ => Ok(()),
        };
        if printed.is_err() {
            return Ended::Unread;
        }
    }
}

fn line(word: &str, meta: &ServiceMeta, verbose: bool) -> io::Result<()> {
    let text = |field: &str| meta.get(field).and_then(Value::as_str);
    let version = text("version").map(|version| format!("@{version}")).unwrap_or_default();
    let (role, id) = (text("role").unwrap_or_default(), text("id").unwrap_or_default());
    let mut whole = format!("{word} {role}{version} {} [{id}]\n", address(meta).unwrap_or_default());
    if verbose {
        for line in format!("{:#}", Value::Object(meta.clone())).lines() {
            // Writing to a String cannot fail.
            let _ = writeln!(whole, "  {line}");
        }
    }
    let mut out = io::stdout().lock();
    out.write_all(whole.as_bytes())?;
    out.flush()
}
