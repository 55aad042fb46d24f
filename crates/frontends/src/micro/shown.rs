//! What instances are in micro's JSON, whichever dialect they came in through.

use super::DIALECT;
use super::service::{REST, Rest};
use serde_json::{Map, Value, json};
use skyhound_core::catalog::Stored;
use skyhound_model::details::Details;
use std::collections::BTreeMap;

/// What an instance is in this dialect, whichever it came in through.
#[derive(Debug, Clone, Default)]
pub struct Shown {
    /// The version of its service.
    pub version: String,
    /// The node.
    pub node: Value,
    metadata: Map<String, Value>,
    endpoints: Vec<Value>,
}

impl Shown {
    /// Reads an entry.
    pub fn of(stored: &Stored) -> Self {
        let none = Details::default();
        let details = stored.entry.details.as_ref().unwrap_or(&none);
        let rest: Rest = match details.meta_of(REST) {
            // What others wrote under that name is none of ours.
            Some(text) if details.dialect() == DIALECT => serde_json::from_str(text).unwrap_or_default(),
            _ => Rest::default(),
        };
        let ours = |name: &str| name == REST && details.dialect() == DIALECT;
        let plain = details.meta().filter(|(name, _)| !ours(name));
        let mut metadata: Map<_, _> = plain.map(|(name, value)| (name.to_owned(), value.into())).collect();
        metadata.extend(rest.node);
        let id = match (rest.id.is_empty(), details.id().is_empty()) {
            (false, _) => rest.id,
            (true, false) => details.id().to_owned(),
            (true, true) => label(stored),
        };
        let address = stored.entry.host.as_ref().map(ToString::to_string).unwrap_or_default();
        Self {
            version: if rest.version.is_empty() { details.version().to_owned() } else { rest.version },
            node: json!({ "id": id, "address": address, "port": stored.entry.port, "metadata": metadata }),
            metadata: rest.metadata,
            endpoints: rest.endpoints,
        }
    }
}

/// The last label of an entry's name, as its key spells it.
fn label(stored: &Stored) -> String {
    let key = stored.key.to_string();
    key.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned()
}

/// A service's instances as its peers are told them: one element for each version.
pub fn versions<'s>(service: &str, instances: impl Iterator<Item = &'s Stored>) -> Vec<Value> {
    let mut versions: BTreeMap<String, Vec<Shown>> = BTreeMap::new();
    let mut name = None;
    for stored in instances {
        let said = stored.entry.details.as_ref().map(Details::service).filter(|said| !said.is_empty());
        name = name.or(said);
        let shown = Shown::of(stored);
        versions.entry(shown.version.clone()).or_default().push(shown);
    }
    let name = name.unwrap_or(service);
    let elements = versions.into_iter().map(|(version, shown)| {
        // Each node said them; a version's nodes are alike.
        let metadata = shown.iter().map(|one| &one.metadata).find(|m| !m.is_empty()).cloned().unwrap_or_default();
        let endpoints = shown.iter().map(|one| &one.endpoints).find(|e| !e.is_empty()).cloned().unwrap_or_default();
        let nodes: Vec<_> = shown.into_iter().map(|one| one.node).collect();
        json!({ "name": name, "version": version, "metadata": metadata, "endpoints": endpoints, "nodes": nodes })
    });
    elements.collect()
}
