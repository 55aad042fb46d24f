//! A service in micro's JSON → the instances of its nodes.
//!
//! ```json
//! {"name", "version", "metadata": {}, "endpoints": [{"name", "request": VALUE, "response": VALUE, "metadata": {}}],
//!  "nodes": [{"id", "address", "port", "metadata": {}}]}          VALUE = {"name", "type", "values": [VALUE]}
//! ```
//! Field names match in any case, as in Go (the original's README posts `Name` and `Nodes`); names within a metadata
//! object are data, and keep their case.
//!
//! Owns: the mapping of this JSON to entries ([`super::describe`] is its inverse). Each node is one entry. The fields that
//! every frontend has are stored as in every frontend: the name, host and port, a semantic version, the node's metadata.
//! The rest is one JSON text under [`EXTRA_KEY`] in the metadata, so that an entry without endpoints is as small as
//! another.

use super::FRONTEND;
use super::fields::{Fields, endpoint};
use serde_json::{Map, Value};
use skyhound_model::entry::VALUE_MAX;
use skyhound_model::instance::{InvalidParameter, sha1_hex};
use skyhound_model::{Instance, Label, Naming, Registration, address};
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// The metadata name of the fields that an entry does not have.
pub const EXTRA_KEY: &str = "micro";
/// Limit of the text under [`EXTRA_KEY`], in bytes: as part of an entry it may take twice as many.
pub const EXTRA_MAX: usize = 24 * 1024;
/// Limit of the nodes of one request.
pub const NODES_MAX: usize = 64;
/// The shortest and longest TTL of a node, in seconds. etcd grants no lease below two.
pub const TTL_RANGE: RangeInclusive<u64> = 2..=86_400;

/// A parsed request body.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Service {
    name: String,
    version: String,
    metadata: Map<String, Value>,
    endpoints: Vec<Value>,
    nodes: Vec<Node>,
    /// The time after which it expires unless it is registered again.
    pub ttl_s: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Default)]
struct Node {
    id: String,
    address: String,
    port: u16,
    metadata: Map<String, Value>,
}

/// The fields that an entry does not have.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub(super) struct ExtraFields {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) id: String,
    /// Set when it is not a semantic version.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) version: String,
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub(super) metadata: Map<String, Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) endpoints: Vec<Value>,
    /// The node's metadata that are not strings.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub(super) node: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ttl: Option<u64>,
}

impl Service {
    /// Parses a request's body.
    pub fn parse(body: &[u8]) -> Result<Self, InvalidParameter> {
        let invalid = |problem: String| InvalidParameter::new("the body", problem);
        let value: Value = serde_json::from_slice(body).map_err(|e| invalid(format!("is not JSON: {e}")))?;
        let Value::Object(fields) = value else {
            return Err(invalid("is not a JSON object; send {\"name\": …, \"nodes\": [{\"id\": …, …}]}".into()));
        };
        let mut fields = Fields::new("service", fields);
        let nodes = fields.list("nodes")?;
        if nodes.is_empty() {
            return Err(InvalidParameter::new(
                "nodes",
                "is empty; give at least one node, as {\"id\", \"address\", \"port\"}",
            ));
        }
        if nodes.len() > NODES_MAX {
            return Err(InvalidParameter::new(
                "nodes",
                format!("has {} elements; the limit is {NODES_MAX}", nodes.len()),
            ));
        }
        let endpoints = fields.list("endpoints")?.into_iter().map(endpoint).collect::<Result<_, _>>()?;
        Ok(Self {
            name: fields.text("name")?,
            version: fields.text("version")?,
            metadata: fields.object("metadata")?,
            endpoints,
            nodes: nodes.into_iter().map(Node::parse).collect::<Result<_, _>>()?,
            ttl_s: fields.number("ttl")?.map(|ttl| parse_ttl(&ttl.to_string())).transpose()?,
        })
    }

