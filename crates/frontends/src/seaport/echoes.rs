//! Echoes of `free` rows. The original's client, when it receives `free`, sends the same row back to the hub that sent
//! it. That is no request: the id may be registered again meanwhile. Other clients send no echo, so the same row from
//! them is a request.

use std::collections::HashMap;

/// The limit for ids with an expected echo.
const ECHOES_MAX: usize = 1024;

/// The `free` rows that one peer may echo.
#[derive(Debug, Default)]
pub(super) struct ExpectedEchoes {
    expected: HashMap<String, u32>,
    /// The peer has sent an echo before.
    sends_echoes: bool,
}

impl ExpectedEchoes {
    /// Records a `free` row to the peer.
    pub(super) fn free_sent(&mut self, id: &str) {
        if self.expected.len() < ECHOES_MAX || self.expected.contains_key(id) {
            *self.expected.entry(id.to_owned()).or_default() += 1;
        }
    }

    /// Records a `free` row from the peer for an id that is registered or not. Returns whether the row is an echo.
    pub(super) fn is_echo(&mut self, id: &str, exists: bool) -> bool {
        let Some(expected) = self.expected.get_mut(id) else { return false };
        *expected -= 1;
        if *expected == 0 {
            self.expected.remove(id);
        }
        // Only a client that sends echoes frees an id that it knows to be removed.
        self.sends_echoes |= !exists;
        self.sends_echoes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_peers_that_echo_are_expected_to() {
        let mut original = ExpectedEchoes::default();
        original.free_sent("a");
        assert!(original.is_echo("a", false));
        original.free_sent("a");
        assert!(original.is_echo("a", true), "the id was registered again before the echo");
        assert!(!original.is_echo("a", true), "one echo per row");
        let mut other = ExpectedEchoes::default();
        other.free_sent("a");
        assert!(!other.is_echo("a", true) && !other.is_echo("b", true), "a request");
        for id in 0..2 * ECHOES_MAX {
            other.free_sent(&id.to_string());
        }
        assert_eq!(other.expected.len(), ECHOES_MAX);
    }
}
