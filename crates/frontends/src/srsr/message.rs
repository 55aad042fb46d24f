//! The request bodies of srsr, and the instance that a registration describes.
//!
//! Owns: JSON types and the derivation of host and port from an opaque address. Does not own: ids and heartbeats
//! ([`skyhound_core::registry::heartbeats`]).

use super::FRONTEND;
use crate::error::invalid;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use skyhound_model::address::host_and_port;
use skyhound_model::instance::{ADDRESS_MAX, InvalidParameter};
use skyhound_model::{Host, Label, Registration};
use skyhound_net::HttpError;
use std::net::{IpAddr, Ipv6Addr};

/// The body of `/lookup`.
#[derive(Debug, Deserialize)]
pub struct LookupRequest {
    /// The service.
    pub name: String,
}

/// The body of `/heartbeat` and `/deregister`.
#[derive(Debug, Deserialize)]
pub struct IdRequest {
    /// The id that `/register` returned.
    pub id: String,
}

/// The body of `/register`.
#[derive(Debug, Deserialize)]
pub struct RegisterRequest {
    name: String,
    #[serde(default, deserialize_with = "string_or_number")]
    address: Option<String>,
    #[serde(default, deserialize_with = "string_or_number")]
    port: Option<String>,
}

/// A request body. Unknown fields are ignored.
pub trait RequestBody: DeserializeOwned {
    /// Parses it; an error is a 400 with the reason.
    fn parse(body: &[u8]) -> Result<Self, HttpError> {
        serde_json::from_slice(body).map_err(|error| HttpError::bad_request(format!("the body is invalid: {error}")))
    }
}

impl<T: DeserializeOwned> RequestBody for T {}

/// Reads `"80"` and 80; an empty string counts as absent (srsrpy sends such).
fn string_or_number<'d, D: Deserializer<'d>>(deserializer: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a string or a whole number")]
    enum Either {
        String(String),
        Number(u64),
    }
    Ok(match Option::<Either>::deserialize(deserializer)? {
        Some(Either::String(text)) if !text.is_empty() => Some(text),
        Some(Either::Number(number)) => Some(number.to_string()),
        _ => None,
    })
}

impl RegisterRequest {
    /// The registration that it describes. `peer` is the address that it came from.
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
        check_address(&address).map_err(invalid)?;
        let mut registration = Registration { service: self.name, frontend: FRONTEND, ..Registration::default() };
        if let Some((host, port)) = host_and_port(&address).filter(|(host, _)| is_host(host)) {
            (registration.host, registration.port) = (host.to_owned(), port);
        }
        registration.address = Some(address);
        Ok(registration)
    }
}

/// Accepts an address that Go's `url.ParseRequestURI` accepts, which the original uses, and `HOST:PORT` with any host.
fn check_address(address: &str) -> Result<(), InvalidParameter> {
    let reject = |problem: String| Err(InvalidParameter::new("address", problem));
    if address.len() > ADDRESS_MAX {
        return reject(format!("is {} bytes; the limit is {ADDRESS_MAX}", address.len()));
    }
    if address.chars().any(|c| c.is_control() || c == ' ') {
        return reject(format!("{address:?} has a space or a control character"));
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
    reject(format!("{address:?} is not an address such as http://10.0.0.1:80 or 10.0.0.1:80"))
}

/// True if DNS can represent the host.
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

    fn parse(body: &str) -> Result<Registration, String> {
        let request = RegisterRequest::parse(body.as_bytes()).map_err(|error| error.message().to_owned())?;
        request.registration("10.9.8.7".parse().unwrap()).map_err(|error| error.message().to_owned())
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
            let registration = parse(body).unwrap();
            assert_eq!(registration.address.as_deref(), Some(address), "{body}");
            assert_eq!((registration.host.as_str(), registration.port), (host, port), "{body}");
        }
    }

    #[test]
    fn invalid_bodies_are_rejected_with_a_reason() {
        for (body, message) in [
            ("{", "the body is invalid: EOF"),
            ("[]", "the body is invalid: invalid"),
            ("{}", "the body is invalid: missing field `name`"),
            (r#"{"name":5}"#, "the body is invalid: invalid type"),
            (r#"{"name":"a","port":[]}"#, "the body is invalid: a string or a whole number"),
            (r#"{"name":"a","port":"x"}"#, "port is \"x\"; give a number from 1 to 65535"),
            (r#"{"name":"a","port":0}"#, "port is \"0\"; give"),
            (r#"{"name":"a","port":65536}"#, "port is \"65536\"; give"),
            (r#"{"name":"a","address":"localhost"}"#, "address \"localhost\" is not an address such as"),
            (r#"{"name":"a","address":"a b:1"}"#, "address \"a b:1\" has a space"),
        ] {
            let error = parse(body).unwrap_err();
            assert!(error.starts_with(message), "{error}");
        }
        let long = format!(r#"{{"name":"a","address":"/{}"}}"#, "x".repeat(ADDRESS_MAX));
        assert!(parse(&long).unwrap_err().starts_with("address is 2049 bytes; the limit is 2048"));
    }
}
