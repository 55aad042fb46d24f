//! The settings of the application sidecar.

use super::{ConfigError, RawSettings, invalid, reject_given};
use crate::sidecar::{self, ProbeSettings, SidecarSettings};
use hyper::Uri;
use skyhound_model::address;

impl RawSettings {
    pub(super) fn sidecar(&self) -> Result<Option<SidecarSettings>, ConfigError> {
        let Some(name) = self.server_name.clone() else {
            let given = [
                ("server-address", self.server_address.is_some()),
                ("healthcheck-url", self.healthcheck_url.is_some()),
                ("healthcheck-cacert", self.healthcheck_cacert.is_some()),
                ("healthcheck-interval", self.healthcheck_interval.is_some()),
                ("healthcheck-rise", self.healthcheck_rise.is_some()),
                ("healthcheck-fall", self.healthcheck_fall.is_some()),
            ];
            return reject_given(&given, "--server-name SERVICE").map(|()| None);
        };
        let Some(address) = &self.server_address else {
            return Err(invalid("server-name", "requires --server-address HOST:PORT"));
        };
        let (host, port) = address::host_and_port(address)
            .ok_or_else(|| invalid("server-address", format!("{address:?} is no HOST:PORT")))?;
        Ok(Some(SidecarSettings { name, host: host.to_owned(), port, probe: self.probe()? }))
    }

    /// Validates the settings of the probe, also those that have no effect for lack of a URL.
    fn probe(&self) -> Result<Option<ProbeSettings>, ConfigError> {
        let rise = probe_count("healthcheck-rise", self.healthcheck_rise)?;
        let fall = probe_count("healthcheck-fall", self.healthcheck_fall)?;
        let seconds = self.healthcheck_interval.unwrap_or(sidecar::INTERVAL_S);
        let interval = sidecar::probe_interval(seconds)
            .ok_or_else(|| invalid("healthcheck-interval", format!("is {seconds}; give seconds from 1 to a day")))?;
        let url = self.healthcheck_url.as_deref().map(probe_url).transpose()?;
        let is_https = self.healthcheck_url.as_ref().is_some_and(|url| url.starts_with("https:"));
        if !is_https {
            let given = [("healthcheck-cacert", self.healthcheck_cacert.is_some())];
            reject_given(&given, "--healthcheck-url https://…")?;
        }
        Ok(url.map(|url| ProbeSettings { url, cacert: self.healthcheck_cacert.clone(), interval, rise, fall }))
    }
}

fn probe_count(setting: &'static str, given: Option<u32>) -> Result<u32, ConfigError> {
    match given.unwrap_or(1) {
        0 => Err(invalid(setting, "is 0; give a number of probes from 1")),
        number => Ok(number),
    }
}

fn probe_url(text: &str) -> Result<Uri, ConfigError> {
    match text.parse::<Uri>() {
        Ok(url)
            if matches!(url.scheme_str(), Some("http" | "https"))
                && url.host().is_some_and(|host| !host.is_empty()) =>
        {
            Ok(url)
        }
        _ => Err(invalid("healthcheck-url", format!("{text:?} is no URL such as http://127.0.0.1:9090/health"))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_invalid, memory};
    use super::*;

    fn probed(url: &str) -> RawSettings {
        RawSettings {
            server_name: Some("foo".into()),
            server_address: Some("127.0.0.1:9090".into()),
            healthcheck_url: Some(url.into()),
            ..memory()
        }
    }

    #[test]
    fn an_application_has_a_name_and_an_address() {
        assert_invalid(vec![
            (RawSettings { server_address: Some("h:1".into()), ..memory() }, "--server-address: has no effect without"),
            (RawSettings { server_name: Some("a".into()), ..memory() }, "--server-name: requires --server-address"),
        ]);
    }

    #[test]
    fn probe_settings_are_validated() {
        let sidecar = probed("http://127.0.0.1:9090/x").resolve().unwrap().sidecar.unwrap();
        assert_eq!((sidecar.host.as_str(), sidecar.port, sidecar.probe.unwrap().fall), ("127.0.0.1", 9090, 1));
        assert!(probed("https://app.example/x").resolve().is_ok());
        let cacert = |url: &str| RawSettings { healthcheck_cacert: Some("ca.pem".into()), ..probed(url) };
        assert!(cacert("https://127.0.0.1/").resolve().is_ok());
        assert_invalid(vec![
            (cacert("http://127.0.0.1/"), "--healthcheck-cacert: has no effect without --healthcheck-url https:"),
            (
                RawSettings { healthcheck_interval: Some(0), ..probed("http://127.0.0.1/") },
                "--healthcheck-interval: is 0;",
            ),
        ]);
        for url in ["ftp://127.0.0.1/", "https://", "127.0.0.1:80", "/x", "http://", "http:// /"] {
            assert_invalid(vec![(probed(url), "--healthcheck-url: \"")]);
        }
    }
}