    /// The service as a key for removal: a node with an id is found by it, and needs no address.
    #[must_use]
    pub fn for_removal(mut self) -> Self {
        (self.metadata, self.endpoints, self.version) = Default::default();
        for node in &mut self.nodes {
            node.metadata = Map::new();
            if !node.id.is_empty() {
                (node.address, node.port) = ("0.0.0.0".into(), 1);
            }
        }
        self
    }

    /// The instances, one for each node. `peer` is the address that the request came from.
    pub fn instances(&self, naming: &Naming, peer: IpAddr) -> Result<Vec<Instance>, InvalidParameter> {
        self.nodes.iter().map(|node| self.instance(node, naming, peer)).collect()
    }

    fn instance(&self, node: &Node, naming: &Naming, peer: IpAddr) -> Result<Instance, InvalidParameter> {
        let (host, port) = node.host_and_port();
        let is_semantic = semver::Version::parse(&self.version).is_ok();
        let (plain, other): (Map<_, _>, Map<_, _>) =
            node.metadata.clone().into_iter().partition(|(name, value)| value.is_string() && name != EXTRA_KEY);
        let extra = ExtraFields {
            id: node.id.clone(),
            version: if is_semantic { String::new() } else { self.version.clone() },
            metadata: self.metadata.clone(),
            endpoints: self.endpoints.clone(),
            node: other,
            ttl: self.ttl_s,
        };
        let registration = Registration {
            service: self.name.clone(),
            host: host.to_owned(),
            port,
            ttl: self.ttl_s.and_then(|ttl| u32::try_from(ttl).ok()).map(|ttl| ttl.min(naming.default_ttl)),
            version: is_semantic.then(|| self.version.clone()),
            meta: plain.into_iter().filter_map(|(name, value)| Some((name, value.as_str()?.to_owned()))).collect(),
            frontend: FRONTEND,
            ..Registration::default()
        };
        let mut instance = self.with_identity(registration.accept(naming, peer)?, node, naming)?;
        add_extra_fields(&mut instance, &extra)?;
        Ok(instance)
    }

    /// Derives the instance's id from that of the node, regardless of its address; for a node without an id, from the
    /// address.
    fn with_identity(&self, instance: Instance, node: &Node, naming: &Naming) -> Result<Instance, InvalidParameter> {
        let identity = if node.id.is_empty() { instance.name.to_string() } else { node.id.clone() };
        let id = sha1_hex(format!("{FRONTEND}\0{}\0{identity}", self.name.to_ascii_lowercase()));
        let label = Label::registrable(&id).map_err(|e| InvalidParameter::new("name", e))?;
        let mut instance = instance.with_id_label(label, "name", naming)?;
        if let Some(details) = &mut instance.entry.details {
            details.change(|fields| fields.id = id);
        }
        Ok(instance)
    }
}

impl Node {
    fn parse(value: Value) -> Result<Self, InvalidParameter> {
        let Value::Object(fields) = value else {
            return Err(InvalidParameter::new(
                "nodes",
                "has an element that is not an object; give {\"id\", \"address\", \"port\"}",
            ));
        };
        let mut fields = Fields::new("nodes", fields);
        let port = fields.number("port")?.unwrap_or_default();
        Ok(Self {
            id: fields.text("id")?,
            address: fields.text("address")?,
            port: u16::try_from(port).map_err(|_| {
                InvalidParameter::new("port", format!("is {port}; give a whole number from 1 to 65535"))
            })?,
            metadata: fields.object("metadata")?,
        })
    }

    /// Host and port. Later versions of the original have both in the address.
    fn host_and_port(&self) -> (&str, u16) {
        match address::host_and_port(&self.address) {
            Some(host_and_port) if self.port == 0 => host_and_port,
            _ => (self.address.trim_start_matches('[').trim_end_matches(']'), self.port),
        }
    }
}

