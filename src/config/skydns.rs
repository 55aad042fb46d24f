//! What a SkyDNS would read: its environment variables, and the settings that it keeps in etcd under
//! `<prefix>/config`. Owns their spelling. Does not own what the settings mean ([`crate::config`]).
//!
//! In SkyDNS `config` wins over flags. Here it is the last to be asked, after flags, `SKYHOUND_…`, the file and
//! the variables: it speaks to every daemon of the cluster, and what was said to this one was meant for this one.

use crate::config::{DEFAULT_DNS_ROOT, RawSettings};
use serde::Deserialize;
use skyhound_dns::dnssec::key::{KeyError, ZoneKey};
use skyhound_model::Name;
use std::io::ErrorKind::NotFound;

/// The key below the prefix.
pub const CONFIG: &str = "config";

/// The fields that mean something here. The others (`round_robin`, `read_timeout`, `scache`, `rcache`, `rcache_ttl`,
/// `systemd`, `path-prefix`) are about caches and sockets that we have not, or not so.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Config {
    dns_addr: Option<String>,
    domain: Option<String>,
    dnssec: Option<String>,
    hostmaster: Option<String>,
    local: Option<String>,
    nameservers: Vec<String>,
    no_rec: Option<bool>,
    ndots: Option<u8>,
    ttl: Option<u32>,
    min_ttl: Option<u32>,
}

/// The settings under `<prefix>/config`. An empty text and a 0 are as good as a field that is missing: SkyDNS
/// writes its fields out.
pub fn config(value: &[u8]) -> Result<RawSettings, String> {
    let config: Config = serde_json::from_slice(value).map_err(|e| e.to_string())?;
    let text = |text: Option<String>| text.filter(|text| !text.is_empty());
    Ok(RawSettings {
        dns_listen: text(config.dns_addr).into_iter().collect(),
        dns_root: text(config.domain).into_iter().collect(),
        dnssec_key: text(config.dnssec).into_iter().map(Into::into).collect(),
        hostmaster: text(config.hostmaster),
        local: text(config.local),
        nameserver: config.nameservers,
        no_rec: config.no_rec,
        ndots: config.ndots.filter(|ndots| *ndots > 0),
        ttl: config.ttl.filter(|ttl| *ttl > 0),
        min_ttl: config.min_ttl.filter(|ttl| *ttl > 0),
        ..RawSettings::default()
    })
}

/// What `typed` says, and where it is silent `stored`. `pass_over` hears of a key that cannot be meant for this daemon:
/// its files are on no other machine than the one that SkyDNS ran on, and a flag may have named other zones. What is
/// here and wrong is an error, as with the flag: the zone would be unsigned, and bogus to whoever has its DS.
pub fn merged(raw: &RawSettings, stored: RawSettings, pass_over: impl FnOnce(&str)) -> RawSettings {
    let mut merged = raw.clone().or(stored);
    if raw.dnssec_key.is_empty()
        && let Some(problem) = unusable_key(&merged)
    {
        pass_over(&problem);
        merged.dnssec_key.clear();
    }
    merged
}

/// Why the key cannot be meant for a daemon with these settings.
fn unusable_key(raw: &RawSettings) -> Option<String> {
    let path = raw.dnssec_key.first()?;
    match ZoneKey::load(path) {
        Err(KeyError::Unreadable { path, error }) if error.kind() == NotFound => {
            Some(format!("there is no {}", path.display()))
        }
        Ok(key) => {
            let default = [DEFAULT_DNS_ROOT.to_owned()];
            let zones = if raw.dns_root.is_empty() { &default[..] } else { &raw.dns_root };
            let is_ours = zones.iter().any(|zone| Name::parse(zone).is_ok_and(|zone| zone == *key.zone()));
            (!is_ours).then(|| format!("{} is for {}, which is no --dns-root", path.display(), key.zone()))
        }
        Err(_) => None,
    }
}

