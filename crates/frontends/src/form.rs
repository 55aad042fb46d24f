//! `a=1&b=2`: the parameters of a request, for every frontend that reads them from the query or a form.
//!
//! Parsing is strict: an ambiguous parameter is rejected, with an error that names it.
//! - A parameter without a value counts as absent.
//! - A parameter that is given twice contradicts itself and is rejected.
//! - Unknown parameters are ignored: proxies and newer clients add some.

use skyhound_model::instance::InvalidParameter;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

/// The parameters of a request: each occurs once and is not empty.
#[derive(Debug)]
pub struct Form(BTreeMap<&'static str, String>);

impl Form {
    /// Parses a query. Parameters that are not `names` go to `other`: the name decoded, the value as received.
    pub fn read(
        query: &str,
        names: &[&'static str],
        mut other: impl FnMut(&str, &str) -> Result<(), InvalidParameter>,
    ) -> Result<Self, InvalidParameter> {
        let mut values = BTreeMap::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name).map_err(|problem| InvalidParameter::new("query", problem))?;
            let Some(parameter) = names.iter().copied().find(|parameter| *parameter == name) else {
                other(&name, value)?;
                continue;
            };
            let value = decode(value).map_err(|problem| InvalidParameter::new(parameter, problem))?;
            if !value.is_empty() && values.insert(parameter, value).is_some() {
                return Err(InvalidParameter::new(parameter, "is given twice"));
            }
        }
        Ok(Self(values))
    }

    /// Removes and returns a parameter.
    pub fn text(&mut self, parameter: &'static str) -> Option<String> {
        self.0.remove(parameter)
    }

    /// Removes and returns a whole number: decimal digits and nothing else, up to `max`.
    pub fn number<N: FromStr + Display>(
        &mut self,
        parameter: &'static str,
        max: &N,
    ) -> Result<Option<N>, InvalidParameter> {
        let Some(text) = self.0.remove(parameter) else { return Ok(None) };
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        match text.parse() {
            Ok(number) if digits => Ok(Some(number)),
            _ => Err(InvalidParameter::new(parameter, format!("is {text:?}; give a whole number from 0 to {max}"))),
        }
    }
}

/// Decodes `application/x-www-form-urlencoded`, the encoding of queries: `+` is a space, `%XX` a byte of UTF-8.
pub fn decode(text: &str) -> Result<String, String> {
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
    String::from_utf8(bytes).map_err(|_| format!("is {text:?}, which is not UTF-8"))
}

fn hex(digit: u8) -> Option<u8> {
    // A hex digit is below 16.
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}
