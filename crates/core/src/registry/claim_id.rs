//! The number of a claim.
//!
//! It is a module of its own because slots, mirror keys, id records and heartbeats all key their data by it, and none
//! of them may import another for it.

/// The number of a claim, unique within this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct ClaimId(pub(super) u64);
