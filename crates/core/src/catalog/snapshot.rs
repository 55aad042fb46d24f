//! The immutable state of all entries at one revision.
//!
//! Owns: the tree of names, the quarantine, the application of a batch, and the difference to a full listing.
//! Synchronous; no clock. Does not own: the source of batches ([`super::follow`]), the DNS answers from the tree
//! (`skyhound_dns`).

use super::digest::PartState;
use super::keyspace::Keyspace;
use super::lease_ttls::{KnownTtls, LearntTtl};
use super::node::Node;
use super::position::{Part, PerPart, Position};
use super::quarantine::Quarantined;
use super::service_index::{ServiceIndex, ServiceNodes};
use super::stored_entry::StoredEntry;
use super::values::Value;
use imbl::OrdMap;
use skyhound_model::{Key, Name};
use skyhound_store::{Batch, Change, Item, Listing, Revision};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The state of the tree at one revision. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Snapshot {
    keyspace: Arc<Keyspace>,
    state: PerPart<PartState>,
    /// The number of the last change that a subscriber could have received up to this snapshot.
    changes: u64,
    root: Arc<Node>,
    /// The number of persistent registrations without a lease TTL.
    persistent: usize,
    services: ServiceIndex,
    /// The names of the items in the mirror keyspace, whose keys do not contain them.
    mirror_names: OrdMap<Key, Name>,
    quarantine: OrdMap<Key, Arc<Quarantined>>,
}

impl Snapshot {
    /// An empty snapshot before the first revision.
    pub fn empty(keyspace: impl Into<Arc<Keyspace>>) -> Self {
        Self {
            keyspace: keyspace.into(),
            state: PerPart::default(),
            changes: 0,
            root: Arc::default(),
            persistent: 0,
            services: ServiceIndex::default(),
            mirror_names: OrdMap::new(),
            quarantine: OrdMap::new(),
        }
    }

    /// The revision of the entries in the SkyDNS layout.
    pub fn revision(&self) -> Revision {
        self.state.primary.revision
    }

    /// The position of a reader that has received this snapshot.
    pub fn position(&self) -> Position {
        self.state.position()
    }

    /// The revision and the digest of each part.
    pub(super) fn state(&self) -> &PerPart<PartState> {
        &self.state
    }

    /// The number of the last change that this snapshot contains; see [`super::Change::number`].
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// The node of a name; `None` if neither it nor a name below it has a value.
    pub fn node(&self, name: &Name) -> Option<&Node> {
        self.root.at(name.labels())
    }

    /// The node of the root of all names.
    pub fn root(&self) -> &Node {
        &self.root
    }

    /// The name of an item; `None` if its key has none.
    pub fn name(&self, key: &Key) -> Option<Name> {
        match self.keyspace.part(key) {
            Part::Primary => self.keyspace.name(key),
            Part::Mirror => self.mirror_names.get(key).cloned(),
        }
    }

    /// The entry of a key, if readers see it ([`Node::own`]).
    pub fn entry(&self, key: &Key) -> Option<&Arc<StoredEntry>> {
        self.node(&self.name(key)?)?.own().find(|stored| stored.key == *key)
    }

    /// The number of persistent registrations without a lease TTL.
    pub fn persistent(&self) -> usize {
        self.persistent
    }

    /// Every service that has an instance, in order.
    pub fn services(&self) -> impl Iterator<Item = &Arc<str>> {
        self.services.services()
    }

    /// The instances of a service; upper and lower case are the same.
    pub fn instances(&self, service: &str) -> impl Iterator<Item = &Arc<StoredEntry>> {
        let service = service.to_ascii_lowercase();
        let nodes = self.services.nodes(&service);
        let default = nodes.filter(|nodes| nodes.has_default()).and_then(|_| self.keyspace.default_node(&service));
        let others = nodes.into_iter().flat_map(ServiceNodes::others).filter_map(|node| self.node(node));
        let nodes: Vec<&Node> = default.and_then(|node| self.node(&node)).into_iter().chain(others).collect();
        let found =
            nodes.into_iter().flat_map(|node| node.own().chain(node.children().flat_map(|(_, child)| child.own())));
        found.filter(move |stored| stored.service.as_deref() == Some(&*service))
    }

