//! The daemon's settings, in two steps: as typed ([`Typed`]) → effective and valid ([`Settings`]).
//!
//! A setting comes from the command line, else from the environment (`SKYHOUND_…`), else from the file
//! (`--config`), else from where a SkyDNS has it ([`crate::skydns`]), else it has its default. Owns: that order, the defaults, the sentence about a setting that
//! is wrong. Does not own: what a part makes of its settings. Everything is checked before anything is
//! bound or opened.

use crate::dns::{self, DnsSettings, settings::nameserver};
use crate::model::key::Layout;
use crate::model::{Label, Name};
use crate::store::etcd::EtcdSettings;
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
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

/// What becomes of the entries at a planned stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnStop {
    /// They stay for their lease, so that clients come back, here or elsewhere, without a gap in DNS.
    #[default]
    Keep,
    /// They are removed at once.
    Remove,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The settings as typed: on the command line, in the environment, in the file. All of them optional; the
/// file has the same names (`dns-listen = ["127.0.0.1:5300"]`).
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Typed {
    /// Address for HTTP and websockets; repeatable. Port 0 takes a free one, `:8053` listens everywhere
    /// [default: 127.0.0.1:8053]
    #[arg(long, env = "SKYHOUND_LISTEN", value_name = "ADDR", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub listen: Vec<String>,

    /// Address for DNS over UDP and TCP; repeatable. `off` serves no DNS [default: 127.0.0.1:5300]
    #[arg(long, env = "SKYHOUND_DNS_LISTEN", value_name = "ADDR", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_listen: Vec<String>,

    /// The zone that all names end in; repeatable: what registers goes into the first, the others (reverse
    /// zones such as 10.in-addr.arpa., further domains in the store) are only answered
    /// [default: skydns.local.]
    #[arg(long, env = "SKYHOUND_DNS_ROOT", value_name = "NAME", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Vec::is_empty", with = "one_or_more")]
    pub dns_root: Vec<String>,

    /// DNS server for names outside the zones: ADDRESS or ADDRESS:PORT; repeatable, asked in turn. Without
    /// one such names are refused
    #[arg(long, env = "SKYHOUND_NAMESERVER", value_name = "ADDR", value_delimiter = ',', help_heading = "DNS")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nameserver: Vec<String>,

    /// Network whose clients may have names outside the zones asked for them; repeatable. `any` for
    /// everybody [default: loopback and private networks]
    #[arg(long, env = "SKYHOUND_FORWARD_ALLOW", value_name = "NET", value_delimiter = ',', help_heading = "DNS")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub forward_allow: Vec<String>,

    /// Ask no other server for anything, whatever --nameserver and stub zones say
    #[arg(
        long, env = "SKYHOUND_NO_REC", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL",
        help_heading = "DNS"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_rec: Option<bool>,

    /// The dots that a name outside the zones must have to be asked elsewhere [default: 2]
    #[arg(long, env = "SKYHOUND_NDOTS", value_name = "NUMBER", help_heading = "DNS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ndots: Option<u8>,

    /// The name that local.dns.ZONE stands for: this host's own entry
    #[arg(long, env = "SKYHOUND_LOCAL", value_name = "NAME", help_heading = "DNS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local: Option<String>,

    /// Who answers for the zones: a mail address, or the same with a dot for its @
    /// [default: hostmaster.ZONE]
    #[arg(long, env = "SKYHOUND_HOSTMASTER", value_name = "NAME", help_heading = "DNS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostmaster: Option<String>,

    /// Seconds to cache an entry that says nothing and hangs on no lease [default: 300]
    #[arg(long, env = "SKYHOUND_TTL", value_name = "SECONDS", help_heading = "DNS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u32>,

    /// The least seconds to cache an entry for the lease that it hangs on [default: 30]
    #[arg(long, env = "SKYHOUND_MIN_TTL", value_name = "SECONDS", help_heading = "DNS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_ttl: Option<u32>,

    /// Weights in SRV answers: `skydns` (shares of 100, rounded down) or `exact` (as registered)
    /// [default: skydns]
    #[arg(long, env = "SKYHOUND_SRV_WEIGHTS", value_name = "RULE", help_heading = "DNS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub srv_weights: Option<String>,

    /// The label between service and zone for peers that name no category; commas for several
    /// [default: services]
    #[arg(long, env = "SKYHOUND_DEFAULT_CATEGORY", value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_category: Option<String>,

    /// Seconds after which an instance that went silent, or whose daemon died, is gone from DNS
    /// [default: 30]
    #[arg(long, env = "SKYHOUND_TIMEOUT", value_name = "SECONDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u32>,

    /// Directory of the embedded store [default: the platform's state directory]
    #[arg(long, env = "SKYHOUND_DATA_DIR", value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<PathBuf>,

    /// Keep the embedded store in memory only: everything is gone after a restart
    #[arg(long, env = "SKYHOUND_IN_MEMORY", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_memory: Option<bool>,

    /// Use etcd v3 at this URL, http or https; repeat it for every member
    #[arg(long, env = "SKYHOUND_ETCD_API", value_name = "URL", value_delimiter = ',', help_heading = "etcd")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub etcd_api: Vec<String>,

    /// PEM file with the authorities that signed etcd's certificate [default: the system's]
    #[arg(long, env = "SKYHOUND_ETCD_CACERT", value_name = "FILE", help_heading = "etcd")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd_cacert: Option<PathBuf>,

    /// PEM file with our certificate for etcd
    #[arg(long, env = "SKYHOUND_ETCD_CERT", value_name = "FILE", help_heading = "etcd")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd_cert: Option<PathBuf>,

    /// PEM file with the key of that certificate
    #[arg(long, env = "SKYHOUND_ETCD_KEY", value_name = "FILE", help_heading = "etcd")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd_key: Option<PathBuf>,

    /// etcd user
    #[arg(long, env = "SKYHOUND_ETCD_USERNAME", value_name = "NAME", help_heading = "etcd")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd_username: Option<String>,

    /// The user's password; the environment hides it from `ps`
    #[arg(long, env = "SKYHOUND_ETCD_PASSWORD", hide_env_values = true, value_name = "TEXT", help_heading = "etcd")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd_password: Option<String>,

    /// What every key begins with [default: /skydns]
    #[arg(long, env = "SKYHOUND_KEY_PREFIX", value_name = "PATH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_prefix: Option<String>,

    /// What becomes of the entries at a planned stop [default: keep]
    #[arg(long, env = "SKYHOUND_ON_STOP", value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_stop: Option<OnStop>,

    /// Seconds that a planned stop may take [default: 10]
    #[arg(long, env = "SKYHOUND_STOP_DEADLINE", value_name = "SECONDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_deadline: Option<u32>,

    /// error, warn, info, debug or trace; also per module, as in `info,skyhound::registry=debug`
    /// [default: info]
    #[arg(long, env = "SKYHOUND_LOG_LEVEL", value_name = "LEVEL", help_heading = "Logging")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_level: Option<String>,

    /// How log lines look [default: text]
    #[arg(long, env = "SKYHOUND_LOG_FORMAT", value_enum, help_heading = "Logging")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_format: Option<LogFormat>,
}

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
    /// The zone that registrations go into; the first of those that DNS answers for.
    pub dns_root: Name,
    /// What DNS does.
    pub dns: DnsSettings,
    /// What was typed, without any default: the store may have more to say ([`crate::skydns`]).
    pub typed: Box<Typed>,
    /// The default category, labels separated by commas or dots as typed.
    pub default_category: String,
    /// The term of a session, and twice the time between two pings.
    pub timeout: Duration,
    /// Where entries are kept.
    pub store: StoreSettings,
    /// Where keys begin.
    pub layout: Layout,
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
#[non_exhaustive]
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

