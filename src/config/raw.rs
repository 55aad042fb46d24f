//! The settings as typed: on the command line, in the environment, in a file.
//!
//! Owns: their names, their help, and which of two that were typed counts. Does not own: defaults and what
//! is right (`resolve`).

use super::ConfigError;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};

use serde::{Deserialize, Serialize};
use skyhound_core::registry::OnStop;
use std::path::{Path, PathBuf};

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
pub struct RawSettings {
    /// Address for HTTP and websockets; repeatable. Port 0 takes a free one, `:8053` listens everywhere
    /// [default: 127.0.0.1:8053]
    #[arg(long, env = "SKYHOUND_LISTEN", value_name = "ADDR", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub listen: Vec<String>,

    /// Address for DNS over UDP and TCP; repeatable. `off` serves no DNS [default: 127.0.0.1:5300]
    #[arg(long, env = "SKYHOUND_DNS_LISTEN", value_name = "ADDR", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_listen: Vec<String>,

    /// Address for DNS over TLS; repeatable. Its registered port is 853. Needs --tls-cert-file
    #[arg(long, env = "SKYHOUND_DNS_TLS_LISTEN", value_name = "ADDR", value_delimiter = ',', help_heading = "TLS")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_tls_listen: Vec<String>,

    /// Address for DNS over HTTPS, on the path /dns-query; repeatable. Needs --tls-cert-file. With
    /// --enable-tls, --listen answers there as well
    #[arg(long, env = "SKYHOUND_DNS_HTTPS_LISTEN", value_name = "ADDR", value_delimiter = ',', help_heading = "TLS")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_https_listen: Vec<String>,

    /// Serve --listen with TLS: https and wss, and nothing else. Needs --tls-cert-file
    #[arg(
        long, env = "SKYHOUND_ENABLE_TLS", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL",
        help_heading = "TLS", alias = "enable_tls"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_tls: Option<bool>,

    /// PEM file with our certificate and its chain. Read again when it changes
    #[arg(long, env = "SKYHOUND_TLS_CERT_FILE", value_name = "FILE", help_heading = "TLS", alias = "tls_cert_file")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_cert_file: Option<PathBuf>,

    /// PEM file with the key of that certificate
    #[arg(long, env = "SKYHOUND_TLS_KEY_FILE", value_name = "FILE", help_heading = "TLS", alias = "tls_key_file")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_key_file: Option<PathBuf>,

    /// PEM file with authorities: every client that speaks TLS has to have a certificate of theirs
    #[arg(long, env = "SKYHOUND_TLS_CLIENT_CA", value_name = "FILE", help_heading = "TLS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_client_ca: Option<PathBuf>,
    /// Address for seaport's peers, without TLS; repeatable [default: none]
    #[arg(long, env = "SKYHOUND_SEAPORT_LISTEN", value_name = "ADDR", value_delimiter = ',', help_heading = "seaport")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub seaport_listen: Vec<String>,

    /// JSON file with this hub's RSA key (`public` and `private` as PEM texts), or a list of the public keys whose
    /// peers may register; repeatable. Without one everybody may
    #[arg(long, env = "SKYHOUND_SEAPORT_KEY", value_name = "FILE", value_delimiter = ',', help_heading = "seaport")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub seaport_key: Vec<String>,

    /// Seconds between two heartbeats to a seaport peer; one that sends any is gone after three times that
    /// [default: 15]
    #[arg(long, env = "SKYHOUND_SEAPORT_HEARTBEAT", value_name = "SECONDS", help_heading = "seaport")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seaport_heartbeat: Option<u32>,

    /// Another seaport hub, HOST:PORT, to exchange services with; repeatable. Not for daemons on the same etcd: those
    /// are one hub anyway
    #[arg(long, env = "SKYHOUND_SEAPORT_PEER", value_name = "ADDR", value_delimiter = ',', help_heading = "seaport")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub seaport_peer: Vec<String>,

    /// Where clients of other hubs find this one, HOST or HOST:PORT: it registers itself there as `seaport`; `off` for
    /// not at all [default: with etcd or --seaport-peer, the first specific address of --seaport-listen]
    #[arg(long, env = "SKYHOUND_SEAPORT_ADVERTISE", value_name = "ADDR", help_heading = "seaport")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seaport_advertise: Option<String>,

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

    /// Network whose clients may ask DNS; repeatable. Everybody else is refused [default: everybody may]
    #[arg(long, env = "SKYHOUND_DNS_ALLOW", value_name = "NET", value_delimiter = ',', help_heading = "DNS")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_allow: Vec<String>,

    /// Network whose clients may not, even if --dns-allow holds them; repeatable
    #[arg(long, env = "SKYHOUND_DNS_DENY", value_name = "NET", value_delimiter = ',', help_heading = "DNS")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_deny: Vec<String>,

