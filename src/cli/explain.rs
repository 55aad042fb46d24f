//! `skyhound explain`: a DNS response of a daemon, with the entries behind it.

use super::services::NO_RESPONSE;
use super::{DaemonArgs, progress};
use clap::Args;
use serde_json::Value;
use skyhound_client::DiscoverError;
use std::fmt::Write as _;
use std::process::ExitCode;

/// The exit status if the daemon rejects the question.
const REJECTED: u8 = 1;

/// Explain a DNS response: which entries it contains, and why others are omitted
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "`--help` shows examples and the exit status.",
    after_long_help = "\
Examples:
  Explain the response to an SRV query:
    skyhound explain web.services.skydns.local

  Explain another type:
    skyhound explain web.services.skydns.local A

  Print only the omitted entries:
    skyhound explain web.services.skydns.local --json | jq '.entries[] | select(.omission)'

Exit status:
  0  the daemon explained the response, whatever its rcode
  1  the daemon rejected the question; its error is on stderr
  2  no response, or bad usage"
)]
pub struct ExplainArgs {
    /// Name to query
    pub name: String,

    /// Record type to query
    #[arg(default_value = "SRV")]
    pub rtype: String,

    #[command(flatten)]
    #[allow(missing_docs, reason = "its fields are documented")]
    pub daemon: DaemonArgs,

    /// Print the daemon's JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the verb.
pub async fn run(args: ExplainArgs) -> ExitCode {
    match fetch(&args).await {
        Ok(explanation) if args.json => super::print(format!("{explanation:#}\n").as_bytes()),
        Ok(explanation) => super::print(readable(&explanation).as_bytes()),
        Err(error) => {
            progress::error(&format!("cannot explain {}: {}", args.name, progress::discover_error(&error)));
            ExitCode::from(if matches!(error, DiscoverError::Refused(_)) { REJECTED } else { NO_RESPONSE })
        }
    }
}

async fn fetch(args: &ExplainArgs) -> Result<Value, DiscoverError> {
    args.daemon.discover().explain(&args.name, &args.rtype).await
}

/// Returns the readable form: the response, then each entry with its records or the reason of its omission.
fn readable(explanation: &Value) -> String {
    let mut text = String::new();
    let words = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut line = |line: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{line}");
    };
    let answer = &explanation["answer"];
    let error = answer["extended_error"].as_str().map(|error| format!(" ({error})")).unwrap_or_default();
    line(format!(
        "{} {}: {}{error}",
        words(&explanation["name"]),
        words(&explanation["type"]),
        words(&answer["rcode"])
    ));
    for section in ["answer", "authority", "additional"] {
        for record in list(&answer[section]) {
            line(format!("  {section:<10} {}", words(&record)));
        }
    }
    for query in list(&answer["upstream_queries"]) {
        line(format!("  upstream   {}", words(&query)));
    }
    if explanation["zone"].is_null() {
        line("the name is in no zone of the daemon; --dns-root and --zone set its zones".into());
    } else if explanation["static_zone"].is_object() {
        let zone = &explanation["static_zone"];
        line(format!("answered from the zone file {} (serial {})", words(&zone["file"]), zone["serial"]));
        if let Some(problem) = zone["problem"].as_str() {
            line(format!("  the file is invalid; serving the last valid zone: {problem}"));
        }
    } else if explanation["lookup_target"] != explanation["name"] {
        line(format!("answered from the entries at {}", words(&explanation["lookup_target"])));
    }
    for entry in list(&explanation["entries"]) {
        line(format!("{} (revision {})", words(&entry["key"]), entry["revision"]));
        for record in list(&entry["records"]) {
            line(format!("  record     {}", words(&record)));
        }
        if let Some(why) = entry["omission"].as_str() {
            line(format!("  omitted:   {why}"));
        }
    }
    if explanation["more_entries"] != 0 {
        line(format!("{} more entries are not listed", explanation["more_entries"]));
    }
    for bad in list(&explanation["quarantined"]) {
        line(format!("{} (revision {})\n  omitted:   {}", words(&bad["key"]), bad["revision"], words(&bad["reason"])));
    }
    text
}
