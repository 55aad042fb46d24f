//! The original's client, told that an id is gone, says so itself, to the one who told it. That is no wish: the id may
//! have come back meanwhile. Other clients do not do it, so that the same row from them is one.

use std::collections::HashMap;

/// The most ids of which an echo is waited for.
const ECHOES_MAX: usize = 1024;

/// What one peer may say again.
#[derive(Debug, Default)]
pub(super) struct Echoes {
    expected: HashMap<String, u32>,
    /// It has done so before.
    repeats: bool,
}

impl Echoes {
    /// The peer is told that an id is gone.
    pub(super) fn free_sent(&mut self, id: &str) {
        if self.expected.len() < ECHOES_MAX || self.expected.contains_key(id) {
            *self.expected.entry(id.to_owned()).or_default() += 1;
        }
    }

    /// The peer says that an id is gone, and whether it stands. Returns whether that is an echo.
    pub(super) fn is_echo(&mut self, id: &str, exists: bool) -> bool {
        let Some(expected) = self.expected.get_mut(id) else { return false };
        *expected -= 1;
        if *expected == 0 {
            self.expected.remove(id);
        }
        // Nobody else says of what is gone that it is.
        self.repeats |= !exists;
        self.repeats
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_peers_that_echo_are_expected_to() {
        let mut original = Echoes::default();
        original.free_sent("a");
        assert!(original.is_echo("a", false));
        original.free_sent("a");
        assert!(original.is_echo("a", true), "it came back before the echo did");
        assert!(!original.is_echo("a", true), "once for each time");
        let mut other = Echoes::default();
        other.free_sent("a");
        assert!(!other.is_echo("a", true) && !other.is_echo("b", true), "a wish");
        for id in 0..2 * ECHOES_MAX {
            other.free_sent(&id.to_string());
        }
        assert_eq!(other.expected.len(), ECHOES_MAX);
    }
}
