//! The choice of one instance, for frontends that answer with one.

use skyhound_core::catalog::StoredEntry;
use skyhound_model::instance::{DEFAULT_PRIORITY, DEFAULT_WEIGHT};
use std::sync::Arc;

/// Picks an instance of the lowest priority, each in proportion to its weight (RFC 2782). An instance of weight 0 is
/// chosen only where all have it.
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
    let total: u64 = best.iter().map(|instance| weight(instance)).sum();
    if total == 0 {
        return fastrand::choice(best);
    }
    let mut draw = fastrand::u64(..total);
    best.into_iter().find(|instance| {
        let chosen = draw < weight(instance);
        draw = draw.saturating_sub(weight(instance));
        chosen
    })
}

/// The priority of an entry. One without details and without a priority was written by another program, and counts as
/// registered without: it gets the default.
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
            in_mirror: false,
        })
    }

    #[test]
    fn the_lowest_priority_is_picked_by_weight() {
        let instances = [stored(1, 5, 100), stored(2, 1, 75), stored(3, 1, 25), stored(4, 1, 0)];
        let mut times = [0; 5];
        for _ in 0..4000 {
            times[usize::from(pick(instances.iter()).unwrap().entry.port)] += 1;
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
