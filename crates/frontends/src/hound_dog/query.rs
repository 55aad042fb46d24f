//! The parameters of hound-dog's websockets: `service=engine&ip=10.0.0.5&port=3000&monitor=api,web` →
//! [`RegisterRequest`].

use super::FRONTEND;
use crate::form::Form;
use skyhound_model::Registration;
use skyhound_model::instance::InvalidParameter;
use skyhound_net::route::excerpt;

/// Limit of the services that one socket monitors.
pub const MONITOR_MAX: usize = 256;
/// Limit of a service's name, in bytes: that of a whole name in DNS.
pub const SERVICE_MAX: usize = 255;

/// The request of a socket that registers.
#[derive(Debug)]
pub struct RegisterRequest {
    /// The registration.
    pub registration: Registration,
    /// The services to subscribe to, besides the registered one.
    pub monitor: Vec<String>,
}

/// Parses the query of `/etcd/register`.
pub fn parse_register(query: &str) -> Result<RegisterRequest, InvalidParameter> {
    let mut params = Form::read(query, &["service", "ip", "port", "monitor"], |_, _| Ok(()))?;
    let mut required =
        |parameter, missing| params.text(parameter).ok_or_else(|| InvalidParameter::new(parameter, missing));
    let service = required("service", "is missing; name the service that this process offers")?;
    let host = required("ip", "is missing; give the address or the name of the host")?;
    let port = params.number("port", &u16::MAX)?.ok_or_else(|| {
        InvalidParameter::new("port", "is missing; give the port that the service listens on, 1 to 65535")
    })?;
    let monitor = params.text("monitor").map_or(Ok(Vec::new()), |list| parse_services("monitor", list.split(',')))?;
    let registration = Registration { service, host, port, frontend: FRONTEND, ..Registration::default() };
    Ok(RegisterRequest { registration, monitor })
}

/// Parses the query of `/etcd/monitor`.
pub fn parse_monitor(query: &str) -> Result<Vec<String>, InvalidParameter> {
    let mut params = Form::read(query, &["monitor"], |_, _| Ok(()))?;
    let list = params.text("monitor");
    let list =
        list.ok_or_else(|| InvalidParameter::new("monitor", "is missing; name the services to monitor, as in a,b"))?;
    parse_services("monitor", list.split(','))
}

/// Parses names of services, each once regardless of its case. hound-dog's peers choose any names, so that only those
/// that no key can hold are rejected.
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
            let problem = format!("has a name of {} bytes; the limit is {SERVICE_MAX}", name.len());
            return Err(InvalidParameter::new(parameter, problem));
        }
        if let Some(forbidden) = name.chars().find(|c| *c == '/' || c.is_control()) {
            return Err(InvalidParameter::new(
                parameter,
                format!("has {forbidden:?} in {:?}; use no '/' and no control characters", excerpt(name)),
            ));
        }
        if !all.iter().any(|other| other.eq_ignore_ascii_case(name)) {
            all.push(name.to_owned());
        }
        if all.len() > MONITOR_MAX {
            return Err(InvalidParameter::new(
                parameter,
                format!("has more than {MONITOR_MAX} names, which is the limit"),
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
        for (query, message) in [
            ("", "monitor is missing; name the services"),
            ("monitor=", "monitor is missing"),
            ("monitor=a,,b", "monitor has an empty name"),
            ("monitor=a%2Fb", "monitor has '/' in \"a/b\"; use no '/' and no control"),
            ("monitor=a%00b", "monitor has '\\0' in"),
            ("monitor=a&monitor=b", "monitor is given twice"),
            ("monitor=%ff", "monitor is \"%ff\", which is not UTF-8"),
            (&many, "monitor has more than 256 names"),
        ] {
            let error = parse_monitor(query).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
