//! Heartbeats: each side sends one at an interval. A side that has sent one and then sends nothing for three intervals
//! has expired; a side that never sends one stays alive for as long as its connection.

use std::time::Duration;
use tokio::time::Instant;

/// The number of intervals without a row after which a side has expired.
const MISSED_INTERVALS_MAX: u32 = 3;

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

    /// Records a row of any kind from the other side.
    pub(super) fn row_received(&mut self) {
        self.last_received = Instant::now();
    }

    /// Records that the row was a heartbeat.
    pub(super) fn heartbeat_received(&mut self) {
        self.sends_heartbeats = true;
    }

    /// The time of the next heartbeat to send, or of the timeout.
    pub(super) fn due(&self) -> Instant {
        if self.sends_heartbeats { self.next.min(self.expires_at()) } else { self.next }
    }

    /// Reports that the other side has missed its heartbeats.
    pub(super) fn timed_out(&self) -> bool {
        self.sends_heartbeats && Instant::now() >= self.expires_at()
    }

    /// Reports that a heartbeat is due now, and if so schedules the next one.
    pub(super) fn take_due(&mut self) -> bool {
        let now = Instant::now();
        let due = now >= self.next;
        if due {
            self.next = now + self.interval;
        }
        due
    }

    fn expires_at(&self) -> Instant {
        self.last_received + self.interval * MISSED_INTERVALS_MAX
    }
}
