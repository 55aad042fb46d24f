//! How long to wait before the next attempt: exponential, with full jitter.
//!
//! Owns: the arithmetic. Does not own: the clock, nor which server is next ([`super::Provider`] does both).

use std::time::Duration;

/// The bound of the first wait.
pub const RETRY_MIN: Duration = Duration::from_millis(100);
/// The bound of every wait.
pub const RETRY_MAX: Duration = Duration::from_secs(10);

/// The wait after `failures` fruitless rounds: anything from nothing to `min` doubled that often, and never
/// more than `max`.
///
/// Full jitter, because all clients of one daemon lose it in the same instant; spread over the whole span
/// they come back as a trickle. The first wait is short enough that a restart is hardly noticed.
pub fn wait(failures: u32, min: Duration, max: Duration, rng: &mut fastrand::Rng) -> Duration {
    let bound = min.saturating_mul(2u32.saturating_pow(failures)).min(max);
    bound.mul_f64(rng.f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_bound_and_fill_the_whole_span() {
        let mut rng = fastrand::Rng::with_seed(1);
        for (failures, bound) in [(0, 100), (1, 200), (6, 6_400), (7, 10_000), (40, 10_000), (u32::MAX, 10_000)] {
            let bound = Duration::from_millis(bound);
            let waits: Vec<_> = (0..1000).map(|_| wait(failures, RETRY_MIN, RETRY_MAX, &mut rng)).collect();
            assert!(waits.iter().all(|w| *w <= bound), "{failures}");
            assert!(waits.iter().any(|w| *w < bound / 20) && waits.iter().any(|w| *w > bound * 19 / 20), "{failures}");
        }
    }
}
