//! What a SkyDNS would read: its environment variables, and the settings that it keeps in etcd under
//! `<prefix>/config`. Owns their spelling. Does not own what the settings mean ([`crate::config`]).
//!
//! In SkyDNS `config` wins over flags. Here it is the last to be asked, after flags, `SKYHOUND_…`, the file and
//! the variables: it speaks to every daemon of the cluster, and what was said to this one was meant for this one.

use crate::config::Typed;
use serde::Deserialize;

/// The key below the prefix.
pub const CONFIG: &str = "config";

/// The fields that mean something here. The others (`dnssec`, `round_robin`, `read_timeout`, `scache`, `rcache`,
/// `rcache_ttl`, `systemd`, `path-prefix`) are about caches and sockets that we have not, or not so.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Config {
    dns_addr: Option<String>,
    domain: Option<String>,
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
                "no_rec":true,"round_robin":true,"hostmaster":"","read_timeout":2000000000,"dnssec":"x"}"#,
        )
        .unwrap();
        assert_eq!((typed.dns_root[0].as_str(), typed.ttl, typed.min_ttl), ("conf.test", Some(60), None));
        assert_eq!((typed.no_rec, typed.hostmaster, typed.nameserver.len()), (Some(true), None, 1));
        assert!(config(b"1").is_err() && config(b"{\"ttl\":-1}").is_err());
    }
}
