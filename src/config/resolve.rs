//! From what was typed to what is in force.
//!
//! Owns: every default of the daemon as a whole, every check, and the sentence about a setting that is wrong.
//! Does not own: the spelling ([`super::raw`]), nor the defaults of a part (they stand beside it).

use super::{
    ConfigError, DEFAULT_CATEGORY, DEFAULT_DNS_LISTEN, DEFAULT_DNS_ROOT, DEFAULT_KEY_PREFIX, DEFAULT_LISTEN,
    DEFAULT_LOG_LEVEL, DEFAULT_STOP_DEADLINE, DEFAULT_TIMEOUT, LogFormat, OnStop, RawSettings, Settings, StoreSettings,
    TIMEOUT_RANGE,
};
use crate::sidecar::{self, ProbeSettings, SidecarSettings};
use skyhound_core::catalog::DEFAULT_MIRROR_NAMESPACE;
use skyhound_core::registry::MAX_PERSISTENT;
use skyhound_dns::network::Network;
use skyhound_dns::{self as dns, DnsSettings, dnssec::key::ZoneKey, settings::parse_nameserver};
use skyhound_frontends::seaport;
use skyhound_frontends::seaport::SeaportSettings;
use skyhound_frontends::seaport::settings::Advertise;
use skyhound_model::key::Layout;
use skyhound_model::{Host, Label, Name, address};
use skyhound_net::tls::TlsFiles;
use skyhound_store::etcd::EtcdSettings;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The shortest and the longest `--seaport-heartbeat`, in seconds.
const HEARTBEAT_RANGE: std::ops::RangeInclusive<u32> = 1..=3600;

fn wrong(setting: &'static str, problem: impl std::fmt::Display) -> ConfigError {
    ConfigError::Setting { setting, problem: problem.to_string() }
}

impl RawSettings {
    /// These settings with every default filled in: the effective ones, as they could be typed.
    pub fn effective(mut self) -> Result<Self, ConfigError> {
        let embedded = self.etcd_api.is_empty();
        if embedded && self.in_memory != Some(true) && self.data_dir.is_none() {
            self.data_dir = Some(state_dir()?);
        }
        Ok(self.or(Self {
            listen: vec![DEFAULT_LISTEN.into()],
            dns_listen: vec![DEFAULT_DNS_LISTEN.into()],
            seaport_heartbeat: Some(seaport::HEARTBEAT_S),
            dns_root: vec![DEFAULT_DNS_ROOT.into()],
            enable_tls: Some(false),
            no_rec: Some(false),
            dns_rate: Some(0),
            ndots: Some(dns::settings::NDOTS),
            ttl: Some(dns::settings::TTL_S),
            min_ttl: Some(dns::settings::LEASED_TTL_S),
            srv_weights: Some("skydns".into()),
            addresses: Some("all".into()),
            default_category: Some(DEFAULT_CATEGORY.into()),
            timeout: Some(DEFAULT_TIMEOUT),
            max_persistent: Some(MAX_PERSISTENT),
            in_memory: embedded.then_some(false),
            key_prefix: Some(DEFAULT_KEY_PREFIX.into()),
            hound_dog_namespace: Some(DEFAULT_MIRROR_NAMESPACE.into()),
            on_stop: Some(OnStop::default()),
            stop_deadline: Some(DEFAULT_STOP_DEADLINE),
            log_level: Some(DEFAULT_LOG_LEVEL.into()),
            log_format: Some(LogFormat::default()),
            ..Self::default()
        }))
    }

