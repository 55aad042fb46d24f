//! Pauses between retries: exponential, with jitter. One implementation for the daemon and its clients.
//!
//! Owns: the arithmetic. Does not own: the clock (a caller sleeps for the returned time), nor the decision that a peer has
//! recovered (a caller calls [`Backoff::reset`]).

use std::time::Duration;

/// The random part of a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jitter {
    /// Between half of the bound and the bound. For a few nodes that lost one peer together: they retry at different
    /// times, and never immediately.
    Half,
    /// Between zero and the bound. For the thousands of clients of one daemon, which lose it in the same instant: the
    /// whole span spreads their retries.
    Full,
}

/// Pauses whose bound doubles from a minimum to a maximum.
///
/// ```
/// use skyhound_base::Backoff;
/// use std::time::Duration;
///
/// let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
/// assert!(backoff.next_delay() <= Duration::from_millis(100));
/// assert!(backoff.next_delay() <= Duration::from_millis(200));
/// backoff.reset();
/// assert!(backoff.next_delay() <= Duration::from_millis(100));
/// ```
#[derive(Debug, Clone)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    jitter: Jitter,
    attempts: u32,
}

impl Backoff {
    /// Creates pauses bounded by `min` at first and by `max` in the end, with [`Jitter::Half`].
    pub const fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, jitter: Jitter::Half, attempts: 0 }
    }

    /// Returns the same bounds with another jitter.
    #[must_use]
    pub const fn with_jitter(self, jitter: Jitter) -> Self {
        Self { jitter, ..self }
    }

    /// Starts over after a success: `min` bounds the next pause.
    pub const fn reset(&mut self) {
        self.attempts = 0;
    }

    /// Returns the pause before the next attempt, and doubles the bound of the one after it.
    pub fn next_delay(&mut self) -> Duration {
        let delay = self.delay(self.attempts);
        self.attempts = self.attempts.saturating_add(1);
        delay
    }

    /// Returns the pause after `failures` failed attempts, for callers that count attempts themselves.
    pub fn delay(&self, failures: u32) -> Duration {
        let bound = self.min.saturating_mul(2u32.saturating_pow(failures)).min(self.max);
        match self.jitter {
            Jitter::Half => bound.mul_f64(0.5 + fastrand::f64() / 2.0),
            Jitter::Full => bound.mul_f64(fastrand::f64()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn delays_double_up_to_the_maximum_and_restart_after_a_reset() {
        let mut backoff = Backoff::new(ms(25), ms(80));
        for _ in 0..2 {
            for bound in [ms(25), ms(50), ms(80), ms(80)] {
                let delay = backoff.next_delay();
                assert!(delay >= bound / 2 && delay <= bound, "{delay:?} of {bound:?}");
            }
            backoff.reset();
        }
    }

    #[test]
    fn full_jitter_fills_the_whole_span() {
        let backoff = Backoff::new(ms(100), ms(10_000)).with_jitter(Jitter::Full);
        for (failures, bound) in [(0, 100), (1, 200), (6, 6_400), (7, 10_000), (40, 10_000), (u32::MAX, 10_000)] {
            let bound = ms(bound);
            let delays: Vec<_> = (0..1000).map(|_| backoff.delay(failures)).collect();
            assert!(delays.iter().all(|delay| *delay <= bound), "{failures}");
            let spread = |low: u32, high: u32| {
                delays.iter().any(|d| *d < bound / low) && delays.iter().any(|d| *d > bound * high / (high + 1))
            };
            assert!(spread(20, 19), "{failures}");
        }
    }

    #[test]
    fn nodes_that_fail_together_retry_apart() {
        let draw = || Backoff::new(ms(1000), ms(1000)).next_delay();
        let all: std::collections::HashSet<_> = (0..100).map(|_| draw()).collect();
        assert!(all.len() > 90, "{}", all.len());
    }
}
