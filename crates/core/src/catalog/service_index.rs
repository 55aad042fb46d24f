//! Which services there are, and where in the tree their instances stand.
//!
//! Owns: that index, one row a service: a million entries of one service cost one row. Does not own: the
//! instances, which are read from the tree.

use imbl::OrdMap;
use skyhound_model::Name;
use std::sync::Arc;

/// The index. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct ServiceIndex(OrdMap<Arc<str>, ServiceNodes>);

/// The nodes below which a service's entries stand, each with how many.
#[derive(Debug, Clone, Default)]
pub(super) struct ServiceNodes {
    /// How many at the usual home, which the service's name says ([`super::keyspace::Keyspace::default_node`]). Nearly
    /// always all: then nothing else is held.
    default: usize,
    others: Option<Arc<Vec<(Name, usize)>>>,
}

impl ServiceIndex {
    /// The services, in order.
    pub(super) fn services(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.keys()
    }

    /// The nodes to look below for a service's instances.
    pub(super) fn nodes(&self, service: &str) -> Option<&ServiceNodes> {
        self.0.get(service)
    }

    /// One more entry, at another home than the usual if one is given. The service's name comes back as the index has
    /// it, so that a name is held once.
    pub(super) fn add(&mut self, service: &Arc<str>, other: Option<&Name>) -> Arc<str> {
        let held = self.0.get_key_value(&**service).map_or(service, |(held, _)| held);
        let held = Arc::clone(held);
        self.0.entry(Arc::clone(&held)).or_default().add(other);
        held
    }

    /// One entry less.
    pub(super) fn remove(&mut self, service: &str, other: Option<&Name>) {
        let Some(nodes) = self.0.get_mut(service) else { return };
        nodes.remove(other);
        if nodes.default == 0 && nodes.others.is_none() {
            self.0.remove(service);
        }
    }
}

impl ServiceNodes {
    /// Whether there is one at the usual home.
    pub(super) fn has_default(&self) -> bool {
        self.default > 0
    }

    /// The homes beside the usual one.
    pub(super) fn others(&self) -> impl Iterator<Item = &Name> {
        self.others.iter().flat_map(|others| others.iter().map(|(node, _)| node))
    }

    fn add(&mut self, other: Option<&Name>) {
        let Some(node) = other else {
            self.default += 1;
            return;
        };
        let others = Arc::make_mut(self.others.get_or_insert_default());
        match others.iter_mut().find(|(known, _)| known == node) {
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
        if let Some(at) = others.iter().position(|(known, _)| known == node) {
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
        assert!(Arc::ptr_eq(&index.add(&"web".into(), Some(&a)), &web), "a name is held once");
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
        assert_eq!(before.services().count(), 2, "a change leaves what readers hold");
    }
}
