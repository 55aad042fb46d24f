//! Which services there are, and where in the tree their instances stand.
//!
//! Owns: that index, one row a service: a million entries of one service cost one row. Does not own: the
//! instances, which are read from the tree.

use crate::model::Name;
use imbl::OrdMap;
use std::sync::Arc;

/// The index. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Offers(OrdMap<Arc<str>, Homes>);

/// The nodes below which a service's entries stand, each with how many. Nearly always one.
type Homes = Arc<[(Name, usize)]>;

impl Offers {
    /// The services, in order.
    pub(super) fn services(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.keys()
    }

    /// The nodes to look below for a service's instances.
    pub(super) fn homes(&self, service: &str) -> impl Iterator<Item = &Name> {
        self.0.get(service).into_iter().flat_map(|homes| homes.iter().map(|(home, _)| home))
    }

    /// One more entry. The service's name comes back as the index has it, so that a name is held once.
    pub(super) fn add(&mut self, service: &Arc<str>, home: &Name) -> Arc<str> {
        let Some((held, homes)) = self.0.get_key_value(&**service) else {
            self.0.insert(Arc::clone(service), Arc::new([(home.clone(), 1)]));
            return Arc::clone(service);
        };
        let held = Arc::clone(held);
        let mut homes = homes.to_vec();
        match homes.iter_mut().find(|(known, _)| known == home) {
            Some((_, entries)) => *entries += 1,
            None => homes.push((home.clone(), 1)),
        }
        self.0.insert(Arc::clone(&held), homes.into());
        held
    }

    /// One entry less.
    pub(super) fn remove(&mut self, service: &str, home: &Name) {
        let Some(homes) = self.0.get(service) else { return };
        let mut homes = homes.to_vec();
        if let Some(at) = homes.iter().position(|(known, _)| known == home) {
            homes[at].1 -= 1;
            if homes[at].1 == 0 {
                homes.remove(at);
            }
        }
        if homes.is_empty() {
            self.0.remove(service);
        } else {
            self.0.insert(service.into(), homes.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_there_as_long_as_one_entry_is() {
        let (web, api): (Arc<str>, Arc<str>) = ("web".into(), "api".into());
        let (a, b) = (Name::parse("web.a").unwrap(), Name::parse("web.b").unwrap());
        let mut offers = Offers::default();
        offers.add(&web, &a);
        offers.add(&api, &b);
        assert!(Arc::ptr_eq(&offers.add(&"web".into(), &a), &web), "a name is held once");
        offers.add(&web, &b);
        let before = offers.clone();
        offers.remove("web", &a);
        assert_eq!(offers.homes("web").collect::<Vec<_>>(), [&a, &b]);
        offers.remove("web", &a);
        assert_eq!(offers.homes("web").collect::<Vec<_>>(), [&b]);
        offers.remove("web", &b);
        assert_eq!(offers.services().collect::<Vec<_>>(), [&api]);
        assert_eq!(before.services().count(), 2, "a change leaves what readers hold");
    }
}
