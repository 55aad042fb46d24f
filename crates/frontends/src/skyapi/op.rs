//! The operations on a held socket: JSON text frames.
//!
//! `{"op":"update","weight":10,"priority":2}` changes the entry without a gap; a missing number keeps its value. The
//! reply to a failed operation is `ERROR: ` with a message, and then nothing has changed. A successful operation has no
//! reply, because the original sends no texts and its clients take any text for an error. Frames are handled in order,
//! so that the pong to a ping sent after the update means that it is committed and visible, if no `ERROR:` came before.

use serde_json::{Map, Value};
use skyhound_model::Entry;
use skyhound_net::route::excerpt;

/// A parsed operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Changes the numbers; `None` keeps the old one.
    Update {
        /// SRV priority.
        priority: Option<u16>,
        /// SRV weight.
        weight: Option<u16>,
    },
}

impl Op {
    /// Parses a frame; an error is a message for the peer. An unknown field is rejected: otherwise the peer would
    /// believe that it took effect.
    pub fn parse(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = r#"send {"op":"update","weight":10,"priority":2}"#;
        let Ok(Value::Object(mut fields)) = serde_json::from_str(text) else {
            return Err(format!("the frame is not a JSON object; {EXPECTED}"));
        };
        match fields.shift_remove("op") {
            Some(Value::String(op)) if op == "update" => {}
            Some(op) => return Err(format!("op is {}, which is unknown; {EXPECTED}", excerpt(&op.to_string()))),
            None => return Err(format!("op is missing; {EXPECTED}")),
        }
        let (priority, weight) = (number(&mut fields, "priority")?, number(&mut fields, "weight")?);
        if let Some((unknown, value)) = fields.into_iter().next() {
            let field = format!("{}: {value}", Value::String(unknown));
            return Err(format!("update has {}; it accepts only weight and priority", excerpt(&field)));
        }
        if priority.is_none() && weight.is_none() {
            return Err(format!("update changes nothing: it has neither weight nor priority; {EXPECTED}"));
        }
        Ok(Self::Update { priority, weight })
    }

    /// Returns this entry with the operation applied.
    #[must_use]
    pub fn apply(self, entry: &Entry) -> Entry {
        let Self::Update { priority, weight } = self;
        Entry { priority: priority.unwrap_or(entry.priority), weight: weight.unwrap_or(entry.weight), ..entry.clone() }
    }
}

/// Removes and returns an exact 16-bit number: it is neither rounded nor truncated nor read from a string.
fn number(fields: &mut Map<String, Value>, name: &str) -> Result<Option<u16>, String> {
    let Some(value) = fields.shift_remove(name) else { return Ok(None) };
    match value.as_u64().and_then(|number| u16::try_from(number).ok()) {
        Some(number) => Ok(Some(number)),
        None => Err(format!("{name} is {}; give a whole number from 0 to 65535", excerpt(&value.to_string()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_keeps_missing_numbers() {
        let read = |text| Op::parse(text).unwrap();
        let both = read(r#"{"op":"update","weight":10,"priority":2}"#);
        assert_eq!(both, Op::Update { priority: Some(2), weight: Some(10) });
        let entry = Entry { priority: 1, weight: 100, port: 9, ..Entry::default() };
        assert_eq!(read(r#"{"weight":0,"op":"update"}"#).apply(&entry), Entry { weight: 0, ..entry.clone() });
        assert_eq!(read(r#"{"op":"update","priority":65535}"#).apply(&entry), Entry { priority: 65535, ..entry });
    }

    #[test]
    fn invalid_operations_are_rejected_with_a_reason() {
        for (text, message) in [
            ("hello", "the frame is not a JSON object; send"),
            ("[]", "the frame is not a JSON object; send"),
            ("{}", "op is missing; send"),
            (r#"{"op":"jump"}"#, "op is \"jump\", which is unknown; send"),
            (r#"{"op":7}"#, "op is 7, which is unknown; send"),
            (r#"{"op":"update"}"#, "update changes nothing"),
            (r#"{"op":"update","wieght":1}"#, "update has \"wieght\": 1; it accepts only weight and priority"),
            (r#"{"op":"update","weight":65536}"#, "weight is 65536; give a whole number from 0 to 65535"),
            (r#"{"op":"update","weight":-1}"#, "weight is -1;"),
            (r#"{"op":"update","weight":1.0}"#, "weight is 1.0;"),
            (r#"{"op":"update","weight":"10"}"#, "weight is \"10\";"),
            (r#"{"op":"update","weight":null,"priority":1}"#, "weight is null;"),
            (r#"{"op":"update","weight":1,"priority":99999999999999999999}"#, "priority is "),
        ] {
            let error = Op::parse(text).unwrap_err();
            assert!(error.starts_with(message), "{text}: {error}");
        }
        let long = format!(r#"{{"op":"{}"}}"#, "é".repeat(8000));
        assert!(Op::parse(&long).unwrap_err().len() < 400, "only an excerpt is repeated");
    }
}
