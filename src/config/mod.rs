//! The daemon's settings, in two steps: as typed ([`RawSettings`]) → effective and valid ([`Settings`]).
//!
//! A setting comes from the command line, else from the environment (`SKYHOUND_…`), else from the file
//! (`--config`), else from where a SkyDNS has it ([`crate::config::skydns`]), else it has its default. [`raw`] is
//! what can be said, `resolve` how it is completed and checked. Everything is checked before anything is
//! bound or opened. Does not own: what a part makes of its settings.

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

/// `--listen`: the port of the original skyapi.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:8053";
/// `--dns-listen`: a port that needs no root.
pub const DEFAULT_DNS_LISTEN: &str = "127.0.0.1:5300";
/// `--dns-root`: SkyDNS's own.
pub const DEFAULT_DNS_ROOT: &str = "skydns.local.";
/// `--default-category`: skyapi's own.
pub const DEFAULT_CATEGORY: &str = "services";
/// `--timeout`, in seconds: skyapi's own.
pub const DEFAULT_TIMEOUT: u32 = 30;
/// `--key-prefix`: SkyDNS's own.
pub const DEFAULT_KEY_PREFIX: &str = "/skydns";
/// `--stop-deadline`, in seconds.
pub const DEFAULT_STOP_DEADLINE: u32 = 10;
/// `--log-level`.
pub const DEFAULT_LOG_LEVEL: &str = "info";
/// The shortest and the longest `--timeout`, in seconds. etcd gives no lease under two.
pub const TIMEOUT_RANGE: std::ops::RangeInclusive<u32> = 2..=86_400;

/// Where entries are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreSettings {
    /// In this process.
    Memory,
    /// In a file of this directory.
    Disk(PathBuf),
    /// In etcd.
    Etcd(EtcdSettings),
}

/// The effective settings, checked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Addresses for HTTP and websockets.
    pub listen: Vec<SocketAddr>,
    /// Addresses for DNS; none when it is off.
    pub dns_listen: Vec<SocketAddr>,
    /// Addresses for DNS over TLS.
    pub dns_tls_listen: Vec<SocketAddr>,
    /// Addresses for DNS over HTTPS.
    pub dns_https_listen: Vec<SocketAddr>,
    /// Whether `listen` has TLS. If so, `tls` is there.
    pub enable_tls: bool,
    /// The certificate of everything that has TLS. There if anything has.
    pub tls: Option<TlsFiles>,
    /// Seaport's side; `None` when it is off.
    pub seaport: Option<SeaportSettings>,
    /// The zone that registrations go into; the first of those that DNS answers for.
    pub dns_root: Name,
    /// What DNS does.
    pub dns: DnsSettings,
    /// What was typed, without any default: the store may have more to say ([`crate::config::skydns`]).
    pub raw: Box<RawSettings>,
    /// The default category, labels separated by commas or dots as typed.
    pub default_category: String,
    /// The term of a session, and twice the time between two pings.
    pub timeout: Duration,
    /// The most registrations that stay until they are removed.
    pub max_persistent: u32,
    /// Where entries are kept.
    pub store: StoreSettings,
    /// Where the last that was known is kept; nowhere for the embedded store, which is a file itself.
    pub snapshot_file: Option<PathBuf>,
    /// Where keys begin.
    pub layout: Layout,
    /// Where hound-dog's peers have their keys; `None` when nobody reads or writes them.
    pub hound_dog_namespace: Option<String>,
    /// The app beside this daemon, that it registers.
    pub sidecar: Option<SidecarSettings>,
    /// What becomes of the entries at a planned stop.
    pub on_stop: OnStop,
    /// How long a planned stop may take.
    pub stop_deadline: Duration,
    /// Which log lines are written.
    pub log_level: String,
    /// How they look.
    pub log_format: LogFormat,
}

/// What is wrong with the settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the settings in {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("the settings in {} are wrong: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        problem: String,
    },
    /// The settings of a SkyDNS are wrong.
    #[error("the settings in {place} are wrong: {problem}")]
    SkyDns {
        /// The key, or the environment.
        place: String,
        /// What is wrong.
        problem: String,
    },
    /// A setting is wrong.
    #[error("--{setting}: {problem}")]
    Setting {
        /// The setting's name, without dashes in front.
        setting: &'static str,
        /// What is wrong, and what would be right.
        problem: String,
    },
}
