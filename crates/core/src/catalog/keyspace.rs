//! Where the items of the store stand in the tree of names, and which of them are a service's instances.
//!
//! Two kinds of writers share a store. Those of the SkyDNS layout say the name with the key: `/skydns/local/web/1`.
//! hound-dog's peers say a service with the key and a place with the value: `service/web/10.0.0.5` →
//! `10.0.0.5:8080`, or `http://10.0.0.5:8080` in its second generation; such an item stands where it would if
//! that peer had registered here, in the default category.
//!
//! Owns: item → name and entry, entry → service. Pure. Does not own: the tree ([`super::snapshot`]).

use super::node::StoredEntry;
use skyhound_model::details::Details;
use skyhound_model::{
    Entry, Host, Key, Label, Layout, Name, Naming, Registration, RemovalReason, address, removal::Tombstone,
};
use skyhound_store::{Batch, Change, Item, LeaseId};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// The dialect by which the entries of hound-dog's own peers go.
pub const FOREIGN_DIALECT: &str = "hound-dog";
/// `--hound-dog-namespace`: hound-dog's own `HD_SERVICE_NAMESPACE`.
pub const FOREIGN_NAMESPACE: &str = "service";

/// Below which prefixes items are read, and what their keys mean.
#[derive(Debug, Clone)]
pub struct Keyspace {
    naming: Naming,
    /// The labels of the default category, from the root.
    category: Vec<Label>,
    /// `service/`, where hound-dog's peers write; `None` when nobody reads it.
    foreign: Option<String>,
    tombstone_key: Key,
}

/// An item that is an entry.
pub(super) type NamedEntry = (Name, StoredEntry);
/// Why it is none, and its name if it has one all the same.
pub(super) type ReadError = (Option<Name>, String);

impl Keyspace {
    /// The places of a naming; with a namespace of hound-dog's, also those of its peers.
    pub fn new(naming: Naming, namespace: Option<&str>) -> Self {
        let parts = naming.default_category.split([',', '.']).rev();
        let category = parts.filter_map(|part| Label::new(part).ok()).collect();
        let foreign = namespace.map(|namespace| format!("{}/", namespace.trim_end_matches('/')));
        Self { category, foreign, tombstone_key: Tombstone::key(&naming.layout), naming }
    }

    /// The prefix of all keys in the SkyDNS layout.
    pub fn prefix(&self) -> &str {
        self.naming.layout.prefix()
    }

    /// The prefix of the keys of hound-dog's peers.
    pub fn foreign_prefix(&self) -> Option<&str> {
        self.foreign.as_deref()
    }

    /// The name that a key of the SkyDNS layout spells; `None` when it spells none.
    pub fn name(&self, key: &Key) -> Option<Name> {
        self.naming.layout.name(key.as_bytes()).ok()
    }

    /// Whether an item is no entry but a note of ours: a marker, or the copy for hound-dog's peers of an entry
    /// that stands in the SkyDNS layout as well.
    pub(super) fn is_internal(&self, item: &Item) -> bool {
        item.key == self.tombstone_key || (self.is_foreign(&item.key) && item.lease.is_some_and(LeaseId::is_ours))
    }

    /// What the marker of a batch says, if there is one.
    pub(super) fn tombstone(&self, batch: &Batch) -> Option<Tombstone> {
        batch.changes.iter().find_map(|change| match change {
            Change::Put(item) if item.key == self.tombstone_key => Some(Tombstone::parse(&item.value)),
            _ => None,
        })
    }

    pub(super) fn is_foreign(&self, key: &Key) -> bool {
        self.foreign.as_ref().is_some_and(|prefix| key.as_bytes().starts_with(prefix.as_bytes()))
    }

    /// The entry of an item, and its name.
    pub(super) fn read(&self, item: &Item) -> Result<NamedEntry, ReadError> {
        let foreign = self.is_foreign(&item.key);
        let (name, entry) = if foreign { self.read_foreign(item) } else { self.read_own(item) }?;
        let service = self.service(&name, &entry);
        let (key, revision, lease) = (item.key.clone(), item.revision, item.lease);
        Ok((name, StoredEntry { key, entry, revision, lease, lease_ttl_s: None, service, foreign }))
    }

    fn read_own(&self, item: &Item) -> Result<(Name, Entry), ReadError> {
        let name = self.naming.layout.name(item.key.as_bytes()).map_err(|e| (None, e.to_string()))?;
        match Entry::parse(&item.value) {
            Ok(entry) => Ok((name, entry)),
            Err(error) => Err((Some(name), error.to_string())),
        }
    }

