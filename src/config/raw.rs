//! The settings as typed: on the command line, in the environment, in a file.
//!
//! Owns: their names and their help. Does not own: precedence (`merge`), reading the file (`file`), defaults and
//! validation (`resolve`).
//!
//! One flat struct and not a struct for each group: serde cannot reject unknown fields of flattened structs, and a
//! misspelled setting must not be ignored.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use skyhound_core::registry::OnStop;
use std::path::PathBuf;

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text, with colours on a terminal.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// The settings as typed, each of them optional. The file of `--config` has the same names
/// (`dns-listen = ["127.0.0.1:5300"]`).
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawSettings {
    /// Serve HTTP and websockets on this address; repeatable. Port 0 takes a free port, `:8053` means every
    /// address [default: 127.0.0.1:8053]
    #[arg(long, env = "SKYHOUND_LISTEN", value_name = "ADDR", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub listen: Vec<String>,

    /// Serve DNS over UDP and TCP on this address; repeatable. `off` serves no DNS [default: 127.0.0.1:5300]
    #[arg(long, env = "SKYHOUND_DNS_LISTEN", value_name = "ADDR", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_listen: Vec<String>,

    /// Serve DNS over TLS on this address; repeatable. The registered port is 853. Requires --tls-cert-file
    #[arg(long, env = "SKYHOUND_DNS_TLS_LISTEN", value_name = "ADDR", value_delimiter = ',', help_heading = "TLS")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_tls_listen: Vec<String>,

    /// Serve DNS over HTTPS on this address, under the path /dns-query; repeatable. Requires --tls-cert-file. With
    /// --enable-tls, --listen serves that path as well
    #[arg(long, env = "SKYHOUND_DNS_HTTPS_LISTEN", value_name = "ADDR", value_delimiter = ',', help_heading = "TLS")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_https_listen: Vec<String>,

    /// Serve --listen with TLS only: https and wss. Requires --tls-cert-file
    #[arg(
        long, env = "SKYHOUND_ENABLE_TLS", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL",
        help_heading = "TLS", alias = "enable_tls"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_tls: Option<bool>,

    /// Present the certificate chain in this PEM file. Loaded again when the file changes
    #[arg(long, env = "SKYHOUND_TLS_CERT_FILE", value_name = "FILE", help_heading = "TLS", alias = "tls_cert_file")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_cert_file: Option<PathBuf>,

    /// Use the private key in this PEM file for that certificate
    #[arg(long, env = "SKYHOUND_TLS_KEY_FILE", value_name = "FILE", help_heading = "TLS", alias = "tls_key_file")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_key_file: Option<PathBuf>,

    /// Require every TLS client to present a certificate signed by the authorities in this PEM file
    #[arg(long, env = "SKYHOUND_TLS_CLIENT_CA", value_name = "FILE", help_heading = "TLS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_client_ca: Option<PathBuf>,

    /// Serve the seaport protocol on this address, without TLS; repeatable [default: none]
    #[arg(long, env = "SKYHOUND_SEAPORT_LISTEN", value_name = "ADDR", value_delimiter = ',', help_heading = "seaport")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub seaport_listen: Vec<String>,

    /// Use the RSA key of this hub in a JSON file (`public` and `private` as PEM texts), or authorize the public
    /// keys in a JSON list to register; repeatable. Without this flag every client may register
    #[arg(long, env = "SKYHOUND_SEAPORT_KEY", value_name = "FILE", value_delimiter = ',', help_heading = "seaport")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub seaport_key: Vec<String>,

    /// Send heartbeats to seaport clients every SECONDS; a client that has sent one expires after three times that
    /// without another [default: 15]
    #[arg(long, env = "SKYHOUND_SEAPORT_HEARTBEAT", value_name = "SECONDS", help_heading = "seaport")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seaport_heartbeat: Option<u32>,

    /// Exchange services with the seaport hub at HOST:PORT; repeatable. Not needed between daemons on the same etcd:
    /// they are one hub
    #[arg(long, env = "SKYHOUND_SEAPORT_PEER", value_name = "ADDR", value_delimiter = ',', help_heading = "seaport")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub seaport_peer: Vec<String>,

    /// Advertise this hub to clients of other hubs as HOST or HOST:PORT, registered as the service `seaport`; `off`
    /// advertises nothing [default: with etcd or --seaport-peer, the first specific address of --seaport-listen]
    #[arg(long, env = "SKYHOUND_SEAPORT_ADVERTISE", value_name = "ADDR", help_heading = "seaport")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seaport_advertise: Option<String>,

    /// Answer this zone; repeatable. Registrations go into the first zone; the others (reverse zones such as
    /// 10.in-addr.arpa., further domains in the store) are only answered [default: skydns.local.]
    #[arg(long, env = "SKYHOUND_DNS_ROOT", value_name = "NAME", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Vec::is_empty", with = "super::file::one_or_more")]
    pub dns_root: Vec<String>,

    /// Forward names outside the zones to this DNS server, ADDRESS or ADDRESS:PORT; repeatable, tried in turn.
    /// Without this flag such names are refused
    #[arg(long, env = "SKYHOUND_NAMESERVER", value_name = "ADDR", value_delimiter = ',', help_heading = "DNS")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nameserver: Vec<String>,

    /// Forward names outside the zones for clients in this network; repeatable. `any` allows every client
    /// [default: loopback and private networks]
    #[arg(long, env = "SKYHOUND_FORWARD_ALLOW", value_name = "NET", value_delimiter = ',', help_heading = "DNS")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub forward_allow: Vec<String>,

    /// Answer DNS queries from this network; repeatable. All other clients are refused [default: any]
    #[arg(long, env = "SKYHOUND_DNS_ALLOW", value_name = "NET", value_delimiter = ',', help_heading = "DNS")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_allow: Vec<String>,

    /// Refuse DNS queries from this network, even if --dns-allow contains it; repeatable
    #[arg(long, env = "SKYHOUND_DNS_DENY", value_name = "NET", value_delimiter = ',', help_heading = "DNS")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_deny: Vec<String>,

    /// Limit UDP responses per second and client network (an IPv4 /24, an IPv6 /56); clients over the limit have to
    /// use TCP. 0 means no limit [default: 0]
    #[arg(long, env = "SKYHOUND_DNS_RATE", value_name = "NUMBER", help_heading = "DNS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns_rate: Option<u32>,

    /// Exempt this network from --dns-rate; repeatable. `none` exempts no network
    /// [default: loopback and private networks]
    #[arg(long, env = "SKYHOUND_DNS_RATE_EXEMPT", value_name = "NET", value_delimiter = ',', help_heading = "DNS")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_rate_exempt: Vec<String>,

    /// Send no query to another server, regardless of --nameserver and stub zones
    #[arg(
        long, env = "SKYHOUND_NO_REC", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL",
        help_heading = "DNS"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_rec: Option<bool>,

    /// Forward only names outside the zones that have at least this many dots [default: 2]
    #[arg(long, env = "SKYHOUND_NDOTS", value_name = "NUMBER", help_heading = "DNS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ndots: Option<u8>,

    /// Resolve local.dns.ZONE to this name, the entry of this host
    #[arg(long, env = "SKYHOUND_LOCAL", value_name = "NAME", help_heading = "DNS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local: Option<String>,

    /// Name this contact in the SOA record of the zones: a mail address, or the same with a dot for its @
    /// [default: hostmaster.ZONE]
    #[arg(long, env = "SKYHOUND_HOSTMASTER", value_name = "NAME", help_heading = "DNS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostmaster: Option<String>,

    /// Use this TTL in seconds for entries with neither a TTL nor a lease [default: 300]
    #[arg(long, env = "SKYHOUND_TTL", value_name = "SECONDS", help_heading = "DNS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u32>,

    /// Use at least this TTL in seconds for entries with a lease [default: 30]
    #[arg(long, env = "SKYHOUND_MIN_TTL", value_name = "SECONDS", help_heading = "DNS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_ttl: Option<u32>,

    /// Set weights in SRV answers to shares of 100, rounded down (`skydns`), or leave them as registered (`exact`)
    /// [default: skydns]
    #[arg(long, env = "SKYHOUND_SRV_WEIGHTS", value_name = "RULE", help_heading = "DNS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub srv_weights: Option<String>,

    /// Answer A and AAAA with the addresses of every priority (`all`), or with those of the `best` priority that has
    /// any [default: all]
    #[arg(long, env = "SKYHOUND_ADDRESSES", value_name = "RULE", help_heading = "DNS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addresses: Option<String>,

    /// Sign a zone with the key in FILE.key and FILE.private, as `skyhound dnssec-keygen` and BIND write them;
    /// repeatable, each key signs its own zone
    #[arg(long, env = "SKYHOUND_DNSSEC_KEY", value_name = "FILE", value_delimiter = ',', help_heading = "DNS")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dnssec_key: Vec<PathBuf>,

    /// Answer for the zone NAME from the zone file FILE (RFC 1035 section 5); repeatable. A changed file is reloaded
    #[arg(long, env = "SKYHOUND_ZONE", value_name = "NAME=FILE", value_delimiter = ',', help_heading = "DNS")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub zone: Vec<String>,

    /// Put registrations without a category into this one, the label between service and zone; commas separate several
    /// labels [default: services]
    #[arg(long, env = "SKYHOUND_DEFAULT_CATEGORY", value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_category: Option<String>,

    /// Remove an instance from DNS this many seconds after its client, or its daemon, was last alive [default: 30]
    #[arg(long, env = "SKYHOUND_TIMEOUT", value_name = "SECONDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u32>,

    /// Accept at most this many persistent registrations without a TTL, counted over all daemons on one store
    /// [default: 100000]
    #[arg(long, alias = "lasting-max", env = "SKYHOUND_MAX_PERSISTENT", value_name = "NUMBER")]
    #[serde(alias = "lasting-max", skip_serializing_if = "Option::is_none")]
    pub max_persistent: Option<u32>,

    /// Store entries in this directory, in the embedded store [default: the platform's state directory]
    #[arg(long, env = "SKYHOUND_DATA_DIR", value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<PathBuf>,

    /// Keep the embedded store in memory only: a restart loses its entries
    #[arg(long, env = "SKYHOUND_IN_MEMORY", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_memory: Option<bool>,

    /// Store entries in etcd v3 at this URL, http or https; repeat it for every member
    #[arg(long, env = "SKYHOUND_ETCD_API", value_name = "URL", value_delimiter = ',', help_heading = "etcd")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub etcd_api: Vec<String>,

    /// Verify etcd's certificate with the authorities in this PEM file [default: the system's]
    #[arg(long, env = "SKYHOUND_ETCD_CACERT", value_name = "FILE", help_heading = "etcd")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd_cacert: Option<PathBuf>,

    /// Present the client certificate in this PEM file to etcd
    #[arg(long, env = "SKYHOUND_ETCD_CERT", value_name = "FILE", help_heading = "etcd")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd_cert: Option<PathBuf>,

    /// Use the private key in this PEM file for that certificate
    #[arg(long, env = "SKYHOUND_ETCD_KEY", value_name = "FILE", help_heading = "etcd")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd_key: Option<PathBuf>,

    /// Log in to etcd as this user
    #[arg(long, env = "SKYHOUND_ETCD_USERNAME", value_name = "NAME", help_heading = "etcd")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd_username: Option<String>,

    /// Log in to etcd with this password; the environment variable hides it from `ps`
    #[arg(long, env = "SKYHOUND_ETCD_PASSWORD", hide_env_values = true, value_name = "TEXT", help_heading = "etcd")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd_password: Option<String>,

    /// Save snapshots of the catalog to this file, to answer from after a restart while etcd is unavailable. `off`
    /// saves none [default: in the platform's state directory]
    #[arg(long, alias = "last-known", env = "SKYHOUND_SNAPSHOT_FILE", value_name = "FILE", help_heading = "etcd")]
    #[serde(alias = "last-known", skip_serializing_if = "Option::is_none")]
    pub snapshot_file: Option<PathBuf>,

    /// Begin every key with this prefix [default: /skydns]
    #[arg(long, env = "SKYHOUND_KEY_PREFIX", value_name = "PATH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_prefix: Option<String>,

    /// Read and write the keys of hound-dog's peers under NAME/SERVICE/NODE. `off` ignores them [default: service]
    #[arg(long, env = "SKYHOUND_HOUND_DOG_NAMESPACE", value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hound_dog_namespace: Option<String>,

    /// Register the application beside this daemon as this service, from start to stop; for a program that speaks none
    /// of the protocols itself
    #[arg(long, alias = "server_name", env = "SKYHOUND_SERVER_NAME", value_name = "SERVICE", help_heading = "Sidecar")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,

    /// Register that application at HOST:PORT
    #[arg(
        long,
        alias = "server_address",
        env = "SKYHOUND_SERVER_ADDRESS",
        value_name = "ADDR",
        help_heading = "Sidecar"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_address: Option<String>,

    /// Register that application only while this http or https URL responds with 200
    #[arg(
        long,
        alias = "healthcheck_url",
        env = "SKYHOUND_HEALTHCHECK_URL",
        value_name = "URL",
        help_heading = "Sidecar"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck_url: Option<String>,

    /// Verify the certificate of an https URL with the authorities in this PEM file [default: the system's]
    #[arg(long, env = "SKYHOUND_HEALTHCHECK_CACERT", value_name = "FILE", help_heading = "Sidecar")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck_cacert: Option<PathBuf>,

    /// Probe that URL every SECONDS, from 1 to 86400 [default: 30]
    #[arg(long, env = "SKYHOUND_HEALTHCHECK_INTERVAL", value_name = "SECONDS", help_heading = "Sidecar")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck_interval: Option<u32>,

    /// Register again after this many successful probes in a row [default: 1]
    #[arg(long, env = "SKYHOUND_HEALTHCHECK_RISE", value_name = "NUMBER", help_heading = "Sidecar")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck_rise: Option<u32>,

    /// Remove the registration after this many failed probes in a row [default: 1]
    #[arg(long, env = "SKYHOUND_HEALTHCHECK_FALL", value_name = "NUMBER", help_heading = "Sidecar")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck_fall: Option<u32>,

    /// Keep entries for their lease, or remove them, on a graceful shutdown [default: keep]
    #[arg(long, env = "SKYHOUND_ON_STOP", value_name = "ACTION",
          value_parser = PossibleValuesParser::new(OnStop::VALUES).try_map(|value| value.parse::<OnStop>()))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_stop: Option<OnStop>,

    /// Finish a graceful shutdown within this many seconds [default: 10]
    #[arg(long, env = "SKYHOUND_STOP_DEADLINE", value_name = "SECONDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_deadline: Option<u32>,

    /// Log at error, warn, info, debug or trace; also per module, as in `info,skyhound_core::registry=debug`
    /// [default: info]
    #[arg(long, env = "SKYHOUND_LOG_LEVEL", value_name = "LEVEL", help_heading = "Logging")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_level: Option<String>,

    /// Write log lines in this format [default: text]
    #[arg(long, env = "SKYHOUND_LOG_FORMAT", value_enum, value_name = "FORMAT", help_heading = "Logging")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_format: Option<LogFormat>,
}