    /// Answers a second over UDP to one network of clients (an IPv4 /24, an IPv6 /56); who asks for more has to
    /// come over TCP. 0 for any number [default: 0]
    #[arg(long, env = "SKYHOUND_DNS_RATE", value_name = "NUMBER", help_heading = "DNS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns_rate: Option<u32>,

    /// Network that --dns-rate is not for; repeatable. `none` for no exemption
    /// [default: loopback and private networks]
    #[arg(long, env = "SKYHOUND_DNS_RATE_EXEMPT", value_name = "NET", value_delimiter = ',', help_heading = "DNS")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_rate_exempt: Vec<String>,

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

    /// Addresses in A and AAAA answers: `all`, or those of the `best` priority alone, the others while it has none
    /// [default: all]
    #[arg(long, env = "SKYHOUND_ADDRESSES", value_name = "RULE", help_heading = "DNS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addresses: Option<String>,

    /// Key to sign a zone with: the files FILE.key and FILE.private, as `skyhound dnssec-keygen` and BIND
    /// write them; repeatable, each key signs its own zone
    #[arg(long, env = "SKYHOUND_DNSSEC_KEY", value_name = "FILE", value_delimiter = ',', help_heading = "DNS")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dnssec_key: Vec<PathBuf>,

    /// Static zone: answer for the zone NAME from the zone file FILE (RFC 1035 section 5); repeatable. Read again when it
    /// changes
    #[arg(long, env = "SKYHOUND_ZONE", value_name = "NAME=FILE", value_delimiter = ',', help_heading = "DNS")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub zone: Vec<String>,

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

    /// The most registrations that stay until they are removed, of all daemons on one store [default: 100000]
    #[arg(long = "lasting-max", env = "SKYHOUND_LASTING_MAX", value_name = "NUMBER")]
    #[serde(rename = "lasting-max", skip_serializing_if = "Option::is_none")]
    pub max_persistent: Option<u32>,

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

    /// File with the last that was known, to answer from after a restart while etcd is away. `off` keeps none
    /// [default: in the platform's state directory]
    #[arg(long = "last-known", env = "SKYHOUND_LAST_KNOWN", value_name = "FILE", help_heading = "etcd")]
    #[serde(rename = "last-known", skip_serializing_if = "Option::is_none")]
    pub snapshot_file: Option<PathBuf>,

    /// What every key begins with [default: /skydns]
    #[arg(long, env = "SKYHOUND_KEY_PREFIX", value_name = "PATH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_prefix: Option<String>,

    /// Where hound-dog's own peers have their keys: NAME/SERVICE/NODE. `off` passes over them
    /// [default: service]
    #[arg(long, env = "SKYHOUND_HOUND_DOG_NAMESPACE", value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hound_dog_namespace: Option<String>,

    /// The service of the one app beside this daemon: registered from start to stop, for a program that speaks none
    /// of the protocols itself
    #[arg(long, alias = "server_name", env = "SKYHOUND_SERVER_NAME", value_name = "SERVICE", help_heading = "Sidecar")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,

    /// Where that app is: HOST:PORT
    #[arg(
        long,
        alias = "server_address",
        env = "SKYHOUND_SERVER_ADDRESS",
        value_name = "ADDR",
        help_heading = "Sidecar"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_address: Option<String>,

    /// http:// URL that answers 200 while that app is well; it is registered only then
    #[arg(
        long,
        alias = "healthcheck_url",
        env = "SKYHOUND_HEALTHCHECK_URL",
        value_name = "URL",
        help_heading = "Sidecar"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck_url: Option<String>,

    /// PEM file with the authorities that signed its certificate, for an https URL [default: the system's]
    #[arg(long, env = "SKYHOUND_HEALTHCHECK_CACERT", value_name = "FILE", help_heading = "Sidecar")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck_cacert: Option<PathBuf>,

    /// Seconds between two questions of it [default: 30]
    #[arg(long, env = "SKYHOUND_HEALTHCHECK_INTERVAL", value_name = "SECONDS", help_heading = "Sidecar")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck_interval: Option<u32>,

    /// Good answers in a row that bring it back [default: 1]
    #[arg(long, env = "SKYHOUND_HEALTHCHECK_RISE", value_name = "NUMBER", help_heading = "Sidecar")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck_rise: Option<u32>,

    /// Bad answers in a row that take it out [default: 1]
    #[arg(long, env = "SKYHOUND_HEALTHCHECK_FALL", value_name = "NUMBER", help_heading = "Sidecar")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck_fall: Option<u32>,

    /// What becomes of the entries at a planned stop [default: keep]
    #[arg(long, env = "SKYHOUND_ON_STOP", value_name = "WHAT",
          value_parser = PossibleValuesParser::new(OnStop::VALUES).try_map(|value| value.parse::<OnStop>()))]
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
    #[arg(long, env = "SKYHOUND_LOG_FORMAT", value_enum, value_name = "FORMAT", help_heading = "Logging")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_format: Option<LogFormat>,
}

