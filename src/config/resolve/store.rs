//! The settings of the store: embedded or etcd, the snapshot file, the prefixes of keys.

use super::{ConfigError, DEFAULT_KEY_PREFIX, RawSettings, invalid, reject_given};
use crate::config::StoreSettings;
use skyhound_core::catalog::DEFAULT_MIRROR_NAMESPACE;
use skyhound_model::key::Layout;
use skyhound_store::etcd::EtcdSettings;
use std::path::PathBuf;

impl RawSettings {
    pub(super) fn store(self) -> Result<StoreSettings, ConfigError> {
        if self.etcd_api.is_empty() {
            return self.embedded_store();
        }
        for (setting, is_given) in [("in-memory", self.in_memory == Some(true)), ("data-dir", self.data_dir.is_some())]
        {
            if is_given {
                let problem = "selects the embedded store, and --etcd-api selects etcd: give one of them";
                return Err(invalid(setting, problem));
            }
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

    fn embedded_store(self) -> Result<StoreSettings, ConfigError> {
        let given = [
            ("etcd-cacert", self.etcd_cacert.is_some()),
            ("etcd-cert", self.etcd_cert.is_some()),
            ("etcd-key", self.etcd_key.is_some()),
            ("etcd-username", self.etcd_username.is_some()),
            ("etcd-password", self.etcd_password.is_some()),
        ];
        reject_given(&given, "--etcd-api URL")?;
        match (self.in_memory, self.data_dir) {
            (Some(true), _) | (_, None) => Ok(StoreSettings::Memory),
            (_, Some(dir)) => Ok(StoreSettings::Disk(dir)),
        }
    }

    /// Returns the snapshot file. By default it is a file for each etcd and prefix: several daemons of one user may
    /// follow different ones.
    pub(super) fn snapshot_file(&self) -> Option<PathBuf> {
        if self.etcd_api.is_empty() {
            return None;
        }
        match &self.snapshot_file {
            Some(off) if off.as_os_str() == "off" => None,
            Some(file) => Some(file.clone()),
            None => {
                let source: Vec<_> = self.etcd_api.iter().chain(&self.key_prefix).collect();
                let name = format!("snapshot-{source:?}");
                let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
                // Without a home directory there is no snapshot file: it is a default, and no error.
                state_dir().ok().map(|dir| dir.join(name.chars().map(plain).take(200).collect::<String>()))
            }
        }
    }

    /// Returns the prefix of the keys of hound-dog's peers. It must not overlap with `--key-prefix`: two readers of one
    /// key would make two entries of it.
    pub(super) fn hound_dog_namespace(&self) -> Result<Option<String>, ConfigError> {
        let normalized = |text: &str| Layout::new(text).prefix().to_owned();
        let namespace = self.hound_dog_namespace.as_deref().unwrap_or(DEFAULT_MIRROR_NAMESPACE);
        if namespace == "off" {
            return Ok(None);
        }
        let prefix = normalized(namespace);
        let key_prefix = normalized(self.key_prefix.as_deref().unwrap_or(DEFAULT_KEY_PREFIX));
        if prefix == "/" || prefix.starts_with(&key_prefix) && namespace.starts_with('/') {
            let problem = format!("{namespace:?} overlaps with --key-prefix {key_prefix}; give another prefix");
            return Err(invalid("hound-dog-namespace", problem));
        }
        Ok(Some(namespace.trim_end_matches('/').to_owned()))
    }
}

/// Returns the default directory of the embedded store and of snapshots.
pub(super) fn state_dir() -> Result<PathBuf, ConfigError> {
    use etcetera::BaseStrategy;
    let base = etcetera::choose_base_strategy()
        .map_err(|_| invalid("data-dir", "is required: there is no home directory for the embedded store"))?;
    Ok(base.state_dir().unwrap_or_else(|| base.data_dir()).join("skyhound"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_invalid, memory};
    use super::*;

    fn etcd() -> RawSettings {
        RawSettings { etcd_api: vec!["http://127.0.0.1:2379".to_owned()], ..RawSettings::default() }
    }

    #[test]
    fn etcd_replaces_the_embedded_store() {
        let StoreSettings::Etcd(settings) = etcd().resolve().unwrap().store else { panic!("not etcd") };
        assert_eq!(settings.endpoints, ["http://127.0.0.1:2379"]);
    }

    #[test]
    fn settings_of_the_other_store_are_rejected() {
        assert_invalid(vec![
            (RawSettings { etcd_key: Some("k".into()), ..memory() }, "--etcd-key: has no effect without --etcd-api"),
            (RawSettings { in_memory: Some(true), ..etcd() }, "--in-memory: selects the embedded store"),
            (RawSettings { data_dir: Some("d".into()), ..etcd() }, "--data-dir: selects the embedded store"),
        ]);
    }
}
