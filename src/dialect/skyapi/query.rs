//! `service=foo&port=9999&…` → [`Registration`].
//!
//! Exact: what can be misread is refused, with a sentence that names the parameter.
//! - A parameter without a value is one that was not sent; the original's client sends `prefix=` so.
//! - One that is sent twice contradicts itself and is refused (the original takes the first). Several
//!   `service`+`port` pairs on a socket may come to mean something.
//! - Unknown parameters are passed over: proxies and newer clients add some.

use crate::model::Registration;
use crate::model::instance::Invalid;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

/// What a query says. Whether it may be registered is not asked here ([`Registration::accept`]).
pub fn parse(query: &str) -> Result<Registration, Invalid> {
    let mut registration = Registration { dialect: super::DIALECT, ..Registration::default() };
    let mut said = Said::read(query, &mut registration.meta)?;
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

/// What was said, each once and not empty.
struct Said(BTreeMap<&'static str, String>);

impl Said {
    fn read(query: &str, meta: &mut BTreeMap<String, String>) -> Result<Self, Invalid> {
        let mut said = BTreeMap::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name).map_err(|problem| Invalid::new("query", problem))?;
            let before = if let Some(known) = PARAMETERS.into_iter().find(|known| *known == name) {
                let value = decode(value).map_err(|problem| Invalid::new(known, problem))?;
                if value.is_empty() { None } else { said.insert(known, value).map(|_| known) }
            } else if let Some(key) = name.strip_prefix("meta.") {
                let value = decode(value).map_err(|problem| Invalid::new("meta", problem))?;
                if key.is_empty() {
                    return Err(Invalid::new("meta", "has a field without a name; say meta.NAME=VALUE"));
                }
                meta.insert(key.to_owned(), value).map(|_| "meta")
            } else {
                None
            };
            if let Some(parameter) = before {
                return Err(Invalid::new(parameter, "is said twice"));
            }
        }
        Ok(Self(said))
    }

    fn text(&mut self, parameter: &'static str) -> Option<String> {
        self.0.remove(parameter)
    }

    /// A whole number in decimal digits and nothing else, up to `most`.
    fn number<N: FromStr + Display>(&mut self, parameter: &'static str, most: &N) -> Result<Option<N>, Invalid> {
        let Some(text) = self.0.remove(parameter) else { return Ok(None) };
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        match text.parse() {
            Ok(number) if digits => Ok(Some(number)),
            _ => Err(Invalid::new(parameter, format!("is {text:?}; give a whole number from 0 to {most}"))),
        }
    }
}

fn split(categories: &str) -> Vec<String> {
    if categories.is_empty() { Vec::new() } else { categories.split(',').map(str::to_owned).collect() }
}

/// `application/x-www-form-urlencoded`, as clients write queries: `+` is a space, `%XX` a byte of UTF-8.
fn decode(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => match (rest.next().and_then(hex), rest.next().and_then(hex)) {
                (Some(high), Some(low)) => high << 4 | low,
                _ => return Err(format!("is {text:?}, where a '%' is not followed by two hex digits")),
            },
            other => other,
        });
    }
    String::from_utf8(bytes).map_err(|_| format!("is {text:?}, and that is not UTF-8"))
}

fn hex(digit: u8) -> Option<u8> {
    // A hex digit is below 16.
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
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
