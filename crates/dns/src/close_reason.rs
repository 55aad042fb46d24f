//! The reasons for which a connection over TCP or TLS ends.
//!
//! Below both [`super::stats`], which counts connections by reason, and [`super::stream`], which closes them.

/// The reason for which a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// The client closed the connection, or it broke.
    Closed,
    /// No question came for [`idle_timeout`](super::settings::StreamLimits::idle_timeout).
    IdleTimeout,
    /// A message (or the TLS handshake) was incomplete after
    /// [`message_timeout`](super::settings::StreamLimits::message_timeout).
    ReceiveTimeout,
    /// The client did not read a response within [`send_timeout`](super::settings::StreamLimits::send_timeout).
    SendTimeout,
    /// The connection was idle, and another one needed its permit.
    Evicted,
    /// All permits were taken, and no connection was idle.
    Refused,
    /// The client has no permission to query (`--dns-allow`, `--dns-deny`).
    Denied,
    /// The TLS handshake failed.
    Handshake,
    /// The client sent something that is no DNS message.
    Malformed,
    /// The daemon stopped.
    Shutdown,
}

impl CloseReason {
    /// All reasons, in the order in which they are counted.
    pub const ALL: [Self; 10] = [
        Self::Closed,
        Self::IdleTimeout,
        Self::ReceiveTimeout,
        Self::SendTimeout,
        Self::Evicted,
        Self::Refused,
        Self::Denied,
        Self::Handshake,
        Self::Malformed,
        Self::Shutdown,
    ];

    /// The name in metrics and in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::IdleTimeout => "idle_timeout",
            Self::ReceiveTimeout => "receive_timeout",
            Self::SendTimeout => "send_timeout",
            Self::Evicted => "evicted",
            Self::Refused => "refused",
            Self::Denied => "denied",
            Self::Handshake => "handshake",
            Self::Malformed => "malformed",
            Self::Shutdown => "shutdown",
        }
    }
}
