//! The certificates of verbs that connect to a daemon: `--cacert`, `--cert`, `--key`.

use clap::Args;
use skyhound_net::tls::{ClientFiles, TlsError};
use std::path::PathBuf;

/// The paths of the files.
#[derive(Debug, Clone, Default, Args)]
pub struct TlsArgs {
    /// PEM file with the authorities that the daemon's certificate is verified against [default: the system's]
    #[arg(long, value_name = "FILE", env = "SKYHOUND_CACERT")]
    pub cacert: Option<PathBuf>,

    /// PEM file with the client certificate, for a daemon with --tls-client-ca
    #[arg(long, value_name = "FILE", env = "SKYHOUND_CERT", requires = "key")]
    pub cert: Option<PathBuf>,

    /// PEM file with the key of the client certificate
    #[arg(long, value_name = "FILE", env = "SKYHOUND_KEY", requires = "cert")]
    pub key: Option<PathBuf>,
}

impl TlsArgs {
    /// Returns the paths in the client's form.
    pub(super) fn files(&self) -> ClientFiles {
        ClientFiles { ca_cert: self.cacert.clone(), identity: self.cert.clone().zip(self.key.clone()) }
    }

    /// Loads the files once, because invalid files would fail at each attempt.
    pub(super) fn check(&self) -> Result<(), TlsError> {
        let files = self.files();
        if files.is_empty() { Ok(()) } else { files.config().map(drop) }
    }
}