    /// Every value that is no entry, in the order of keys.
    pub fn quarantine(&self) -> impl Iterator<Item = &Arc<Quarantined>> {
        self.quarantine.values()
    }

    /// The prefix of the mirror keyspace, in which hound-dog's peers register; `None` if it is not read.
    pub fn mirror_prefix(&self) -> Option<&str> {
        self.keyspace.mirror_prefix()
    }

    pub(super) fn keyspace(&self) -> &Arc<Keyspace> {
        &self.keyspace
    }

    /// Returns the snapshot after a batch of the SkyDNS layout.
    #[must_use]
    pub fn apply(&self, batch: &Batch) -> Self {
        self.after(Part::Primary, batch, &KnownTtls::default())
    }

    /// Returns the snapshot after a batch of one part, with the lease TTLs that are known.
    pub(super) fn after(&self, part: Part, batch: &Batch, ttls: &KnownTtls) -> Self {
        let mut next = self.clone();
        for change in &batch.changes {
            match change {
                Change::Put(item) => next.put(item, ttls),
                Change::Delete(key) => next.delete(key),
            }
        }
        next.state[part].revision = batch.revision;
        next
    }

    /// Sets the number of the last change.
    #[must_use]
    pub(super) fn with_changes(self, changes: u64) -> Self {
        Self { changes, ..self }
    }

    /// Returns the batch that leads from this snapshot to a full listing of one part; without changes if nothing differs.
    /// Items with the same key and revision are equal.
    pub(super) fn difference(&self, part: Part, listing: &Listing) -> Batch {
        let mut held = BTreeMap::new();
        collect_revisions(&self.root, &mut held);
        held.extend(self.quarantine.iter().map(|(key, bad)| (key, bad.revision)));
        held.retain(|key, _| self.keyspace.part(key) == part);
        let mut changes = Vec::new();
        for item in listing.items.iter().filter(|item| !self.keyspace.is_internal(item)) {
            if held.remove(&item.key) != Some(item.revision) {
                changes.push(Change::Put(item.clone()));
            }
        }
        changes.extend(held.into_keys().cloned().map(Change::Delete));
        Batch { revision: listing.revision, changes }
    }

    /// Returns the snapshot with the lease TTLs of these entries. An entry that was put again since is not changed.
    #[must_use]
    pub(super) fn with_ttls(&self, ttls: &[LearntTtl]) -> Self {
        let mut next = self.clone();
        for ((key, revision), ttl) in ttls {
            let Some(name) = next.name(key) else { continue };
            let Some(stored) = next.entry(key).filter(|stored| stored.revision == *revision) else { continue };
            let with_ttl = StoredEntry { lease_ttl_s: Some(*ttl), ..StoredEntry::clone(stored) };
            next.root.put(name.labels(), &Value::Entry(Arc::new(with_ttl)));
        }
        next
    }

    fn put(&mut self, item: &Item, ttls: &KnownTtls) {
        if self.keyspace.is_internal(item) {
            return self.delete(&item.key);
        }
        let read = self.keyspace.read(item);
        if self.keyspace.part(&item.key) == Part::Mirror {
            // The name follows from the value and may differ from the one before.
            self.delete(&item.key);
        }
        let quarantined = self.quarantine.remove(&item.key).map(|bad| bad.revision);
        let before = match read {
            Ok((name, stored)) => self.put_entry(&name, stored, ttls),
            Err((name, reason)) => self.put_in_quarantine(name, reason, item),
        };
        self.update_digest(&item.key, before.or(quarantined), Some(item.revision));
    }

    /// Puts an entry. Returns the revision of the value that it replaces in the tree.
    fn put_entry(&mut self, name: &Name, mut stored: StoredEntry, ttls: &KnownTtls) -> Option<Revision> {
        let node = self.keyspace.service_node(name);
        stored.lease_ttl_s = stored.lease.and_then(|lease| ttls.get(&lease).copied());
        stored.service = stored.service.map(|service| {
            let other = self.non_default(&service, &node);
            self.services.add(&service, other)
        });
        if stored.in_mirror {
            self.mirror_names.insert(stored.key.clone(), name.clone());
        }
        self.persistent += usize::from(stored.is_persistent());
        self.put_value(name, &node, &Value::Entry(Arc::new(stored)))
    }

