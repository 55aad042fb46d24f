//! The fields of micro's JSON, in any case of their names.
//!
//! Owns: the types of fields with their errors, and the shape of an endpoint. Does not own: the fields of a service
//! ([`super::service`]).

use serde_json::{Map, Value, json};
use skyhound_model::instance::InvalidParameter;
use std::collections::BTreeMap;

/// Parses an endpoint, and returns it with the canonical names of its fields.
pub(super) fn endpoint(value: Value) -> Result<Value, InvalidParameter> {
    let Value::Object(fields) = value else {
        return Err(InvalidParameter::new(
            "endpoints",
            "has an element that is not an object; give {\"name\", \"request\", …}",
        ));
    };
    let mut fields = Fields::new("endpoints", fields);
    Ok(json!({
        "name": fields.text("name")?,
        "request": fields.optional("request")?.map(shape).transpose()?,
        "response": fields.optional("response")?.map(shape).transpose()?,
        "metadata": fields.object("metadata")?,
    }))
}

/// Parses a VALUE, the shape of a request or a response. Its depth is limited by the parser, to 128.
fn shape(fields: Map<String, Value>) -> Result<Value, InvalidParameter> {
    let mut fields = Fields::new("endpoints", fields);
    let values = fields.list("values")?.into_iter().map(|value| match value {
        Value::Object(fields) => shape(fields),
        _ => Err(InvalidParameter::new("endpoints", "has values that are not objects; give {\"name\", \"type\"}")),
    });
    let values = values.collect::<Result<Vec<_>, _>>()?;
    Ok(json!({ "name": fields.text("name")?, "type": fields.text("type")?, "values": values }))
}

/// The fields of an object, in any case of their names. As in Go, the last of equal names counts and `null` counts as
/// absent; unknown names are ignored.
pub(super) struct Fields {
    object: &'static str,
    fields: BTreeMap<String, Value>,
}

impl Fields {
    pub(super) fn new(object: &'static str, fields: Map<String, Value>) -> Self {
        let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
        Self { object, fields: fields.map(|(name, value)| (name.to_lowercase(), value)).collect() }
    }

    fn type_error(&self, name: &str, expected: &str, value: &Value) -> InvalidParameter {
        let excerpt: String = value.to_string().chars().take(80).collect();
        InvalidParameter::new(self.object, format!("has {name}: {excerpt}; give {expected}"))
    }

    pub(super) fn text(&mut self, name: &str) -> Result<String, InvalidParameter> {
        match self.fields.remove(name) {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(self.type_error(name, "a string", &other)),
        }
    }

    pub(super) fn number(&mut self, name: &str) -> Result<Option<u64>, InvalidParameter> {
        let Some(value) = self.fields.remove(name) else { return Ok(None) };
        value.as_u64().map(Some).ok_or_else(|| self.type_error(name, "a whole number", &value))
    }

    pub(super) fn list(&mut self, name: &str) -> Result<Vec<Value>, InvalidParameter> {
        match self.fields.remove(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => Ok(values),
            Some(other) => Err(self.type_error(name, "a list", &other)),
        }
    }

    fn optional(&mut self, name: &str) -> Result<Option<Map<String, Value>>, InvalidParameter> {
        match self.fields.remove(name) {
            None => Ok(None),
            Some(Value::Object(fields)) => Ok(Some(fields)),
            Some(other) => Err(self.type_error(name, "an object", &other)),
        }
    }

    pub(super) fn object(&mut self, name: &str) -> Result<Map<String, Value>, InvalidParameter> {
        Ok(self.optional(name)?.unwrap_or_default())
    }
}