impl RawSettings {
    /// Reads the file of `--config`.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        toml::from_str(&text).map_err(|error| {
            let problem = error.to_string();
            // serde lists all fifty names that it knows.
            let problem = match problem.split_once(", expected one of ") {
                Some((problem, names)) if problem.contains("unknown field") && names.len() > 200 => {
                    format!("{problem}; `skyhound config` prints every setting there is")
                }
                _ => problem.trim_end().to_owned(),
            };
            ConfigError::File { path: path.to_owned(), problem }
        })
    }

    /// Whether a setting, by its name without dashes in front, is said here.
    pub fn is_set(&self, setting: &str) -> bool {
        toml::Table::try_from(self).is_ok_and(|table| table.contains_key(setting))
    }

    /// These settings, and those of `other` where these are silent.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        fn list<T>(first: Vec<T>, second: Vec<T>) -> Vec<T> {
            if first.is_empty() { second } else { first }
        }
        Self {
            listen: list(self.listen, other.listen),
            dns_listen: list(self.dns_listen, other.dns_listen),
            dns_tls_listen: list(self.dns_tls_listen, other.dns_tls_listen),
            dns_https_listen: list(self.dns_https_listen, other.dns_https_listen),
            enable_tls: self.enable_tls.or(other.enable_tls),
            tls_cert_file: self.tls_cert_file.or(other.tls_cert_file),
            tls_key_file: self.tls_key_file.or(other.tls_key_file),
            tls_client_ca: self.tls_client_ca.or(other.tls_client_ca),
            seaport_listen: list(self.seaport_listen, other.seaport_listen),
            seaport_key: list(self.seaport_key, other.seaport_key),
            seaport_heartbeat: self.seaport_heartbeat.or(other.seaport_heartbeat),
            seaport_peer: list(self.seaport_peer, other.seaport_peer),
            seaport_advertise: self.seaport_advertise.or(other.seaport_advertise),
            dns_root: list(self.dns_root, other.dns_root),
            nameserver: list(self.nameserver, other.nameserver),
            forward_allow: list(self.forward_allow, other.forward_allow),
            dns_allow: list(self.dns_allow, other.dns_allow),
            dns_deny: list(self.dns_deny, other.dns_deny),
            dns_rate: self.dns_rate.or(other.dns_rate),
            dns_rate_exempt: list(self.dns_rate_exempt, other.dns_rate_exempt),
            no_rec: self.no_rec.or(other.no_rec),
            ndots: self.ndots.or(other.ndots),
            local: self.local.or(other.local),
            hostmaster: self.hostmaster.or(other.hostmaster),
            ttl: self.ttl.or(other.ttl),
            min_ttl: self.min_ttl.or(other.min_ttl),
            srv_weights: self.srv_weights.or(other.srv_weights),
            addresses: self.addresses.or(other.addresses),
            dnssec_key: list(self.dnssec_key, other.dnssec_key),
            zone: list(self.zone, other.zone),
            default_category: self.default_category.or(other.default_category),
            timeout: self.timeout.or(other.timeout),
            data_dir: self.data_dir.or(other.data_dir),
            max_persistent: self.max_persistent.or(other.max_persistent),
            in_memory: self.in_memory.or(other.in_memory),
            etcd_api: list(self.etcd_api, other.etcd_api),
            etcd_cacert: self.etcd_cacert.or(other.etcd_cacert),
            etcd_cert: self.etcd_cert.or(other.etcd_cert),
            etcd_key: self.etcd_key.or(other.etcd_key),
            etcd_username: self.etcd_username.or(other.etcd_username),
            etcd_password: self.etcd_password.or(other.etcd_password),
            snapshot_file: self.snapshot_file.or(other.snapshot_file),
            key_prefix: self.key_prefix.or(other.key_prefix),
            hound_dog_namespace: self.hound_dog_namespace.or(other.hound_dog_namespace),
            server_name: self.server_name.or(other.server_name),
            server_address: self.server_address.or(other.server_address),
            healthcheck_url: self.healthcheck_url.or(other.healthcheck_url),
            healthcheck_cacert: self.healthcheck_cacert.or(other.healthcheck_cacert),
            healthcheck_interval: self.healthcheck_interval.or(other.healthcheck_interval),
            healthcheck_rise: self.healthcheck_rise.or(other.healthcheck_rise),
            healthcheck_fall: self.healthcheck_fall.or(other.healthcheck_fall),
            on_stop: self.on_stop.or(other.on_stop),
            stop_deadline: self.stop_deadline.or(other.stop_deadline),
            log_level: self.log_level.or(other.log_level),
            log_format: self.log_format.or(other.log_format),
        }
    }
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
