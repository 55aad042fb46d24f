//! The settings of the seaport hub.

use super::parse::{addresses, seconds_in};
use super::{ConfigError, RawSettings, invalid, reject_given};
use skyhound_frontends::seaport::settings::Advertise;
use skyhound_frontends::seaport::{HEARTBEAT_S, SeaportSettings};
use skyhound_model::{Host, Label, address};
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// The range of `--seaport-heartbeat`, in seconds.
const HEARTBEAT_RANGE: RangeInclusive<u32> = 1..=3600;

impl RawSettings {
    pub(super) fn seaport(&self) -> Result<Option<SeaportSettings>, ConfigError> {
        let heartbeat = self.seaport_heartbeat.unwrap_or(HEARTBEAT_S);
        let heartbeat = seconds_in("seaport-heartbeat", heartbeat, HEARTBEAT_RANGE)?;
        if self.seaport_listen.is_empty() {
            let given = [
                ("seaport-key", !self.seaport_key.is_empty()),
                ("seaport-peer", !self.seaport_peer.is_empty()),
                ("seaport-advertise", self.seaport_advertise.is_some()),
            ];
            return reject_given(&given, "--seaport-listen ADDR").map(|()| None);
        }
        for hub in &self.seaport_peer {
            if address::host_and_port(hub).is_none() {
                return Err(invalid("seaport-peer", format!("{hub:?} is no HOST:PORT")));
            }
        }
        Ok(Some(SeaportSettings {
            listen: addresses("seaport-listen", &self.seaport_listen)?,
            keys: self.seaport_key.iter().map(PathBuf::from).collect(),
            heartbeat,
            peers: self.seaport_peer.clone(),
            advertise: self.seaport_advertise.as_deref().map_or(Ok(Advertise::Listening), advertise)?,
        }))
    }
}

/// Parses `off`, HOST or HOST:PORT.
fn advertise(text: &str) -> Result<Advertise, ConfigError> {
    if text == "off" {
        return Ok(Advertise::Off);
    }
    let (host, port) = match address::host_and_port(text) {
        Some((host, port)) => (host, Some(port)),
        None => (text.trim_start_matches('[').trim_end_matches(']'), None),
    };
    match Host::parse(host) {
        Ok(Host::Addr(ip)) if ip.is_unspecified() => {
            Err(invalid("seaport-advertise", format!("{ip} is no address that clients can connect to")))
        }
        Ok(Host::Addr(_)) => Ok(Advertise::At(host.to_owned(), port)),
        Ok(Host::Name(name)) if name.labels().iter().all(|label| Label::registrable(&label.to_string()).is_ok()) => {
            Ok(Advertise::At(host.to_owned(), port))
        }
        _ => Err(invalid("seaport-advertise", format!("{text:?} is no HOST, no HOST:PORT and not off"))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_invalid, memory};
    use super::*;

    fn hub() -> RawSettings {
        RawSettings { seaport_listen: vec!["127.0.0.1:0".into()], ..memory() }
    }

    #[test]
    fn invalid_hub_settings_are_rejected() {
        let advertised = |text: &str| RawSettings { seaport_advertise: Some(text.into()), ..hub() };
        assert_invalid(vec![
            (
                RawSettings { seaport_key: vec!["k".into()], ..memory() },
                "--seaport-key: has no effect without --seaport-listen",
            ),
            (RawSettings { seaport_peer: vec!["h:1".into()], ..memory() }, "--seaport-peer: has no effect without"),
            (RawSettings { seaport_peer: vec!["h".into()], ..hub() }, "--seaport-peer: \"h\" is no HOST:PORT"),
            (advertised("0.0.0.0"), "--seaport-advertise: 0.0.0.0 is no address that clients can connect to"),
            (advertised("a b"), "--seaport-advertise: \"a b\" is no HOST"),
            (
                RawSettings { seaport_heartbeat: Some(0), ..memory() },
                "--seaport-heartbeat: 0 is not between 1 and 3600",
            ),
        ]);
    }

    #[test]
    fn advertised_addresses_are_parsed() {
        let at = |text: &str| {
            RawSettings { seaport_advertise: Some(text.into()), ..hub() }.resolve().unwrap().seaport.unwrap().advertise
        };
        assert_eq!(hub().resolve().unwrap().seaport.unwrap().advertise, Advertise::Listening);
        assert_eq!(at("off"), Advertise::Off);
        for (text, host, port) in [
            ("hub.example", "hub.example", None),
            ("hub.example:9090", "hub.example", Some(9090)),
            ("10.0.0.1", "10.0.0.1", None),
            ("[2001:db8::1]:9090", "2001:db8::1", Some(9090)),
            ("[2001:db8::1]", "2001:db8::1", None),
            ("2001:db8::1", "2001:db8::1", None),
        ] {
            assert_eq!(at(text), Advertise::At(host.into(), port), "{text}");
        }
    }
}
