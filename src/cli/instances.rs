//! `skyhound instances`: the instances of services, with their properties.

use super::services::{NO_RESPONSE, NONE};
use super::{DaemonArgs, progress};
use clap::Args;
use skyhound_client::{Instance, InstanceQuery};
use std::fmt::Write as _;
use std::process::ExitCode;

/// List the instances of services, with their properties
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "`--help` shows examples and the exit status.",
    after_long_help = "\
Examples:
  List the instances of a service:
    skyhound instances web

  List only the instances of major version 2:
    skyhound instances web --version 2.x

  Print their metadata:
    skyhound instances web --json | jq .meta

Columns: host and port, priority, weight, version, name.

To choose an instance to connect to, use `skyhound resolve`, which sorts them.

Exit status:
  0  at least one instance exists
  1  no instance exists
  2  no response, or bad usage"
)]
pub struct InstancesArgs {
    /// Services to list; case is ignored
    #[arg(required = true, value_name = "SERVICE")]
    pub services: Vec<String>,

    /// List only one version, or a range in npm's syntax: 1.2.3, ^1.2, 1.x, '>=1 <3'
    #[arg(long, value_name = "RANGE")]
    pub version: Option<String>,

    /// List only instances of these categories, as in the name from left to right
    #[arg(long, value_name = "CATEGORY", value_delimiter = ',')]
    pub category: Vec<String>,

    #[command(flatten)]
    #[allow(missing_docs, reason = "its fields are documented")]
    pub daemon: DaemonArgs,

    /// Print one JSON object per instance and line
    #[arg(long)]
    pub json: bool,
}

/// Runs the verb.
pub async fn run(args: InstancesArgs) -> ExitCode {
    let names = args.services.join(", ");
    let matching = if args.version.is_none() && args.category.is_empty() { "" } else { "matching " };
    let version = args.version.unwrap_or_default();
    let query = InstanceQuery { services: args.services, version, category: args.category };
    match args.daemon.discover().instances(&query).await {
        Ok(instances) if instances.is_empty() => {
            progress::error(&format!("{names} has no {matching}instances"));
            ExitCode::from(NONE)
        }
        Ok(instances) => super::print(lines(&instances, args.json).as_bytes()),
        Err(error) => {
            progress::error(&progress::discover_error(&error));
            ExitCode::from(NO_RESPONSE)
        }
    }
}

fn lines(instances: &[Instance], json: bool) -> String {
    instances.iter().fold(String::new(), |mut text, instance| {
        // Writing to a String cannot fail.
        let _ = if json {
            writeln!(text, "{}", serde_json::json!(instance))
        } else {
            let version = instance.version.as_deref().unwrap_or("-");
            let Instance { priority, weight, name, .. } = instance;
            writeln!(text, "{:<21} {priority:>5} {weight:>5} {version:<10} {name}", instance.endpoint())
        };
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_a_line() {
        let instance = Instance {
            host: Some("::1".into()),
            port: 80,
            weight: 100,
            name: "a.web.local".into(),
            ..Instance::default()
        };
        assert_eq!(lines(&[instance], false), "[::1]:80                  0   100 -          a.web.local\n");
    }
}
