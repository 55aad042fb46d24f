//! The parameters of `/provide`: `service=foo&port=9999&…` → [`Registration`].
//!
//! Parsing is strict ([`Form`]). The original's client sends `prefix=` for no prefix. The original takes the first of two
//! equal parameters; here that is an error, because several `service`+`port` pairs on a socket may get a meaning.

use crate::form::{Form, decode};
use skyhound_model::Registration;
use skyhound_model::instance::InvalidParameter;
use std::collections::BTreeMap;

/// Parses a query. Validation is [`Registration::accept`]'s.
pub fn parse(query: &str) -> Result<Registration, InvalidParameter> {
    let mut registration = Registration { frontend: super::FRONTEND, ..Registration::default() };
    let meta = &mut registration.meta;
    let mut params = Form::read(query, &PARAMETERS, |name, value| add_meta(meta, name, value))?;
    registration.service = params.text("service").unwrap_or_default();
    let categories = params.text("category").unwrap_or_default();
    registration.category = split(&categories);
    registration.host = params.text("host").unwrap_or_default();
    registration.port = params.number("port", &u16::MAX)?.ok_or_else(|| {
        InvalidParameter::new("port", "is missing; give the port that the service listens on, 1 to 65535")
    })?;
    registration.prefix = params.text("prefix");
    registration.priority = params.number("priority", &u16::MAX)?;
    registration.weight = params.number("weight", &u16::MAX)?;
    registration.ttl = params.number("ttl", &u32::MAX)?;
    registration.text = params.text("text");
    registration.group = params.text("group");
    registration.version = params.text("version");
    Ok(registration)
}

/// The accepted parameters, except `meta.…`.
const PARAMETERS: [&str; 11] =
    ["service", "category", "host", "port", "prefix", "priority", "weight", "ttl", "text", "group", "version"];

/// Adds a parameter `meta.KEY=VALUE`; others are unknown and ignored.
fn add_meta(meta: &mut BTreeMap<String, String>, name: &str, value: &str) -> Result<(), InvalidParameter> {
    let Some(key) = name.strip_prefix("meta.") else { return Ok(()) };
    let value = decode(value).map_err(|problem| InvalidParameter::new("meta", problem))?;
    if key.is_empty() {
        return Err(InvalidParameter::new("meta", "has a field without a name; use meta.NAME=VALUE"));
    }
    match meta.insert(key.to_owned(), value) {
        Some(_) => Err(InvalidParameter::new("meta", "is given twice")),
        None => Ok(()),
    }
}

fn split(categories: &str) -> Vec<String> {
    if categories.is_empty() { Vec::new() } else { categories.split(',').map(str::to_owned).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_parameters_are_read() {
        let params = parse(
            "service=foo&host=10.0.0.1&port=9999&category=services,production&prefix=blue&priority=0&weight=65535\
             &ttl=10&text=a+b%2Bc%C3%A9&group=g&version=1.2.3&meta.zone=eu&meta.empty=&unknown=x&&flag",
        )
        .unwrap();
        assert_eq!((params.service.as_str(), params.host.as_str(), params.port), ("foo", "10.0.0.1", 9999));
        assert_eq!(params.category, ["services", "production"]);
        assert_eq!((params.prefix.as_deref(), params.priority, params.weight), (Some("blue"), Some(0), Some(65535)));
        assert_eq!(
            (params.ttl, params.text.as_deref(), params.group.as_deref()),
            (Some(10), Some("a b+cé"), Some("g"))
        );
        assert_eq!(params.version.as_deref(), Some("1.2.3"));
        assert_eq!(params.meta, BTreeMap::from([("zone".into(), "eu".into()), ("empty".into(), String::new())]));
    }

    #[test]
    fn empty_parameters_are_absent() {
        let params = parse("service=foo&port=1&host=&category=&prefix=&priority=&weight=&version=").unwrap();
        assert_eq!((params.priority, params.weight, params.prefix, params.version), (None, None, None, None));
        assert!(params.category.is_empty());
    }

    #[test]
    fn errors_name_the_parameter() {
        for (query, message) in [
            ("service=foo", "port is missing; give the port that the service listens on, 1 to 65535"),
            ("port=65536", "port is \"65536\"; give a whole number from 0 to 65535"),
            ("port=1&priority=abc", "priority is \"abc\"; give a whole number from 0 to 65535"),
            ("port=1&weight=-1", "weight is \"-1\"; give a whole number from 0 to 65535"),
            ("port=1&weight=%2B1", "weight is \"+1\"; give a whole number from 0 to 65535"),
            ("port=1&weight=1.5", "weight is \"1.5\"; give a whole number from 0 to 65535"),
            ("port=1&ttl=4294967296", "ttl is \"4294967296\"; give a whole number from 0 to 4294967295"),
            ("port=1&port=2", "port is given twice"),
            ("port=1&meta.a=1&meta.a=1", "meta is given twice"),
            ("port=1&meta.=1", "meta has a field without a name; use meta.NAME=VALUE"),
            ("port=%4", "port is \"%4\", where a '%' is not followed by two hex digits"),
            ("service=%ff", "service is \"%ff\", which is not UTF-8"),
            ("%zz=1", "query is \"%zz\", where a '%' is not followed by two hex digits"),
        ] {
            assert_eq!(parse(query).unwrap_err().to_string(), message);
        }
    }
}