    /// Checks everything.
    pub fn resolve(self) -> Result<Settings, ConfigError> {
        let as_given = Box::new(self.clone());
        let raw = self.effective()?;
        let dns = raw.dns()?;
        let timeout = raw.timeout.unwrap_or(DEFAULT_TIMEOUT);
        if !TIMEOUT_RANGE.contains(&timeout) {
            let (from, to) = TIMEOUT_RANGE.into_inner();
            return Err(wrong("timeout", format!("{timeout} is not between {from} and {to} seconds")));
        }
        Ok(Settings {
            listen: addresses("listen", &raw.listen)?,
            dns_listen: match raw.dns_listen.as_slice() {
                [off] if off == "off" => Vec::new(),
                given => addresses("dns-listen", given)?,
            },
            dns_tls_listen: addresses("dns-tls-listen", &raw.dns_tls_listen)?,
            dns_https_listen: addresses("dns-https-listen", &raw.dns_https_listen)?,
            enable_tls: raw.enable_tls == Some(true),
            tls: raw.tls()?,
            seaport: raw.seaport()?,
            dns_root: dns.zones.first().cloned().unwrap_or_default(),
            dns,
            raw: as_given,
            default_category: category(raw.default_category.as_deref().unwrap_or(DEFAULT_CATEGORY))?,
            timeout: Duration::from_secs(timeout.into()),
            max_persistent: raw.max_persistent.unwrap_or(MAX_PERSISTENT),
            layout: Layout::new(raw.key_prefix.as_deref().unwrap_or(DEFAULT_KEY_PREFIX)),
            hound_dog_namespace: raw.hound_dog_namespace()?,
            sidecar: raw.sidecar()?,
            on_stop: raw.on_stop.unwrap_or_default(),
            stop_deadline: Duration::from_secs(raw.stop_deadline.unwrap_or(DEFAULT_STOP_DEADLINE).into()),
            log_level: log_level(raw.log_level.as_deref().unwrap_or(DEFAULT_LOG_LEVEL))?,
            log_format: raw.log_format.unwrap_or_default(),
            snapshot_file: raw.snapshot_file(),
            store: raw.store()?,
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
        if let Some(rule) = &self.addresses {
            dns.addresses = rule.parse().map_err(|e| wrong("addresses", e))?;
        }
        dns.keys = self.dnssec_keys(&dns.zones)?;
        let forward = &mut dns.forward;
        forward.disabled = self.no_rec.unwrap_or(false);
        forward.ndots = self.ndots.unwrap_or(forward.ndots);
        for server in &self.nameserver {
            forward.servers.push(parse_nameserver(server).map_err(|e| wrong("nameserver", e))?);
        }
        if !self.forward_allow.is_empty() {
            forward.allow = networks("forward-allow", &self.forward_allow)?;
        }
        self.limits(&mut dns)?;
        Ok(dns)
    }

    fn seaport(&self) -> Result<Option<SeaportSettings>, ConfigError> {
        let heartbeat = self.seaport_heartbeat.unwrap_or(seaport::HEARTBEAT_S);
        if !HEARTBEAT_RANGE.contains(&heartbeat) {
            let (from, to) = HEARTBEAT_RANGE.into_inner();
            return Err(wrong("seaport-heartbeat", format!("{heartbeat} is not between {from} and {to} seconds")));
        }
        if self.seaport_listen.is_empty() {
            let given = [
                ("seaport-key", !self.seaport_key.is_empty()),
                ("seaport-peer", !self.seaport_peer.is_empty()),
                ("seaport-advertise", self.seaport_advertise.is_some()),
            ];
            return match given.into_iter().find(|(_, is_given)| *is_given) {
                Some((setting, _)) => Err(wrong(setting, "has no meaning without --seaport-listen ADDR")),
                None => Ok(None),
            };
        }
        for hub in &self.seaport_peer {
            if address::host_and_port(hub).is_none() {
                return Err(wrong("seaport-peer", format!("{hub:?} is no HOST:PORT")));
            }
        }
        Ok(Some(SeaportSettings {
            listen: addresses("seaport-listen", &self.seaport_listen)?,
            keys: self.seaport_key.iter().map(PathBuf::from).collect(),
            heartbeat: Duration::from_secs(heartbeat.into()),
            peers: self.seaport_peer.clone(),
            advertise: self.seaport_advertise.as_deref().map_or(Ok(Advertise::Listening), advertise)?,
        }))
    }

    /// The app beside this daemon.
    fn sidecar(&self) -> Result<Option<SidecarSettings>, ConfigError> {
        let Some(name) = self.server_name.clone() else {
            for (setting, given) in [
                ("server-address", self.server_address.is_some()),
                ("healthcheck-url", self.healthcheck_url.is_some()),
                ("healthcheck-cacert", self.healthcheck_cacert.is_some()),
                ("healthcheck-interval", self.healthcheck_interval.is_some()),
                ("healthcheck-rise", self.healthcheck_rise.is_some()),
                ("healthcheck-fall", self.healthcheck_fall.is_some()),
            ] {
                if given {
                    return Err(wrong(setting, "has no meaning without --server-name SERVICE"));
                }
            }
            return Ok(None);
        };
        let Some(address) = &self.server_address else {
            return Err(wrong("server-name", "needs --server-address HOST:PORT: where is it?"));
        };
        let place = address::host_and_port(address)
            .ok_or_else(|| wrong("server-address", format!("{address:?} is no HOST:PORT")))?;
        let counted = |setting, value: Option<u32>| match value.unwrap_or(1) {
            0 => Err(wrong(setting, "is 0; give a number of answers from 1")),
            number => Ok(number),
        };
        let (rise, fall) =
            (counted("healthcheck-rise", self.healthcheck_rise)?, counted("healthcheck-fall", self.healthcheck_fall)?);
        let seconds = self.healthcheck_interval.unwrap_or(sidecar::INTERVAL_S);
        let interval = sidecar::probe_interval(seconds)
            .ok_or_else(|| wrong("healthcheck-interval", format!("is {seconds}; give seconds from 1 to a day")))?;
        let probe = self.healthcheck_url.as_ref().map(|url| match url.parse::<hyper::Uri>() {
            Ok(parsed)
                if matches!(parsed.scheme_str(), Some("http" | "https"))
                    && parsed.host().is_some_and(|host| !host.is_empty()) =>
            {
                Ok(ProbeSettings { url: parsed, cacert: self.healthcheck_cacert.clone(), interval, rise, fall })
            }
            _ => Err(wrong("healthcheck-url", format!("{url:?} is no URL such as http://127.0.0.1:9090/health"))),
        });
        if self.healthcheck_cacert.is_some()
            && !self.healthcheck_url.as_ref().is_some_and(|url| url.starts_with("https:"))
        {
            return Err(wrong("healthcheck-cacert", "has no meaning without --healthcheck-url https://…"));
        }
        Ok(Some(SidecarSettings { name, host: place.0.to_owned(), port: place.1, probe: probe.transpose()? }))
    }

    /// Two readers of one key would make two entries of it.
    fn hound_dog_namespace(&self) -> Result<Option<String>, ConfigError> {
        let clean = |text: &str| Layout::new(text).prefix().to_owned();
        let namespace = self.hound_dog_namespace.as_deref().unwrap_or(DEFAULT_MIRROR_NAMESPACE);
        if namespace == "off" {
            return Ok(None);
        }
        let (theirs, ours) = (clean(namespace), clean(self.key_prefix.as_deref().unwrap_or(DEFAULT_KEY_PREFIX)));
        if theirs == "/" || theirs.starts_with(&ours) && namespace.starts_with('/') {
            return Err(wrong("hound-dog-namespace", format!("{namespace:?} is no prefix of its own, beside {ours}")));
        }
        Ok(Some(namespace.trim_end_matches('/').to_owned()))
    }

    /// The certificate, if anything has TLS.
    fn tls(&self) -> Result<Option<TlsFiles>, ConfigError> {
        let wants = [
            ("enable-tls", self.enable_tls == Some(true)),
            ("dns-tls-listen", !self.dns_tls_listen.is_empty()),
            ("dns-https-listen", !self.dns_https_listen.is_empty()),
        ];
        let wants = wants.into_iter().find_map(|(setting, is_given)| is_given.then_some(setting));
        match (wants, &self.tls_cert_file, &self.tls_key_file) {
            (Some(_), Some(cert), Some(key)) => {
                Ok(Some(TlsFiles { cert: cert.clone(), key: key.clone(), client_ca: self.tls_client_ca.clone() }))
            }
            (Some(setting), None, _) => Err(wrong(setting, "needs a certificate: give --tls-cert-file FILE")),
            (Some(setting), _, None) => Err(wrong(setting, "needs the certificate's key: give --tls-key-file FILE")),
            (None, ..) => {
                let given = [
                    ("tls-cert-file", self.tls_cert_file.is_some()),
                    ("tls-key-file", self.tls_key_file.is_some()),
                    ("tls-client-ca", self.tls_client_ca.is_some()),
                ];
                match given.into_iter().find(|(_, is_given)| *is_given) {
                    Some((setting, _)) => Err(wrong(
                        setting,
                        "has no meaning without --enable-tls, --dns-tls-listen or --dns-https-listen",
                    )),
                    None => Ok(None),
                }
            }
        }
    }

    /// Who may ask, and how often.
    fn limits(&self, dns: &mut DnsSettings) -> Result<(), ConfigError> {
        dns.access.allow = networks("dns-allow", &self.dns_allow)?;
        dns.access.deny = networks("dns-deny", &self.dns_deny)?;
        dns.rate.per_second = self.dns_rate.unwrap_or(0);
        if dns.rate.per_second > 0 && cfg!(not(target_os = "linux")) {
            return Err(wrong("dns-rate", "is there on Linux only"));
        }
        match self.dns_rate_exempt.as_slice() {
            [] => {}
            [none] if none == "none" => dns.rate.exempt.clear(),
            given => dns.rate.exempt = networks("dns-rate-exempt", given)?,
        }
        Ok(())
    }

    /// The keys, each for one of the zones: a key for another one is a slip, and what it should sign would be
    /// bogus or insecure, which nobody sees here.
    fn dnssec_keys(&self, zones: &[Name]) -> Result<Vec<Arc<ZoneKey>>, ConfigError> {
        let mut keys: Vec<Arc<ZoneKey>> = Vec::new();
        for path in &self.dnssec_key {
            let key = ZoneKey::load(path).map_err(|e| wrong("dnssec-key", e))?;
            if !zones.contains(key.zone()) {
                let problem = format!("{} is for {}, which is no --dns-root", path.display(), key.zone());
                return Err(wrong("dnssec-key", problem));
            }
            if !keys.iter().any(|known| **known == key) {
                keys.push(Arc::new(key));
            }
        }
        Ok(keys)
    }

    /// A file for each etcd and prefix: several daemons of a user may follow different ones.
    fn snapshot_file(&self) -> Option<PathBuf> {
        if self.etcd_api.is_empty() {
            return None;
        }
        match &self.snapshot_file {
            Some(off) if off.as_os_str() == "off" => None,
            Some(file) => Some(file.clone()),
            None => {
                let of: Vec<_> = self.etcd_api.iter().chain(&self.key_prefix).collect();
                let name: String = format!("last-known-{of:?}");
                let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
                // Without a home directory there is none: nobody asked for it.
                state_dir().ok().map(|dir| dir.join(name.chars().map(plain).take(200).collect::<String>()))
            }
        }
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

/// `off`, HOST or HOST:PORT.
fn advertise(text: &str) -> Result<Advertise, ConfigError> {
    if text == "off" {
        return Ok(Advertise::Off);
    }
    let (host, port) = match address::host_and_port(text) {
        Some((host, port)) => (host, Some(port)),
        None => (text.trim_start_matches('[').trim_end_matches(']'), None),
    };
    match Host::parse(host) {
        Ok(Host::Addr(ip)) if ip.is_unspecified() => Err(wrong("seaport-advertise", format!("nobody finds {ip}"))),
        Ok(Host::Addr(_)) => Ok(Advertise::At(host.to_owned(), port)),
        Ok(Host::Name(name)) if name.labels().iter().all(|label| Label::registrable(&label.to_string()).is_ok()) => {
            Ok(Advertise::At(host.to_owned(), port))
        }
        _ => Err(wrong("seaport-advertise", format!("{text:?} is no HOST, no HOST:PORT and not off"))),
    }
}

fn networks(setting: &'static str, given: &[String]) -> Result<Vec<Network>, ConfigError> {
    given.iter().map(|net| net.parse()).collect::<Result<_, _>>().map_err(|e| wrong(setting, e))
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
        Label::registrable(label).map_err(|e| wrong("default-category", format!("{text:?} {e}")))?;
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> RawSettings {
        RawSettings { in_memory: Some(true), ..RawSettings::default() }
    }

    #[test]
    fn effective_settings_round_trip() {
        let effective = RawSettings { on_stop: Some(OnStop::Remove), ..memory() }.effective().unwrap();
        let text = toml::to_string(&effective).unwrap();
        assert!(text.contains("dns-root = \"skydns.local.\"") && text.contains("on-stop = \"remove\""), "{text}");
        let again: RawSettings = toml::from_str(&text).unwrap();
        assert_eq!(toml::to_string(&again).unwrap(), text);
    }

    #[test]
    fn flags_override_the_file() {
        let file: RawSettings = toml::from_str("listen = [\"127.0.0.1:1\"]\ntimeout = 7\n").unwrap();
        let raw = RawSettings { timeout: Some(9), ..memory() }.or(file).resolve().unwrap();
        assert_eq!(raw.timeout, Duration::from_secs(9));
        assert_eq!(raw.listen, ["127.0.0.1:1".parse().unwrap()]);
    }

    #[test]
    fn etcd_replaces_the_embedded_store() {
        let raw = RawSettings { etcd_api: vec!["http://127.0.0.1:2379".into()], ..RawSettings::default() };
        let StoreSettings::Etcd(etcd) = raw.resolve().unwrap().store else { panic!("no etcd") };
        assert_eq!(etcd.endpoints, ["http://127.0.0.1:2379"]);
    }

    fn hub() -> RawSettings {
        RawSettings { seaport_listen: vec!["127.0.0.1:0".into()], ..memory() }
    }

    #[test]
    fn seaport_settings_are_checked() {
        let at = |text: &str| {
            RawSettings { seaport_advertise: Some(text.into()), ..hub() }.resolve().unwrap().seaport.unwrap().advertise
        };
        assert_eq!(hub().resolve().unwrap().seaport.unwrap().advertise, Advertise::Listening);
        for (raw, why) in [
            (
                RawSettings { seaport_key: vec!["k".into()], ..memory() },
                "--seaport-key: has no meaning without --seaport",
            ),
            (RawSettings { seaport_peer: vec!["h:1".into()], ..memory() }, "--seaport-peer: has no meaning without"),
            (RawSettings { seaport_peer: vec!["h".into()], ..hub() }, "--seaport-peer: \"h\" is no HOST:PORT"),
            (
                RawSettings { seaport_advertise: Some("0.0.0.0".into()), ..hub() },
                "--seaport-advertise: nobody finds 0.0.0.0",
            ),
            (RawSettings { seaport_advertise: Some("a b".into()), ..hub() }, "--seaport-advertise: \"a b\" is no HOST"),
            (
                RawSettings { seaport_heartbeat: Some(0), ..memory() },
                "--seaport-heartbeat: 0 is not between 1 and 3600",
            ),
        ] {
            let error = raw.resolve().unwrap_err().to_string();
            assert!(error.starts_with(why), "{error}");
        }
        assert_eq!(at("off"), Advertise::Off);
        for (text, host, port) in [
            ("hub.example", "hub.example", None),
            ("hub.example:9090", "hub.example", Some(9090)),
            ("10.0.0.1", "10.0.0.1", None),
            ("[2001:db8::1]:9090", "2001:db8::1", Some(9090)),
            ("[2001:db8::1]", "2001:db8::1", None),
            ("2001:db8::1", "2001:db8::1", None),
        ] {
            assert_eq!(at(text), Advertise::At(host.into(), port), "{text}");
        }
    }

    #[test]
    fn invalid_settings_are_refused_by_name() {
        let etcd = || vec!["http://127.0.0.1:2379".to_owned()];
        // In a vector: it is too large for a stack.
        for (raw, why) in vec![
            (RawSettings { listen: vec!["8053".into()], ..memory() }, "--listen: \"8053\" is no address"),
            (RawSettings { dns_root: vec!["a..b".into()], ..memory() }, "--dns-root: \"a..b\" has an empty label"),
            (RawSettings { timeout: Some(1), ..memory() }, "--timeout: 1 is not between 2 and 86400 seconds"),
            (RawSettings { default_category: Some("a/b".into()), ..memory() }, "--default-category: \"a/b\" has '/'"),
            (RawSettings { dns_deny: vec!["10/8".into()], ..memory() }, "--dns-deny: \"10/8\" is no network"),
            (RawSettings { log_level: Some("inof".into()), ..memory() }, "--log-level: \"inof\" has no level: error,"),
            (RawSettings { etcd_key: Some("k".into()), ..memory() }, "--etcd-key: has no meaning without --etcd-api"),
            (
                RawSettings { server_address: Some("h:1".into()), ..memory() },
                "--server-address: has no meaning without",
            ),
            (RawSettings { server_name: Some("a".into()), ..memory() }, "--server-name: needs --server-address"),
            (RawSettings { etcd_api: etcd(), ..memory() }, "--in-memory: is about the embedded store"),
            (
                RawSettings { etcd_api: etcd(), data_dir: Some("d".into()), ..RawSettings::default() },
                "--data-dir: is about",
            ),
        ] {
            let error = raw.resolve().unwrap_err().to_string();
            assert!(error.starts_with(why), "{error}");
        }
        let error = toml::from_str::<RawSettings>("liste = []").unwrap_err().to_string();
        assert!(error.contains("unknown field `liste`"), "{error}");
    }

    #[test]
    fn limits_are_off_by_default() {
        let dns = memory().resolve().unwrap().dns;
        assert!(dns.access.is_open() && dns.rate == dns::limit::RateSettings::default());
        let raw = RawSettings { dns_rate: Some(5), dns_rate_exempt: vec!["none".into()], ..memory() };
        assert_eq!(raw.resolve().unwrap().dns.rate, dns::limit::RateSettings { per_second: 5, exempt: vec![] });
    }

    #[test]
    fn sidecar_settings_are_checked() {
        let beside = |url: &str| RawSettings {
            server_name: Some("foo".into()),
            server_address: Some("127.0.0.1:9090".into()),
            healthcheck_url: Some(url.into()),
            ..memory()
        };
        let sidecar = beside("http://127.0.0.1:9090/x").resolve().unwrap().sidecar.unwrap();
        assert_eq!((sidecar.host.as_str(), sidecar.port, sidecar.probe.unwrap().fall), ("127.0.0.1", 9090, 1));
        assert!(beside("https://app.example/x").resolve().is_ok());
        let cacert = |url: &str| RawSettings { healthcheck_cacert: Some("ca.pem".into()), ..beside(url) };
        assert!(cacert("https://127.0.0.1/").resolve().is_ok());
        let error = cacert("http://127.0.0.1/").resolve().unwrap_err().to_string();
        assert!(error.starts_with("--healthcheck-cacert: has no meaning"), "{error}");
        for url in ["ftp://127.0.0.1/", "https://", "127.0.0.1:80", "/x", "http://", "http:// /"] {
            let error = beside(url).resolve().unwrap_err().to_string();
            assert!(error.starts_with("--healthcheck-url: \""), "{error}");
        }
        let never = RawSettings { healthcheck_interval: Some(0), ..beside("http://127.0.0.1/") };
        assert!(never.resolve().unwrap_err().to_string().starts_with("--healthcheck-interval: is 0;"));
    }

    #[test]
    fn dns_can_be_off() {
        let settings = RawSettings { dns_listen: vec!["off".into()], ..memory() }.resolve().unwrap();
        assert!(settings.dns_listen.is_empty());
    }
}
