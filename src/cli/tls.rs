//! The certificates of verbs that talk to a daemon: `--cacert`, `--cert`, `--key`.

use clap::Args;
use skyhound_net::tls::{ClientFiles, TlsError};
use std::path::PathBuf;

/// The files, as typed.
#[derive(Debug, Clone, Default, Args)]
pub struct TlsArgs {
    /// PEM file with the authorities that may have signed the daemon's certificate [default: the system's]
    #[arg(long, value_name = "FILE", env = "SKYHOUND_CACERT")]
    pub cacert: Option<PathBuf>,

    /// PEM file with our own certificate, for a daemon with --tls-client-ca
    #[arg(long, value_name = "FILE", env = "SKYHOUND_CERT", requires = "key")]
    pub cert: Option<PathBuf>,

    /// PEM file with the key of that certificate
    #[arg(long, value_name = "FILE", env = "SKYHOUND_KEY", requires = "cert")]
    pub key: Option<PathBuf>,
}

impl TlsArgs {
    /// As the client takes them.
    pub(super) fn files(&self) -> ClientFiles {
        ClientFiles { ca_cert: self.cacert.clone(), identity: self.cert.clone().zip(self.key.clone()) }
    }

    /// Files that are wrong now would be wrong at each attempt.
    pub(super) fn check(&self) -> Result<(), TlsError> {
        let files = self.files();
        if files.is_empty() { Ok(()) } else { files.config().map(drop) }
    }
}
