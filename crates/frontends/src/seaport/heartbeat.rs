//! Heartbeats: each side says every so often that it lives. A side that has done so once and then is silent for three
//! times as long is dead; one that never does is believed in as long as its connection stands.

use std::time::Duration;
use tokio::time::Instant;

/// Silence of so many heartbeats is the end.
const MISSED_HEARTBEATS_MAX: u32 = 3;

/// The heartbeats of one connection.
#[derive(Debug)]
pub(super) struct HeartbeatTimer {
    interval: Duration,
    next: Instant,
    last_received: Instant,
    /// The other side sends heartbeats.
    sends_heartbeats: bool,
}

impl HeartbeatTimer {
    pub(super) fn new(interval: Duration) -> Self {
        let now = Instant::now();
        Self { interval, next: now + interval, last_received: now, sends_heartbeats: false }
    }

    /// The other side said something.
    pub(super) fn row_received(&mut self) {
        self.last_received = Instant::now();
    }

    /// It was a heartbeat.
    pub(super) fn heartbeat_received(&mut self) {
        self.sends_heartbeats = true;
    }

    /// When there is something to do: to beat, or to end.
    pub(super) fn due(&self) -> Instant {
        if self.sends_heartbeats { self.next.min(self.expires_at()) } else { self.next }
    }

    /// Whether it has been silent for too long.
    pub(super) fn timed_out(&self) -> bool {
        self.sends_heartbeats && Instant::now() >= self.expires_at()
    }

    /// Whether a heartbeat is due, and if so, when the next one is.
    pub(super) fn take_due(&mut self) -> bool {
        let now = Instant::now();
        let due = now >= self.next;
        if due {
            self.next = now + self.interval;
        }
        due
    }

    fn expires_at(&self) -> Instant {
        self.last_received + self.interval * MISSED_HEARTBEATS_MAX
    }
}
