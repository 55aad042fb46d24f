//! All entries at one revision, for good.
//!
//! Owns: the tree of names, the list of what is quarantined, how a batch makes the next snapshot, and how
//! a full listing is compared with what is known. Synchronous; no clock. Does not own: where batches come
//! from ([`super::follow`]), nor what DNS makes of the tree (`skyhound_dns`).

use super::digest::StateDigest;
use super::history::{Part, Position};
use super::keyspace::Keyspace;
use super::lease_ttls::KnownTtls;
use super::node::{Node, StoredEntry};
use super::quarantine::Quarantined;
use super::service_index::{ServiceIndex, ServiceNodes};
use super::values::Value;
use imbl::OrdMap;
use skyhound_model::{Key, Name};
use skyhound_store::{Batch, Change, Item, Listing, Revision};
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

/// The state of the tree at one revision. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Snapshot {
    keyspace: Arc<Keyspace>,
    /// Without its mark, which is that of the two below.
    position: Position,
    own_digest: StateDigest,
    foreign_digest: StateDigest,
    /// How many changes a listener could have heard of up to here.
    changes: u64,
    root: Arc<Node>,
    /// How many entries of ours nobody holds, and no lease takes away.
    persistent: usize,
    services: ServiceIndex,
    /// The names of the items of hound-dog's peers: their keys do not say them.
    foreign: OrdMap<Key, Name>,
    quarantine: OrdMap<Key, Arc<Quarantined>>,
}

impl Snapshot {
    /// Nothing, before the first revision.
    pub fn empty(keyspace: impl Into<Arc<Keyspace>>) -> Self {
        Self {
            keyspace: keyspace.into(),
            position: Position::default(),
            own_digest: StateDigest::default(),
            foreign_digest: StateDigest::default(),
            changes: 0,
            root: Arc::default(),
            persistent: 0,
            services: ServiceIndex::default(),
            foreign: OrdMap::new(),
            quarantine: OrdMap::new(),
        }
    }

    /// The revision whose state this is, of the entries in the SkyDNS layout.
    pub fn revision(&self) -> Revision {
        self.position.own
    }

    /// The revisions of both parts of the store, and their mark.
    pub fn position(&self) -> Position {
        Position { digest: self.own_digest.combine(self.foreign_digest), ..self.position }
    }

    /// What the items of a part come to.
    pub(super) fn digest(&self, part: Part) -> StateDigest {
        match part {
            Part::Own => self.own_digest,
            Part::Foreign => self.foreign_digest,
        }
    }

    /// The number of the last change that this snapshot has; see [`super::history`].
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// The node of a name; `None` when nothing stands at it or below it.
    pub fn node(&self, name: &Name) -> Option<&Node> {
        self.root.at(name.labels())
    }

    /// The node of the root of all names.
    pub fn root(&self) -> &Node {
        &self.root
    }

    /// The name under which an item stands; `None` when its key spells none.
    pub fn name(&self, key: &Key) -> Option<Name> {
        if self.keyspace.is_foreign(key) { self.foreign.get(key).cloned() } else { self.keyspace.name(key) }
    }

    /// The entry under a key, as far as anybody is shown it.
    pub fn entry(&self, key: &Key) -> Option<&Arc<StoredEntry>> {
        self.node(&self.name(key)?)?.own().find(|stored| stored.key == *key)
    }

    /// How many entries there are that were registered here to stay until they are removed.
    pub fn persistent(&self) -> usize {
        self.persistent
    }

    /// Every service that has an instance, in order.
    pub fn services(&self) -> impl Iterator<Item = &Arc<str>> {
        self.services.services()
    }

    /// The instances of a service, whatever the case of its name.
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

    /// Below which keys hound-dog's peers register; `None` when nobody reads them.
    pub fn foreign_prefix(&self) -> Option<&str> {
        self.keyspace.foreign_prefix()
    }

    pub(super) fn keyspace(&self) -> &Arc<Keyspace> {
        &self.keyspace
    }

    /// The snapshot after a batch of the SkyDNS layout. Whatever the batch holds, the rest stays as it is.
    #[must_use]
    pub fn apply(&self, batch: &Batch) -> Self {
        self.after(Part::Own, batch, &KnownTtls::default())
    }

    /// The snapshot after a batch of one part, with the terms of its leases that are known.
    pub(super) fn after(&self, part: Part, batch: &Batch, ttls: &KnownTtls) -> Self {
        let mut next = self.clone();
        for change in &batch.changes {
            match change {
                Change::Put(item) => next.put(item, ttls),
                Change::Delete(key) => next.delete(key),
            }
        }
        *next.position.part_mut(part) = batch.revision;
        next
    }

    /// So many changes later.
    #[must_use]
    pub(super) fn with_changes(mut self, more: usize) -> Self {
        self.changes += more as u64;
        self
    }

    /// The batch that leads from this snapshot to a full listing of one part; without changes when nothing differs.
    /// A key whose revision is the same is the same.
    pub(super) fn difference(&self, part: Part, listing: &Listing) -> Batch {
        let mut known = BTreeMap::new();
        revisions(&self.root, &mut known);
        known.extend(self.quarantine.iter().map(|(key, bad)| (key, bad.revision)));
        known.retain(|key, _| self.keyspace.is_foreign(key) == (part == Part::Foreign));
        let mut changes = Vec::new();
        for item in listing.items.iter().filter(|item| !self.keyspace.is_internal(item)) {
            if known.remove(&item.key) != Some(item.revision) {
                changes.push(Change::Put(item.clone()));
            }
        }
        changes.extend(known.into_keys().cloned().map(Change::Delete));
        Batch { revision: listing.revision, changes }
    }

