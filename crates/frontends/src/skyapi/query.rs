//! `service=foo&port=9999&…` → [`Registration`].
//!
//! What can be misread is refused ([`Form`]). The original's client sends `prefix=` for none, and the original takes
//! the first of two; several `service`+`port` pairs on a socket may come to mean something.

use crate::form::{Form, decode};
use skyhound_model::Registration;
use skyhound_model::instance::Invalid;
use std::collections::BTreeMap;

/// What a query says. Whether it may be registered is not asked here ([`Registration::accept`]).
pub fn parse(query: &str) -> Result<Registration, Invalid> {
    let mut registration = Registration { dialect: super::DIALECT, ..Registration::default() };
    let meta = &mut registration.meta;
    let mut said = Form::read(query, &PARAMETERS, |name, value| extra(meta, name, value))?;
    registration.service = said.text("service").unwrap_or_default();
    let categories = said.text("category").unwrap_or_default();
    registration.category = split(&categories);
    registration.host = said.text("host").unwrap_or_default();
    registration.port = said
        .number("port", &u16::MAX)?
        .ok_or_else(|| Invalid::new("port", "is missing; give the port that the service listens on, 1 to 65535"))?;
    registration.prefix = said.text("prefix");
    registration.priority = said.number("priority", &u16::MAX)?;
    registration.weight = said.number("weight", &u16::MAX)?;
    registration.ttl = said.number("ttl", &u32::MAX)?;
    registration.text = said.text("text");
    registration.group = said.text("group");
    registration.version = said.text("version");
    Ok(registration)
}

/// The parameters that are taken, `meta.…` apart.
const PARAMETERS: [&str; 11] =
    ["service", "category", "host", "port", "prefix", "priority", "weight", "ttl", "text", "group", "version"];

/// `meta.KEY=VALUE`.
fn extra(meta: &mut BTreeMap<String, String>, name: &str, value: &str) -> Result<(), Invalid> {
    let Some(key) = name.strip_prefix("meta.") else { return Ok(()) };
    let value = decode(value).map_err(|problem| Invalid::new("meta", problem))?;
    if key.is_empty() {
        return Err(Invalid::new("meta", "has a field without a name; say meta.NAME=VALUE"));
    }
    match meta.insert(key.to_owned(), value) {
        Some(_) => Err(Invalid::new("meta", "is said twice")),
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
    fn everything_that_can_be_said() {
        let said = parse(
            "service=foo&host=10.0.0.1&port=9999&category=services,production&prefix=blue&priority=0&weight=65535\
             &ttl=10&text=a+b%2Bc%C3%A9&group=g&version=1.2.3&meta.zone=eu&meta.empty=&unknown=x&&flag",
        )
        .unwrap();
        assert_eq!((said.service.as_str(), said.host.as_str(), said.port), ("foo", "10.0.0.1", 9999));
        assert_eq!(said.category, ["services", "production"]);
        assert_eq!((said.prefix.as_deref(), said.priority, said.weight), (Some("blue"), Some(0), Some(65535)));
        assert_eq!((said.ttl, said.text.as_deref(), said.group.as_deref()), (Some(10), Some("a b+cé"), Some("g")));
        assert_eq!(said.version.as_deref(), Some("1.2.3"));
        assert_eq!(said.meta, BTreeMap::from([("zone".into(), "eu".into()), ("empty".into(), String::new())]));
    }

    #[test]
    fn what_is_empty_was_not_sent() {
        let said = parse("service=foo&port=1&host=&category=&prefix=&priority=&weight=&version=").unwrap();
        assert_eq!((said.priority, said.weight, said.prefix, said.version), (None, None, None, None));
        assert!(said.category.is_empty());
    }

    #[test]
    fn sentences_name_the_parameter() {
        for (query, sentence) in [
            ("service=foo", "port is missing; give the port that the service listens on, 1 to 65535"),
            ("port=65536", "port is \"65536\"; give a whole number from 0 to 65535"),
            ("port=1&priority=abc", "priority is \"abc\"; give a whole number from 0 to 65535"),
            ("port=1&weight=-1", "weight is \"-1\"; give a whole number from 0 to 65535"),
            ("port=1&weight=%2B1", "weight is \"+1\"; give a whole number from 0 to 65535"),
            ("port=1&weight=1.5", "weight is \"1.5\"; give a whole number from 0 to 65535"),
            ("port=1&ttl=4294967296", "ttl is \"4294967296\"; give a whole number from 0 to 4294967295"),
            ("port=1&port=2", "port is said twice"),
            ("port=1&meta.a=1&meta.a=1", "meta is said twice"),
            ("port=1&meta.=1", "meta has a field without a name; say meta.NAME=VALUE"),
            ("port=%4", "port is \"%4\", where a '%' is not followed by two hex digits"),
            ("service=%ff", "service is \"%ff\", and that is not UTF-8"),
            ("%zz=1", "query is \"%zz\", where a '%' is not followed by two hex digits"),
        ] {
            assert_eq!(parse(query).unwrap_err().to_string(), sentence);
        }
    }
}
