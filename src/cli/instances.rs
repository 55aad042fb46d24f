//! `skyhound instances`: where a service's instances are, and what they say of themselves.

use super::services::{NO_ANSWER, NONE};
use super::{DaemonArgs, progress};
use clap::Args;
use skyhound_client::{Instance, InstanceQuery};
use std::fmt::Write as _;
use std::process::ExitCode;

/// List the instances of a service, with what they say of themselves
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "`--help` shows examples and the exit status.",
    after_long_help = "\
Examples:
  Where the instances of a service are:
    skyhound instances web

  Those of version 2, whatever comes behind it:
    skyhound instances web --version 2.x

  What they say of themselves:
    skyhound instances web --json | jq .meta

Columns: host and port, priority, weight, version, name.

Where to connect to is a question for `skyhound resolve`, which knows the order.

Exit status:
  0  there are instances
  1  there are none
  2  no answer, or bad usage"
)]
pub struct InstancesArgs {
    /// The services, in any case
    #[arg(required = true, value_name = "SERVICE")]
    pub services: Vec<String>,

    /// One version, or a range as npm has them: 1.2.3, ^1.2, 1.x, '>=1 <3'
    #[arg(long, value_name = "RANGE")]
    pub version: Option<String>,

    /// The categories, as in the name from left to right
    #[arg(long, value_name = "CATEGORY", value_delimiter = ',')]
    pub category: Vec<String>,

    #[command(flatten)]
    #[allow(missing_docs, reason = "its fields are documented")]
    pub daemon: DaemonArgs,

    /// One JSON object per instance and line
    #[arg(long)]
    pub json: bool,
}

/// Runs it.
pub async fn run(args: InstancesArgs) -> ExitCode {
    let named = args.services.join(", ");
    let such = if args.version.is_none() && args.category.is_empty() { "" } else { "such " };
    let version = args.version.unwrap_or_default();
    let query = InstanceQuery { services: args.services, version, category: args.category };
    match args.daemon.discover().instances(&query).await {
        Ok(instances) if instances.is_empty() => {
            progress::error(&format!("{named} has no {such}instances now"));
            ExitCode::from(NONE)
        }
        Ok(instances) => super::print(lines(&instances, args.json).as_bytes()),
        Err(error) => {
            progress::error(&progress::no_answer(&error));
            ExitCode::from(NO_ANSWER)
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
