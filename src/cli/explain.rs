//! `skyhound explain`: asks a daemon why DNS answers as it does.

use super::services::NO_ANSWER;
use super::{DaemonArgs, progress};
use clap::Args;
use serde_json::Value;
use skyhound_client::DiscoverError;
use std::fmt::Write as _;
use std::process::ExitCode;

/// Exit status when the daemon refuses the question.
const REFUSED: u8 = 1;

/// Tell which entries made an answer of DNS, and which were left out and why
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "`--help` shows examples and the exit status.",
    after_long_help = "\
Examples:
  Why SRV is answered as it is:
    skyhound explain web.services.skydns.local

  Another type:
    skyhound explain web.services.skydns.local A

  The entries that were left out of an answer:
    skyhound explain web.services.skydns.local --json | jq '.entries[] | select(.omission)'

Exit status:
  0  the daemon told, whatever DNS answers
  1  the daemon refused the question; its sentence is on stderr
  2  no answer, or bad usage"
)]
pub struct ExplainArgs {
    /// The name that is asked for
    pub name: String,

    /// The type of record
    #[arg(default_value = "SRV")]
    pub rtype: String,

    #[command(flatten)]
    #[allow(missing_docs, reason = "its fields are documented")]
    pub daemon: DaemonArgs,

    /// What the daemon says, as JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs it.
pub async fn run(args: ExplainArgs) -> ExitCode {
    match fetch(&args).await {
        Ok(told) if args.json => super::print(format!("{told:#}\n").as_bytes()),
        Ok(told) => super::print(sentences(&told).as_bytes()),
        Err(error) => {
            progress::error(&format!("cannot explain {}: {}", args.name, progress::no_answer(&error)));
            ExitCode::from(if matches!(error, DiscoverError::Refused(_)) { REFUSED } else { NO_ANSWER })
        }
    }
}

async fn fetch(args: &ExplainArgs) -> Result<Value, DiscoverError> {
    args.daemon.discover().explain(&args.name, &args.rtype).await
}

/// For people: the answer, then each entry with what became of it.
fn sentences(told: &Value) -> String {
    let mut text = String::new();
    let words = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut line = |line: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{line}");
    };
    let answer = &told["answer"];
    let error = answer["extended_error"].as_str().map(|error| format!(" ({error})")).unwrap_or_default();
    line(format!("{} {}: {}{error}", words(&told["name"]), words(&told["type"]), words(&answer["rcode"])));
    for section in ["answer", "authority", "additional"] {
        for record in list(&answer[section]) {
            line(format!("  {section:<10} {}", words(&record)));
        }
    }
    for question in list(&answer["upstream_queries"]) {
        line(format!("  outside    {}", words(&question)));
    }
    if told["zone"].is_null() {
        line("no zone of this daemon holds the name; --dns-root and --zone name its zones".into());
    } else if told["static_zone"].is_object() {
        let zone = &told["static_zone"];
        line(format!("answered from the zone file {} (serial {})", words(&zone["file"]), zone["serial"]));
        if let Some(problem) = zone["problem"].as_str() {
            line(format!("  that file is invalid now, and its last valid zone is served: {problem}"));
        }
    } else if told["lookup_target"] != told["name"] {
        line(format!("answered from the entries at {}", words(&told["lookup_target"])));
    }
    for entry in list(&told["entries"]) {
        line(format!("{} (revision {})", words(&entry["key"]), entry["revision"]));
        for record in list(&entry["records"]) {
            line(format!("  made       {}", words(&record)));
        }
        if let Some(why) = entry["omission"].as_str() {
            line(format!("  left out:  {why}"));
        }
    }
    if told["more_entries"] != 0 {
        line(format!("and {} entries more", told["more_entries"]));
    }
    for bad in list(&told["quarantined"]) {
        line(format!("{} (revision {})\n  left out:  {}", words(&bad["key"]), bad["revision"], words(&bad["reason"])));
    }
    text
}
