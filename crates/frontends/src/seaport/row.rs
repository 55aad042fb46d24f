//! The rows: one JSON array a line, the first field says what it is.
//!
//! Owns: the spelling. A row whose word is not known is passed over, as the original does; so ours may say some that it
//! does not know: `["error", id, sentence]`, because a register row has no answer otherwise, and `["hub", hub]`.

use serde_json::{Map, Value, json};

/// The longest id, in bytes.
pub const ID_MAX: usize = 128;

/// What a peer said.
#[derive(Debug, Clone, PartialEq)]
pub enum Row {
    /// The address of the one to whom it is said; and ours: which hub says it.
    Helo(String, Option<String>),
    /// Ours: the sender is a hub as well, and this one. The original's hubs do not say so.
    Hub(String),
    /// A service, anew or for the first time.
    Register(String, Map<String, Value>),
    /// It is gone.
    Free(String),
    /// All that the sender knew is said.
    Synced,
    /// The sender lives.
    Heartbeat,
    /// Ours: why a row came to nothing.
    Error(String, String),
    /// Something newer than this.
    Unknown,
}

impl Row {
    /// Reads a line; otherwise a sentence for the peer, and the id that it is about.
    pub fn parse(line: &[u8]) -> Result<Self, (String, String)> {
        let wrong = |sentence: &str| (String::new(), sentence.to_owned());
        let value = serde_json::from_slice(line).map_err(|e| wrong(&format!("that line is not JSON: {e}")))?;
        let Value::Array(mut fields) = value else { return Err(wrong("that line is no JSON array")) };
        fields.truncate(3);
        let mut fields = fields.into_iter();
        let Some(Value::String(word)) = fields.next() else {
            return Err(wrong("a row begins with a word, as in [\"synced\"]"));
        };
        Ok(match word.as_str() {
            "helo" => Self::Helo(fields.next().and_then(text).unwrap_or_default(), fields.next().and_then(text)),
            "hub" => Self::Hub(fields.next().and_then(text).unwrap_or_default()),
            "synced" => Self::Synced,
            "heartbeat" => Self::Heartbeat,
            "free" => Self::Free(id(fields.next())?),
            "register" => match (id(fields.next())?, fields.next()) {
                (id, Some(Value::Object(meta))) => Self::Register(id, meta),
                (id, _) => return Err((id, "register takes an id and an object".into())),
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
    /// As it goes over the wire, without the line's end.
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

/// An id: JavaScript takes a number for the text of it.
fn id(value: Option<Value>) -> Result<String, (String, String)> {
    let id = match value {
        Some(Value::String(id)) => id,
        Some(Value::Number(id)) => id.to_string(),
        _ => return Err((String::new(), "an id is a text".into())),
    };
    match id.len() {
        0 => Err((id, "an id is a text with something in it".into())),
        1..=ID_MAX => Ok(id),
        length => Err((String::new(), format!("an id has {length} bytes; {ID_MAX} is the most"))),
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
    fn invalid_rows_are_refused_with_a_reason() {
        let long = format!(r#"["free","{}"]"#, "x".repeat(129));
        for (line, why) in [
            ("hello", "that line is not JSON"),
            ("", "that line is not JSON"),
            ("{}", "that line is no JSON array"),
            ("[]", "a row begins with a word"),
            ("[1]", "a row begins with a word"),
            (r#"["free"]"#, "an id is a text"),
            (r#"["free",""]"#, "an id is a text with"),
            (r#"["free",{}]"#, "an id is a text"),
            (r#"["register","A"]"#, "register takes"),
            (r#"["register","A",[]]"#, "register takes"),
            (&long, "an id has 129 bytes"),
        ] {
            let (_, sentence) = Row::parse(line.as_bytes()).unwrap_err();
            assert!(sentence.starts_with(why), "{line}: {sentence}");
        }
        assert!(Row::parse(b"\xff\xfe").is_err());
        assert!(Row::parse("[".repeat(10_000).as_bytes()).is_err());
    }
}
