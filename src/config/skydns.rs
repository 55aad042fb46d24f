//! What a SkyDNS would read: its environment variables, and the settings that it keeps in etcd under
//! `<prefix>/config`. Owns their spelling. Does not own what the settings mean ([`crate::config`]).
//!
//! In SkyDNS `config` wins over flags. Here it is the last to be asked, after flags, `SKYHOUND_…`, the file and
//! the variables: it speaks to every daemon of the cluster, and what was said to this one was meant for this one.

use crate::config::{DEFAULT_DNS_ROOT, Typed};
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
pub fn config(value: &[u8]) -> Result<Typed, String> {
    let config: Config = serde_json::from_slice(value).map_err(|e| e.to_string())?;
    let text = |text: Option<String>| text.filter(|text| !text.is_empty());
    Ok(Typed {
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
        ..Typed::default()
    })
}

/// What `typed` says, and where it is silent `stored`. `pass_over` hears of a key that cannot be meant for this daemon:
/// its files are on no other machine than the one that SkyDNS ran on, and a flag may have named other zones. What is
/// here and wrong is an error, as with the flag: the zone would be unsigned, and bogus to whoever has its DS.
pub fn joined(typed: &Typed, stored: Typed, pass_over: impl FnOnce(&str)) -> Typed {
    let mut joined = typed.clone().or(stored);
    if typed.dnssec_key.is_empty()
        && let Some(problem) = foreign_key(&joined)
    {
        pass_over(&problem);
        joined.dnssec_key.clear();
    }
    joined
}

/// Why the key cannot be meant for a daemon with these settings.
fn foreign_key(typed: &Typed) -> Option<String> {
    let path = typed.dnssec_key.first()?;
    match ZoneKey::load(path) {
        Err(KeyError::Unreadable { path, error }) if error.kind() == NotFound => {
            Some(format!("there is no {}", path.display()))
        }
        Ok(key) => {
            let default = [DEFAULT_DNS_ROOT.to_owned()];
            let zones = if typed.dns_root.is_empty() { &default[..] } else { &typed.dns_root };
            let is_ours = zones.iter().any(|zone| Name::parse(zone).is_ok_and(|zone| zone == *key.zone()));
            (!is_ours).then(|| format!("{} is for {}, which is no --dns-root", path.display(), key.zone()))
        }
        Err(_) => None,
    }
}

/// SkyDNS's environment, for what `typed` is silent about. `var` reads a variable.
pub fn environment(typed: &Typed, var: impl Fn(&str) -> Option<String>) -> Result<Typed, String> {
    let var = |name| var(name).filter(|value| !value.is_empty());
    let list = |name| var(name).map_or_else(Vec::new, |value| value.split(',').map(|v| v.trim().to_owned()).collect());
    let ndots =
        var("SKYDNS_NDOTS").map(|value| value.parse().map_err(|_| format!("SKYDNS_NDOTS is {value:?}, no number")));
    let dns = Typed {
        dns_listen: list("SKYDNS_ADDR"),
        dns_root: list("SKYDNS_DOMAIN"),
        nameserver: list("SKYDNS_NAMESERVERS"),
        key_prefix: var("SKYDNS_PATH_PREFIX"),
        ndots: ndots.transpose()?,
        ..Typed::default()
    };
    // Who said where entries are kept did not mean the etcd that other programs of this machine use.
    if typed.in_memory.is_some() || typed.data_dir.is_some() || !typed.etcd_api.is_empty() {
        return Ok(dns);
    }
    let etcd_api = list("ETCD_MACHINES");
    if etcd_api.is_empty() {
        return Ok(dns);
    }
    Ok(Typed {
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
    fn the_environment_of_a_skydns() {
        let typed = environment(&Typed::default(), env).unwrap();
        assert_eq!((typed.dns_listen[0].as_str(), typed.dns_root[0].as_str()), ("127.0.0.1:5354", "env.test."));
        assert_eq!((typed.nameserver.len(), typed.nameserver[1].as_str()), (2, "10.0.0.2:53"));
        assert_eq!((typed.ndots, typed.etcd_api.len()), (Some(1), 2));
        assert_eq!((typed.etcd_username.as_deref(), typed.etcd_cacert), (Some("sky"), None));
        let kept = Typed { in_memory: Some(true), ..Typed::default() };
        let typed = environment(&kept, env).unwrap();
        assert!(typed.etcd_api.is_empty() && typed.etcd_username.is_none() && !typed.dns_root.is_empty());
        assert!(environment(&kept, |name| (name == "SKYDNS_NDOTS").then(|| "two".into())).is_err());
    }

    #[test]
    fn the_config_of_a_skydns() {
        let typed = config(
            br#"{"dns_addr":"127.0.0.1:5354","domain":"conf.test","ttl":60,"min_ttl":0,"nameservers":["10.0.0.1:53"],
                "no_rec":true,"round_robin":true,"hostmaster":"","read_timeout":2000000000,"dnssec":"/etc/K"}"#,
        )
        .unwrap();
        assert_eq!((typed.dns_root[0].as_str(), typed.ttl, typed.min_ttl), ("conf.test", Some(60), None));
        assert_eq!((typed.no_rec, typed.hostmaster, typed.nameserver.len()), (Some(true), None, 1));
        assert_eq!(typed.dnssec_key, [std::path::Path::new("/etc/K")]);
        assert!(config(b"1").is_err() && config(b"{\"ttl\":-1}").is_err());
    }
    #[test]
    fn a_key_of_another_machine_or_zone_is_passed_over() {
        let (dir, made) = (tempfile::tempdir().unwrap(), new_key());
        let stem = dir.path().join("K");
        std::fs::write(stem.with_extension("key"), &made.public).unwrap();
        std::fs::write(stem.with_extension("private"), &made.private).unwrap();
        let stored =
            || Typed { dnssec_key: vec![stem.clone()], dns_root: vec!["conf.test.".into()], ..Typed::default() };
        let joined = |typed: &Typed, stored| {
            let mut why = String::new();
            let joined = joined(typed, stored, |problem| why = problem.to_owned());
            (joined.dnssec_key, why)
        };
        assert_eq!(joined(&Typed::default(), stored()), (vec![stem.clone()], String::new()));
        let (keys, why) = joined(&Typed { dns_root: vec!["flag.test".into()], ..Typed::default() }, stored());
        assert!(keys.is_empty() && why.ends_with("K is for conf.test., which is no --dns-root"), "{why}");
        let (keys, why) = joined(&Typed::default(), Typed { dns_root: Vec::new(), ..stored() });
        assert!(keys.is_empty() && why.ends_with("which is no --dns-root"), "{why}");
        let elsewhere = || Typed { dnssec_key: vec!["/nowhere/K".into()], ..Typed::default() };
        let (keys, why) = joined(&Typed::default(), elsewhere());
        assert!(keys.is_empty() && why == "there is no /nowhere/K.key", "{why}");
        assert_eq!(joined(&elsewhere(), stored()).0, elsewhere().dnssec_key, "a flag is not looked at here");
        std::fs::write(stem.with_extension("private"), "").unwrap();
        assert_eq!(joined(&Typed::default(), stored()).0, [stem], "what is wrong is found wrong later");
    }

    fn new_key() -> skyhound_dns::dnssec::key::NewKey {
        ZoneKey::generate(&Name::parse("conf.test").unwrap(), hickory_proto::dnssec::Algorithm::ED25519).unwrap()
    }
}
