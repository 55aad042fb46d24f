//! What srsr's peers say, and what of it is an address.

use super::FRONTEND;
use crate::error::invalid;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use skyhound_model::address::host_and_port;
use skyhound_model::instance::{ADDRESS_MAX, InvalidParameter};
use skyhound_model::{Host, Label, Registration};
use skyhound_net::HttpError;
use std::net::{IpAddr, Ipv6Addr};

/// `/lookup`.
#[derive(Debug, Deserialize)]
pub struct LookupRequest {
    /// The service.
    pub name: String,
}

/// `/heartbeat`, `/deregister`.
#[derive(Debug, Deserialize)]
pub struct IdRequest {
    /// What `/register` answered.
    pub id: String,
}

/// `/register`.
#[derive(Debug, Deserialize)]
pub struct RegisterRequest {
    name: String,
    #[serde(default, deserialize_with = "text_or_number")]
    address: Option<String>,
    #[serde(default, deserialize_with = "text_or_number")]
    port: Option<String>,
}

/// What can be read from a body. Unknown fields are passed over.
pub trait RequestBody: DeserializeOwned {
    /// Reads it, or says what is wrong with it.
    fn read(body: &[u8]) -> Result<Self, HttpError> {
        serde_json::from_slice(body)
            .map_err(|error| HttpError::bad_request(format!("the body is not what it should be: {error}")))
    }
}

impl<T: DeserializeOwned> RequestBody for T {}

/// `"80"`, and 80; an empty text is one that was not sent (srsrpy sends such).
fn text_or_number<'d, D: Deserializer<'d>>(from: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a text or a whole number")]
    enum Either {
        Text(String),
        Number(u64),
    }
    Ok(match Option::<Either>::deserialize(from)? {
        Some(Either::Text(text)) if !text.is_empty() => Some(text),
        Some(Either::Number(number)) => Some(number.to_string()),
        _ => None,
    })
}

impl RegisterRequest {
    /// What it says of the instance. `peer` is the address that it came from.
    pub fn registration(self, peer: IpAddr) -> Result<Registration, HttpError> {
        let base = self.address.unwrap_or_else(|| format!("http://{}", bracketed(&peer.to_string())));
        let address = match self.port {
            None => base,
            Some(port) => match port.parse::<u16>() {
                Ok(number @ 1..) => format!("{base}:{number}"),
                _ => {
                    return Err(invalid(InvalidParameter::new(
                        "port",
                        format!("is {port:?}; give a number from 1 to 65535"),
                    )));
                }
            },
        };
        check(&address).map_err(invalid)?;
        let mut registration = Registration { service: self.name, dialect: FRONTEND, ..Registration::default() };
        if let Some((host, port)) = host_and_port(&address).filter(|(host, _)| is_host(host)) {
            (registration.host, registration.port) = (host.to_owned(), port);
        }
        registration.address = Some(address);
        Ok(registration)
    }
}

/// What Go's `url.ParseRequestURI` takes, as the original asks it, and `HOST:PORT` with any host.
fn check(address: &str) -> Result<(), InvalidParameter> {
    let wrong = |problem: String| Err(InvalidParameter::new("address", problem));
    if address.len() > ADDRESS_MAX {
        return wrong(format!("is {} bytes; {ADDRESS_MAX} is the most", address.len()));
    }
    if address.chars().any(|c| c.is_control() || c == ' ') {
        return wrong(format!("{address:?} has a space or a control character"));
    }
    let scheme = address.split_once(':').is_some_and(|(scheme, rest)| {
        let mut letters = scheme.chars();
        letters.next().is_some_and(|c| c.is_ascii_alphabetic())
            && letters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
            && !rest.is_empty()
    });
    if scheme || address.starts_with('/') || host_and_port(address).is_some() {
        return Ok(());
    }
    wrong(format!("{address:?} is no address such as http://10.0.0.1:80 or 10.0.0.1:80"))
}

/// Whether DNS can say it.
fn is_host(host: &str) -> bool {
    match Host::parse(host) {
        Ok(Host::Addr(_)) => true,
        Ok(Host::Name(name)) => name.labels().iter().all(|label| Label::registrable(&label.to_string()).is_ok()),
        Err(_) => false,
    }
}

fn bracketed(host: &str) -> String {
    if host.parse::<Ipv6Addr>().is_ok() { format!("[{host}]") } else { host.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Registration, String> {
        let register = RegisterRequest::read(body.as_bytes()).map_err(|error| error.message().to_owned())?;
        register.registration("10.9.8.7".parse().unwrap()).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn an_address_is_derived_from_the_request() {
        for (body, address, host, port) in [
            (r#"{"name":"a"}"#, "http://10.9.8.7", "10.9.8.7", 80),
            (r#"{"name":"a","port":"5000"}"#, "http://10.9.8.7:5000", "10.9.8.7", 5000),
            (r#"{"name":"a","address":"","port":5000}"#, "http://10.9.8.7:5000", "10.9.8.7", 5000),
            (r#"{"name":"a","address":"http://h.example","port":"1"}"#, "http://h.example:1", "h.example", 1),
            (r#"{"name":"a","address":"localhost","port":"1"}"#, "localhost:1", "localhost", 1),
            (r#"{"name":"a","address":"https://h/x"}"#, "https://h/x", "h", 443),
            (
                r#"{"name":"a","address":"321.123.321.123:4321","odd":1}"#,
                "321.123.321.123:4321",
                "321.123.321.123",
                4321,
            ),
            (r#"{"name":"a","address":"unix:///run/x"}"#, "unix:///run/x", "", 0),
            (r#"{"name":"a","address":"/run/x"}"#, "/run/x", "", 0),
        ] {
            let registration = read(body).unwrap();
            assert_eq!(registration.address.as_deref(), Some(address), "{body}");
            assert_eq!((registration.host.as_str(), registration.port), (host, port), "{body}");
        }
    }

    #[test]
    fn invalid_bodies_are_refused_with_a_reason() {
        for (body, why) in [
            ("{", "the body is not what it should be: EOF"),
            ("[]", "the body is not what it should be: invalid"),
            ("{}", "the body is not what it should be: missing field `name`"),
            (r#"{"name":5}"#, "the body is not what it should be: invalid type"),
            (r#"{"name":"a","port":[]}"#, "the body is not what it should be: a text or a whole number"),
            (r#"{"name":"a","port":"x"}"#, "port is \"x\"; give a number from 1 to 65535"),
            (r#"{"name":"a","port":0}"#, "port is \"0\"; give"),
            (r#"{"name":"a","port":65536}"#, "port is \"65536\"; give"),
            (r#"{"name":"a","address":"localhost"}"#, "address \"localhost\" is no address such as"),
            (r#"{"name":"a","address":"a b:1"}"#, "address \"a b:1\" has a space"),
        ] {
            let sentence = read(body).unwrap_err();
            assert!(sentence.starts_with(why), "{sentence}");
        }
        let long = format!(r#"{{"name":"a","address":"/{}"}}"#, "x".repeat(ADDRESS_MAX));
        assert!(read(&long).unwrap_err().starts_with("address is 2049 bytes"));
    }
}