    fn read_foreign(&self, item: &Item) -> Result<(Name, Entry), ReadError> {
        let wrong = |what: String| (None, what);
        let prefix = self.foreign.as_deref().unwrap_or_default().len();
        let path = str::from_utf8(&item.key.as_bytes()[prefix..]).map_err(|_| wrong("is not UTF-8".into()))?;
        let (service, _) =
            path.split_once('/').ok_or_else(|| wrong("is no key of hound-dog's: SERVICE/NODE is expected".into()))?;
        let value = String::from_utf8_lossy(&item.value);
        // A copy of what was known holds entries, whatever they were made from.
        let saved = Entry::parse(&item.value).ok().and_then(|entry| Some((entry.host?.to_string(), entry.port)));
        let location = match &saved {
            Some((host, port)) => Some((host.as_str(), *port)),
            None => address::host_and_port(value.trim()),
        };
        let (host, port) =
            location.ok_or_else(|| wrong(format!("has {value:?}, which is neither HOST:PORT nor a URI with both")))?;
        let registration = Registration {
            service: service.to_owned(),
            host: host.to_owned(),
            port,
            dialect: FOREIGN_DIALECT,
            ..Registration::default()
        };
        // It has a host, so that the address of a peer plays no part.
        let instance = registration
            .accept(&self.naming, IpAddr::V4(Ipv4Addr::UNSPECIFIED))
            .map_err(|invalid| wrong(format!("cannot be registered: {invalid}")))?;
        // It hangs on its peer's lease, and that says for how long it may be cached.
        Ok((instance.name, Entry { ttl: 0, ..instance.entry }))
    }

    /// The service that an entry is an instance of: as its peer said it, or as its name says it. `None` for what is no
    /// instance: texts, and what stands outside the zone or among its own servers (`dns.ZONE`).
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
            // Below the default category all but the id is the service; elsewhere nobody knows where a category ends.
            [service @ .., _] if in_category.is_some() => service,
            [.., service, _] => std::slice::from_ref(service),
            [] => return None,
        };
        let dotted: Vec<_> = labels.iter().rev().map(ToString::to_string).collect();
        Some(dotted.join(".").into())
    }

    /// The node below which the instances of an entry's service stand: the one above the entry's own. An entry directly
    /// below the zone, or below the category, stands there alone.
    pub(super) fn service_node(&self, name: &Name) -> Name {
        let zone = self.naming.root.labels().len();
        let below = &name.labels()[zone.min(name.labels().len())..];
        let above = if below.strip_prefix(self.category.as_slice()).is_some() { self.category.len() } else { 0 };
        let alone = below.len() <= above + 1;
        if alone { name.clone() } else { name.ancestor(1).unwrap_or_default() }
    }

    /// The home of a service in the default category, if it is a name.
    pub(super) fn default_node(&self, service: &str) -> Option<Name> {
        let service = service.split('.').rev().map(Label::new).collect::<Result<Vec<_>, _>>().ok()?;
        Name::from_root([self.naming.root.labels(), &self.category, &service].concat()).ok()
    }

    /// Whether that is where this home is.
    pub(super) fn is_default_node(&self, node: &Name, service: &str) -> bool {
        let below = node.labels().strip_prefix(self.naming.root.labels());
        let labels = below.and_then(|below| below.strip_prefix(self.category.as_slice()));
        labels.is_some_and(|labels| labels.iter().map(Label::as_bytes).eq(service.split('.').rev().map(str::as_bytes)))
    }
}

/// Every name below the root, and no services of others: what DNS needs.
impl From<Layout> for Keyspace {
    fn from(layout: Layout) -> Self {
        let naming = Naming { root: Name::root(), layout, default_category: String::new(), default_ttl: 0 };
        Self::new(naming, None)
    }
}

impl StoredEntry {
    /// Where it is, as its peer said it; `None` when that is no host and port.
    pub fn location(&self) -> Option<(&Host, u16)> {
        self.entry.host.as_ref().map(|host| (host, self.entry.port))
    }
}

/// Why an entry left, when no marker says it and it hung on a lease that is there or is not.
pub(super) fn reason_without_tombstone(lease_is_there: bool) -> RemovalReason {
    if lease_is_there { RemovalReason::Deregistered } else { RemovalReason::Expired }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use skyhound_model::Revision;

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
        for (key, of) in [
            ("/skydns/local/skydns/services/web/1", Some("web")),
            ("/skydns/local/skydns/services/b/a/1", Some("a.b")),
            ("/skydns/local/skydns/services/web", Some("web")),
            ("/skydns/local/skydns/east/production/rails/1", Some("rails")),
            ("/skydns/local/skydns/web", Some("web")),
            ("/skydns/local/skydns/dns/ns/a", None),
            ("/skydns/com/example/web", None),
        ] {
            assert_eq!(service(key, host).as_deref(), of, "{key}");
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
            assert_eq!((stored.service.as_deref(), stored.foreign), (Some("web"), true));
            assert_eq!(stored.location(), Some((&Host::Addr("10.0.0.5".parse().unwrap()), 8080)));
        }
        for (key, value, why) in [
            ("service/web", "10.0.0.5:80", "is no key of hound-dog's"),
            ("service/web/x", "10.0.0.5", "has \"10.0.0.5\", which is neither"),
            ("service/a b/x", "10.0.0.5:80", "cannot be registered: service \"a b\" has ' '"),
        ] {
            let (_, reason) = keyspace().read(&item(key, value)).unwrap_err();
            assert!(reason.starts_with(why), "{reason}");
        }
    }

    #[test]
    fn internal_items_are_no_entries() {
        let keyspace = keyspace();
        let ours = Item { lease: Some(LeaseId::random()), ..item("service/web/10.0.0.5", "10.0.0.5:80") };
        assert!(keyspace.is_internal(&ours) && keyspace.is_internal(&item("/skydns/_skyhound/departed", "{}")));
        let foreign = Item { lease: Some(LeaseId(7)), ..ours };
        assert!(!keyspace.is_internal(&foreign) && !keyspace.is_internal(&item("/skydns/local/x", "{}")));
    }
}
