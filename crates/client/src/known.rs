//! The instances that a watcher knows, and what a change or a whole set is news of.
//!
//! Pure. Whoever comes back after a loss is told some things again, or everything; this tells what of it is new.

use super::discover::Instance;
use std::collections::HashMap;

/// By name. There is nearly always one; more where others wrote keys that spell one name.
#[derive(Debug, Default)]
pub(super) struct Known(HashMap<String, Vec<Instance>>);

/// What is new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum News {
    /// It appeared.
    New(Instance),
    /// It describes itself anew.
    Changed(Instance),
    /// It is gone.
    Gone(Instance),
}

/// Whether two are the same instance: one key, or one place at one name.
fn same(one: &Instance, other: &Instance) -> bool {
    one.key == other.key || (one.host == other.host && one.port == other.port)
}

/// Whether they say the same. A lease may be another one, and its term is learnt later.
fn alike(one: &Instance, other: &Instance) -> bool {
    let told = |instance: &Instance| Instance { revision: 0, lease_seconds: None, ..instance.clone() };
    told(one) == told(other)
}

impl Known {
    /// An instance is there.
    pub(super) fn put(&mut self, instance: Instance) -> Option<News> {
        let at = self.0.entry(instance.name.clone()).or_default();
        let before = at.len();
        let was = at.iter().find(|known| same(known, &instance)).cloned();
        at.retain(|known| !same(known, &instance));
        at.push(instance.clone());
        match was {
            None => Some(News::New(instance)),
            Some(was) if alike(&was, &instance) && at.len() == before => None,
            Some(_) => Some(News::Changed(instance)),
        }
    }

    /// An instance is gone.
    pub(super) fn gone(&mut self, instance: &Instance) -> Option<News> {
        let at = self.0.get_mut(&instance.name)?;
        let found = at.iter().position(|known| known.key == instance.key);
        let found = found.or_else(|| at.iter().position(|known| same(known, instance)))?;
        let gone = at.swap_remove(found);
        if at.is_empty() {
            self.0.remove(&instance.name);
        }
        Some(News::Gone(gone))
    }

    /// These are there, and no others.
    pub(super) fn set(&mut self, instances: Vec<Instance>) -> Vec<News> {
        let mut before = std::mem::take(self);
        let mut put = Vec::new();
        for instance in instances {
            if let Some(was) = before.0.get_mut(&instance.name)
                && let Some(at) = was.iter().position(|known| same(known, &instance))
            {
                self.0.entry(instance.name.clone()).or_default().push(was.swap_remove(at));
            }
            put.extend(self.put(instance));
        }
        let mut gone: Vec<_> = before.0.into_values().flatten().collect();
        gone.sort_unstable_by(|one, other| (&one.service, &one.name).cmp(&(&other.service, &other.name)));
        gone.into_iter().map(News::Gone).chain(put).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(name: &str, key: &str, port: u16) -> Instance {
        Instance { name: name.into(), key: key.into(), port, host: Some("10.0.0.1".into()), ..Instance::default() }
    }

    #[test]
    fn what_is_told_again_is_no_news() {
        let mut known = Known::default();
        let one = instance("a", "/a", 1);
        assert_eq!(known.put(one.clone()), Some(News::New(one.clone())));
        let again = Instance { revision: 9, lease_seconds: Some(30), ..one.clone() };
        assert_eq!(known.put(again), None);
        let heavier = Instance { weight: 5, ..one.clone() };
        assert_eq!(known.put(heavier.clone()), Some(News::Changed(heavier.clone())));
        assert_eq!(known.gone(&one), Some(News::Gone(heavier)));
        assert_eq!(known.gone(&one), None);
    }

    #[test]
    fn a_set_is_news_of_what_differs() {
        let mut known = Known::default();
        let (stays, goes, before) = (instance("a", "/a", 1), instance("b", "/b", 2), instance("c", "/c", 3));
        for one in [&stays, &goes, &before] {
            known.put(one.clone());
        }
        let (changed, comes) = (Instance { weight: 7, ..before }, instance("d", "/d", 4));
        let news = known.set(vec![stays.clone(), changed.clone(), comes.clone()]);
        assert_eq!(news, [News::Gone(goes), News::Changed(changed.clone()), News::New(comes.clone())]);
        assert_eq!(known.set(vec![comes, stays, changed]), []);
    }

    #[test]
    fn another_key_at_the_same_place_takes_over() {
        let mut known = Known::default();
        known.put(instance("a", "service/a", 1));
        assert!(matches!(known.put(instance("a", "/skydns/a", 1)), Some(News::Changed(_))));
        assert!(known.gone(&instance("a", "/skydns/a", 1)).is_some());
        assert!(known.gone(&instance("a", "service/a", 1)).is_none(), "they were one");
    }

    #[test]
    fn two_places_at_one_name_are_two() {
        let mut known = Known::default();
        let (one, two) = (instance("a", "/A", 1), instance("a", "/a", 2));
        known.put(one.clone());
        assert!(matches!(known.put(two.clone()), Some(News::New(_))));
        assert_eq!(known.gone(&one), Some(News::Gone(one)));
        assert_eq!(known.gone(&two), Some(News::Gone(two)));
    }
}
