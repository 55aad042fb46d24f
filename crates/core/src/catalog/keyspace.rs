//! The meaning of the store's keys: the name of an item, and the service that its entry is an instance of.
//!
//! A key of the SkyDNS layout contains the name: `/skydns/local/web/1`. In the mirror keyspace the name follows from key
//! and value (`super::mirror_keyspace`).
//!
//! The service of an entry, which has a host or details and is in the zone:
//!
//! | entry | service |
//! |---|---|
//! | at the zone itself, or in `dns.ZONE` (the zone's own servers) | none |
//! | its details contain a service | that service |
//! | `ID.SERVICE.CATEGORY.ZONE` in the default category | all labels between id and category |
//! | `ID.SERVICE. … .ZONE` elsewhere, where the category could end anywhere | the label after the id |
//! | `SERVICE.ZONE` or `SERVICE.CATEGORY.ZONE` | that label |
//!
//! Owns: item → name and entry, entry → service, service → node. Pure. Does not own: the tree ([`super::snapshot`]).

use super::mirror_keyspace::MirrorKeyspace;
use super::position::Part;
use super::stored_entry::StoredEntry;
use skyhound_model::details::Details;
use skyhound_model::{Entry, Key, Label, Layout, Name, Naming, removal::Tombstone};
use skyhound_store::{Batch, Change, Item};
use std::sync::Arc;

/// The prefixes below which items are read, and the meaning of their keys.
#[derive(Debug, Clone)]
pub struct Keyspace {
    naming: Naming,
    /// The labels of the default category, from the root.
    category: Vec<Label>,
    /// `None` if hound-dog's layout is not read.
    mirror: Option<MirrorKeyspace>,
    tombstone_key: Key,
}

/// An entry and its name.
pub(super) type NamedEntry = (Name, StoredEntry);
/// The reason that an item is no entry, and the name of its key if it has one.
pub(super) type ReadError = (Option<Name>, String);

impl Keyspace {
    /// The keyspace of a naming; with a namespace of hound-dog also the mirror keyspace below it.
    pub fn new(naming: Naming, mirror_namespace: Option<&str>) -> Self {
        let parts = naming.default_category.split([',', '.']).rev();
        let category = parts.filter_map(|part| Label::new(part).ok()).collect();
        let mirror = mirror_namespace.map(MirrorKeyspace::new);
        Self { category, mirror, tombstone_key: Tombstone::key(&naming.layout), naming }
    }

    /// The prefix of all keys in the SkyDNS layout.
    pub fn prefix(&self) -> &str {
        self.naming.layout.prefix()
    }

    /// The prefix of the mirror keyspace; `None` if it is not read.
    pub fn mirror_prefix(&self) -> Option<&str> {
        self.mirror.as_ref().map(MirrorKeyspace::prefix)
    }

    /// The prefix of a part; `None` if it is not read.
    pub(super) fn part_prefix(&self, part: Part) -> Option<&str> {
        match part {
            Part::Primary => Some(self.prefix()),
            Part::Mirror => self.mirror_prefix(),
        }
    }

    /// The part that a key belongs to.
    pub(super) fn part(&self, key: &Key) -> Part {
        if self.mirror.as_ref().is_some_and(|mirror| mirror.contains(key)) { Part::Mirror } else { Part::Primary }
    }

    /// The name of a key in the SkyDNS layout; `None` if the key is no name.
    pub fn name(&self, key: &Key) -> Option<Name> {
        self.naming.layout.name(key.as_bytes()).ok()
    }

    /// Returns whether an item is internal instead of an entry: a tombstone or a mirror key.
    pub(super) fn is_internal(&self, item: &Item) -> bool {
        item.key == self.tombstone_key || self.mirror.as_ref().is_some_and(|mirror| mirror.is_mirror_key(item))
    }

    /// The tombstone that a batch puts.
    pub(super) fn tombstone(&self, batch: &Batch) -> Option<Tombstone> {
        batch.changes.iter().find_map(|change| match change {
            Change::Put(item) if item.key == self.tombstone_key => Some(Tombstone::parse(&item.value)),
            _ => None,
        })
    }

