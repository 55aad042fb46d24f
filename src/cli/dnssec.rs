//! `skyhound dnssec-keygen`: generates the key that signs a zone.

use super::progress;
use clap::{Args, ValueEnum};
use hickory_proto::dnssec::Algorithm;
use skyhound_dns::dnssec::key::{NewKey, ZoneKey};
use skyhound_model::Name;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The algorithm of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum KeyKind {
    /// Algorithm 13, which every validator supports.
    #[default]
    Ecdsap256sha256,
    /// Algorithm 15.
    Ed25519,
}

/// Generate a key that signs a zone, and print the DS record for the parent zone
#[derive(Debug, Args)]
#[command(
    after_help = "`--help` shows examples and the exit status.",
    after_long_help = "\
Writes two files as BIND does: K<zone>+<algorithm>+<tag>.key with the public key
and .private with the private key. Prints the DS record to standard output: add
it to the parent zone, or to validators as their trust anchor
(unbound: `trust-anchor: \"corp.example. DS …\"`).

Examples:
  Generate a key, and run a daemon that signs with it:
    skyhound dnssec-keygen corp.example --out /etc/skyhound
    skyhound serve --dns-root corp.example \\
      --dnssec-key /etc/skyhound/Kcorp.example.+013+12345

Exit status:
  0  the files are written
  1  the files cannot be written; the reason is on stderr
  2  bad usage"
)]
pub struct KeygenArgs {
    /// Zone to sign, one of --dns-root
    pub zone: String,

    /// Directory for the files
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    pub out: PathBuf,

    /// Algorithm of the key
    #[arg(long, value_enum, default_value_t)]
    pub algorithm: KeyKind,
}

/// Runs the verb.
pub fn keygen(args: &KeygenArgs) -> ExitCode {
    match generate(args) {
        Ok(ds) => super::print(format!("{ds}\n").as_bytes()),
        Err(message) => {
            progress::error(&message);
            ExitCode::FAILURE
        }
    }
}

fn generate(args: &KeygenArgs) -> Result<String, String> {
    let zone = Name::parse(&args.zone).map_err(|e| format!("{:?} {e}", args.zone))?;
    let algorithm = match args.algorithm {
        KeyKind::Ecdsap256sha256 => Algorithm::ECDSAP256SHA256,
        KeyKind::Ed25519 => Algorithm::ED25519,
    };
    let NewKey { stem, public, private, ds } = ZoneKey::generate(&zone, algorithm)?;
    let path = |extension: &str| args.out.join(format!("{stem}.{extension}"));
    // The private key is written first: a public key alone would look like a complete key.
    for (path, text, mode) in [(path("private"), private, 0o600), (path("key"), public, 0o644)] {
        write_new(&path, &text, mode).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    }
    progress::info(&format!("wrote {0}.key and {0}.private", args.out.join(stem).display()));
    Ok(ds)
}

/// Creates a new file. An existing one is never overwritten, because it may contain a key that is in use.
fn write_new(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
