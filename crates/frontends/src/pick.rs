//! One instance of several, for dialects that answer with one.

use skyhound_core::catalog::StoredEntry;
use skyhound_model::instance::{DEFAULT_PRIORITY, DEFAULT_WEIGHT};
use std::sync::Arc;

/// One of the lowest priority, each as often as its weight says (RFC 2782). What weighs nothing is chosen where
/// nothing else is left.
pub fn pick<'s>(instances: impl Iterator<Item = &'s Arc<StoredEntry>>) -> Option<&'s Arc<StoredEntry>> {
    let mut best: Vec<&Arc<StoredEntry>> = Vec::new();
    for instance in instances {
        match best.first().map(|first| priority(instance).cmp(&priority(first))) {
            Some(std::cmp::Ordering::Greater) => continue,
            Some(std::cmp::Ordering::Less) => best.clear(),
            _ => {}
        }
        best.push(instance);
    }
    let all: u64 = best.iter().map(|instance| weight(instance)).sum();
    if all == 0 {
        return fastrand::choice(best);
    }
    let mut draw = fastrand::u64(..all);
    best.into_iter().find(|instance| {
        let chosen = draw < weight(instance);
        draw = draw.saturating_sub(weight(instance));
        chosen
    })
}

/// An entry that says none is one of somebody who did not care: as if registered without.
fn priority(stored: &StoredEntry) -> u16 {
    if stored.entry.priority == 0 && stored.entry.details.is_none() { DEFAULT_PRIORITY } else { stored.entry.priority }
}

fn weight(stored: &StoredEntry) -> u64 {
    let weight = stored.entry.weight;
    u64::from(if weight == 0 && stored.entry.details.is_none() { DEFAULT_WEIGHT } else { weight })
}

#[cfg(test)]
mod tests {
    use super::*;
    use skyhound_model::details::Details;
    use skyhound_model::{Entry, Key, Revision};

    fn stored(port: u16, priority: u16, weight: u16) -> Arc<StoredEntry> {
        let details = Some(Details::default());
        Arc::new(StoredEntry {
            key: Key::from(port.to_be_bytes()),
            entry: Entry { port, priority, weight, details, ..Entry::default() },
            revision: Revision(1),
            lease: None,
            lease_ttl_s: None,
            service: None,
            foreign: false,
        })
    }

    #[test]
    fn the_lowest_priority_is_picked_by_weight() {
        let all = [stored(1, 5, 100), stored(2, 1, 75), stored(3, 1, 25), stored(4, 1, 0)];
        let mut times = [0; 5];
        for _ in 0..4000 {
            times[usize::from(pick(all.iter()).unwrap().entry.port)] += 1;
        }
        assert_eq!((times[1], times[4]), (0, 0));
        // 1,000 are expected, with a deviation of 27.
        assert!((800..1200).contains(&times[3]), "{times:?}");
    }

    #[test]
    fn zero_weights_are_picked_evenly() {
        assert!(pick([].iter()).is_none());
        let light = [stored(1, 1, 0), stored(2, 1, 0)];
        let mut seen: Vec<_> = (0..100).map(|_| pick(light.iter()).unwrap().entry.port).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, [1, 2]);
    }
}