    /// The entry of an item, and its name.
    pub(super) fn read(&self, item: &Item) -> Result<NamedEntry, ReadError> {
        let mirror = self.mirror.as_ref().filter(|mirror| mirror.contains(&item.key));
        let (name, entry) = match mirror {
            Some(mirror) => mirror.read(item, &self.naming).map_err(|reason| (None, reason))?,
            None => self.read_primary(item)?,
        };
        let stored = StoredEntry {
            key: item.key.clone(),
            service: self.service(&name, &entry),
            entry,
            revision: item.revision,
            lease: item.lease,
            lease_ttl_s: None,
            in_mirror: mirror.is_some(),
        };
        Ok((name, stored))
    }

    fn read_primary(&self, item: &Item) -> Result<(Name, Entry), ReadError> {
        let name = self.naming.layout.name(item.key.as_bytes()).map_err(|error| (None, error.to_string()))?;
        match Entry::parse(&item.value) {
            Ok(entry) => Ok((name, entry)),
            Err(error) => Err((Some(name), error.to_string())),
        }
    }

    /// The service that an entry is an instance of, in lower case, by the table in the header.
    fn service(&self, name: &Name, entry: &Entry) -> Option<Arc<str>> {
        if entry.host.is_none() && entry.details.is_none() {
            return None;
        }
        let below = name.labels().strip_prefix(self.naming.root.labels())?;
        if below.is_empty() || below[0].as_bytes() == b"dns" {
            return None;
        }
        let declared = entry.details.as_ref().map(Details::service);
        if let Some(service) = declared.filter(|service| !service.is_empty()) {
            return Some(service.to_ascii_lowercase().into());
        }
        let in_category = below.strip_prefix(self.category.as_slice()).filter(|rest| !rest.is_empty());
        let labels = match in_category.unwrap_or(below) {
            [one] => std::slice::from_ref(one),
            [service @ .., _] if in_category.is_some() => service,
            [.., service, _] => std::slice::from_ref(service),
            [] => return None,
        };
        let dotted: Vec<_> = labels.iter().rev().map(ToString::to_string).collect();
        Some(dotted.join(".").into())
    }

    /// The node below which the instances of an entry's service are: the parent of the entry's own. An entry directly
    /// below the zone or the category is the only one of its node.
    pub(super) fn service_node(&self, name: &Name) -> Name {
        let zone = self.naming.root.labels().len();
        let below = &name.labels()[zone.min(name.labels().len())..];
        let category = if below.strip_prefix(self.category.as_slice()).is_some() { self.category.len() } else { 0 };
        let is_alone = below.len() <= category + 1;
        if is_alone { name.clone() } else { name.ancestor(1).unwrap_or_default() }
    }

    /// The node of a service in the default category; `None` if the service is no name.
    pub(super) fn default_node(&self, service: &str) -> Option<Name> {
        let service = service.split('.').rev().map(Label::new).collect::<Result<Vec<_>, _>>().ok()?;
        Name::from_root([self.naming.root.labels(), &self.category, &service].concat()).ok()
    }

    /// Returns whether a node is that of the service in the default category.
    pub(super) fn is_default_node(&self, node: &Name, service: &str) -> bool {
        let below = node.labels().strip_prefix(self.naming.root.labels());
        let labels = below.and_then(|below| below.strip_prefix(self.category.as_slice()));
        labels.is_some_and(|labels| labels.iter().map(Label::as_bytes).eq(service.split('.').rev().map(str::as_bytes)))
    }
}

