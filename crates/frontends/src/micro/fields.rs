//! The fields of micro's JSON, whatever the case of their names.
//!
//! Owns: types and the sentence about a wrong one, and the shape of an endpoint. Does not own: what a service is
//! ([`super::service`]).

use serde_json::{Map, Value, json};
use skyhound_model::instance::InvalidParameter;
use std::collections::BTreeMap;

/// An endpoint with its fields as they are written.
pub(super) fn endpoint(value: Value) -> Result<Value, InvalidParameter> {
    let Value::Object(fields) = value else {
        return Err(InvalidParameter::new(
            "endpoints",
            "has one that is no object; say it as {\"name\", \"request\", …}",
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

/// VALUE: what a request or a response looks like. As deep as the parser goes, which is 128.
fn shape(fields: Map<String, Value>) -> Result<Value, InvalidParameter> {
    let mut fields = Fields::new("endpoints", fields);
    let values = fields.list("values")?.into_iter().map(|value| match value {
        Value::Object(fields) => shape(fields),
        _ => {
            Err(InvalidParameter::new("endpoints", "has values that are no objects; say them as {\"name\", \"type\"}"))
        }
    });
    let values = values.collect::<Result<Vec<_>, _>>()?;
    Ok(json!({ "name": fields.text("name")?, "type": fields.text("type")?, "values": values }))
}

/// The fields of an object, whatever the case of their names. The last of a name counts, and `null` is as good as
/// nothing, as Go has it; names that mean nothing are passed over.
pub(super) struct Fields {
    of: &'static str,
    fields: BTreeMap<String, Value>,
}

impl Fields {
    pub(super) fn new(of: &'static str, fields: Map<String, Value>) -> Self {
        let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
        Self { of, fields: fields.map(|(name, value)| (name.to_lowercase(), value)).collect() }
    }

    fn wrong(&self, name: &str, wants: &str, value: &Value) -> InvalidParameter {
        let shown: String = value.to_string().chars().take(80).collect();
        InvalidParameter::new(self.of, format!("has {name}: {shown}, and that takes {wants}"))
    }

    pub(super) fn text(&mut self, name: &str) -> Result<String, InvalidParameter> {
        match self.fields.remove(name) {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(self.wrong(name, "a string", &other)),
        }
    }

    pub(super) fn number(&mut self, name: &str) -> Result<Option<u64>, InvalidParameter> {
        let Some(value) = self.fields.remove(name) else { return Ok(None) };
        value.as_u64().map(Some).ok_or_else(|| self.wrong(name, "a whole number", &value))
    }

    pub(super) fn list(&mut self, name: &str) -> Result<Vec<Value>, InvalidParameter> {
        match self.fields.remove(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => Ok(values),
            Some(other) => Err(self.wrong(name, "a list", &other)),
        }
    }

    fn optional(&mut self, name: &str) -> Result<Option<Map<String, Value>>, InvalidParameter> {
        match self.fields.remove(name) {
            None => Ok(None),
            Some(Value::Object(fields)) => Ok(Some(fields)),
            Some(other) => Err(self.wrong(name, "an object", &other)),
        }
    }

    pub(super) fn object(&mut self, name: &str) -> Result<Map<String, Value>, InvalidParameter> {
        Ok(self.optional(name)?.unwrap_or_default())
    }
}