    /// Puts a value that is no entry. Returns the revision of the value that it replaces in the tree.
    fn put_in_quarantine(&mut self, name: Option<Name>, reason: String, item: &Item) -> Option<Revision> {
        let bad = Arc::new(Quarantined { key: item.key.clone(), reason, revision: item.revision });
        self.quarantine.insert(item.key.clone(), Arc::clone(&bad));
        let name = name?;
        self.put_value(&name, &self.keyspace.service_node(&name), &Value::Bad(bad))
    }

    fn put_value(&mut self, name: &Name, service_node: &Name, value: &Value) -> Option<Revision> {
        let before = self.root.put(name.labels(), value)?;
        self.uncount(service_node, &before);
        Some(before.revision())
    }

    fn delete(&mut self, key: &Key) {
        let quarantined = self.quarantine.remove(key).map(|bad| bad.revision);
        let before = self.name(key).and_then(|name| {
            let before = self.root.remove(name.labels(), key);
            self.mirror_names.remove(key);
            let before = before?;
            self.uncount(&self.keyspace.service_node(&name), &before);
            Some(before.revision())
        });
        self.update_digest(key, before.or(quarantined), None);
    }

    /// Replaces the item of a key in the digest; `before` and `after` are the revisions that put it.
    fn update_digest(&mut self, key: &Key, before: Option<Revision>, after: Option<Revision>) {
        let digest = &mut self.state[self.keyspace.part(key)].digest;
        if let Some(put) = before {
            digest.remove(key, put);
        }
        if let Some(put) = after {
            digest.add(key, put);
        }
    }

    /// Returns a node, unless it is the default node of the service.
    fn non_default<'n>(&self, service: &str, node: &'n Name) -> Option<&'n Name> {
        Some(node).filter(|node| !self.keyspace.is_default_node(node, service))
    }

    /// Removes a value that left the tree from the counters and from the index of services.
    fn uncount(&mut self, service_node: &Name, before: &Value) {
        let Value::Entry(before) = before else { return };
        self.persistent -= usize::from(before.is_persistent());
        if let Some(service) = &before.service {
            let other = self.non_default(service, service_node);
            self.services.remove(service, other);
        }
    }
}

