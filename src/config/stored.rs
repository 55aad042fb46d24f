//! The settings that a SkyDNS keeps in etcd, joined to those of this daemon.
//!
//! Owns: reading the key, and that an etcd that does not respond keeps no daemon from starting. Does not own: what the
//! value means ([`super::skydns`]).

use super::{ConfigError, Settings, StoreSettings, skydns};
use skyhound_store::Store;
use std::sync::Arc;
use std::time::Duration;
use tracing::{info, warn};

/// How long start-up waits for the settings that a SkyDNS keeps in etcd.
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
        // Not fatal: an etcd that is away must not keep a daemon from starting that has all its settings.
        warn!(key, "etcd could not be asked for SkyDNS's settings; start again when it is there if it holds any");
        return Ok(settings.clone());
    };
    let Some(item) = listing.items.iter().find(|item| item.key.as_bytes() == key.as_bytes()) else {
        return Ok(settings.clone());
    };
    let stored = skydns::config(&item.value).map_err(|problem| ConfigError::SkyDns { place: key.clone(), problem })?;
    info!(key, "settings of a SkyDNS are read");
    let pass_over = |problem: &str| {
        warn!(key, problem, "its DNSSEC key is passed over and the zone not signed; --dnssec-key FILE names another");
    };
    // What was typed is right by itself: it was settled before.
    let wrong = |error: ConfigError| ConfigError::SkyDns { place: key.clone(), problem: error.to_string() };
    skydns::merged(&settings.raw, stored, pass_over).resolve().map_err(wrong)
}
