//! How much a peer may ask of the HTTP side: every limit once, with its default and the reason for it.
//!
//! Whoever goes over one hears a sentence that names it. What the daemon cannot say (a peer that does
//! not read, a flood of connections beyond [`REFUSALS`]) ends without one.

use std::time::Duration;

/// Connections at a time, held sockets included. One costs a descriptor and some 4 KiB here, and about as
/// much in the kernel.
pub const CONNECTIONS: usize = 15_000;
/// Descriptors that connections leave alone: the store, DNS sockets, DNS connections
/// (`skyhound_dns::settings::STREAMS_MAX`), listeners, logs, and [`REFUSALS`].
pub const RESERVED_DESCRIPTORS: usize = 512;
/// Connections that wait in the kernel to be accepted, for each listener. The kernel cuts it to
/// `net.core.somaxconn`; Linux has 4096 there since 5.4.
pub const BACKLOG: i32 = 4096;
/// Connections over the limit that are being told so at a time. More are closed without a word.
pub const REFUSALS: usize = 64;
/// The pause of a listener that the system gives no descriptor (or no memory) to accept with.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Bytes of a request's first line and headers together.
pub const HEAD_MAX: usize = 16 * 1024;
/// Headers of a request.
pub const HEADERS_MAX: usize = 64;
/// How long a request's head may take to arrive, and how long a connection may stay idle before it: hyper
/// has one clock for both.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// Requests of one HTTP/2 connection at a time. Resolvers that ask over HTTPS have a few dozen open.
pub const STREAMS: u32 = 64;
/// Bytes of a request's body.
pub const BODY_MAX: usize = 64 * 1024;
/// How long a request's body may take to arrive.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a peer may read nothing of an answer that is made while it is read, before its connection is cut.
pub const BODY_SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// Pieces of such an answer that wait for the peer, of some 16 KiB each.
pub const BODY_CHUNKS: usize = 2;

/// Bytes of a websocket frame, and of a message in several.
pub const FRAME_MAX: usize = 16 * 1024;
/// Frames that mean nothing here, between two pings. One more closes the socket.
pub const BAD_FRAMES_MAX: u32 = 16;
/// How long a peer may take nothing of a text that it is sent (or half the timeout, if that is less). One that
/// is still there reads within milliseconds; what it does not take is kept for it alone.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// Registrations under way at a time. The others wait for their turn: a storm of reconnecting peers costs
/// them time, and the store sees full group commits instead of all of them at once.
pub const CONCURRENT_REGISTRATIONS: usize = 1024;
/// How long a registration waits for its turn.
pub const REGISTRATION_WAIT: Duration = Duration::from_secs(10);
/// How long a connection that is over is kept so that its last words arrive: closing a socket with unread
/// bytes resets it, and a reset may overtake them (RFC 9112 section 9.6).
pub const LINGER: Duration = Duration::from_secs(1);
/// Bytes that are read and dropped in that time.
pub const LINGER_BYTES: usize = 256 * 1024;
/// The longest wait, in seconds, that `Retry-After` asks for. Each refusal draws its own, from 1, so that
/// those who were refused together do not come back together.
pub const RETRY_AFTER_MAX: u16 = 5;

/// The limits that a daemon can be started with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// See [`CONNECTIONS`].
    pub connections: usize,
    /// See [`HEAD_MAX`]. At least 4096.
    pub head_bytes: usize,
    /// See [`HEADERS_MAX`].
    pub headers: usize,
    /// See [`HEAD_TIMEOUT`].
    pub head_timeout: Duration,
    /// See [`BODY_MAX`].
    pub body_bytes: usize,
    /// See [`BODY_TIMEOUT`].
    pub body_timeout: Duration,
    /// See [`FRAME_MAX`].
    pub frame_bytes: usize,
    /// See [`BODY_SEND_TIMEOUT`].
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
    /// Lowers the limit of connections to what the system gives this process in descriptors, having raised
    /// the process's own (soft) limit as far as it may. Says so in the log when it is lower.
    #[must_use]
    pub fn fitted_to_descriptors(mut self) -> Self {
        if let Some(descriptors) = descriptors(self.connections + RESERVED_DESCRIPTORS) {
            let fit = descriptors.saturating_sub(RESERVED_DESCRIPTORS).max(1);
            if fit < self.connections {
                tracing::warn!(
                    wanted = self.connections,
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

/// The descriptors this process may have, after trying for `wanted`; `None` means without limit.
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
    fn connections_fit_the_descriptors_there_are() {
        let few = Limits { connections: 10, ..Limits::default() };
        assert_eq!(few.fitted_to_descriptors(), few);
        let many = Limits { connections: usize::MAX / 2, ..Limits::default() }.fitted_to_descriptors();
        let hard = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
        if let Some(hard) = hard {
            assert!(many.connections < usize::try_from(hard).unwrap(), "{many:?}");
        }
    }
}