fn wrong(setting: &'static str, problem: impl std::fmt::Display) -> ConfigError {
    ConfigError::Setting { setting, problem: problem.to_string() }
}

impl Typed {
    /// Reads the file of `--config`.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        toml::from_str(&text)
            .map_err(|e| ConfigError::File { path: path.to_owned(), problem: e.to_string().trim_end().to_owned() })
    }

    /// These settings, and those of `other` where these are silent.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        fn list(first: Vec<String>, second: Vec<String>) -> Vec<String> {
            if first.is_empty() { second } else { first }
        }
        Self {
            listen: list(self.listen, other.listen),
            dns_listen: list(self.dns_listen, other.dns_listen),
            dns_root: list(self.dns_root, other.dns_root),
            nameserver: list(self.nameserver, other.nameserver),
            forward_allow: list(self.forward_allow, other.forward_allow),
            no_rec: self.no_rec.or(other.no_rec),
            ndots: self.ndots.or(other.ndots),
            local: self.local.or(other.local),
            hostmaster: self.hostmaster.or(other.hostmaster),
            ttl: self.ttl.or(other.ttl),
            min_ttl: self.min_ttl.or(other.min_ttl),
            srv_weights: self.srv_weights.or(other.srv_weights),
            default_category: self.default_category.or(other.default_category),
            timeout: self.timeout.or(other.timeout),
            data_dir: self.data_dir.or(other.data_dir),
            in_memory: self.in_memory.or(other.in_memory),
            etcd_api: list(self.etcd_api, other.etcd_api),
            etcd_cacert: self.etcd_cacert.or(other.etcd_cacert),
            etcd_cert: self.etcd_cert.or(other.etcd_cert),
            etcd_key: self.etcd_key.or(other.etcd_key),
            etcd_username: self.etcd_username.or(other.etcd_username),
            etcd_password: self.etcd_password.or(other.etcd_password),
            key_prefix: self.key_prefix.or(other.key_prefix),
            on_stop: self.on_stop.or(other.on_stop),
            stop_deadline: self.stop_deadline.or(other.stop_deadline),
            log_level: self.log_level.or(other.log_level),
            log_format: self.log_format.or(other.log_format),
        }
    }

    /// These settings with every default filled in: the effective ones, as they could be typed.
    pub fn effective(mut self) -> Result<Self, ConfigError> {
        let embedded = self.etcd_api.is_empty();
        if embedded && self.in_memory != Some(true) && self.data_dir.is_none() {
            self.data_dir = Some(state_dir()?);
        }
        Ok(self.or(Self {
            listen: vec![DEFAULT_LISTEN.into()],
            dns_listen: vec![DEFAULT_DNS_LISTEN.into()],
            dns_root: vec![DEFAULT_DNS_ROOT.into()],
            no_rec: Some(false),
            ndots: Some(dns::settings::NDOTS),
            ttl: Some(dns::settings::TTL_S),
            min_ttl: Some(dns::settings::LEASED_TTL_S),
            srv_weights: Some("skydns".into()),
            default_category: Some(DEFAULT_CATEGORY.into()),
            timeout: Some(DEFAULT_TIMEOUT),
            in_memory: embedded.then_some(false),
            key_prefix: Some(DEFAULT_KEY_PREFIX.into()),
            on_stop: Some(OnStop::default()),
            stop_deadline: Some(DEFAULT_STOP_DEADLINE),
            log_level: Some(DEFAULT_LOG_LEVEL.into()),
            log_format: Some(LogFormat::default()),
            ..Self::default()
        }))
    }

    /// Checks everything.
    pub fn settle(self) -> Result<Settings, ConfigError> {
        let as_typed = Box::new(self.clone());
        let typed = self.effective()?;
        let dns = typed.dns()?;
        let timeout = typed.timeout.unwrap_or(DEFAULT_TIMEOUT);
        if !TIMEOUT_RANGE.contains(&timeout) {
            let (from, to) = TIMEOUT_RANGE.into_inner();
            return Err(wrong("timeout", format!("{timeout} is not between {from} and {to} seconds")));
        }
        Ok(Settings {
            listen: addresses("listen", &typed.listen)?,
            dns_listen: match typed.dns_listen.as_slice() {
                [off] if off == "off" => Vec::new(),
                given => addresses("dns-listen", given)?,
            },
            dns_root: dns.zones.first().cloned().unwrap_or_default(),
            dns,
            typed: as_typed,
            default_category: category(typed.default_category.as_deref().unwrap_or(DEFAULT_CATEGORY))?,
            timeout: Duration::from_secs(timeout.into()),
            layout: Layout::new(typed.key_prefix.as_deref().unwrap_or(DEFAULT_KEY_PREFIX)),
            on_stop: typed.on_stop.unwrap_or_default(),
            stop_deadline: Duration::from_secs(typed.stop_deadline.unwrap_or(DEFAULT_STOP_DEADLINE).into()),
            log_level: log_level(typed.log_level.as_deref().unwrap_or(DEFAULT_LOG_LEVEL))?,
            log_format: typed.log_format.unwrap_or_default(),
            store: typed.store()?,
        })
    }

    /// What DNS does, from what is typed.
    fn dns(&self) -> Result<DnsSettings, ConfigError> {
        let zones = self.dns_root.iter().map(|zone| name("dns-root", zone)).collect::<Result<Vec<_>, _>>()?;
        let mut dns = DnsSettings::new(zones);
        dns.server_id = rustix::system::uname().nodename().to_string_lossy().into_owned();
        dns.ttl_s = self.ttl.unwrap_or(dns.ttl_s);
        dns.leased_ttl_s = self.min_ttl.unwrap_or(dns.leased_ttl_s);
        dns.local = self.local.as_deref().map(|local| name("local", local)).transpose()?;
        let hostmaster = self.hostmaster.as_ref().map(|mail| mail.replacen('@', ".", 1));
        dns.hostmaster = hostmaster.map(|mail| name("hostmaster", &mail)).transpose()?;
        if let Some(rule) = &self.srv_weights {
            dns.srv_weights = rule.parse().map_err(|e| wrong("srv-weights", e))?;
        }
        let forward = &mut dns.forward;
        forward.off = self.no_rec.unwrap_or(false);
        forward.ndots = self.ndots.unwrap_or(forward.ndots);
        for server in &self.nameserver {
            forward.servers.push(nameserver(server).map_err(|e| wrong("nameserver", e))?);
        }
        if !self.forward_allow.is_empty() {
            forward.allow = self
                .forward_allow
                .iter()
                .map(|net| net.parse())
                .collect::<Result<_, _>>()
                .map_err(|e| wrong("forward-allow", e))?;
        }
        Ok(dns)
    }

    fn store(self) -> Result<StoreSettings, ConfigError> {
        if self.etcd_api.is_empty() {
            for (setting, given) in [
                ("etcd-cacert", self.etcd_cacert.is_some()),
                ("etcd-cert", self.etcd_cert.is_some()),
                ("etcd-key", self.etcd_key.is_some()),
                ("etcd-username", self.etcd_username.is_some()),
                ("etcd-password", self.etcd_password.is_some()),
            ] {
                if given {
                    return Err(wrong(setting, "has no meaning without --etcd-api URL"));
                }
            }
            return match (self.in_memory, self.data_dir) {
                (Some(true), _) | (_, None) => Ok(StoreSettings::Memory),
                (_, Some(dir)) => Ok(StoreSettings::Disk(dir)),
            };
        }
        if self.in_memory == Some(true) {
            return Err(wrong("in-memory", "is about the embedded store; --etcd-api selects etcd: give one of them"));
        }
        if self.data_dir.is_some() {
            return Err(wrong("data-dir", "is about the embedded store; --etcd-api selects etcd: give one of them"));
        }
        Ok(StoreSettings::Etcd(EtcdSettings {
            endpoints: self.etcd_api,
            ca_cert: self.etcd_cacert,
            cert: self.etcd_cert,
            key: self.etcd_key,
            username: self.etcd_username,
            password: self.etcd_password,
            ..EtcdSettings::default()
        }))
    }
}