fn add_extra_fields(instance: &mut Instance, extra: &ExtraFields) -> Result<(), InvalidParameter> {
    // Numbers, strings and maps of them always become JSON.
    let extra = serde_json::to_string(extra).unwrap_or_default();
    if extra.len() > EXTRA_MAX {
        let problem = format!("and metadata are {} bytes; the limit is {EXTRA_MAX}", extra.len());
        return Err(InvalidParameter::new("endpoints", problem));
    }
    if let Some(details) = &mut instance.entry.details
        && extra != "{}"
    {
        details.set_meta(EXTRA_KEY, extra);
    }
    match instance.entry.encode().len() {
        bytes if bytes > VALUE_MAX => {
            Err(InvalidParameter::new("the service", format!("is {bytes} bytes as an entry; the limit is {VALUE_MAX}")))
        }
        _ => Ok(()),
    }
}

/// Parses `ttl`, in seconds.
pub fn parse_ttl(text: &str) -> Result<u64, InvalidParameter> {
    let (from, to) = TTL_RANGE.into_inner();
    text.parse()
        .ok()
        .filter(|seconds| TTL_RANGE.contains(seconds))
        .ok_or_else(|| InvalidParameter::new("ttl", format!("is {text:?}; give seconds from {from} to {to}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::micro::describe::service_versions;
    use serde_json::json;
    use skyhound_core::catalog::StoredEntry;
    use skyhound_model::Revision;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

    fn naming() -> Naming {
        Naming::example()
    }

    fn stored(instance: Instance) -> StoredEntry {
        let (key, entry) = (instance.key, skyhound_model::Entry::parse(&instance.entry.encode()).unwrap());
        StoredEntry {
            key,
            entry,
            revision: Revision(1),
            lease: None,
            lease_ttl_s: None,
            service: None,
            in_mirror: false,
        }
    }

    fn instances(service: &Value) -> Vec<Instance> {
        Service::parse(service.to_string().as_bytes()).unwrap().instances(&naming(), PEER).unwrap()
    }

    #[test]
    fn a_service_is_returned_as_registered() {
        let service = json!({
            "name": "go.micro.srv.Greeter", "version": "latest", "metadata": {"team": "a", "Cost": 7},
            "endpoints": [{
                "name": "Say.Hello",
                "request": {"name": "Request", "type": "Request", "values": [
                    {"name": "name", "type": "string", "values": []}
                ]},
                "response": null,
                "metadata": {"stream": "true"}
            }],
            "nodes": [
                {"id": "greeter-1", "address": "10.0.0.1", "port": 80, "metadata": {"zone": "b", "micro": "x", "n": [1]}},
                {"id": "greeter-2", "address": "host.example", "port": 81, "metadata": {}}
            ]
        });
        let instances = instances(&service);
        let name = instances[0].name.to_string();
        assert!(name.ends_with(".go.micro.srv.greeter.services.skydns.local."), "{name}");
        let stored_instances: Vec<_> = instances.into_iter().map(stored).collect();
        assert_eq!(service_versions("x", stored_instances.iter()), [service]);
    }

    #[test]
    fn field_names_are_read_in_any_case() {
        let service = json!({
            "Name": "foo.bar", "NODES": [{"Port": 9091, "Address": "127.0.0.1", "Id": "foo.bar-017da09a", "Metadata": null}],
            "ttl": 30
        });
        let parsed = Service::parse(service.to_string().as_bytes()).unwrap();
        assert_eq!((parsed.name.as_str(), parsed.ttl_s, parsed.nodes[0].port), ("foo.bar", Some(30), 9091));
        assert_eq!(parsed.nodes[0].id, "foo.bar-017da09a");
    }

    #[test]
    fn the_id_identifies_a_node() {
        let key = |node: Value| instances(&json!({"name": "Web", "nodes": [node]})).remove(0).key;
        let one = key(json!({"id": "a", "address": "10.0.0.1", "port": 80}));
        assert_eq!(one, key(json!({"id": "a", "address": "10.0.0.2", "port": 81})));
        assert_ne!(one, key(json!({"id": "b", "address": "10.0.0.1", "port": 80})));
        let removal = json!({"name": "web", "nodes": [{"id": "a"}]}).to_string();
        let removed = Service::parse(removal.as_bytes()).unwrap().for_removal().instances(&naming(), PEER).unwrap();
        assert_eq!(removed[0].key, one, "the id is enough to remove it");
        let without_id = key(json!({"address": "10.0.0.1", "port": 80}));
        assert_eq!(without_id, key(json!({"address": "10.0.0.1:80"})));
        assert_ne!(without_id, key(json!({"address": "10.0.0.2", "port": 80})));
        let held = Registration { service: "Web".into(), host: "10.0.0.1".into(), port: 80, ..Registration::default() };
        assert_ne!(without_id, held.accept(&naming(), PEER).unwrap().key, "the end of a socket does not remove it");
    }

    #[test]
    fn an_entry_without_extra_fields_has_no_extra_metadata() {
        let service = json!({"name": "web", "version": "1.2.3", "nodes": [{"port": 80, "metadata": {"a": "b"}}]});
        let instance = instances(&service).remove(0);
        let details = instance.entry.details.as_ref().unwrap();
        assert_eq!((details.version(), details.meta().count()), ("1.2.3", 1));
        assert_eq!(
            instance.entry.host.map(|host| host.to_string()).as_deref(),
            Some("192.0.2.7"),
            "the peer's address"
        );
    }

    #[test]
    fn invalid_services_are_rejected_with_a_reason() {
        let wide = json!({"name": "a", "nodes": vec![json!({"port": 1}); NODES_MAX + 1]}).to_string();
        let large = json!({"name": "a", "metadata": {"x": "y".repeat(EXTRA_MAX)}, "nodes": [{"port": 1}]}).to_string();
        for (body, message) in [
            ("", "the body is not JSON: EOF"),
            ("[]", "the body is not a JSON object"),
            ("{}", "nodes is empty; give at least one"),
            (r#"{"name":"a","nodes":{}}"#, "service has nodes: {}; give a list"),
            (r#"{"name":"a","nodes":[7]}"#, "nodes has an element that is not an object"),
            (r#"{"nodes":[{"port":1}]}"#, "service is missing"),
            (r#"{"name":7,"nodes":[{"port":1}]}"#, "service has name: 7; give a string"),
            (r#"{"name":"a/b","nodes":[{"port":1}]}"#, "service \"a/b\" has '/'"),
            (r#"{"name":"a","nodes":[{}]}"#, "port is 0"),
            (r#"{"name":"a","nodes":[{"port":65536}]}"#, "port is 65536; give a whole number"),
            (r#"{"name":"a","nodes":[{"port":"80"}]}"#, "nodes has port: \"80\"; give a whole number"),
            (r#"{"name":"a","nodes":[{"port":-1}]}"#, "nodes has port: -1"),
            (r#"{"name":"a","nodes":[{"port":1,"metadata":[]}]}"#, "nodes has metadata: []; give an object"),
            (r#"{"name":"a","ttl":1,"nodes":[{"port":1}]}"#, "ttl is \"1\"; give seconds from 2 to 86400"),
            (r#"{"name":"a","endpoints":[1],"nodes":[{"port":1}]}"#, "endpoints has an element that is not an object"),
            (r#"{"name":"a","endpoints":[{"request":{"values":[1]}}],"nodes":[{"port":1}]}"#, "endpoints has values"),
            (&wide, "nodes has 65 elements; the limit is 64"),
            (&large, "endpoints and metadata are 24"),
        ] {
            let instances = Service::parse(body.as_bytes()).and_then(|service| service.instances(&naming(), PEER));
            let error = instances.unwrap_err().to_string();
            assert!(error.starts_with(message), "{body}: {error}");
        }
    }
}