/// Every name below the root, without a mirror keyspace: sufficient for DNS.
impl From<Layout> for Keyspace {
    fn from(layout: Layout) -> Self {
        let naming = Naming { root: Name::root(), layout, default_category: String::new(), default_ttl: 0 };
        Self::new(naming, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use skyhound_model::{Host, Revision};
    use skyhound_store::LeaseId;

    fn keyspace() -> Keyspace {
        Keyspace::new(Naming::example(), Some("service"))
    }

    fn item(key: &str, value: &str) -> Item {
        Item {
            key: Key::from(key),
            value: Bytes::copy_from_slice(value.as_bytes()),
            revision: Revision(1),
            lease: None,
        }
    }

    fn service(key: &str, value: &str) -> Option<String> {
        let (_, stored) = keyspace().read(&item(key, value)).unwrap();
        stored.service.map(|service| service.to_string())
    }

    #[test]
    fn the_service_of_an_entry_is_derived() {
        let host = r#"{"host":"10.0.0.1","port":80}"#;
        for (key, expected) in [
            ("/skydns/local/skydns/services/web/1", Some("web")),
            ("/skydns/local/skydns/services/b/a/1", Some("a.b")),
            ("/skydns/local/skydns/services/web", Some("web")),
            ("/skydns/local/skydns/east/production/rails/1", Some("rails")),
            ("/skydns/local/skydns/web", Some("web")),
            ("/skydns/local/skydns/dns/ns/a", None),
            ("/skydns/com/example/web", None),
        ] {
            assert_eq!(service(key, host).as_deref(), expected, "{key}");
        }
        assert_eq!(service("/skydns/local/skydns/services/web/1", r#"{"text":"owner"}"#), None);
        let declared = r#"{"host":"10.0.0.1","skyhound":{"service":"Api","category":["a","b"]}}"#;
        assert_eq!(service("/skydns/local/skydns/b/a/api/1", declared).as_deref(), Some("api"));
    }

    #[test]
    fn the_default_node_follows_from_the_service() {
        let keyspace = keyspace();
        for (node, service, is_default) in [
            ("web.services.skydns.local", "web", true),
            ("b.a.services.skydns.local", "b.a", true),
            ("web.services.skydns.local", "api", false),
            ("web.production.skydns.local", "web", false),
            ("services.skydns.local", "", false),
            ("web.services", "web", false),
        ] {
            let name = Name::parse(node).unwrap();
            assert_eq!(keyspace.is_default_node(&name, service), is_default, "{node} of {service}");
            assert_eq!(keyspace.default_node(service) == Some(name), is_default, "{node} of {service}");
        }
    }

    #[test]
    fn hound_dog_peers_get_the_name_of_a_registration() {
        let id = skyhound_model::instance::skyapi_id("web", &["services".into()], "10.0.0.5", 8080);
        for value in ["10.0.0.5:8080", "http://10.0.0.5:8080", "http://10.0.0.5:8080/x\n"] {
            let (name, stored) = keyspace().read(&item("service/web/10.0.0.5", value)).unwrap();
            assert_eq!(name.to_string(), format!("{id}.web.services.skydns.local."));
            assert_eq!((stored.service.as_deref(), stored.in_mirror), (Some("web"), true));
            assert_eq!(stored.location(), Some((&Host::Addr("10.0.0.5".parse().unwrap()), 8080)));
        }
        for (key, value, expected) in [
            ("service/web", "10.0.0.5:80", "is not a hound-dog key"),
            ("service/web/x", "10.0.0.5", "has \"10.0.0.5\", which is neither"),
            ("service/a b/x", "10.0.0.5:80", "cannot be registered: service \"a b\" has ' '"),
        ] {
            let (_, reason) = keyspace().read(&item(key, value)).unwrap_err();
            assert!(reason.starts_with(expected), "{reason}");
        }
    }

    #[test]
    fn internal_items_are_no_entries() {
        let keyspace = keyspace();
        let mirror_key = Item { lease: Some(LeaseId::random()), ..item("service/web/10.0.0.5", "10.0.0.5:80") };
        assert!(keyspace.is_internal(&mirror_key) && keyspace.is_internal(&item("/skydns/_skyhound/departed", "{}")));
        let peer = Item { lease: Some(LeaseId(7)), ..mirror_key };
        assert!(!keyspace.is_internal(&peer) && !keyspace.is_internal(&item("/skydns/local/x", "{}")));
    }
}
