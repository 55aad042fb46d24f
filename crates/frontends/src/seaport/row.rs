//! The rows of the protocol: one JSON array per line; the first field is the kind.
//!
//! Owns: their encoding. A row of an unknown kind is ignored, as the original does. This allows two extensions:
//! `["error", id, sentence]`, because a `register` row has no answer otherwise, and `["hub", hub]`.

use serde_json::{Map, Value, json};

/// The longest id, in bytes.
pub const ID_MAX: usize = 128;

/// A row.
#[derive(Debug, Clone, PartialEq)]
pub enum Row {
    /// The receiver's address; and as an extension the sending hub's id.
    Helo(String, Option<String>),
    /// An extension: the sender is a hub as well, with this id. The original's hubs do not send it.
    Hub(String),
    /// A new or updated service.
    Register(String, Map<String, Value>),
    /// A removed service.
    Free(String),
    /// The sender has sent its complete state.
    Synced,
    /// The sender's heartbeat.
    Heartbeat,
    /// An extension: the reason for which a row was rejected.
    Error(String, String),
    /// A row of an unknown kind.
    Unknown,
}

impl Row {
    /// Parses a line. An error has the id that the line concerns, and a sentence for the peer.
    pub fn parse(line: &[u8]) -> Result<Self, (String, String)> {
        let wrong = |sentence: &str| (String::new(), sentence.to_owned());
        let value = serde_json::from_slice(line).map_err(|e| wrong(&format!("the line is not JSON: {e}")))?;
        let Value::Array(mut fields) = value else { return Err(wrong("the line is not a JSON array")) };
        fields.truncate(3);
        let mut fields = fields.into_iter();
        let Some(Value::String(kind)) = fields.next() else {
            return Err(wrong("a row begins with its kind as a string, as in [\"synced\"]"));
        };
        Ok(match kind.as_str() {
            "helo" => Self::Helo(fields.next().and_then(text).unwrap_or_default(), fields.next().and_then(text)),
            "hub" => Self::Hub(fields.next().and_then(text).unwrap_or_default()),
            "synced" => Self::Synced,
            "heartbeat" => Self::Heartbeat,
            "free" => Self::Free(id(fields.next())?),
            "register" => match (id(fields.next())?, fields.next()) {
                (id, Some(Value::Object(meta))) => Self::Register(id, meta),
                (id, _) => return Err((id, "register takes an id and an object with the service's fields".into())),
            },
            "error" => Self::Error(
                fields.next().and_then(text).unwrap_or_default(),
                fields.next().and_then(text).unwrap_or_default(),
            ),
            _ => Self::Unknown,
        })
    }
}

impl std::fmt::Display for Row {
    /// The encoded row, without the line's end.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Helo(addr, None) => json!(["helo", addr]),
            Self::Helo(addr, Some(hub)) => json!(["helo", addr, hub]),
            Self::Hub(hub) => json!(["hub", hub]),
            Self::Register(id, meta) => json!(["register", id, meta]),
            Self::Free(id) => json!(["free", id]),
            Self::Synced => json!(["synced"]),
            Self::Heartbeat => json!(["heartbeat"]),
            Self::Error(id, sentence) => json!(["error", id, sentence]),
            Self::Unknown => json!([]),
        }
        .fmt(f)
    }
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

/// Reads an id. A number is its decimal text, as in JavaScript.
fn id(value: Option<Value>) -> Result<String, (String, String)> {
    let id = match value {
        Some(Value::String(id)) => id,
        Some(Value::Number(id)) => id.to_string(),
        _ => return Err((String::new(), "an id has to be a string".into())),
    };
    match id.len() {
        0 => Err((id, "an id has to be a string that is not empty".into())),
        1..=ID_MAX => Ok(id),
        length => Err((String::new(), format!("the id is {length} bytes; the limit is {ID_MAX}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_round_trip() {
        for line in [
            r#"["helo","127.0.0.1"]"#,
            r#"["helo","127.0.0.1","A"]"#,
            r#"["hub","A"]"#,
            r#"["register","A",{"role":"web","deep":{"a":[1,null]}}]"#,
            r#"["free","A"]"#,
            r#"["synced"]"#,
            r#"["heartbeat"]"#,
            r#"["error","A","port is missing"]"#,
        ] {
            assert_eq!(Row::parse(line.as_bytes()).unwrap().to_string(), line);
        }
        assert_eq!(Row::parse(b"[\"free\", 7]"), Ok(Row::Free("7".into())));
        assert_eq!(Row::parse(br#"["gossip",{"x":1},2,3,4]"#), Ok(Row::Unknown));
    }

    #[test]
    fn invalid_rows_are_rejected_with_a_reason() {
        let long = format!(r#"["free","{}"]"#, "x".repeat(129));
        for (line, why) in [
            ("hello", "the line is not JSON"),
            ("", "the line is not JSON"),
            ("{}", "the line is not a JSON array"),
            ("[]", "a row begins with its kind"),
            ("[1]", "a row begins with its kind"),
            (r#"["free"]"#, "an id has to be a string"),
            (r#"["free",""]"#, "an id has to be a string that"),
            (r#"["free",{}]"#, "an id has to be a string"),
            (r#"["register","A"]"#, "register takes"),
            (r#"["register","A",[]]"#, "register takes"),
            (&long, "the id is 129 bytes"),
        ] {
            let (_, sentence) = Row::parse(line.as_bytes()).unwrap_err();
            assert!(sentence.starts_with(why), "{line}: {sentence}");
        }
        assert!(Row::parse(b"\xff\xfe").is_err());
        assert!(Row::parse("[".repeat(10_000).as_bytes()).is_err());
    }
}
