//! The id of a lease, and the timing of leases.

use std::fmt;
use std::time::Duration;

/// Delay after its TTL within which a lease expires: etcd checks every 500 ms and waits for its leader.
pub const LEASE_EXPIRY_SLACK: Duration = Duration::from_secs(1);
/// Renewals within one TTL of a lease: two of them may fail before the next is due in time.
pub const RENEWALS_PER_TTL: u32 = 3;

/// The id of a lease; never 0.
///
/// ```
/// use skyhound_store::LeaseId;
///
/// assert!(LeaseId::random().is_ours());
/// assert!(!LeaseId(0x7587_8a3c_1b2d_4e5f).is_ours());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub i64);

/// The bits that identify a lease of skyhound, and their value. etcd derives the ids of other leases from its member's
/// number and the time, or takes them from its clients: one in 16 million would look like one of skyhound's.
const SKYHOUND_MASK: i64 = 0x7fff_ff00_0000_0000;
const SKYHOUND_BITS: i64 = 0x5b48_4f00_0000_0000;

impl LeaseId {
    /// Draws a new id that identifies the lease as one of skyhound's: every node can tell from the id alone that a node
    /// of skyhound wrote the keys on the lease.
    pub fn random() -> Self {
        Self(SKYHOUND_BITS | fastrand::i64(1..) & !SKYHOUND_MASK)
    }

    /// Returns true if a node of skyhound granted the lease.
    pub fn is_ours(self) -> bool {
        self.0 & SKYHOUND_MASK == SKYHOUND_BITS
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}
