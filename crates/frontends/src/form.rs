//! `a=1&b=2`: the parameters of a request, for every dialect that takes them from its query.
//!
//! Exact: what can be misread is refused, with a sentence that names the parameter.
//! - A parameter without a value is one that was not sent.
//! - One that is sent twice contradicts itself and is refused.
//! - Unknown parameters are passed over: proxies and newer clients add some.

use skyhound_model::instance::InvalidParameter;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

/// What was said, each once and not empty.
#[derive(Debug)]
pub struct Form(BTreeMap<&'static str, String>);

impl Form {
    /// Reads a query. Parameters that are not `known` go to `other`: the name decoded, the value as it came.
    pub fn read(
        query: &str,
        known: &[&'static str],
        mut other: impl FnMut(&str, &str) -> Result<(), InvalidParameter>,
    ) -> Result<Self, InvalidParameter> {
        let mut values = BTreeMap::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name).map_err(|problem| InvalidParameter::new("query", problem))?;
            let Some(known) = known.iter().copied().find(|known| *known == name) else {
                other(&name, value)?;
                continue;
            };
            let value = decode(value).map_err(|problem| InvalidParameter::new(known, problem))?;
            if !value.is_empty() && values.insert(known, value).is_some() {
                return Err(InvalidParameter::new(known, "is said twice"));
            }
        }
        Ok(Self(values))
    }

    /// Takes a parameter out.
    pub fn text(&mut self, parameter: &'static str) -> Option<String> {
        self.0.remove(parameter)
    }

    /// Takes a whole number out: decimal digits and nothing else, up to `most`.
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

/// `application/x-www-form-urlencoded`, as clients write queries: `+` is a space, `%XX` a byte of UTF-8.
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
    String::from_utf8(bytes).map_err(|_| format!("is {text:?}, and that is not UTF-8"))
}

fn hex(digit: u8) -> Option<u8> {
    // A hex digit is below 16.
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}
