//! The settings that a SkyDNS stored in etcd, merged with those of this daemon.
//!
//! Owns: reading the key, and the rule that an etcd that does not respond does not prevent the start. Does not own: the
//! format of the value ([`super::skydns`]).

use super::{ConfigError, Settings, StoreSettings, skydns};
use skyhound_store::Store;
use std::sync::Arc;
use std::time::Duration;
use tracing::{info, warn};

/// How long start-up waits for the settings that a SkyDNS stored in etcd.
pub const SKYDNS_CONFIG_TIMEOUT: Duration = Duration::from_secs(2);

/// Completes the settings: a setting that was not given takes the value that a SkyDNS stored in etcd, if there is one.
///
/// # Errors
/// [`ConfigError::SkyDns`] if the stored value is invalid, by itself or together with the settings that were given.
pub async fn with_skydns_settings(settings: &Settings, store: &Arc<dyn Store>) -> Result<Settings, ConfigError> {
    if !matches!(settings.store, StoreSettings::Etcd(_)) {
        return Ok(settings.clone());
    }
    let key = format!("{}{}", settings.layout.prefix(), skydns::CONFIG);
    let Ok(Ok(listing)) = tokio::time::timeout(SKYDNS_CONFIG_TIMEOUT, store.list(key.as_bytes())).await else {
        // Not fatal: an unavailable etcd must not prevent the start of a daemon that has all its settings.
        warn!(key, "could not read SkyDNS's settings from etcd; ignoring them until a restart");
        return Ok(settings.clone());
    };
    let Some(item) = listing.items.iter().find(|item| item.key.as_bytes() == key.as_bytes()) else {
        return Ok(settings.clone());
    };
    let stored = skydns::config(&item.value).map_err(|problem| ConfigError::SkyDns { place: key.clone(), problem })?;
    info!(key, "using the settings of a SkyDNS");
    let on_ignored_key = |problem: &str| {
        warn!(key, problem, "ignoring the DNSSEC key of a SkyDNS; the zone is not signed; give --dnssec-key FILE");
    };
    // The settings of this daemon are valid by themselves: they were resolved before.
    let invalid = |error: ConfigError| ConfigError::SkyDns { place: key.clone(), problem: error.to_string() };
    skydns::merged(&settings.raw, stored, on_ignored_key).resolve().map_err(invalid)
}
