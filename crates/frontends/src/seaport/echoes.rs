//! The original's client, told that an id is gone, says so itself, to the one who told it. That is no wish: the id may
//! have come back meanwhile. Other clients do not do it, so that the same row from them is one.

use std::collections::HashMap;

/// The most ids of which an echo is waited for.
const MOST: usize = 1024;

/// What one peer may say again.
#[derive(Debug, Default)]
pub(super) struct Echoes {
    owed: HashMap<String, u32>,
    /// It has done so before.
    repeats: bool,
}

impl Echoes {
    /// The peer is told that an id is gone.
    pub(super) fn told(&mut self, id: &str) {
        if self.owed.len() < MOST || self.owed.contains_key(id) {
            *self.owed.entry(id.to_owned()).or_default() += 1;
        }
    }

    /// The peer says that an id is gone, and whether it stands. Returns whether that is an echo.
    pub(super) fn is_one(&mut self, id: &str, stands: bool) -> bool {
        let Some(owed) = self.owed.get_mut(id) else { return false };
        *owed -= 1;
        if *owed == 0 {
            self.owed.remove(id);
        }
        // Nobody else says of what is gone that it is.
        self.repeats |= !stands;
        self.repeats
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_is_known_by_whom_it_comes_from() {
        let mut original = Echoes::default();
        original.told("a");
        assert!(original.is_one("a", false));
        original.told("a");
        assert!(original.is_one("a", true), "it came back before the echo did");
        assert!(!original.is_one("a", true), "once for each time");
        let mut other = Echoes::default();
        other.told("a");
        assert!(!other.is_one("a", true) && !other.is_one("b", true), "a wish");
        for id in 0..2 * MOST {
            other.told(&id.to_string());
        }
        assert_eq!(other.owed.len(), MOST);
    }
}
