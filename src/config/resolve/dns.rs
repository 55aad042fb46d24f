//! The settings of DNS.

use super::parse::{addresses, name, networks};
use super::{ConfigError, RawSettings, invalid};
use skyhound_dns::DnsSettings;
use skyhound_dns::dnssec::key::ZoneKey;
use skyhound_dns::settings::parse_nameserver;
use skyhound_dns::static_zones::StaticZones;
use skyhound_model::Name;
use std::net::SocketAddr;
use std::sync::Arc;

impl RawSettings {
    pub(super) fn dns(&self) -> Result<DnsSettings, ConfigError> {
        let zones = self.dns_root.iter().map(|zone| name("dns-root", zone)).collect::<Result<Vec<_>, _>>()?;
        let mut dns = DnsSettings::new(zones);
        dns.server_id = rustix::system::uname().nodename().to_string_lossy().into_owned();
        dns.ttl_s = self.ttl.unwrap_or(dns.ttl_s);
        dns.leased_ttl_s = self.min_ttl.unwrap_or(dns.leased_ttl_s);
        dns.local = self.local.as_deref().map(|local| name("local", local)).transpose()?;
        let hostmaster = self.hostmaster.as_ref().map(|mail| mail.replacen('@', ".", 1));
        dns.hostmaster = hostmaster.map(|mail| name("hostmaster", &mail)).transpose()?;
        if let Some(rule) = &self.srv_weights {
            dns.srv_weights = rule.parse().map_err(|e| invalid("srv-weights", e))?;
        }
        if let Some(rule) = &self.addresses {
            dns.addresses = rule.parse().map_err(|e| invalid("addresses", e))?;
        }
        dns.keys = self.dnssec_keys(&dns.zones)?;
        let zones = self.zone.iter().map(|zone| zone.parse()).collect::<Result<Vec<_>, _>>();
        let zones = zones.map_err(|e| invalid("zone", e))?;
        dns.static_zones = StaticZones::load(&zones, &dns.zones).map_err(|e| invalid("zone", e))?;
        self.forward(&mut dns)?;
        self.limits(&mut dns)?;
        Ok(dns)
    }

    pub(super) fn dns_listen(&self) -> Result<Vec<SocketAddr>, ConfigError> {
        match self.dns_listen.as_slice() {
            [off] if off == "off" => Ok(Vec::new()),
            given => addresses("dns-listen", given),
        }
    }

    /// Sets the upstream servers, and the clients for which they are queried.
    fn forward(&self, dns: &mut DnsSettings) -> Result<(), ConfigError> {
        let forward = &mut dns.forward;
        forward.disabled = self.no_rec.unwrap_or(false);
        forward.ndots = self.ndots.unwrap_or(forward.ndots);
        for server in &self.nameserver {
            forward.servers.push(parse_nameserver(server).map_err(|e| invalid("nameserver", e))?);
        }
        if !self.forward_allow.is_empty() {
            forward.allow = networks("forward-allow", &self.forward_allow)?;
        }
        Ok(())
    }

    /// Sets the access list and the rate limit.
    fn limits(&self, dns: &mut DnsSettings) -> Result<(), ConfigError> {
        dns.access.allow = networks("dns-allow", &self.dns_allow)?;
        dns.access.deny = networks("dns-deny", &self.dns_deny)?;
        dns.rate.per_second = self.dns_rate.unwrap_or(0);
        if dns.rate.per_second > 0 && cfg!(not(target_os = "linux")) {
            return Err(invalid("dns-rate", "is supported on Linux only"));
        }
        match self.dns_rate_exempt.as_slice() {
            [] => {}
            [none] if none == "none" => dns.rate.exempt.clear(),
            given => dns.rate.exempt = networks("dns-rate-exempt", given)?,
        }
        Ok(())
    }

    /// Loads the keys, each for one of the zones. A key for another zone is a mistake: the zone that it should sign
    /// would be bogus or insecure, and this daemon would not notice.
    fn dnssec_keys(&self, zones: &[Name]) -> Result<Vec<Arc<ZoneKey>>, ConfigError> {
        let mut keys: Vec<Arc<ZoneKey>> = Vec::new();
        for path in &self.dnssec_key {
            let key = ZoneKey::load(path).map_err(|e| invalid("dnssec-key", e))?;
            if !zones.contains(key.zone()) {
                let problem = format!("{} is for {}, which is no --dns-root", path.display(), key.zone());
                return Err(invalid("dnssec-key", problem));
            }
            if !keys.iter().any(|loaded| **loaded == key) {
                keys.push(Arc::new(key));
            }
        }
        Ok(keys)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_invalid, memory};
    use super::*;
    use skyhound_dns::limit::RateSettings;

    #[test]
    fn limits_are_off_by_default() {
        let dns = memory().resolve().unwrap().dns;
        assert!(dns.access.is_open() && dns.rate == RateSettings::default());
        let raw = RawSettings { dns_rate: Some(5), dns_rate_exempt: vec!["none".into()], ..memory() };
        assert_eq!(raw.resolve().unwrap().dns.rate, RateSettings { per_second: 5, exempt: vec![] });
    }

    #[test]
    fn invalid_names_and_networks_are_rejected() {
        assert_invalid(vec![
            (RawSettings { dns_root: vec!["a..b".into()], ..memory() }, "--dns-root: \"a..b\" has an empty label"),
            (RawSettings { dns_deny: vec!["10/8".into()], ..memory() }, "--dns-deny: \"10/8\" is neither a network"),
        ]);
    }

    #[test]
    fn dns_can_be_off() {
        let settings = RawSettings { dns_listen: vec!["off".into()], ..memory() }.resolve().unwrap();
        assert!(settings.dns_listen.is_empty());
    }
}