fn name(setting: &'static str, text: &str) -> Result<Name, ConfigError> {
    Name::parse(text).map_err(|e| wrong(setting, format!("{text:?} {e}")))
}

/// One text, or a list of them: what can be repeated began as a single one.
mod one_or_more {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum OneOrMore {
        One(String),
        More(Vec<String>),
    }

    pub(super) fn serialize<S: Serializer>(texts: &[String], to: S) -> Result<S::Ok, S::Error> {
        match texts {
            [one] => one.serialize(to),
            more => more.serialize(to),
        }
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Vec<String>, D::Error> {
        Ok(match OneOrMore::deserialize(from)? {
            OneOrMore::One(text) => vec![text],
            OneOrMore::More(texts) => texts,
        })
    }
}

/// Where the embedded store goes when nobody says.
fn state_dir() -> Result<PathBuf, ConfigError> {
    use etcetera::BaseStrategy;
    let base = etcetera::choose_base_strategy()
        .map_err(|_| wrong("data-dir", "is needed: there is no home directory to keep the embedded store in"))?;
    Ok(base.state_dir().unwrap_or_else(|| base.data_dir()).join("skyhound"))
}

fn addresses(setting: &'static str, given: &[String]) -> Result<Vec<SocketAddr>, ConfigError> {
    let mut all = Vec::new();
    for text in given {
        let full = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.clone() };
        let found = full.to_socket_addrs().map_err(|e| {
            wrong(setting, format!("{text:?} is no address such as 127.0.0.1:8053, [::1]:8053 or localhost:8053 ({e})"))
        })?;
        all.extend(found);
    }
    Ok(all)
}

