//! From raw settings to resolved settings.
//!
//! Owns: the defaults of the daemon as a whole, the validation, and the error about an invalid setting. A file for
//! each group of settings: `dns`, `seaport`, `sidecar`, `store`, `tls`; `parse` converts single values. Does not own:
//! the names of the settings ([`super::raw`]), nor the defaults of a part, which are defined beside it.

mod dns;
mod parse;
mod seaport;
mod sidecar;
mod store;
mod tls;

use super::{
    ConfigError, DEFAULT_CATEGORY, DEFAULT_DNS_LISTEN, DEFAULT_DNS_ROOT, DEFAULT_KEY_PREFIX, DEFAULT_LISTEN,
    DEFAULT_LOG_LEVEL, DEFAULT_STOP_DEADLINE, DEFAULT_TIMEOUT, LogFormat, OnStop, RawSettings, Settings, TIMEOUT_RANGE,
};
use parse::{addresses, category, log_level, seconds_in};
use skyhound_core::catalog::DEFAULT_MIRROR_NAMESPACE;
use skyhound_core::registry::MAX_PERSISTENT;
use skyhound_dns as dns_part;
use skyhound_frontends::seaport as seaport_part;
use skyhound_model::key::Layout;
use std::time::Duration;

/// Makes the error about one setting.
fn invalid(setting: &'static str, problem: impl std::fmt::Display) -> ConfigError {
    ConfigError::Setting { setting, problem: problem.to_string() }
}

/// Returns an error about the first setting that is given although it has no effect without `requirement`.
fn reject_given(settings: &[(&'static str, bool)], requirement: &str) -> Result<(), ConfigError> {
    match settings.iter().find(|(_, is_given)| *is_given) {
        Some((setting, _)) => Err(invalid(setting, format!("has no effect without {requirement}"))),
        None => Ok(()),
    }
}

impl RawSettings {
    /// Fills in every default: the effective settings, as they could be typed.
    ///
    /// # Errors
    /// [`ConfigError::Setting`] if the embedded store needs a directory and there is no home directory.
    pub fn effective(mut self) -> Result<Self, ConfigError> {
        let embedded = self.etcd_api.is_empty();
        if embedded && self.in_memory != Some(true) && self.data_dir.is_none() {
            self.data_dir = Some(store::state_dir()?);
        }
        Ok(self.or(Self {
            listen: vec![DEFAULT_LISTEN.into()],
            dns_listen: vec![DEFAULT_DNS_LISTEN.into()],
            seaport_heartbeat: Some(seaport_part::HEARTBEAT_S),
            dns_root: vec![DEFAULT_DNS_ROOT.into()],
            enable_tls: Some(false),
            no_rec: Some(false),
            dns_rate: Some(0),
            ndots: Some(dns_part::settings::NDOTS),
            ttl: Some(dns_part::settings::TTL_S),
            min_ttl: Some(dns_part::settings::LEASED_TTL_S),
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

    /// Validates every setting and converts it for its part.
    ///
    /// # Errors
    /// [`ConfigError::Setting`] about the first invalid setting.
    pub fn resolve(self) -> Result<Settings, ConfigError> {
        let as_given = Box::new(self.clone());
        let raw = self.effective()?;
        let dns = raw.dns()?;
        let stop_deadline = raw.stop_deadline.unwrap_or(DEFAULT_STOP_DEADLINE);
        Ok(Settings {
            listen: addresses("listen", &raw.listen)?,
            dns_listen: raw.dns_listen()?,
            dns_tls_listen: addresses("dns-tls-listen", &raw.dns_tls_listen)?,
            dns_https_listen: addresses("dns-https-listen", &raw.dns_https_listen)?,
            enable_tls: raw.enable_tls == Some(true),
            tls: raw.tls()?,
            seaport: raw.seaport()?,
            dns_root: dns.zones.first().cloned().unwrap_or_default(),
            dns,
            raw: as_given,
            default_category: category(raw.default_category.as_deref().unwrap_or(DEFAULT_CATEGORY))?,
            timeout: seconds_in("timeout", raw.timeout.unwrap_or(DEFAULT_TIMEOUT), TIMEOUT_RANGE)?,
            max_persistent: raw.max_persistent.unwrap_or(MAX_PERSISTENT),
            layout: Layout::new(raw.key_prefix.as_deref().unwrap_or(DEFAULT_KEY_PREFIX)),
            hound_dog_namespace: raw.hound_dog_namespace()?,
            sidecar: raw.sidecar()?,
            on_stop: raw.on_stop.unwrap_or_default(),
            stop_deadline: Duration::from_secs(stop_deadline.into()),
            log_level: log_level(raw.log_level.as_deref().unwrap_or(DEFAULT_LOG_LEVEL))?,
            log_format: raw.log_format.unwrap_or_default(),
            snapshot_file: raw.snapshot_file(),
            store: raw.store()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Settings that need no directory.
    pub(super) fn memory() -> RawSettings {
        RawSettings { in_memory: Some(true), ..RawSettings::default() }
    }

    /// Asserts the begin of the error that each of the settings gives.
    // In a vector: the settings are too large for an array on the stack.
    pub(super) fn assert_invalid(cases: Vec<(RawSettings, &str)>) {
        for (raw, expected) in cases {
            let error = raw.resolve().unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
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
    fn invalid_settings_are_rejected_by_name() {
        assert_invalid(vec![
            (RawSettings { listen: vec!["8053".into()], ..memory() }, "--listen: \"8053\" is no address"),
            (RawSettings { timeout: Some(1), ..memory() }, "--timeout: 1 is not between 2 and 86400 seconds"),
            (RawSettings { default_category: Some("a/b".into()), ..memory() }, "--default-category: \"a/b\" has '/'"),
            (RawSettings { log_level: Some("inof".into()), ..memory() }, "--log-level: \"inof\" has no level: error,"),
        ]);
    }
}
