//! Which services there are, and where in the tree their instances stand.
//!
//! Owns: that index, one row a service: a million entries of one service cost one row. Does not own: the
//! instances, which are read from the tree.

use imbl::OrdMap;
use skyhound_model::Name;
use std::sync::Arc;

/// The index. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Offers(OrdMap<Arc<str>, Homes>);

/// The nodes below which a service's entries stand, each with how many.
#[derive(Debug, Clone, Default)]
pub(super) struct Homes {
    /// How many at the usual home, which the service's name says ([`super::places::Places::usual_home`]). Nearly
    /// always all: then nothing else is held.
    usual: usize,
    others: Option<Arc<Vec<(Name, usize)>>>,
}

impl Offers {
    /// The services, in order.
    pub(super) fn services(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.keys()
    }

    /// The nodes to look below for a service's instances.
    pub(super) fn homes(&self, service: &str) -> Option<&Homes> {
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
        let Some(homes) = self.0.get_mut(service) else { return };
        homes.remove(other);
        if homes.usual == 0 && homes.others.is_none() {
            self.0.remove(service);
        }
    }
}

impl Homes {
    /// Whether there is one at the usual home.
    pub(super) fn has_usual(&self) -> bool {
        self.usual > 0
    }

    /// The homes beside the usual one.
    pub(super) fn others(&self) -> impl Iterator<Item = &Name> {
        self.others.iter().flat_map(|others| others.iter().map(|(home, _)| home))
    }

    fn add(&mut self, other: Option<&Name>) {
        let Some(home) = other else {
            self.usual += 1;
            return;
        };
        let others = Arc::make_mut(self.others.get_or_insert_default());
        match others.iter_mut().find(|(known, _)| known == home) {
            Some((_, entries)) => *entries += 1,
            None => others.push((home.clone(), 1)),
        }
    }

    fn remove(&mut self, other: Option<&Name>) {
        let Some(home) = other else {
            self.usual = self.usual.saturating_sub(1);
            return;
        };
        let Some(others) = self.others.as_mut().map(Arc::make_mut) else { return };
        if let Some(at) = others.iter().position(|(known, _)| known == home) {
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
    fn a_service_is_there_as_long_as_one_entry_is() {
        let (web, api): (Arc<str>, Arc<str>) = ("web".into(), "api".into());
        let (a, b) = (Name::parse("web.a").unwrap(), Name::parse("web.b").unwrap());
        let mut offers = Offers::default();
        offers.add(&web, Some(&a));
        offers.add(&api, None);
        assert!(Arc::ptr_eq(&offers.add(&"web".into(), Some(&a)), &web), "a name is held once");
        offers.add(&web, Some(&b));
        offers.add(&web, None);
        let before = offers.clone();
        let homes = |offers: &Offers| {
            let homes = offers.homes("web").unwrap();
            (homes.has_usual(), homes.others().map(ToString::to_string).collect::<Vec<_>>())
        };
        offers.remove("web", Some(&a));
        assert_eq!(homes(&offers), (true, vec!["web.a.".into(), "web.b.".into()]));
        offers.remove("web", Some(&a));
        offers.remove("web", None);
        assert_eq!(homes(&offers), (false, vec!["web.b.".into()]));
        offers.remove("web", Some(&b));
        assert_eq!(offers.services().collect::<Vec<_>>(), [&api]);
        assert_eq!(before.services().count(), 2, "a change leaves what readers hold");
    }
}
