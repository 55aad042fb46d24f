//! `service=engine&ip=10.0.0.5&port=3000&monitor=api,web` → [`Asked`].

use super::DIALECT;
use crate::form::Form;
use skyhound_model::Registration;
use skyhound_model::instance::Invalid;
use skyhound_net::route::shown;

/// The most services that one socket monitors.
pub const MONITOR_MAX: usize = 256;
/// The longest name of a service, in bytes: what DNS allows a whole name.
pub const SERVICE_MAX: usize = 255;

/// What a registering socket asks for.
#[derive(Debug)]
pub struct Asked {
    /// The instance.
    pub registration: Registration,
    /// Whom it listens to, besides its own service.
    pub monitor: Vec<String>,
}

/// What `/etcd/register` is asked.
pub fn register(query: &str) -> Result<Asked, Invalid> {
    let mut said = Form::read(query, &["service", "ip", "port", "monitor"], |_, _| Ok(()))?;
    let mut need = |parameter, what| said.text(parameter).ok_or_else(|| Invalid::new(parameter, what));
    let service = need("service", "is missing; say which service this process offers")?;
    let host = need("ip", "is missing; give the address or the name that the service is reached by")?;
    let port = said
        .number("port", &u16::MAX)?
        .ok_or_else(|| Invalid::new("port", "is missing; give the port that the service listens on, 1 to 65535"))?;
    let monitor = said.text("monitor").map_or(Ok(Vec::new()), |list| services("monitor", list.split(',')))?;
    let registration = Registration { service, host, port, dialect: DIALECT, ..Registration::default() };
    Ok(Asked { registration, monitor })
}

/// What `/etcd/monitor` is asked.
pub fn monitor(query: &str) -> Result<Vec<String>, Invalid> {
    let mut said = Form::read(query, &["monitor"], |_, _| Ok(()))?;
    let list = said.text("monitor");
    let list = list.ok_or_else(|| Invalid::new("monitor", "is missing; name the services to listen to, as in a,b"))?;
    services("monitor", list.split(','))
}

/// Names of services, each once whatever its case. hound-dog's peers name theirs as they like, so that only what no
/// key can hold is refused.
pub fn services<'s>(parameter: &'static str, names: impl IntoIterator<Item = &'s str>) -> Result<Vec<String>, Invalid> {
    let mut all: Vec<String> = Vec::new();
    for name in names {
        if name.is_empty() {
            return Err(Invalid::new(parameter, "has an empty name"));
        }
        if name.len() > SERVICE_MAX {
            let problem = format!("has a name of {} bytes, and {SERVICE_MAX} is the most", name.len());
            return Err(Invalid::new(parameter, problem));
        }
        if let Some(odd) = name.chars().find(|c| *c == '/' || c.is_control()) {
            return Err(Invalid::new(parameter, format!("has {odd:?} in {:?}; no service has", shown(name))));
        }
        if !all.iter().any(|other| other.eq_ignore_ascii_case(name)) {
            all.push(name.to_owned());
        }
        if all.len() > MONITOR_MAX {
            return Err(Invalid::new(parameter, format!("has more than {MONITOR_MAX} names, and that is the most")));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_asked() {
        let asked = register("service=engine&ip=10.0.0.5&port=3000&monitor=api,web,API&x=y").unwrap();
        let said = asked.registration;
        assert_eq!((said.service.as_str(), said.host.as_str(), said.port), ("engine", "10.0.0.5", 3000));
        assert_eq!(asked.monitor, ["api", "web"]);
        assert!(register("service=engine&ip=10.0.0.5&port=3000&monitor=").unwrap().monitor.is_empty());
        assert_eq!(monitor("monitor=my.service%20x").unwrap(), ["my.service x"]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let many = format!("monitor={}", (0..=MONITOR_MAX).map(|n| n.to_string()).collect::<Vec<_>>().join(","));
        for (query, sentence) in [
            ("", "monitor is missing; name the services"),
            ("monitor=", "monitor is missing"),
            ("monitor=a,,b", "monitor has an empty name"),
            ("monitor=a%2Fb", "monitor has '/' in \"a/b\"; no service has"),
            ("monitor=a%00b", "monitor has '\\0' in"),
            ("monitor=a&monitor=b", "monitor is said twice"),
            ("monitor=%ff", "monitor is \"%ff\", and that is not UTF-8"),
            (&many, "monitor has more than 256 names"),
        ] {
            let error = monitor(query).unwrap_err().to_string();
            assert!(error.starts_with(sentence), "{error}");
        }
    }
}
