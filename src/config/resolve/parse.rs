//! Conversion of single values, with the error about an invalid one.

use super::{ConfigError, invalid};
use skyhound_dns::network::Network;
use skyhound_model::{Label, Name};
use std::net::{SocketAddr, ToSocketAddrs};
use std::ops::RangeInclusive;
use std::time::Duration;

pub(super) fn name(setting: &'static str, text: &str) -> Result<Name, ConfigError> {
    Name::parse(text).map_err(|e| invalid(setting, format!("{text:?} {e}")))
}

pub(super) fn networks(setting: &'static str, given: &[String]) -> Result<Vec<Network>, ConfigError> {
    given.iter().map(|net| net.parse()).collect::<Result<_, _>>().map_err(|e| invalid(setting, e))
}

/// Parses socket addresses; `:8053` means every IPv4 address, and a name is resolved by the system.
pub(super) fn addresses(setting: &'static str, given: &[String]) -> Result<Vec<SocketAddr>, ConfigError> {
    let mut all = Vec::new();
    for text in given {
        let full = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.clone() };
        let addrs = full.to_socket_addrs().map_err(|e| {
            invalid(
                setting,
                format!("{text:?} is no address such as 127.0.0.1:8053, [::1]:8053 or localhost:8053 ({e})"),
            )
        })?;
        all.extend(addrs);
    }
    Ok(all)
}

pub(super) fn seconds_in(
    setting: &'static str,
    seconds: u32,
    range: RangeInclusive<u32>,
) -> Result<Duration, ConfigError> {
    if range.contains(&seconds) {
        return Ok(Duration::from_secs(seconds.into()));
    }
    let (from, to) = range.into_inner();
    Err(invalid(setting, format!("{seconds} is not between {from} and {to} seconds")))
}

/// Validates a log filter. A word that is no level would be taken for the name of a module, and nothing would be
/// logged.
pub(super) fn log_level(text: &str) -> Result<String, ConfigError> {
    for directive in text.split(',') {
        let level = directive.rsplit('=').next().unwrap_or_default();
        // An empty word would count as `error`.
        if level.is_empty() || level.parse::<tracing::level_filters::LevelFilter>().is_err() {
            let levels = "error, warn, info, debug, trace or off, as in info,skyhound_core::registry=debug";
            return Err(invalid("log-level", format!("{directive:?} has no level: {levels}")));
        }
    }
    Ok(text.to_owned())
}

pub(super) fn category(text: &str) -> Result<String, ConfigError> {
    for label in text.split([',', '.']) {
        Label::registrable(label).map_err(|e| invalid("default-category", format!("{text:?} {e}")))?;
    }
    Ok(text.to_owned())
}
