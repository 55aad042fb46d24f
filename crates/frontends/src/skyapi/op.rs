//! What a held socket can be told: JSON text frames.
//!
//! `{"op":"update","weight":10,"priority":2}` describes the instance anew without a gap; either number may be
//! missing and keeps its value. A failure is answered with `ERROR: ` and a sentence, and then nothing has
//! changed. Success is silent, as everything was in the original, whose clients take any text for an error;
//! frames are handled in their order, so that the pong to a ping sent behind the update says that it is
//! committed and visible, if no `ERROR:` came before.

use serde_json::{Map, Value};
use skyhound_model::Entry;
use skyhound_net::route::excerpt;

/// A frame, understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// New numbers; `None` keeps the old one.
    Update {
        /// SRV priority.
        priority: Option<u16>,
        /// SRV weight.
        weight: Option<u16>,
    },
}

impl Op {
    /// Reads a frame; otherwise a sentence for the peer. A field that it does not know is refused: the
    /// peer would believe that it was heard.
    pub fn read(text: &str) -> Result<Self, String> {
        const WANTED: &str = r#"send {"op":"update","weight":10,"priority":2}"#;
        let Ok(Value::Object(mut fields)) = serde_json::from_str(text) else {
            return Err(format!("that is no JSON object; {WANTED}"));
        };
        match fields.shift_remove("op") {
            Some(Value::String(op)) if op == "update" => {}
            Some(op) => return Err(format!("there is no op {}; {WANTED}", excerpt(&op.to_string()))),
            None => return Err(format!("the field op is missing; {WANTED}")),
        }
        let (priority, weight) = (number(&mut fields, "priority")?, number(&mut fields, "weight")?);
        if let Some((unknown, value)) = fields.into_iter().next() {
            let field = format!("{}: {value}", Value::String(unknown));
            return Err(format!("update has {}, and it takes weight and priority", excerpt(&field)));
        }
        if priority.is_none() && weight.is_none() {
            return Err(format!("update changes nothing: it has neither weight nor priority; {WANTED}"));
        }
        Ok(Self::Update { priority, weight })
    }

    /// The entry that the op leads to from this one.
    #[must_use]
    pub fn apply(self, entry: &Entry) -> Entry {
        let Self::Update { priority, weight } = self;
        Entry { priority: priority.unwrap_or(entry.priority), weight: weight.unwrap_or(entry.weight), ..entry.clone() }
    }
}

/// An exact 16-bit number: neither rounded nor cut nor read from a string.
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
        let read = |text| Op::read(text).unwrap();
        let both = read(r#"{"op":"update","weight":10,"priority":2}"#);
        assert_eq!(both, Op::Update { priority: Some(2), weight: Some(10) });
        let entry = Entry { priority: 1, weight: 100, port: 9, ..Entry::default() };
        assert_eq!(read(r#"{"weight":0,"op":"update"}"#).apply(&entry), Entry { weight: 0, ..entry.clone() });
        assert_eq!(read(r#"{"op":"update","priority":65535}"#).apply(&entry), Entry { priority: 65535, ..entry });
    }

    #[test]
    fn invalid_operations_are_refused_with_a_reason() {
        for (text, sentence) in [
            ("hello", "that is no JSON object"),
            ("[]", "that is no JSON object"),
            ("{}", "the field op is missing"),
            (r#"{"op":"jump"}"#, "there is no op \"jump\""),
            (r#"{"op":7}"#, "there is no op 7"),
            (r#"{"op":"update"}"#, "update changes nothing"),
            (r#"{"op":"update","wieght":1}"#, "update has \"wieght\": 1, and it takes weight and priority"),
            (r#"{"op":"update","weight":65536}"#, "weight is 65536; give a whole number from 0 to 65535"),
            (r#"{"op":"update","weight":-1}"#, "weight is -1;"),
            (r#"{"op":"update","weight":1.0}"#, "weight is 1.0;"),
            (r#"{"op":"update","weight":"10"}"#, "weight is \"10\";"),
            (r#"{"op":"update","weight":null,"priority":1}"#, "weight is null;"),
            (r#"{"op":"update","weight":1,"priority":99999999999999999999}"#, "priority is "),
        ] {
            let error = Op::read(text).unwrap_err();
            assert!(error.starts_with(sentence), "{text}: {error}");
        }
        let long = format!(r#"{{"op":"{}"}}"#, "é".repeat(8000));
        assert!(Op::read(&long).unwrap_err().len() < 400, "not all of it is said back");
    }
}
