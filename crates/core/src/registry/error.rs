//! The error of a registration, an update or a removal.

use super::deadlines::MAX_HEARTBEAT_CLAIMS;
use skyhound_store::StoreError;

/// The reason for which a registration, an update or a release failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// The store is unavailable, or slower than [`RegistrySettings::deadline`](super::RegistrySettings::deadline). A
    /// later attempt can succeed.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The store cannot hold this entry.
    #[error("{0}")]
    Rejected(String),
    /// This daemon holds [`MAX_HEARTBEAT_CLAIMS`] claims with heartbeats. Another daemon
    /// can accept the registration.
    #[error(
        "this daemon holds {MAX_HEARTBEAT_CLAIMS} registrations with heartbeats, which is its limit; use another daemon"
    )]
    Full,
    /// The store holds [`RegistrySettings::max_persistent`](super::RegistrySettings::max_persistent) persistent
    /// registrations. Some have to be removed first.
    #[error("there are {0} persistent registrations, which is the limit (--max-persistent); remove some, or set a ttl")]
    TooManyPersistent(u32),
    /// This daemon is stopping. Another daemon, or this one after its restart, can accept the registration.
    #[error("this daemon is stopping")]
    Stopping,
}

impl From<&StoreError> for RegisterError {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::Rejected(_) => Self::Rejected(error.to_string()),
            _ => Self::Unavailable(error.to_string()),
        }
    }
}
