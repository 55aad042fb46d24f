//! Precedence between two sources of settings, and the environment variables with former names.
//!
//! Owns: which of two values of one setting counts. Does not own: the order of the sources, which
//! [`crate::cli::serve`] knows.

use super::{ConfigError, RawSettings};

/// A setting that may have no value: `None`, or an empty list.
trait Setting {
    /// Returns this value, or `fallback` if there is none.
    fn or(self, fallback: Self) -> Self;
}

impl<T> Setting for Option<T> {
    fn or(self, fallback: Self) -> Self {
        Option::or(self, fallback)
    }
}

impl<T> Setting for Vec<T> {
    fn or(self, fallback: Self) -> Self {
        if self.is_empty() { fallback } else { self }
    }
}

/// Merges two [`RawSettings`] field by field. A field that is missing here is a compile error.
macro_rules! merge {
    ($first:ident, $fallback:ident: $($field:ident)*) => {
        RawSettings { $($field: Setting::or($first.$field, $fallback.$field),)* }
    };
}

impl RawSettings {
    /// Returns these settings, completed by those of `fallback` that have no value here.
    #[must_use]
    pub fn or(self, fallback: Self) -> Self {
        merge!(self, fallback:
            listen dns_listen dns_tls_listen dns_https_listen
            enable_tls tls_cert_file tls_key_file tls_client_ca
            seaport_listen seaport_key seaport_heartbeat seaport_peer seaport_advertise
            dns_root nameserver forward_allow dns_allow dns_deny dns_rate dns_rate_exempt no_rec ndots
            local hostmaster ttl min_ttl srv_weights addresses dnssec_key zone
            default_category timeout max_persistent
            data_dir in_memory key_prefix hound_dog_namespace snapshot_file
            etcd_api etcd_cacert etcd_cert etcd_key etcd_username etcd_password
            server_name server_address
            healthcheck_url healthcheck_cacert healthcheck_interval healthcheck_rise healthcheck_fall
            on_stop stop_deadline log_level log_format
        )
    }

    /// Completes these settings by environment variables with former names. `var` reads a variable.
    ///
    /// # Errors
    /// [`ConfigError::Setting`] if such a variable has an invalid value.
    pub fn or_former_environment(self, var: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let max_persistent = var("SKYHOUND_LASTING_MAX").map(|text| text.parse().map_err(|_| text)).transpose();
        let max_persistent = max_persistent.map_err(|text| ConfigError::Setting {
            setting: "max-persistent",
            problem: format!("SKYHOUND_LASTING_MAX is {text:?}; give a number"),
        })?;
        let snapshot_file = var("SKYHOUND_LAST_KNOWN").map(Into::into);
        Ok(self.or(Self { max_persistent, snapshot_file, ..Self::default() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn variables_with_former_names_count_last() {
        let env = |name: &str| match name {
            "SKYHOUND_LASTING_MAX" => Some("5".into()),
            "SKYHOUND_LAST_KNOWN" => Some("off".into()),
            _ => None,
        };
        let raw = RawSettings { max_persistent: Some(7), ..RawSettings::default() };
        let raw = raw.or_former_environment(env).unwrap();
        assert_eq!((raw.max_persistent, raw.snapshot_file.as_deref()), (Some(7), Some(Path::new("off"))));
        let error = RawSettings::default().or_former_environment(|_| Some("many".into())).unwrap_err().to_string();
        assert_eq!(error, "--max-persistent: SKYHOUND_LASTING_MAX is \"many\"; give a number");
    }
}
