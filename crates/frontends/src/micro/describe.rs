//! Entries in micro's JSON, whichever frontend registered them: the inverse of [`super::service`].

use super::FRONTEND;
use super::service::{EXTRA_KEY, ExtraFields};
use serde_json::{Map, Value, json};
use skyhound_core::catalog::StoredEntry;
use skyhound_model::details::Details;
use std::collections::BTreeMap;

/// An instance in micro's terms, whichever frontend registered it.
#[derive(Debug, Clone, Default)]
pub struct InstanceDescription {
    /// The version of its service.
    pub version: String,
    /// The node, as JSON.
    pub node: Value,
    metadata: Map<String, Value>,
    endpoints: Vec<Value>,
}

impl InstanceDescription {
    /// Reads an entry.
    pub fn of(stored: &StoredEntry) -> Self {
        let no_details = Details::default();
        let details = stored.entry.details.as_ref().unwrap_or(&no_details);
        let extra: ExtraFields = match details.meta_value(EXTRA_KEY) {
            // Metadata of this name from another frontend has another meaning.
            Some(text) if details.frontend() == FRONTEND => serde_json::from_str(text).unwrap_or_default(),
            _ => ExtraFields::default(),
        };
        let is_extra = |name: &str| name == EXTRA_KEY && details.frontend() == FRONTEND;
        let plain = details.meta().filter(|(name, _)| !is_extra(name));
        let mut metadata: Map<_, _> = plain.map(|(name, value)| (name.to_owned(), value.into())).collect();
        metadata.extend(extra.node);
        let id = match (extra.id.is_empty(), details.id().is_empty()) {
            (false, _) => extra.id,
            (true, false) => details.id().to_owned(),
            (true, true) => last_label(stored),
        };
        let address = stored.entry.host.as_ref().map(ToString::to_string).unwrap_or_default();
        Self {
            version: if extra.version.is_empty() { details.version().to_owned() } else { extra.version },
            node: json!({ "id": id, "address": address, "port": stored.entry.port, "metadata": metadata }),
            metadata: extra.metadata,
            endpoints: extra.endpoints,
        }
    }
}

/// The last label of an entry's name, in the case of its key.
fn last_label(stored: &StoredEntry) -> String {
    let key = stored.key.to_string();
    key.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned()
}

/// Groups a service's instances into micro's list: one element for each version.
pub fn service_versions<'s>(service: &str, instances: impl Iterator<Item = &'s StoredEntry>) -> Vec<Value> {
    let mut versions: BTreeMap<String, Vec<InstanceDescription>> = BTreeMap::new();
    let mut name = None;
    for stored in instances {
        let registered = stored.entry.details.as_ref().map(Details::service).filter(|name| !name.is_empty());
        name = name.or(registered);
        let description = InstanceDescription::of(stored);
        versions.entry(description.version.clone()).or_default().push(description);
    }
    let name = name.unwrap_or(service);
    let elements = versions.into_iter().map(|(version, nodes)| {
        // Every node of a version registered the same metadata and endpoints.
        let metadata = nodes.iter().map(|node| &node.metadata).find(|m| !m.is_empty()).cloned().unwrap_or_default();
        let endpoints = nodes.iter().map(|node| &node.endpoints).find(|e| !e.is_empty()).cloned().unwrap_or_default();
        let nodes: Vec<_> = nodes.into_iter().map(|node| node.node).collect();
        json!({ "name": name, "version": version, "metadata": metadata, "endpoints": endpoints, "nodes": nodes })
    });
    elements.collect()
}