/// SkyDNS's environment, for what `typed` is silent about. `var` reads a variable.
pub fn environment(raw: &RawSettings, var: impl Fn(&str) -> Option<String>) -> Result<RawSettings, String> {
    let var = |name| var(name).filter(|value| !value.is_empty());
    let list = |name| var(name).map_or_else(Vec::new, |value| value.split(',').map(|v| v.trim().to_owned()).collect());
    let ndots =
        var("SKYDNS_NDOTS").map(|value| value.parse().map_err(|_| format!("SKYDNS_NDOTS is {value:?}, no number")));
    let dns = RawSettings {
        dns_listen: list("SKYDNS_ADDR"),
        dns_root: list("SKYDNS_DOMAIN"),
        nameserver: list("SKYDNS_NAMESERVERS"),
        key_prefix: var("SKYDNS_PATH_PREFIX"),
        ndots: ndots.transpose()?,
        ..RawSettings::default()
    };
    // Who said where entries are kept did not mean the etcd that other programs of this machine use.
    if raw.in_memory.is_some() || raw.data_dir.is_some() || !raw.etcd_api.is_empty() {
        return Ok(dns);
    }
    let etcd_api = list("ETCD_MACHINES");
    if etcd_api.is_empty() {
        return Ok(dns);
    }
    Ok(RawSettings {
        etcd_api,
        etcd_key: var("ETCD_TLSKEY").map(Into::into),
        etcd_cert: var("ETCD_TLSPEM").map(Into::into),
        etcd_cacert: var("ETCD_CACERT").map(Into::into),
        etcd_username: var("ETCD_USERNAME"),
        etcd_password: var("ETCD_PASSWORD"),
        ..dns
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        let value = match name {
            "SKYDNS_ADDR" => "127.0.0.1:5354",
            "SKYDNS_DOMAIN" => "env.test.",
            "SKYDNS_NAMESERVERS" => "10.0.0.1:53, 10.0.0.2:53",
            "SKYDNS_NDOTS" => "1",
            "ETCD_MACHINES" => "http://10.0.0.3:2379,http://10.0.0.4:2379",
            "ETCD_USERNAME" => "sky",
            "ETCD_CACERT" => "",
            _ => return None,
        };
        Some(value.to_owned())
    }

    #[test]
    fn skydns_environment_variables_are_read() {
        let raw = environment(&RawSettings::default(), env).unwrap();
        assert_eq!((raw.dns_listen[0].as_str(), raw.dns_root[0].as_str()), ("127.0.0.1:5354", "env.test."));
        assert_eq!((raw.nameserver.len(), raw.nameserver[1].as_str()), (2, "10.0.0.2:53"));
        assert_eq!((raw.ndots, raw.etcd_api.len()), (Some(1), 2));
        assert_eq!((raw.etcd_username.as_deref(), raw.etcd_cacert), (Some("sky"), None));
        let kept = RawSettings { in_memory: Some(true), ..RawSettings::default() };
        let raw = environment(&kept, env).unwrap();
        assert!(raw.etcd_api.is_empty() && raw.etcd_username.is_none() && !raw.dns_root.is_empty());
        assert!(environment(&kept, |name| (name == "SKYDNS_NDOTS").then(|| "two".into())).is_err());
    }

    #[test]
    fn skydns_config_is_read() {
        let raw = config(
            br#"{"dns_addr":"127.0.0.1:5354","domain":"conf.test","ttl":60,"min_ttl":0,"nameservers":["10.0.0.1:53"],
                "no_rec":true,"round_robin":true,"hostmaster":"","read_timeout":2000000000,"dnssec":"/etc/K"}"#,
        )
        .unwrap();
        assert_eq!((raw.dns_root[0].as_str(), raw.ttl, raw.min_ttl), ("conf.test", Some(60), None));
        assert_eq!((raw.no_rec, raw.hostmaster, raw.nameserver.len()), (Some(true), None, 1));
        assert_eq!(raw.dnssec_key, [std::path::Path::new("/etc/K")]);
        assert!(config(b"1").is_err() && config(b"{\"ttl\":-1}").is_err());
    }
    #[test]
    fn a_key_of_another_machine_or_zone_is_ignored() {
        let (dir, made) = (tempfile::tempdir().unwrap(), new_key());
        let stem = dir.path().join("K");
        std::fs::write(stem.with_extension("key"), &made.public).unwrap();
        std::fs::write(stem.with_extension("private"), &made.private).unwrap();
        let stored = || RawSettings {
            dnssec_key: vec![stem.clone()],
            dns_root: vec!["conf.test.".into()],
            ..RawSettings::default()
        };
        let merged = |raw: &RawSettings, stored| {
            let mut why = String::new();
            let merged = merged(raw, stored, |problem| why = problem.to_owned());
            (merged.dnssec_key, why)
        };
        assert_eq!(merged(&RawSettings::default(), stored()), (vec![stem.clone()], String::new()));
        let (keys, why) =
            merged(&RawSettings { dns_root: vec!["flag.test".into()], ..RawSettings::default() }, stored());
        assert!(keys.is_empty() && why.ends_with("K is for conf.test., which is no --dns-root"), "{why}");
        let (keys, why) = merged(&RawSettings::default(), RawSettings { dns_root: Vec::new(), ..stored() });
        assert!(keys.is_empty() && why.ends_with("which is no --dns-root"), "{why}");
        let elsewhere = || RawSettings { dnssec_key: vec!["/nowhere/K".into()], ..RawSettings::default() };
        let (keys, why) = merged(&RawSettings::default(), elsewhere());
        assert!(keys.is_empty() && why == "there is no /nowhere/K.key", "{why}");
        assert_eq!(merged(&elsewhere(), stored()).0, elsewhere().dnssec_key, "a flag is not looked at here");
        std::fs::write(stem.with_extension("private"), "").unwrap();
        assert_eq!(merged(&RawSettings::default(), stored()).0, [stem], "what is wrong is found wrong later");
    }

    fn new_key() -> skyhound_dns::dnssec::key::NewKey {
        ZoneKey::generate(&Name::parse("conf.test").unwrap(), hickory_proto::dnssec::Algorithm::ED25519).unwrap()
    }
}
