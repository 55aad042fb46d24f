//! The settings of a SkyDNS: its environment variables, and the settings that it stores in etcd under
//! `<prefix>/config`.
//!
//! Owns: their names and their format. Does not own: the meaning of the settings ([`crate::config`]).
//!
//! In SkyDNS `config` overrides flags. Here it is the last source, after flags, `SKYHOUND_…`, the file and the
//! variables: it applies to every daemon of the cluster, and a setting that was given to this daemon was meant for
//! this daemon.

use crate::config::{DEFAULT_DNS_ROOT, RawSettings};
use serde::Deserialize;
use skyhound_dns::dnssec::key::{KeyError, ZoneKey};
use skyhound_model::Name;
use std::io::ErrorKind::NotFound;

/// The key below the prefix.
pub const CONFIG: &str = "config";

/// The fields that are used here. The others (`round_robin`, `read_timeout`, `scache`, `rcache`, `rcache_ttl`,
/// `systemd`, `path-prefix`) configure caches and sockets that this daemon does not have, or has in another form.
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

/// Parses the settings under `<prefix>/config`. An empty text and a 0 count as missing, because SkyDNS writes fields
/// that are not set.
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

/// Completes `raw` by `stored`. A stored DNSSEC key that cannot be meant for this daemon is ignored and reported to
/// `on_ignored_key`: its files exist only on the machine of the SkyDNS, and a flag may have selected other zones. A key
/// that exists here and is invalid stays, and is an error as with the flag: the zone would be unsigned, and bogus to
/// validators that have its DS.
pub fn merged(raw: &RawSettings, stored: RawSettings, on_ignored_key: impl FnOnce(&str)) -> RawSettings {
    let mut merged = raw.clone().or(stored);
    if raw.dnssec_key.is_empty()
        && let Some(problem) = unusable_key(&merged)
    {
        on_ignored_key(&problem);
        merged.dnssec_key.clear();
    }
    merged
}

/// Returns the reason for which the key cannot be meant for a daemon with these settings, if there is one.
fn unusable_key(raw: &RawSettings) -> Option<String> {
    let path = raw.dnssec_key.first()?;
    match ZoneKey::load(path) {
        Err(KeyError::Unreadable { path, error }) if error.kind() == NotFound => {
            Some(format!("{} does not exist", path.display()))
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

/// Reads SkyDNS's environment variables. Those of etcd are ignored if `raw` selects a store. `var` reads a variable.
pub fn environment(raw: &RawSettings, var: impl Fn(&str) -> Option<String>) -> Result<RawSettings, String> {
    let var = |name| var(name).filter(|value| !value.is_empty());
    let list = |name| var(name).map_or_else(Vec::new, |value| value.split(',').map(|v| v.trim().to_owned()).collect());
    let ndots =
        var("SKYDNS_NDOTS").map(|value| value.parse().map_err(|_| format!("SKYDNS_NDOTS is {value:?}; give a number")));
    let dns = RawSettings {
        dns_listen: list("SKYDNS_ADDR"),
        dns_root: list("SKYDNS_DOMAIN"),
        nameserver: list("SKYDNS_NAMESERVERS"),
        key_prefix: var("SKYDNS_PATH_PREFIX"),
        ndots: ndots.transpose()?,
        ..RawSettings::default()
    };
    // A setting that selects a store excludes the etcd of other programs on this machine.
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
        let in_memory = RawSettings { in_memory: Some(true), ..RawSettings::default() };
        let raw = environment(&in_memory, env).unwrap();
        assert!(raw.etcd_api.is_empty() && raw.etcd_username.is_none() && !raw.dns_root.is_empty());
        assert!(environment(&in_memory, |name| (name == "SKYDNS_NDOTS").then(|| "two".into())).is_err());
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
        assert!(keys.is_empty() && why == "/nowhere/K.key does not exist", "{why}");
        assert_eq!(merged(&elsewhere(), stored()).0, elsewhere().dnssec_key, "a key of a flag is not checked here");
        std::fs::write(stem.with_extension("private"), "").unwrap();
        assert_eq!(merged(&RawSettings::default(), stored()).0, [stem], "an invalid key is rejected later");
    }

    fn new_key() -> skyhound_dns::dnssec::key::NewKey {
        ZoneKey::generate(&Name::parse("conf.test").unwrap(), hickory_proto::dnssec::Algorithm::ED25519).unwrap()
    }
}
