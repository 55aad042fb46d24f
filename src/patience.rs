//! How long to wait before somebody who failed to answer is asked again: a store, another hub.
//!
//! Owns: the pauses, which double from the first to the longest. Does not own: what both are, nor when somebody counts
//! as mended (whoever asks). Who keeps a registration waits by [`crate::client::backoff`]: there are thousands of them
//! for one daemon, and they spread over the whole span.

use std::time::Duration;

/// Pauses between attempts.
#[derive(Debug)]
pub struct Patience {
    least: Duration,
    most: Duration,
    next: Duration,
}

impl Patience {
    /// From the first pause to the longest.
    pub fn new(least: Duration, most: Duration) -> Self {
        Self { least, most, next: least }
    }

    /// All is well again: the next pause is a first one.
    pub fn reset(&mut self) {
        self.next = self.least;
    }

    /// Waits, and the next time for longer.
    pub async fn pause(&mut self) {
        tokio::time::sleep(self.draw()).await;
    }

    /// Anything between the half and the whole: nodes that lost somebody together do not come back together.
    fn draw(&mut self) -> Duration {
        let bound = self.next;
        self.next = (bound * 2).min(self.most);
        bound.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew() {
        let ms = Duration::from_millis;
        let mut patience = Patience::new(ms(25), ms(80));
        for _ in 0..2 {
            for bound in [ms(25), ms(50), ms(80), ms(80)] {
                let pause = patience.draw();
                assert!(pause >= bound / 2 && pause <= bound, "{pause:?} of {bound:?}");
            }
            patience.reset();
        }
    }

    #[test]
    fn no_two_nodes_wait_alike() {
        let draw = || Patience::new(Duration::from_secs(1), Duration::from_secs(1)).draw();
        let all: std::collections::HashSet<_> = (0..100).map(|_| draw()).collect();
        assert!(all.len() > 90, "{}", all.len());
    }
}
