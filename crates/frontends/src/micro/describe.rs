//! What instances are in micro's JSON, whichever dialect they came in through.

use super::FRONTEND;
use super::service::{EXTRA_KEY, ExtraFields};
use serde_json::{Map, Value, json};
use skyhound_core::catalog::StoredEntry;
use skyhound_model::details::Details;
use std::collections::BTreeMap;

/// What an instance is in this dialect, whichever it came in through.
#[derive(Debug, Clone, Default)]
pub struct InstanceDescription {
    /// The version of its service.
    pub version: String,
    /// The node.
    pub node: Value,
    metadata: Map<String, Value>,
    endpoints: Vec<Value>,
}

impl InstanceDescription {
    /// Reads an entry.
    pub fn of(stored: &StoredEntry) -> Self {
        let none = Details::default();
        let details = stored.entry.details.as_ref().unwrap_or(&none);
        let extra: ExtraFields = match details.meta_value(EXTRA_KEY) {
            // What others wrote under that name is none of ours.
            Some(text) if details.dialect() == FRONTEND => serde_json::from_str(text).unwrap_or_default(),
            _ => ExtraFields::default(),
        };
        let ours = |name: &str| name == EXTRA_KEY && details.dialect() == FRONTEND;
        let plain = details.meta().filter(|(name, _)| !ours(name));
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

/// The last label of an entry's name, as its key spells it.
fn last_label(stored: &StoredEntry) -> String {
    let key = stored.key.to_string();
    key.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned()
}

/// A service's instances as its peers are told them: one element for each version.
pub fn service_versions<'s>(service: &str, instances: impl Iterator<Item = &'s StoredEntry>) -> Vec<Value> {
    let mut versions: BTreeMap<String, Vec<InstanceDescription>> = BTreeMap::new();
    let mut name = None;
    for stored in instances {
        let given = stored.entry.details.as_ref().map(Details::service).filter(|given| !given.is_empty());
        name = name.or(given);
        let described = InstanceDescription::of(stored);
        versions.entry(described.version.clone()).or_default().push(described);
    }
    let name = name.unwrap_or(service);
    let elements = versions.into_iter().map(|(version, described)| {
        // Each node said them; a version's nodes are alike.
        let metadata = described.iter().map(|one| &one.metadata).find(|m| !m.is_empty()).cloned().unwrap_or_default();
        let endpoints = described.iter().map(|one| &one.endpoints).find(|e| !e.is_empty()).cloned().unwrap_or_default();
        let nodes: Vec<_> = described.into_iter().map(|one| one.node).collect();
        json!({ "name": name, "version": version, "metadata": metadata, "endpoints": endpoints, "nodes": nodes })
    });
    elements.collect()
}
