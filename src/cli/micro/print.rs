//! The output format of micro's command line: tabs between columns, an empty line between parts.

use super::list_of;
use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::{Map, Value};
use skyhound_model::address::join_host_port;
use std::fmt::Write;

/// Formats a service: its versions with their nodes, then its endpoints.
pub(super) fn service(name: &str, versions: &[Value]) -> String {
    let mut text = format!("service  {name}\n");
    for version in versions {
        if !text_of(version, "version").is_empty() {
            // Writing to a String cannot fail, here and below.
            let _ = write!(text, "\nversion {}\n", text_of(version, "version"));
        }
        text += "\nId\tAddress\tPort\tMetadata\n";
        for node in list_of(&version["nodes"]) {
            let (id, address) = (text_of(node, "id"), text_of(node, "address"));
            let _ = writeln!(text, "{id}\t{address}\t{}\t{}", node["port"], pairs(&node["metadata"]));
        }
    }
    for endpoint in versions.first().map(|first| list_of(&first["endpoints"])).unwrap_or_default() {
        let _ = write!(text, "\nEndpoint: {}\nMetadata: {}\n", text_of(endpoint, "name"), pairs(&endpoint["metadata"]));
        let (request, response) = (shape(&endpoint["request"]), shape(&endpoint["response"]));
        let _ = write!(text, "\nRequest: {request}\n\nResponse: {response}\n");
    }
    text
}

/// Formats the header of a version's nodes.
pub(super) fn health_head(version: &Value) -> String {
    let of = text_of(version, "version");
    let version = if of.is_empty() { String::new() } else { format!("\nversion {of}\n") };
    format!("{version}\nnode\t\taddress:port\t\tstatus\n")
}

/// Returns `HOST:PORT` of a node.
pub(super) fn authority(node: &Value) -> String {
    join_host_port(&text_of(node, "address"), &node["port"])
}

/// Returns the `detail` of an error, or the whole error if it has none.
pub(super) fn detail(error: &Value) -> String {
    error["detail"].as_str().map_or_else(|| error.to_string(), str::to_owned)
}

/// Formats a value, a string without its quotes.
pub(super) fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn text_of(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn pairs(metadata: &Value) -> String {
    let none = Map::new();
    let pairs = metadata.as_object().unwrap_or(&none).iter().map(|(name, value)| format!("{name}={}", text(value)));
    pairs.collect::<Vec<_>>().join(",")
}

/// Formats the fields of a request or a response.
fn shape(value: &Value) -> String {
    let fields = list_of(&value["values"]);
    if fields.is_empty() {
        return "{}".into();
    }
    let fields: String = fields.iter().map(|field| indented_field(field, 1)).collect();
    format!("{{\n{fields}}}")
}

fn indented_field(field: &Value, depth: usize) -> String {
    let (tabs, name, kind) = ("\t".repeat(depth), text_of(field, "name"), text_of(field, "type"));
    let inner = list_of(&field["values"]);
    if inner.is_empty() {
        return format!("{tabs}{name} {kind}\n");
    }
    let inner: String = inner.iter().map(|one| indented_field(one, depth + 1)).collect();
    format!("{tabs}{name} {kind} {{\n{inner}{tabs}}}\n")
}

/// Formats JSON with tabs, as Go indents it.
pub(super) fn indented(value: &Value) -> String {
    let mut bytes = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut bytes, PrettyFormatter::with_indent(b"\t"));
    match serde::Serialize::serialize(value, &mut serializer) {
        Ok(()) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_service_is_printed_as_by_the_original() {
        let versions = json!([{
            "name": "greeter", "version": "1.0.0",
            "endpoints": [{
                "name": "Say.Hello", "metadata": {"stream": "true"},
                "request": {"name": "Request", "type": "Request", "values": [
                    {"name": "who", "type": "Person", "values": [{"name": "name", "type": "string", "values": []}]},
                    {"name": "loud", "type": "bool", "values": []}
                ]},
                "response": null
            }],
            "nodes": [{"id": "greeter-1", "address": "127.0.0.1", "port": 80, "metadata": {"a": "b", "c": "d"}}]
        }]);
        let text = service("greeter", versions.as_array().unwrap());
        assert_eq!(
            text,
            "service  greeter\n\nversion 1.0.0\n\nId\tAddress\tPort\tMetadata\ngreeter-1\t127.0.0.1\t80\ta=b,c=d\n\n\
             Endpoint: Say.Hello\nMetadata: stream=true\n\nRequest: {\n\twho Person {\n\t\tname string\n\t}\n\tloud bool\n}\n\n\
             Response: {}\n"
        );
    }

    #[test]
    fn unusual_values_are_printed() {
        assert_eq!(authority(&json!({"address": "::1", "port": 80})), "[::1]:80");
        assert_eq!(detail(&json!({"detail": "no"})), "no");
        assert_eq!(detail(&json!(null)), "null");
        assert_eq!(indented(&json!({"a": [1]})), "{\n\t\"a\": [\n\t\t1\n\t]\n}");
        assert_eq!(service("x", &[]), "service  x\n");
    }
}
