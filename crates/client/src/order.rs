//! The order of SRV targets in RFC 2782: ascending priorities, and within a priority a draw by weight.
//!
//! Owns: the algorithm of the RFC's section "Usage rules", step by step. Does not own: the records.

/// Puts `targets` in the order in which to try them. `rank` returns priority and weight.
///
/// Over many calls a target comes first in its priority in proportion to its weight. A target of weight 0 among
/// heavier ones comes first only rarely, and targets that all have weight 0 share evenly.
pub(crate) fn order<T>(targets: &mut [T], rank: impl Fn(&T) -> (u16, u16), rng: &mut fastrand::Rng) {
    // The RFC leaves the order of equals open; without the shuffle weights of 0 would keep the server's.
    rng.shuffle(targets);
    targets.sort_by_key(|target| rank(target).0);
    for level in targets.chunk_by_mut(|a, b| rank(a).0 == rank(b).0) {
        draw(level, |target| u64::from(rank(target).1), rng);
    }
}

/// "Select a SRV RR … whose running sum value is the first in the selected order which is greater than or
/// equal to the random number selected", repeated until none is left.
fn draw<T>(level: &mut [T], weight: impl Fn(&T) -> u64, rng: &mut fastrand::Rng) {
    // "… with all those with weight 0 … placed at the beginning of the list."
    level.sort_by_key(|target| weight(target) != 0);
    for next in 0..level.len() {
        let remaining = &mut level[next..];
        let sum: u64 = remaining.iter().map(&weight).sum();
        // "Then choose a uniform random number between 0 and the sum computed (inclusive)."
        let chosen = rng.u64(0..=sum);
        let mut running = 0;
        let found = remaining.iter().position(|target| {
            running += weight(target);
            running >= chosen
        });
        // The running sum ends at `sum`, so that one is always found. Rotating (and not swapping) keeps the zeros in
        // front of the remaining ones.
        if let Some(found) = found {
            remaining[..=found].rotate_right(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Target = (u16, u16, char);

    /// The share of `runs` draws in which each name came first in `priority`.
    fn firsts(targets: &[Target], priority: u16, runs: u32) -> impl Fn(char) -> f64 {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut counts = std::collections::HashMap::new();
        for _ in 0..runs {
            let mut targets = targets.to_vec();
            order(&mut targets, |t| (t.0, t.1), &mut rng);
            let first = targets.iter().find(|t| t.0 == priority).unwrap();
            *counts.entry(first.2).or_insert(0u32) += 1;
        }
        move |name| f64::from(counts.get(&name).copied().unwrap_or(0)) / f64::from(runs)
    }

    fn assert_near(actual: f64, expected: f64) {
        assert!((actual - expected).abs() < 0.02, "{actual} is not near {expected}");
    }

    #[test]
    fn priorities_ascend_for_all_weights() {
        let mut rng = fastrand::Rng::with_seed(3);
        for _ in 0..100 {
            let mut targets = [(3, 9, 'c'), (1, 0, 'a'), (2, 65_535, 'b'), (3, 65_535, 'd')];
            order(&mut targets, |t| (t.0, t.1), &mut rng);
            assert_eq!([targets[0].2, targets[1].2], ['a', 'b']);
        }
    }

    #[test]
    fn weights_are_shares_within_a_priority() {
        let first = firsts(&[(1, 60, 'a'), (1, 30, 'b'), (1, 10, 'c'), (2, 999, 'x')], 1, 20_000);
        assert_near(first('a'), 0.6);
        assert_near(first('b'), 0.3);
        assert_near(first('c'), 0.1);
    }

    #[test]
    fn later_targets_are_drawn_by_weight_too() {
        // After 'a', which is nearly always the first, 'b' is three times as likely as 'c'.
        let mut rng = fastrand::Rng::with_seed(5);
        let (mut led, mut second) = (0u32, 0u32);
        for _ in 0..20_000 {
            let mut targets = [(1, 60_000, 'a'), (1, 30, 'b'), (1, 10, 'c')];
            order(&mut targets, |t: &Target| (t.0, t.1), &mut rng);
            if targets[0].2 == 'a' {
                led += 1;
                second += u32::from(targets[1].2 == 'b');
            }
        }
        assert_near(f64::from(second) / f64::from(led), 0.75);
    }

    #[test]
    fn weight_0_is_rare_among_others_and_even_alone() {
        let first = firsts(&[(1, 0, 'a'), (1, 100, 'b')], 1, 20_000);
        assert!(first('a') > 0.0 && first('a') < 0.03, "{}", first('a'));
        let first = firsts(&[(1, 0, 'a'), (1, 0, 'b'), (1, 0, 'c')], 1, 20_000);
        for name in ['a', 'b', 'c'] {
            assert_near(first(name), 1.0 / 3.0);
        }
    }

    #[test]
    fn ordering_loses_no_target() {
        let mut rng = fastrand::Rng::with_seed(9);
        let mut targets: Vec<Target> = (0..200).map(|n| (n % 5, u16::MAX - (n % 3), 'x')).collect();
        let mut before = targets.clone();
        order(&mut targets, |t| (t.0, t.1), &mut rng);
        targets.sort_unstable();
        before.sort_unstable();
        assert_eq!(targets, before);
        order(&mut [] as &mut [Target], |t| (t.0, t.1), &mut rng);
    }
}
