//! The JSON of an instance.
//!
//! Owns: the fields and their order. An unknown field is absent. The `name` identifies an instance.

use serde::Serialize;
use skyhound_core::catalog::StoredEntry;
use skyhound_model::details::Details;
use skyhound_model::{Host, Label, Name, Naming};
use std::collections::BTreeMap;
use std::num::NonZeroU32;

/// The serializable view of an instance.
#[derive(Debug, Serialize)]
pub struct InstanceView<'a> {
    id: String,
    service: &'a str,
    category: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    port: u16,
    #[serde(skip_serializing_if = "str::is_empty")]
    address: &'a str,
    priority: u16,
    weight: u16,
    #[serde(skip_serializing_if = "is_zero")]
    ttl: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    text: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    group: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    meta: Option<BTreeMap<&'a str, &'a str>>,
    #[serde(rename = "dialect", skip_serializing_if = "str::is_empty")]
    frontend: &'a str,
    name: String,
    key: String,
    revision: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_seconds: Option<NonZeroU32>,
}

// The signature is serde's.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl<'a> InstanceView<'a> {
    /// The view of a stored entry.
    pub fn new(stored: &'a StoredEntry, naming: &Naming) -> Self {
        let entry = &stored.entry;
        let details = entry.details.as_ref();
        let service = stored.service.as_deref().unwrap_or_default();
        let name = name(stored, naming);
        Self {
            id: id(details, &name),
            service,
            category: category(details, &name, service, naming),
            host: entry.host.as_ref().map(Host::to_string),
            port: entry.port,
            address: details.map_or("", Details::address),
            priority: entry.priority,
            weight: entry.weight,
            ttl: entry.ttl,
            text: &entry.text,
            group: &entry.group,
            version: details.map_or("", Details::version),
            meta: details.map(|details| details.meta().collect::<BTreeMap<_, _>>()).filter(|meta| !meta.is_empty()),
            frontend: details.map_or("", Details::frontend),
            name: name.to_string().trim_end_matches('.').to_owned(),
            key: stored.key.to_string(),
            revision: stored.revision.0,
            lease_seconds: stored.lease_ttl_s,
        }
    }

    /// Appends the JSON to a buffer.
    pub fn write_to(&self, text: &mut Vec<u8>) {
        // Strings, numbers and maps of strings always become JSON, and a Vec accepts every write.
        let _ = serde_json::to_writer(text, self);
    }
}

/// The DNS name of an instance. The key that a peer of hound-dog's wrote does not contain it; the instance read from
/// its value has the name that it would have if that peer had registered here.
fn name(stored: &StoredEntry, naming: &Naming) -> Name {
    let by_key = (!stored.in_mirror).then(|| naming.layout.name(stored.key.as_bytes()).ok()).flatten();
    by_key.or_else(|| by_details(stored.entry.details.as_ref()?, naming)).unwrap_or_default()
}

fn by_details(details: &Details, naming: &Naming) -> Option<Name> {
    let category = details.category().collect::<Vec<_>>().join(".");
    Name::parse(&format!("{}.{}.{category}.{}", details.id(), details.service(), naming.root)).ok()
}

fn id(details: Option<&Details>, name: &Name) -> String {
    let registered = details.map(Details::id).filter(|id| !id.is_empty()).map(str::to_owned);
    registered.unwrap_or_else(|| name.labels().last().map(Label::to_string).unwrap_or_default())
}

/// The registered categories; for an entry without details, the labels of the name between service and zone.
fn category(details: Option<&Details>, name: &Name, service: &str, naming: &Naming) -> Vec<String> {
    let registered: Vec<_> = details.into_iter().flat_map(Details::category).map(str::to_owned).collect();
    if !registered.is_empty() {
        return registered;
    }
    let below = name.labels().strip_prefix(naming.root.labels()).unwrap_or_default();
    let service: Vec<_> = service.split('.').rev().filter_map(|label| Label::new(label).ok()).collect();
    let above = &below[..below.len().saturating_sub(1)];
    // An entry directly below its category has no id.
    let id_and_service = service.len() + usize::from(above.ends_with(&service));
    below[..below.len().saturating_sub(id_and_service)].iter().rev().map(Label::to_string).collect()
}

/// True if an instance is in these categories, written with dots and in lower case.
pub(super) fn is_in(category: &str, stored: &StoredEntry, naming: &Naming) -> bool {
    let service = stored.service.as_deref().unwrap_or_default();
    let category_of_instance = self::category(stored.entry.details.as_ref(), &name(stored, naming), service, naming);
    super::query::dotted(&category_of_instance.join(".")) == category
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use skyhound_core::catalog::{Keyspace, Snapshot};
    use skyhound_model::Key;
    use skyhound_store::{Batch, Change, Item, Revision};
    use std::sync::Arc;

    fn json_of(key: &str, value: &str) -> serde_json::Value {
        let naming = Naming::example();
        let value = Bytes::copy_from_slice(value.as_bytes());
        let item = Item { key: Key::from(key), value, revision: Revision(7), lease: None };
        let keyspace = Arc::new(Keyspace::new(naming.clone(), None));
        let batch = Batch { revision: Revision(7), changes: vec![Change::Put(item)] };
        let snapshot = Snapshot::empty(keyspace).apply(&batch);
        let service = snapshot.services().next().unwrap();
        let stored = snapshot.instances(service).next().unwrap();
        serde_json::to_value(InstanceView::new(stored, &naming)).unwrap()
    }

    #[test]
    fn an_entry_without_details_is_described_by_its_name() {
        let host = r#"{"host":"10.0.0.1","port":80}"#;
        for (key, id, service, category) in [
            ("/skydns/local/skydns/services/web/1", "1", "web", "services"),
            ("/skydns/local/skydns/services/b/a/1", "1", "a.b", "services"),
            ("/skydns/local/skydns/services/web", "web", "web", "services"),
            ("/skydns/local/skydns/east/production/rails/1", "1", "rails", "production.east"),
        ] {
            let json = json_of(key, host);
            let category: Vec<_> = category.split('.').collect();
            assert_eq!(json["id"], id, "{key}");
            assert_eq!(json["service"], service, "{key}");
            assert_eq!(json["category"], serde_json::json!(category), "{key}");
            assert_eq!((&json["revision"], &json["key"]), (&7.into(), &key.into()));
        }
        assert_eq!(json_of("/skydns/local/skydns/services/web/1", host)["name"], "1.web.services.skydns.local");
    }

    #[test]
    fn registered_details_are_returned() {
        let details = serde_json::json!({
            "id": "x", "service": "Web", "category": ["services", "eu"], "dialect": "skyapi", "version": "1.2.3",
            "meta": { "zone": "b" },
        });
        let value = serde_json::json!({ "host": "a.example", "port": 80, "ttl": 5, "skyhound": details });
        let json = json_of("/skydns/local/skydns/eu/services/web/x", &value.to_string());
        assert_eq!((&json["service"], &json["host"]), (&"web".into(), &"a.example".into()));
        assert_eq!((&json["version"], &json["meta"]["zone"]), (&"1.2.3".into(), &"b".into()));
        assert_eq!(json["category"], serde_json::json!(["services", "eu"]));
        assert_eq!((&json["dialect"], &json["lease_seconds"]), (&"skyapi".into(), &serde_json::Value::Null));
    }
}
