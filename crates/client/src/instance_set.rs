//! The instances that a watcher has received, and the differences that an event makes to them.
//!
//! Owns: the identity of instances, and the filter for repeated events. A daemon repeats some events, or the complete
//! set, to a watcher that reconnects. Does not own: the delivery of changes (`watch`). Pure.

use crate::discover::Instance;
use std::collections::HashMap;

/// The instances by name. A name nearly always has one; it has several if other writers used several keys for it.
#[derive(Debug, Default)]
pub(crate) struct InstanceSet(HashMap<String, Vec<Instance>>);

/// A difference to the set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum InstanceChange {
    /// The instance is new.
    Added(Instance),
    /// The description of the instance changed.
    Changed(Instance),
    /// The instance was removed.
    Removed(Instance),
}

/// Returns true for two descriptions of one instance: the same key, or the same endpoint under the same name.
fn is_same_instance(one: &Instance, other: &Instance) -> bool {
    one.key == other.key || (one.host == other.host && one.port == other.port)
}

/// Returns true for equal descriptions. The lease may differ, and its TTL arrives later.
fn is_unchanged(one: &Instance, other: &Instance) -> bool {
    let described = |instance: &Instance| Instance { revision: 0, lease_seconds: None, ..instance.clone() };
    described(one) == described(other)
}

impl InstanceSet {
    /// Adds or replaces an instance.
    pub(crate) fn put(&mut self, instance: Instance) -> Option<InstanceChange> {
        let at = self.0.entry(instance.name.clone()).or_default();
        let before = at.len();
        let previous = at.iter().find(|present| is_same_instance(present, &instance)).cloned();
        at.retain(|present| !is_same_instance(present, &instance));
        at.push(instance.clone());
        match previous {
            None => Some(InstanceChange::Added(instance)),
            Some(previous) if is_unchanged(&previous, &instance) && at.len() == before => None,
            Some(_) => Some(InstanceChange::Changed(instance)),
        }
    }

    /// Removes an instance.
    pub(crate) fn remove(&mut self, instance: &Instance) -> Option<InstanceChange> {
        let at = self.0.get_mut(&instance.name)?;
        let found = at.iter().position(|present| present.key == instance.key);
        let found = found.or_else(|| at.iter().position(|present| is_same_instance(present, instance)))?;
        let removed = at.swap_remove(found);
        if at.is_empty() {
            self.0.remove(&instance.name);
        }
        Some(InstanceChange::Removed(removed))
    }

    /// Replaces the set by a complete one.
    pub(crate) fn replace_all(&mut self, instances: Vec<Instance>) -> Vec<InstanceChange> {
        let mut before = std::mem::take(self);
        let mut changes = Vec::new();
        for instance in instances {
            if let Some(previous) = before.0.get_mut(&instance.name)
                && let Some(at) = previous.iter().position(|present| is_same_instance(present, &instance))
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
        let mut set = InstanceSet::default();
        let one = instance("a", "/a", 1);
        assert_eq!(set.put(one.clone()), Some(InstanceChange::Added(one.clone())));
        let again = Instance { revision: 9, lease_seconds: Some(30), ..one.clone() };
        assert_eq!(set.put(again), None);
        let heavier = Instance { weight: 5, ..one.clone() };
        assert_eq!(set.put(heavier.clone()), Some(InstanceChange::Changed(heavier.clone())));
        assert_eq!(set.remove(&one), Some(InstanceChange::Removed(heavier)));
        assert_eq!(set.remove(&one), None);
    }

    #[test]
    fn a_set_yields_the_differences() {
        let mut set = InstanceSet::default();
        let (same, gone, before) = (instance("a", "/a", 1), instance("b", "/b", 2), instance("c", "/c", 3));
        for one in [&same, &gone, &before] {
            set.put(one.clone());
        }
        let (updated, added) = (Instance { weight: 7, ..before }, instance("d", "/d", 4));
        let changes = set.replace_all(vec![same.clone(), updated.clone(), added.clone()]);
        assert_eq!(
            changes,
            [
                InstanceChange::Removed(gone),
                InstanceChange::Changed(updated.clone()),
                InstanceChange::Added(added.clone())
            ]
        );
        assert_eq!(set.replace_all(vec![added, same, updated]), []);
    }

    #[test]
    fn another_key_with_the_same_address_replaces_it() {
        let mut set = InstanceSet::default();
        set.put(instance("a", "service/a", 1));
        assert!(matches!(set.put(instance("a", "/skydns/a", 1)), Some(InstanceChange::Changed(_))));
        assert!(set.remove(&instance("a", "/skydns/a", 1)).is_some());
        assert!(set.remove(&instance("a", "service/a", 1)).is_none(), "one instance");
    }

    #[test]
    fn two_addresses_under_one_name_are_two_instances() {
        let mut set = InstanceSet::default();
        let (one, two) = (instance("a", "/A", 1), instance("a", "/a", 2));
        set.put(one.clone());
        assert!(matches!(set.put(two.clone()), Some(InstanceChange::Added(_))));
        assert_eq!(set.remove(&one), Some(InstanceChange::Removed(one)));
        assert_eq!(set.remove(&two), Some(InstanceChange::Removed(two)));
    }
}
