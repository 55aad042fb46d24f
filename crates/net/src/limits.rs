//! The limits of HTTP and WebSocket peers, each with its default and its reason.
//!
//! A peer that exceeds a limit receives a message that names the limit. Connections that cannot receive one (a peer
//! that does not read, a flood of connections beyond [`REFUSALS`]) end without it.

use std::time::Duration;

/// Limit of simultaneous connections, held sockets included. A connection costs a descriptor and some 4 KiB here, and
/// about as much in the kernel.
pub const CONNECTIONS: usize = 15_000;
/// Descriptors that are reserved for other uses than connections: the store, DNS sockets, DNS connections
/// (`skyhound_dns::settings::STREAMS_MAX`), listeners, logs, and [`REFUSALS`].
pub const RESERVED_DESCRIPTORS: usize = 512;
/// Limit of connections that wait in the kernel to be accepted, per listener. The kernel lowers it to
/// `net.core.somaxconn`, which is 4096 since Linux 5.4.
pub const BACKLOG: i32 = 4096;
/// Limit of simultaneous error responses to connections over the limit. More are closed without a response.
pub const REFUSALS: usize = 64;
/// Pause of a listener after the system had no descriptor (or no memory) for a connection.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Limit of a request's first line and headers together, in bytes.
pub const HEAD_MAX: usize = 16 * 1024;
/// Limit of the number of headers of a request.
pub const HEADERS_MAX: usize = 64;
/// Limit of the time in which a request's head arrives, and of the idle time before it: hyper has one timer for both.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// Limit of simultaneous requests of one HTTP/2 connection. Resolvers that use HTTPS have a few dozen open.
pub const STREAMS: u32 = 64;
/// Limit of a request's body, in bytes.
pub const BODY_MAX: usize = 64 * 1024;
/// Limit of the time in which a request's body arrives.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(15);

/// Time without progress after which the reader of a streamed response is disconnected.
pub const BODY_SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// Limit of the unread chunks of such a response, of some 16 KiB each.
pub const BODY_CHUNKS: usize = 2;

/// Limit of a WebSocket frame, and of a message in several frames, in bytes.
pub const FRAME_MAX: usize = 16 * 1024;
/// Limit of invalid frames between two pings. One more closes the socket.
pub const BAD_FRAMES_MAX: u32 = 16;
/// Time without progress after which a peer that is sent a text is a slow consumer (or half the ping timeout, if that
/// is less). A live peer reads within milliseconds; an unread text is held in memory for this peer alone.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// Limit of simultaneous registrations. Others wait for their turn: a storm of reconnecting peers costs them time, and
/// the store receives full group commits instead of all of them at once.
pub const CONCURRENT_REGISTRATIONS: usize = 1024;
/// Limit of the time that a registration waits for its turn.
pub const REGISTRATION_WAIT: Duration = Duration::from_secs(10);
/// Time for which a finished connection is held so that its last bytes arrive: closing a socket with unread bytes
/// resets it, and a reset may overtake them (RFC 9112 section 9.6).
pub const LINGER: Duration = Duration::from_secs(1);
/// Limit of the bytes that are read and dropped in that time.
pub const LINGER_BYTES: usize = 256 * 1024;
/// Largest value of `Retry-After`, in seconds. Each response draws its own, from 1, so that peers that were rejected
/// together do not return together.
pub const RETRY_AFTER_MAX: u16 = 5;

/// The configurable limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Simultaneous connections, by default [`CONNECTIONS`].
    pub connections: usize,
    /// Bytes of a request's head, at least 4096, by default [`HEAD_MAX`].
    pub head_bytes: usize,
    /// Headers of a request, by default [`HEADERS_MAX`].
    pub headers: usize,
    /// Time for a request's head, by default [`HEAD_TIMEOUT`].
    pub head_timeout: Duration,
    /// Bytes of a request's body, by default [`BODY_MAX`].
    pub body_bytes: usize,
    /// Time for a request's body, by default [`BODY_TIMEOUT`].
    pub body_timeout: Duration,
    /// Bytes of a WebSocket frame, by default [`FRAME_MAX`].
    pub frame_bytes: usize,
    /// Time without progress of a streamed response, by default [`BODY_SEND_TIMEOUT`].
    pub body_send_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: CONNECTIONS,
            head_bytes: HEAD_MAX,
            headers: HEADERS_MAX,
            head_timeout: HEAD_TIMEOUT,
            body_bytes: BODY_MAX,
            body_timeout: BODY_TIMEOUT,
            frame_bytes: FRAME_MAX,
            body_send_timeout: BODY_SEND_TIMEOUT,
        }
    }
}

impl Limits {
    /// Raises the process's soft limit of descriptors as far as permitted, and lowers the limit of connections to fit.
    /// Logs a warning if it is lowered.
    #[must_use]
    pub fn fitted_to_descriptors(mut self) -> Self {
        if let Some(descriptors) = descriptors(self.connections + RESERVED_DESCRIPTORS) {
            let fit = descriptors.saturating_sub(RESERVED_DESCRIPTORS).max(1);
            if fit < self.connections {
                tracing::warn!(
                    configured = self.connections,
                    connections = fit,
                    descriptors,
                    "the limit of open files allows fewer connections than configured; raise it (ulimit -n, LimitNOFILE=)"
                );
                self.connections = fit;
            }
        }
        self
    }
}

/// The limit of this process's descriptors, after raising it to `wanted` if permitted; `None` means no limit.
fn descriptors(wanted: usize) -> Option<usize> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let soft = usize::try_from(limit.current?).unwrap_or(usize::MAX);
    if soft >= wanted {
        return Some(soft);
    }
    let wanted = u64::try_from(wanted).unwrap_or(u64::MAX);
    limit.current = Some(limit.maximum.map_or(wanted, |hard| hard.min(wanted)));
    match setrlimit(Resource::Nofile, limit) {
        Ok(()) => limit.current.map(|now| usize::try_from(now).unwrap_or(usize::MAX)),
        Err(_) => Some(soft),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_fit_the_available_descriptors() {
        let few = Limits { connections: 10, ..Limits::default() };
        assert_eq!(few.fitted_to_descriptors(), few);
        let many = Limits { connections: usize::MAX / 2, ..Limits::default() }.fitted_to_descriptors();
        let hard = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
        if let Some(hard) = hard {
            assert!(many.connections < usize::try_from(hard).unwrap(), "{many:?}");
        }
    }
}
