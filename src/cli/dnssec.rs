//! `skyhound dnssec-keygen`: a key to sign a zone with.

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

/// What keys are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum KeyKind {
    /// Algorithm 13, which every validator knows.
    #[default]
    Ecdsap256sha256,
    /// Algorithm 15.
    Ed25519,
}

/// Make a key to sign a zone with, and print what the parent zone has to say of it
#[derive(Debug, Args)]
#[command(
    after_help = "`--help` shows examples and the exit status.",
    after_long_help = "\
Writes two files as BIND does: K<zone>+<algorithm>+<tag>.key, which is public,
and .private, which is not. The DS record goes to standard output: it belongs
into the parent zone, or to validators as their trust anchor
(unbound: `trust-anchor: \"corp.example. DS …\"`).

Examples:
  A key, and a daemon that signs with it:
    skyhound dnssec-keygen corp.example --out /etc/skyhound
    skyhound serve --dns-root corp.example \\
      --dnssec-key /etc/skyhound/Kcorp.example.+013+12345

Exit status:
  0  the files are written
  1  they are not; the reason is on stderr
  2  bad usage"
)]
pub struct KeygenArgs {
    /// The zone, one of --dns-root
    pub zone: String,

    /// Directory for the files
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    pub out: PathBuf,

    /// What the key is made of
    #[arg(long, value_enum, default_value_t)]
    pub algorithm: KeyKind,
}

/// Runs it.
pub fn keygen(args: &KeygenArgs) -> ExitCode {
    match make(args) {
        Ok(ds) => super::print(format!("{ds}\n").as_bytes()),
        Err(sentence) => {
            progress::error(&sentence);
            ExitCode::FAILURE
        }
    }
}

fn make(args: &KeygenArgs) -> Result<String, String> {
    let zone = Name::parse(&args.zone).map_err(|e| format!("{:?} {e}", args.zone))?;
    let algorithm = match args.algorithm {
        KeyKind::Ecdsap256sha256 => Algorithm::ECDSAP256SHA256,
        KeyKind::Ed25519 => Algorithm::ED25519,
    };
    let NewKey { stem, public, private, ds } = ZoneKey::generate(&zone, algorithm)?;
    let path = |extension: &str| args.out.join(format!("{stem}.{extension}"));
    // The private one first: a public one alone would look like a key.
    for (path, text, mode) in [(path("private"), private, 0o600), (path("key"), public, 0o644)] {
        write(&path, &text, mode).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    }
    progress::info(&format!("wrote {0}.key and {0}.private", args.out.join(stem).display()));
    Ok(ds)
}

/// A new file: a key that is in use is not to be lost by a second call.
fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
