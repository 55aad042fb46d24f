//! The counters of a registry.

use std::sync::atomic::AtomicU64;

/// Counters of a registry since its start.
#[derive(Debug, Default)]
pub struct RegistryStats {
    /// Group commits sent to the store.
    pub commits: AtomicU64,
    /// Group commits that failed.
    pub commit_errors: AtomicU64,
    /// Entries put.
    pub puts: AtomicU64,
    /// Entries removed.
    pub deletes: AtomicU64,
    /// Entries that vanished, or whose lease expired, under an active claim.
    pub lost: AtomicU64,
}