/// Collects the revision of every value at a node and below it.
fn collect_revisions<'s>(node: &'s Node, revisions: &mut BTreeMap<&'s Key, Revision>) {
    revisions.extend(node.values().iter().map(|value| (value.key(), value.revision())));
    for (_, child) in node.children() {
        collect_revisions(child, revisions);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;
    use skyhound_model::Layout;

    fn item(key: &str, value: &str, revision: u64) -> Item {
        Item {
            key: Key::from(key),
            value: Bytes::copy_from_slice(value.as_bytes()),
            revision: Revision(revision),
            lease: None,
        }
    }

    fn empty() -> Snapshot {
        Snapshot::empty(Keyspace::from(Layout::new("/skydns")))
    }

    fn batch(revision: u64, changes: Vec<Change>) -> Batch {
        Batch { revision: Revision(revision), changes }
    }

    #[test]
    fn a_change_does_not_alter_earlier_snapshots() {
        let put = |key, revision| Change::Put(item(key, r#"{"host":"10.0.0.1"}"#, revision));
        let one = empty().apply(&batch(1, vec![put("/skydns/local/a/1", 1)]));
        let two = one.apply(&batch(2, vec![put("/skydns/local/a/2", 2), put("/skydns/local/b", 2)]));
        let three = two.apply(&batch(3, vec![Change::Delete(Key::from("/skydns/local/a/1"))]));
        let count = |s: &Snapshot, name: &str| s.node(&name.parse().unwrap()).map_or(0, Node::entries);
        assert_eq!((count(&one, "a.local"), count(&two, "a.local"), count(&three, "a.local")), (1, 2, 1));
        assert_eq!((one.root().entries(), two.root().entries(), three.root().entries()), (1, 3, 2));
        let four = three.apply(&batch(4, vec![Change::Delete(Key::from("/skydns/local/a/2"))]));
        assert!(
            four.node(&"a.local".parse().unwrap()).is_none(),
            "a name without values at it and below it does not exist"
        );
        assert!(
            Arc::ptr_eq(three.root.at(&[]).unwrap().child(b"local").unwrap().child(b"b").unwrap(), {
                four.root.child(b"local").unwrap().child(b"b").unwrap()
            }),
            "unchanged nodes are shared"
        );
    }

    #[test]
    fn a_bad_value_is_quarantined_alone_until_replaced() {
        let good = Change::Put(item("/skydns/local/t/good", r#"{"host":"10.0.0.1"}"#, 1));
        let bad = Change::Put(item("/skydns/local/t/bad", "not JSON", 1));
        let unnamed = Change::Put(item("/skydns/local//x", r#"{"host":"10.0.0.1"}"#, 1));
        let one = empty().apply(&batch(1, vec![good, bad, unnamed]));
        let tree = one.node(&"t.local".parse().unwrap()).unwrap();
        assert_eq!((tree.entries(), tree.quarantined()), (1, 1));
        let reasons: Vec<_> = one.quarantine().map(|q| format!("{} {}", q.key, q.reason)).collect();
        assert_eq!(reasons[0], "/skydns/local//x as a name has an empty label");
        assert!(reasons[1].starts_with("/skydns/local/t/bad is not JSON"), "{reasons:?}");
        let two = one.apply(&batch(2, vec![Change::Put(item("/skydns/local/t/bad", r#"{"host":"10.0.0.2"}"#, 2))]));
        let tree = two.node(&"t.local".parse().unwrap()).unwrap();
        assert_eq!((tree.entries(), tree.quarantined(), two.quarantine().count()), (2, 0, 1));
    }

    #[test]
    fn keys_of_one_name_coexist() {
        let puts = ["/skydns/local/A", "/skydns/local/a", "/skydns/local/a/"]
            .map(|key| Change::Put(item(key, r#"{"host":"10.0.0.1"}"#, 1)));
        let one = empty().apply(&batch(1, puts.to_vec()));
        assert_eq!(one.node(&"a.local".parse().unwrap()).unwrap().own().count(), 3);
        let two = one.apply(&batch(2, vec![Change::Delete(Key::from("/skydns/local/a"))]));
        assert_eq!(two.node(&"a.local".parse().unwrap()).unwrap().own().count(), 2);
    }

    /// Compares random changes with a plain map: after each of them the tree holds the contents of the map, and the
    /// difference to a listing of the map is empty.
    fn model(ops: Vec<(u8, u8, u8)>) {
        let mut map: BTreeMap<Key, Item> = BTreeMap::new();
        let mut snapshot = empty();
        let mut lagging = empty();
        for (at, (a, b, kind)) in ops.into_iter().enumerate() {
            let revision = at as u64 + 1;
            let key = match b % 5 {
                0 => format!("/skydns/{a}"),
                1 => format!("/skydns/{a}//"),
                _ => format!("/skydns/{a}/{b}"),
            };
            let value = if kind % 4 == 1 { "?" } else { r#"{"host":"10.0.0.1"}"# };
            let change = if kind % 4 == 0 {
                map.remove(&Key::from(&key));
                Change::Delete(Key::from(&key))
            } else {
                let item = item(&key, value, revision);
                map.insert(item.key.clone(), item.clone());
                Change::Put(item)
            };
            snapshot = snapshot.apply(&batch(revision, vec![change]));
            let listing = Listing { revision: Revision(revision), items: map.values().cloned().collect() };
            assert_eq!(snapshot.difference(Part::Primary, &listing).changes, []);
            let good = map.values().filter(|i| i.value.len() > 1 && !i.key.as_bytes().ends_with(b"//")).count();
            assert_eq!(snapshot.root().entries(), good);
            assert_eq!(snapshot.quarantine().count(), map.len() - good);
            if kind % 7 == 0 {
                lagging = lagging.apply(&lagging.difference(Part::Primary, &listing));
                assert_eq!(lagging.difference(Part::Primary, &listing).changes, []);
                assert_eq!(lagging.position(), snapshot.position(), "whatever the intermediate states");
            }
        }
    }

    proptest! {
        #[test]
        fn the_tree_behaves_like_a_map(ops in prop::collection::vec((0u8..4, 0u8..8, any::<u8>()), 1..80)) {
            model(ops);
        }
    }
}