/// A word that is no level would be taken for a module's name, and the log would fall silent.
fn log_level(text: &str) -> Result<String, ConfigError> {
    for directive in text.split(',') {
        let level = directive.rsplit('=').next().unwrap_or_default();
        // An empty word would count as `error`.
        if level.is_empty() || level.parse::<tracing::level_filters::LevelFilter>().is_err() {
            let levels = "error, warn, info, debug, trace or off, as in info,skyhound::registry=debug";
            return Err(wrong("log-level", format!("{directive:?} has no level: {levels}")));
        }
    }
    Ok(text.to_owned())
}

fn category(text: &str) -> Result<String, ConfigError> {
    for label in text.split([',', '.']) {
        Label::registered(label).map_err(|e| wrong("default-category", format!("{text:?} {e}")))?;
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> Typed {
        Typed { in_memory: Some(true), ..Typed::default() }
    }

    #[test]
    fn what_is_printed_can_be_read_again() {
        let effective = Typed { on_stop: Some(OnStop::Remove), ..memory() }.effective().unwrap();
        let text = toml::to_string(&effective).unwrap();
        assert!(text.contains("dns-root = \"skydns.local.\"") && text.contains("on-stop = \"remove\""), "{text}");
        let again: Typed = toml::from_str(&text).unwrap();
        assert_eq!(toml::to_string(&again).unwrap(), text);
    }

    #[test]
    fn the_first_word_counts() {
        let file: Typed = toml::from_str("listen = [\"127.0.0.1:1\"]\ntimeout = 7\n").unwrap();
        let typed = Typed { timeout: Some(9), ..memory() }.or(file).settle().unwrap();
        assert_eq!(typed.timeout, Duration::from_secs(9));
        assert_eq!(typed.listen, ["127.0.0.1:1".parse().unwrap()]);
    }

    #[test]
    fn etcd_replaces_the_embedded_store() {
        let typed = Typed { etcd_api: vec!["http://127.0.0.1:2379".into()], ..Typed::default() };
        let StoreSettings::Etcd(etcd) = typed.settle().unwrap().store else { panic!("no etcd") };
        assert_eq!(etcd.endpoints, ["http://127.0.0.1:2379"]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let etcd = || vec!["http://127.0.0.1:2379".to_owned()];
        for (typed, why) in [
            (Typed { listen: vec!["8053".into()], ..memory() }, "--listen: \"8053\" is no address"),
            (Typed { dns_root: vec!["a..b".into()], ..memory() }, "--dns-root: \"a..b\" has an empty label"),
            (Typed { timeout: Some(1), ..memory() }, "--timeout: 1 is not between 2 and 86400 seconds"),
            (Typed { default_category: Some("a/b".into()), ..memory() }, "--default-category: \"a/b\" has '/'"),
            (Typed { log_level: Some("inof".into()), ..memory() }, "--log-level: \"inof\" has no level: error,"),
            (Typed { etcd_key: Some("k".into()), ..memory() }, "--etcd-key: has no meaning without --etcd-api"),
            (Typed { etcd_api: etcd(), ..memory() }, "--in-memory: is about the embedded store"),
            (Typed { etcd_api: etcd(), data_dir: Some("d".into()), ..Typed::default() }, "--data-dir: is about"),
        ] {
            let error = typed.settle().unwrap_err().to_string();
            assert!(error.starts_with(why), "{error}");
        }
        let error = toml::from_str::<Typed>("liste = []").unwrap_err().to_string();
        assert!(error.contains("unknown field `liste`"), "{error}");
    }

    #[test]
    fn dns_can_be_off() {
        let settings = Typed { dns_listen: vec!["off".into()], ..memory() }.settle().unwrap();
        assert!(settings.dns_listen.is_empty());
    }
}
