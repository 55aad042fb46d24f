//! All entries at one revision, for good.
//!
//! Owns: the tree of names, the list of what is quarantined, how a batch makes the next snapshot, and how
//! a full listing is compared with what is known. Synchronous; no clock. Does not own: where batches come
//! from ([`super::follow`]), nor what DNS makes of the tree ([`crate::dns`]).

use super::node::{Node, Stored, Value};
use super::quarantine::Quarantined;
use crate::model::key::KeyError;
use crate::model::{Entry, Key, Layout, Name};
use crate::store::{Batch, Change, Item, Listing, Revision};
use imbl::OrdMap;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The state of the tree at one revision. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Snapshot {
    layout: Layout,
    revision: Revision,
    root: Arc<Node>,
    quarantine: OrdMap<Key, Arc<Quarantined>>,
}

impl Snapshot {
    /// Nothing, before the first revision.
    pub fn empty(layout: Layout) -> Self {
        Self { layout, revision: Revision::default(), root: Arc::default(), quarantine: OrdMap::new() }
    }

    /// The revision whose state this is.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The node of a name; `None` when nothing stands at it or below it.
    pub fn node(&self, name: &Name) -> Option<&Node> {
        self.root.at(name.labels())
    }

    /// The node of the root of all names.
    pub fn root(&self) -> &Node {
        &self.root
    }

    /// The name that a key spells; `None` when it spells none.
    pub fn name(&self, key: &Key) -> Option<Name> {
        self.layout.name(key.as_bytes()).ok()
    }

    /// The entry under a key.
    pub fn entry(&self, key: &Key) -> Option<&Arc<Stored>> {
        let name = self.layout.name(key.as_bytes()).ok()?;
        self.node(&name)?.own().find(|stored| stored.key == *key)
    }

    /// Every value that is no entry, in the order of keys.
    pub fn quarantine(&self) -> impl Iterator<Item = &Arc<Quarantined>> {
        self.quarantine.values()
    }

    /// The snapshot after a batch. Whatever the batch holds, the rest stays as it is.
    #[must_use]
    pub fn apply(&self, batch: &Batch) -> Self {
        let mut next = self.clone();
        for change in &batch.changes {
            match change {
                Change::Put(item) => next.put(item),
                Change::Delete(key) => next.delete(key),
            }
        }
        next.revision = batch.revision;
        next
    }

    /// The batch that leads from this snapshot to a full listing; without changes when nothing differs.
    /// A key whose revision is the same is the same.
    pub fn difference(&self, listing: &Listing) -> Batch {
        let mut known = BTreeMap::new();
        revisions(&self.root, &mut known);
        known.extend(self.quarantine.iter().map(|(key, bad)| (key, bad.revision)));
        let mut changes = Vec::new();
        for item in &listing.items {
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
    pub(super) fn with_terms(mut self, terms: &[((Key, Revision), u32)]) -> Self {
        for ((key, revision), term) in terms {
            let Some(stored) = self.entry(key).filter(|stored| stored.revision == *revision) else { continue };
            let known = Stored { lease_ttl_s: Some(*term), ..Stored::clone(stored) };
            if let Ok(name) = self.layout.name(key.as_bytes()) {
                self.root.put(name.labels(), &Value::Entry(Arc::new(known)));
            }
        }
        self
    }

    fn put(&mut self, item: &Item) {
        let place = self.layout.name(item.key.as_bytes());
        let value = match read(item, place.as_ref()) {
            Ok(stored) => {
                self.quarantine.remove(&item.key);
                Value::Entry(Arc::new(stored))
            }
            Err(reason) => {
                let bad = Arc::new(Quarantined { key: item.key.clone(), reason, revision: item.revision });
                self.quarantine.insert(item.key.clone(), Arc::clone(&bad));
                Value::Bad(bad)
            }
        };
        if let Ok(name) = place {
            self.root.put(name.labels(), &value);
        }
    }

    fn delete(&mut self, key: &Key) {
        self.quarantine.remove(key);
        if let Ok(name) = self.layout.name(key.as_bytes()) {
            self.root.remove(name.labels(), key);
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

/// The entry of an item, or why it is none.
fn read(item: &Item, place: Result<&Name, &KeyError>) -> Result<Stored, String> {
    place.map_err(ToString::to_string)?;
    let entry = Entry::parse(&item.value).map_err(|e| e.to_string())?;
    Ok(Stored { key: item.key.clone(), entry, revision: item.revision, lease: item.lease, lease_ttl_s: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn item(key: &str, value: &str, revision: u64) -> Item {
        Item {
            key: Key::from(key),
            value: Bytes::copy_from_slice(value.as_bytes()),
            revision: Revision(revision),
            lease: None,
        }
    }

    fn empty() -> Snapshot {
        Snapshot::empty(Layout::new("/skydns"))
    }

    fn batch(revision: u64, changes: Vec<Change>) -> Batch {
        Batch { revision: Revision(revision), changes }
    }

    #[test]
    fn a_change_leaves_the_snapshot_that_readers_hold() {
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
    fn a_bad_value_is_quarantined_alone_and_healed_by_a_good_one() {
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
    fn keys_that_spell_one_name_stand_side_by_side() {
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
        let mut behind = empty();
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
            assert_eq!(snapshot.difference(&listing).changes, []);
            let good = map.values().filter(|i| i.value.len() > 1 && !i.key.as_bytes().ends_with(b"//")).count();
            assert_eq!(snapshot.root().entries(), good);
            assert_eq!(snapshot.quarantine().count(), map.len() - good);
            if kind % 7 == 0 {
                behind = behind.apply(&behind.difference(&listing));
                assert_eq!(behind.difference(&listing).changes, []);
            }
        }
    }

    proptest! {
        #[test]
        fn the_tree_is_a_plain_map(ops in prop::collection::vec((0u8..4, 0u8..8, any::<u8>()), 1..80)) {
            model(ops);
        }
    }
}
