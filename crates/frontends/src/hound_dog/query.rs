//! `service=engine&ip=10.0.0.5&port=3000&monitor=api,web` → [`RegisterRequest`].

use super::FRONTEND;
use crate::form::Form;
use skyhound_model::Registration;
use skyhound_model::instance::InvalidParameter;
use skyhound_net::route::excerpt;

/// The most services that one socket monitors.
pub const MONITOR_MAX: usize = 256;
/// The longest name of a service, in bytes: what DNS allows a whole name.
pub const SERVICE_MAX: usize = 255;

/// What a registering socket asks for.
#[derive(Debug)]
pub struct RegisterRequest {
    /// The instance.
    pub registration: Registration,
    /// Whom it listens to, besides its own service.
    pub monitor: Vec<String>,
}

/// What `/etcd/register` is asked.
pub fn parse_register(query: &str) -> Result<RegisterRequest, InvalidParameter> {
    let mut params = Form::read(query, &["service", "ip", "port", "monitor"], |_, _| Ok(()))?;
    let mut need = |parameter, what| params.text(parameter).ok_or_else(|| InvalidParameter::new(parameter, what));
    let service = need("service", "is missing; say which service this process offers")?;
    let host = need("ip", "is missing; give the address or the name that the service is reached by")?;
    let port = params.number("port", &u16::MAX)?.ok_or_else(|| {
        InvalidParameter::new("port", "is missing; give the port that the service listens on, 1 to 65535")
    })?;
    let monitor = params.text("monitor").map_or(Ok(Vec::new()), |list| parse_services("monitor", list.split(',')))?;
    let registration = Registration { service, host, port, dialect: FRONTEND, ..Registration::default() };
    Ok(RegisterRequest { registration, monitor })
}

/// What `/etcd/monitor` is asked.
pub fn parse_monitor(query: &str) -> Result<Vec<String>, InvalidParameter> {
    let mut params = Form::read(query, &["monitor"], |_, _| Ok(()))?;
    let list = params.text("monitor");
    let list =
        list.ok_or_else(|| InvalidParameter::new("monitor", "is missing; name the services to listen to, as in a,b"))?;
    parse_services("monitor", list.split(','))
}

/// Names of services, each once whatever its case. hound-dog's peers name theirs as they like, so that only what no
/// key can hold is refused.
pub fn parse_services<'s>(
    parameter: &'static str,
    names: impl IntoIterator<Item = &'s str>,
) -> Result<Vec<String>, InvalidParameter> {
    let mut all: Vec<String> = Vec::new();
    for name in names {
        if name.is_empty() {
            return Err(InvalidParameter::new(parameter, "has an empty name"));
        }
        if name.len() > SERVICE_MAX {
            let problem = format!("has a name of {} bytes, and {SERVICE_MAX} is the most", name.len());
            return Err(InvalidParameter::new(parameter, problem));
        }
        if let Some(odd) = name.chars().find(|c| *c == '/' || c.is_control()) {
            return Err(InvalidParameter::new(
                parameter,
                format!("has {odd:?} in {:?}; no service has", excerpt(name)),
            ));
        }
        if !all.iter().any(|other| other.eq_ignore_ascii_case(name)) {
            all.push(name.to_owned());
        }
        if all.len() > MONITOR_MAX {
            return Err(InvalidParameter::new(
                parameter,
                format!("has more than {MONITOR_MAX} names, and that is the most"),
            ));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_queries_are_parsed() {
        let request = parse_register("service=engine&ip=10.0.0.5&port=3000&monitor=api,web,API&x=y").unwrap();
        let registration = request.registration;
        assert_eq!(
            (registration.service.as_str(), registration.host.as_str(), registration.port),
            ("engine", "10.0.0.5", 3000)
        );
        assert_eq!(request.monitor, ["api", "web"]);
        assert!(parse_register("service=engine&ip=10.0.0.5&port=3000&monitor=").unwrap().monitor.is_empty());
        assert_eq!(parse_monitor("monitor=my.service%20x").unwrap(), ["my.service x"]);
    }

    #[test]
    fn errors_name_the_parameter() {
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
            let error = parse_monitor(query).unwrap_err().to_string();
            assert!(error.starts_with(sentence), "{error}");
        }
    }
}
