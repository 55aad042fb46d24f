//! The index of services: the nodes of the tree below which their instances are.
//!
//! Owns: that index, with one row for each service: a million entries of one service cost one row. Does not own: the
//! instances, which are read from the tree.

use imbl::OrdMap;
use skyhound_model::Name;
use std::sync::Arc;

/// The index. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct ServiceIndex(OrdMap<Arc<str>, ServiceNodes>);

/// The nodes below which a service's entries are, each with the number of entries.
#[derive(Debug, Clone, Default)]
pub(super) struct ServiceNodes {
    /// The number of entries at the default node, which follows from the service
    /// ([`super::keyspace::Keyspace::default_node`]). Nearly always all entries; then nothing else is stored.
    default: usize,
    others: Option<Arc<Vec<(Name, usize)>>>,
}

impl ServiceIndex {
    /// The services, in order.
    pub(super) fn services(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.keys()
    }

    /// The nodes that have a service's instances below them.
    pub(super) fn nodes(&self, service: &str) -> Option<&ServiceNodes> {
        self.0.get(service)
    }

    /// Adds an entry, at another node than the default one if one is given. Returns the index's copy of the service's
    /// name, so that a name is stored once.
    pub(super) fn add(&mut self, service: &Arc<str>, other: Option<&Name>) -> Arc<str> {
        let indexed = Arc::clone(self.0.get_key_value(&**service).map_or(service, |(indexed, _)| indexed));
        self.0.entry(Arc::clone(&indexed)).or_default().add(other);
        indexed
    }

    /// Removes an entry that was added with the same arguments.
    pub(super) fn remove(&mut self, service: &str, other: Option<&Name>) {
        let Some(nodes) = self.0.get_mut(service) else { return };
        nodes.remove(other);
        if nodes.default == 0 && nodes.others.is_none() {
            self.0.remove(service);
        }
    }
}

impl ServiceNodes {
    /// Returns whether the default node has an entry.
    pub(super) fn has_default(&self) -> bool {
        self.default > 0
    }

    /// The nodes other than the default one.
    pub(super) fn others(&self) -> impl Iterator<Item = &Name> {
        self.others.iter().flat_map(|others| others.iter().map(|(node, _)| node))
    }

    fn add(&mut self, other: Option<&Name>) {
        let Some(node) = other else {
            self.default += 1;
            return;
        };
        let others = Arc::make_mut(self.others.get_or_insert_default());
        match others.iter_mut().find(|(other, _)| other == node) {
            Some((_, entries)) => *entries += 1,
            None => others.push((node.clone(), 1)),
        }
    }

    fn remove(&mut self, other: Option<&Name>) {
        let Some(node) = other else {
            self.default = self.default.saturating_sub(1);
            return;
        };
        let Some(others) = self.others.as_mut().map(Arc::make_mut) else { return };
        if let Some(at) = others.iter().position(|(other, _)| other == node) {
            others[at].1 -= 1;
            if others[at].1 == 0 {
                others.remove(at);
            }
        }
        if others.is_empty() {
            self.others = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_listed_while_it_has_an_entry() {
        let (web, api): (Arc<str>, Arc<str>) = ("web".into(), "api".into());
        let (a, b) = (Name::parse("web.a").unwrap(), Name::parse("web.b").unwrap());
        let mut index = ServiceIndex::default();
        index.add(&web, Some(&a));
        index.add(&api, None);
        assert!(Arc::ptr_eq(&index.add(&"web".into(), Some(&a)), &web), "a name is stored once");
        index.add(&web, Some(&b));
        index.add(&web, None);
        let before = index.clone();
        let nodes = |index: &ServiceIndex| {
            let nodes = index.nodes("web").unwrap();
            (nodes.has_default(), nodes.others().map(ToString::to_string).collect::<Vec<_>>())
        };
        index.remove("web", Some(&a));
        assert_eq!(nodes(&index), (true, vec!["web.a.".into(), "web.b.".into()]));
        index.remove("web", Some(&a));
        index.remove("web", None);
        assert_eq!(nodes(&index), (false, vec!["web.b.".into()]));
        index.remove("web", Some(&b));
        assert_eq!(index.services().collect::<Vec<_>>(), [&api]);
        assert_eq!(before.services().count(), 2, "a change does not alter the index of readers");
    }
}
