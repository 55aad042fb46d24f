//! The daemon's settings, in two steps: raw settings as typed ([`RawSettings`]) → resolved and validated
//! ([`Settings`]).
//!
//! A setting comes from the first source that has it: the command line, the environment (`SKYHOUND_…`), the file of
//! `--config`, the environment and the stored settings of a SkyDNS ([`crate::config::skydns`]), the default.
//!
//! | module | step |
//! |---|---|
//! | [`raw`] | the flags, variables and keys, and their help |
//! | `file`, [`skydns`], `stored` | further sources |
//! | `merge` | precedence between two sources |
//! | `resolve` | defaults, validation, conversion to the settings of each part |
//!
//! Everything is validated before anything is bound or opened; only the settings that a SkyDNS stored in etcd are
//! read later. Does not own: the settings of a part and their meaning, which are defined beside that part
//! (`DnsSettings`, `SeaportSettings`, `SidecarSettings`, …).

mod file;
mod merge;
pub mod raw;
mod resolve;
pub mod skydns;
mod stored;

pub use raw::{LogFormat, RawSettings};
pub use stored::{SKYDNS_CONFIG_TIMEOUT, with_skydns_settings};

use crate::sidecar::SidecarSettings;
use skyhound_core::registry::OnStop;
use skyhound_dns::DnsSettings;
use skyhound_frontends::seaport::SeaportSettings;
use skyhound_model::Name;
use skyhound_model::key::Layout;
use skyhound_net::tls::TlsFiles;
use skyhound_store::etcd::EtcdSettings;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The default of `--listen`: the port of the original skyapi.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:8053";
/// The default of `--dns-listen`: a port that needs no root.
pub const DEFAULT_DNS_LISTEN: &str = "127.0.0.1:5300";
/// The default of `--dns-root`: SkyDNS's own.
pub const DEFAULT_DNS_ROOT: &str = "skydns.local.";
/// The default of `--default-category`: skyapi's own.
pub const DEFAULT_CATEGORY: &str = "services";
/// The default of `--timeout`, in seconds: skyapi's own.
pub const DEFAULT_TIMEOUT: u32 = 30;
/// The default of `--key-prefix`: SkyDNS's own.
pub const DEFAULT_KEY_PREFIX: &str = "/skydns";
/// The default of `--stop-deadline`, in seconds.
pub const DEFAULT_STOP_DEADLINE: u32 = 10;
/// The default of `--log-level`.
pub const DEFAULT_LOG_LEVEL: &str = "info";
/// The range of `--timeout`, in seconds. etcd grants no lease under two.
pub const TIMEOUT_RANGE: std::ops::RangeInclusive<u32> = 2..=86_400;

/// The store of the entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreSettings {
    /// The embedded store, in memory.
    Memory,
    /// The embedded store, in a file of this directory.
    Disk(PathBuf),
    /// etcd.
    Etcd(EtcdSettings),
}

impl StoreSettings {
    /// Returns `true` if other daemons and programs may use the same store.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Etcd(_))
    }
}

/// The resolved settings: complete and validated.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Addresses for HTTP and websockets.
    pub listen: Vec<SocketAddr>,
    /// Addresses for DNS over UDP and TCP; none if it is off.
    pub dns_listen: Vec<SocketAddr>,
    /// Addresses for DNS over TLS.
    pub dns_tls_listen: Vec<SocketAddr>,
    /// Addresses for DNS over HTTPS.
    pub dns_https_listen: Vec<SocketAddr>,
    /// Serves `listen` with TLS. Implies `tls`.
    pub enable_tls: bool,
    /// The certificate of every listener with TLS; `None` if there is no such listener.
    pub tls: Option<TlsFiles>,
    /// The seaport hub; `None` if it is off.
    pub seaport: Option<SeaportSettings>,
    /// The zone of registrations: the first of the zones that DNS answers.
    pub dns_root: Name,
    /// The settings of DNS.
    pub dns: DnsSettings,
    /// The raw settings without defaults, to which the store may add more ([`crate::config::skydns`]).
    pub raw: Box<RawSettings>,
    /// The default category, labels separated by commas or dots as typed.
    pub default_category: String,
    /// The lease TTL of a session, and twice the interval between two pings.
    pub timeout: Duration,
    /// The limit of persistent registrations without a TTL.
    pub max_persistent: u32,
    /// The store of the entries.
    pub store: StoreSettings,
    /// The file for snapshots of the catalog; `None` for the embedded store, which is a file itself.
    pub snapshot_file: Option<PathBuf>,
    /// The prefix of the keys.
    pub layout: Layout,
    /// The prefix of the keys of hound-dog's peers; `None` if they are neither read nor written.
    pub hound_dog_namespace: Option<String>,
    /// The application beside this daemon, which the daemon registers.
    pub sidecar: Option<SidecarSettings>,
    /// The treatment of entries on a graceful shutdown.
    pub on_stop: OnStop,
    /// The deadline of a graceful shutdown.
    pub stop_deadline: Duration,
    /// The filter of log lines.
    pub log_level: String,
    /// The format of log lines.
    pub log_format: LogFormat,
}

/// The error of invalid settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file of `--config` cannot be read.
    #[error("cannot read the settings in {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// The file of `--config` is invalid.
    #[error("invalid settings in {}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The problem and its position.
        problem: String,
    },
    /// The settings of a SkyDNS are invalid.
    #[error("invalid settings in {place}: {problem}")]
    SkyDns {
        /// The key, or the environment.
        place: String,
        /// The problem.
        problem: String,
    },
    /// A setting is invalid.
    #[error("--{setting}: {problem}")]
    Setting {
        /// The name of the setting, without dashes in front.
        setting: &'static str,
        /// The problem and the remedy.
        problem: String,
    },
}