    /// The same snapshot, with the terms of the leases that these entries hang on, in seconds. What was put
    /// again since is left as it is.
    #[must_use]
    pub(super) fn with_ttls(mut self, ttls: &[((Key, Revision), NonZeroU32)]) -> Self {
        for ((key, revision), ttl) in ttls {
            let Some(name) = self.name(key) else { continue };
            let Some(stored) = self.entry(key).filter(|stored| stored.revision == *revision) else { continue };
            let known = StoredEntry { lease_ttl_s: Some(*ttl), ..StoredEntry::clone(stored) };
            self.root.put(name.labels(), &Value::Entry(Arc::new(known)));
        }
        self
    }

    fn put(&mut self, item: &Item, ttls: &KnownTtls) {
        if self.keyspace.is_internal(item) {
            return self.delete(&item.key);
        }
        let read = self.keyspace.read(item);
        if self.keyspace.is_foreign(&item.key) {
            // Its value says where it stands, and may say otherwise than before.
            self.delete(&item.key);
        }
        let bad = self.quarantine.remove(&item.key).map(|bad| bad.revision);
        let before = match read {
            Ok((name, mut stored)) => {
                let node = self.keyspace.service_node(&name);
                stored.lease_ttl_s = stored.lease.and_then(|lease| ttls.get(&lease).copied());
                stored.service = stored.service.map(|service| {
                    let other = self.non_default(&service, &node);
                    self.services.add(&service, other)
                });
                if stored.foreign {
                    self.foreign.insert(item.key.clone(), name.clone());
                }
                self.persistent += usize::from(stored.is_persistent());
                let before = self.root.put(name.labels(), &Value::Entry(Arc::new(stored)));
                self.withdraw(&node, before.as_ref());
                before
            }
            Err((name, reason)) => {
                let bad = Arc::new(Quarantined { key: item.key.clone(), reason, revision: item.revision });
                self.quarantine.insert(item.key.clone(), Arc::clone(&bad));
                name.and_then(|name| {
                    let before = self.root.put(name.labels(), &Value::Bad(bad));
                    self.withdraw(&self.keyspace.service_node(&name), before.as_ref());
                    before
                })
            }
        };
        self.update_digest(&item.key, before.map(|before| before.revision()).or(bad), Some(item.revision));
    }

    fn delete(&mut self, key: &Key) {
        let bad = self.quarantine.remove(key).map(|bad| bad.revision);
        let before = self.name(key).and_then(|name| {
            let before = self.root.remove(name.labels(), key);
            self.withdraw(&self.keyspace.service_node(&name), before.as_ref());
            self.foreign.remove(key);
            before
        });
        self.update_digest(key, before.map(|before| before.revision()).or(bad), None);
    }

    /// What was put at one revision is gone, and put at another.
    fn update_digest(&mut self, key: &Key, was: Option<Revision>, is: Option<Revision>) {
        let digest = if self.keyspace.is_foreign(key) { &mut self.foreign_digest } else { &mut self.own_digest };
        if let Some(put) = was {
            digest.remove(key, put);
        }
        if let Some(put) = is {
            digest.add(key, put);
        }
    }

    /// A home, if it is not where the service's name says.
    fn non_default<'h>(&self, service: &str, node: &'h Name) -> Option<&'h Name> {
        Some(node).filter(|node| !self.keyspace.is_default_node(node, service))
    }

    /// What stood somewhere does not any more.
    fn withdraw(&mut self, node: &Name, before: Option<&Value>) {
        let Some(Value::Entry(before)) = before else { return };
        self.persistent -= usize::from(before.is_persistent());
        if let Some(service) = &before.service {
            let other = self.non_default(service, node);
            self.services.remove(service, other);
        }
    }
}

/// The revision of everything at a node and below it.
fn revisions<'s>(node: &'s Node, known: &mut BTreeMap<&'s Key, Revision>) {
    known.extend(node.values().iter().map(|value| (value.key(), value.revision())));
    for (_, child) in node.children() {
        revisions(child, known);
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
        assert!(four.node(&"a.local".parse().unwrap()).is_none(), "a name that nothing is left below does not exist");
        assert!(
            Arc::ptr_eq(three.root.at(&[]).unwrap().child(b"local").unwrap().child(b"b").unwrap(), {
                four.root.child(b"local").unwrap().child(b"b").unwrap()
            }),
            "what did not change is shared"
        );
    }

    #[test]
    fn a_bad_value_is_quarantined_alone_until_replaced() {
        let good = Change::Put(item("/skydns/local/t/good", r#"{"host":"10.0.0.1"}"#, 1));
        let bad = Change::Put(item("/skydns/local/t/bad", "not JSON", 1));
        let nowhere = Change::Put(item("/skydns/local//x", r#"{"host":"10.0.0.1"}"#, 1));
        let one = empty().apply(&batch(1, vec![good, bad, nowhere]));
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

    /// Random changes against a plain map: after any of them the tree holds what the map holds, and the
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
            assert_eq!(snapshot.difference(Part::Own, &listing).changes, []);
            let good = map.values().filter(|i| i.value.len() > 1 && !i.key.as_bytes().ends_with(b"//")).count();
            assert_eq!(snapshot.root().entries(), good);
            assert_eq!(snapshot.quarantine().count(), map.len() - good);
            if kind % 7 == 0 {
                lagging = lagging.apply(&lagging.difference(Part::Own, &listing));
                assert_eq!(lagging.difference(Part::Own, &listing).changes, []);
                assert_eq!(lagging.position(), snapshot.position(), "whatever the way");
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
