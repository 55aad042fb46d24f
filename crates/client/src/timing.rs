//! Timeouts and retry intervals of the client.
//!
//! Owns: the defaults with their reasons. Does not own: the timeouts of DNS queries (`dns`).

use skyhound_base::{Backoff, Jitter};
use std::time::Duration;

/// Timeouts and retry intervals of connections to a daemon.
///
/// The defaults suit a network of machines; tests shorten them.
///
/// ```
/// use skyhound_client::{Provide, Timing};
/// use std::time::Duration;
///
/// let provide = Provide {
///     timing: Timing { connect: Duration::from_secs(1), ..Timing::default() },
///     ..Provide::new("web", 8080)
/// };
/// assert_eq!(provide.timing.response, Duration::from_secs(15));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Limit of a TCP connection attempt to one server, over all of its addresses. Default: 3 seconds.
    pub connect: Duration,
    /// Limit from the TCP connection to the response. Default: 15 seconds. It exceeds the daemon's own timeout for
    /// its store: a client that gives up while the daemon is still writing makes it write twice.
    pub response: Duration,
    /// Interval between pings. Default: 10 seconds, as in the original client.
    pub ping_interval: Duration,
    /// Time without any received data after which a connection is dead. Keep it above two `ping_interval`. Default:
    /// 25 seconds, which is two unanswered pings and some time for the second.
    pub liveness_timeout: Duration,
    /// Limit of the daemon's part of a close handshake. Default: 2 seconds.
    pub close: Duration,
    /// Upper bound of the first pause before a retry. Default: 100 milliseconds, so that a restart of the daemon is
    /// hardly noticed.
    pub retry_min: Duration,
    /// Upper bound of every pause before a retry. Default: 10 seconds.
    pub retry_max: Duration,
    /// Lifetime after which the loss of a connection counts as chance, and pauses start again at `retry_min`. Default:
    /// 10 seconds.
    pub stable_after: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            response: Duration::from_secs(15),
            ping_interval: Duration::from_secs(10),
            liveness_timeout: Duration::from_secs(25),
            close: Duration::from_secs(2),
            retry_min: Duration::from_millis(100),
            retry_max: Duration::from_secs(10),
            stable_after: Duration::from_secs(10),
        }
    }
}

impl Timing {
    /// The pauses between attempts to reach a server.
    pub(crate) const fn backoff(&self) -> Backoff {
        Backoff::new(self.retry_min, self.retry_max).with_jitter(Jitter::Full)
    }
}
