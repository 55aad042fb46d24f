//! `skyhound config`: the effective settings of `serve`.

use super::serve::{BAD_SETTINGS, ServeArgs, failed};
use clap::Args;
use std::error::Error;
use std::process::ExitCode;

/// Check the settings and print the effective ones, as a file for `--config`
#[derive(Debug, Args)]
#[command(
    after_help = "`--help` shows examples and the exit status.",
    after_long_help = "\
Examples:
  Print all defaults:
    skyhound config

  Create a first file:
    skyhound config --timeout 10 > skyhound.toml

  Check a file before a restart:
    skyhound config --config skyhound.toml > /dev/null

Exit status:
  0  the settings are valid
  2  the settings or the arguments are invalid; the reason is on stderr"
)]
pub struct ConfigArgs {
    /// Print JSON instead of TOML
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    #[allow(missing_docs, reason = "its fields are documented")]
    pub serve: ServeArgs,
}

/// Runs the verb.
pub fn run(args: ConfigArgs) -> ExitCode {
    match text(args) {
        Ok(text) => super::print(text.as_bytes()),
        Err(error) => failed(error.as_ref(), BAD_SETTINGS),
    }
}

fn text(args: ConfigArgs) -> Result<String, Box<dyn Error>> {
    let mut effective = args.serve.check(|raw| {
        let effective = raw.effective()?;
        effective.clone().resolve()?;
        Ok(effective)
    })?;
    // The output is often copied into tickets.
    if let Some(password) = &mut effective.etcd_password {
        *password = "(set)".into();
    }
    if args.json {
        return Ok(format!("{}\n", serde_json::to_string_pretty(&effective)?));
    }
    Ok(toml::to_string(&effective)?)
}
