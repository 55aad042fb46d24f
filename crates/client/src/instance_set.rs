//! The instances that a watcher knows, and what a change or a whole set is news of.
//!
//! Pure. Whoever comes back after a loss is told some things again, or everything; this tells what of it is new.

use super::discover::Instance;
use std::collections::HashMap;

/// By name. There is nearly always one; more where others wrote keys that spell one name.
#[derive(Debug, Default)]
pub(super) struct InstanceSet(HashMap<String, Vec<Instance>>);

/// What is new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum InstanceChange {
    /// It appeared.
    Added(Instance),
    /// It describes itself anew.
    Changed(Instance),
    /// It is gone.
    Removed(Instance),
}

/// Whether two are the same instance: one key, or one place at one name.
fn is_same_instance(one: &Instance, other: &Instance) -> bool {
    one.key == other.key || (one.host == other.host && one.port == other.port)
}

/// Whether they say the same. A lease may be another one, and its term is learnt later.
fn is_unchanged(one: &Instance, other: &Instance) -> bool {
    let described = |instance: &Instance| Instance { revision: 0, lease_seconds: None, ..instance.clone() };
    described(one) == described(other)
}

impl InstanceSet {
    /// An instance is there.
    pub(super) fn put(&mut self, instance: Instance) -> Option<InstanceChange> {
        let at = self.0.entry(instance.name.clone()).or_default();
        let before = at.len();
        let previous = at.iter().find(|known| is_same_instance(known, &instance)).cloned();
        at.retain(|known| !is_same_instance(known, &instance));
        at.push(instance.clone());
        match previous {
            None => Some(InstanceChange::Added(instance)),
            Some(previous) if is_unchanged(&previous, &instance) && at.len() == before => None,
            Some(_) => Some(InstanceChange::Changed(instance)),
        }
    }

    /// An instance is gone.
    pub(super) fn remove(&mut self, instance: &Instance) -> Option<InstanceChange> {
        let at = self.0.get_mut(&instance.name)?;
        let found = at.iter().position(|known| known.key == instance.key);
        let found = found.or_else(|| at.iter().position(|known| is_same_instance(known, instance)))?;
        let removed = at.swap_remove(found);
        if at.is_empty() {
            self.0.remove(&instance.name);
        }
        Some(InstanceChange::Removed(removed))
    }

    /// These are there, and no others.
    pub(super) fn replace_all(&mut self, instances: Vec<Instance>) -> Vec<InstanceChange> {
        let mut before = std::mem::take(self);
        let mut changes = Vec::new();
        for instance in instances {
            if let Some(previous) = before.0.get_mut(&instance.name)
                && let Some(at) = previous.iter().position(|known| is_same_instance(known, &instance))
            {
                self.0.entry(instance.name.clone()).or_default().push(previous.swap_remove(at));
            }
            changes.extend(self.put(instance));
        }
        let mut removed: Vec<_> = before.0.into_values().flatten().collect();
        removed.sort_unstable_by(|one, other| (&one.service, &one.name).cmp(&(&other.service, &other.name)));
        removed.into_iter().map(InstanceChange::Removed).chain(changes).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(name: &str, key: &str, port: u16) -> Instance {
        Instance { name: name.into(), key: key.into(), port, host: Some("10.0.0.1".into()), ..Instance::default() }
    }

    #[test]
    fn an_unchanged_instance_is_no_change() {
        let mut known = InstanceSet::default();
        let one = instance("a", "/a", 1);
        assert_eq!(known.put(one.clone()), Some(InstanceChange::Added(one.clone())));
        let again = Instance { revision: 9, lease_seconds: Some(30), ..one.clone() };
        assert_eq!(known.put(again), None);
        let heavier = Instance { weight: 5, ..one.clone() };
        assert_eq!(known.put(heavier.clone()), Some(InstanceChange::Changed(heavier.clone())));
        assert_eq!(known.remove(&one), Some(InstanceChange::Removed(heavier)));
        assert_eq!(known.remove(&one), None);
    }

    #[test]
    fn a_set_yields_the_differences() {
        let mut known = InstanceSet::default();
        let (stays, goes, before) = (instance("a", "/a", 1), instance("b", "/b", 2), instance("c", "/c", 3));
        for one in [&stays, &goes, &before] {
            known.put(one.clone());
        }
        let (changed, comes) = (Instance { weight: 7, ..before }, instance("d", "/d", 4));
        let changes = known.replace_all(vec![stays.clone(), changed.clone(), comes.clone()]);
        assert_eq!(
            changes,
            [
                InstanceChange::Removed(goes),
                InstanceChange::Changed(changed.clone()),
                InstanceChange::Added(comes.clone())
            ]
        );
        assert_eq!(known.replace_all(vec![comes, stays, changed]), []);
    }

    #[test]
    fn another_key_with_the_same_address_replaces_it() {
        let mut known = InstanceSet::default();
        known.put(instance("a", "service/a", 1));
        assert!(matches!(known.put(instance("a", "/skydns/a", 1)), Some(InstanceChange::Changed(_))));
        assert!(known.remove(&instance("a", "/skydns/a", 1)).is_some());
        assert!(known.remove(&instance("a", "service/a", 1)).is_none(), "they were one");
    }

    #[test]
    fn two_addresses_under_one_name_are_two_instances() {
        let mut known = InstanceSet::default();
        let (one, two) = (instance("a", "/A", 1), instance("a", "/a", 2));
        known.put(one.clone());
        assert!(matches!(known.put(two.clone()), Some(InstanceChange::Added(_))));
        assert_eq!(known.remove(&one), Some(InstanceChange::Removed(one)));
        assert_eq!(known.remove(&two), Some(InstanceChange::Removed(two)));
    }
}
