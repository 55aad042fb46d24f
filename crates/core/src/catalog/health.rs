//! The trust that a snapshot deserves: never loaded, current or stale.

use std::time::Duration;
use tokio::time::Instant;

/// The relation of the snapshot to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// The store was never read. The snapshot is empty because the contents are unknown, not because the store is empty.
    NeverLoaded,
    /// The feeds of the store are being applied.
    Current,
    /// The store is unavailable; the snapshot is its last known state.
    Stale {
        /// The last time at which the snapshot was current.
        since: Instant,
    },
}

impl Health {
    /// Returns the time since the snapshot was last current; `None` if it never was.
    pub fn age(self) -> Option<Duration> {
        match self {
            Self::NeverLoaded => None,
            Self::Current => Some(Duration::ZERO),
            Self::Stale { since } => Some(since.elapsed()),
        }
    }

    /// The text of this state in `/readyz`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NeverLoaded => "never_loaded",
            Self::Current => "current",
            Self::Stale { .. } => "stale",
        }
    }
}
