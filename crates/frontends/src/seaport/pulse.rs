//! Heartbeats: each side says every so often that it lives. A side that has done so once and then is silent for three
//! times as long is dead; one that never does is believed in as long as its connection stands.

use std::time::Duration;
use tokio::time::Instant;

/// Silence of so many heartbeats is the end.
const SILENT_BEATS: u32 = 3;

/// The heartbeats of one connection.
#[derive(Debug)]
pub(super) struct Pulse {
    every: Duration,
    next: Instant,
    heard: Instant,
    /// The other side sends heartbeats.
    beats: bool,
}

impl Pulse {
    pub(super) fn new(every: Duration) -> Self {
        let now = Instant::now();
        Self { every, next: now + every, heard: now, beats: false }
    }

    /// The other side said something.
    pub(super) fn heard(&mut self) {
        self.heard = Instant::now();
    }

    /// It was a heartbeat.
    pub(super) fn beats(&mut self) {
        self.beats = true;
    }

    /// When there is something to do: to beat, or to end.
    pub(super) fn due(&self) -> Instant {
        if self.beats { self.next.min(self.silent_at()) } else { self.next }
    }

    /// Whether it has been silent for too long.
    pub(super) fn is_silent(&self) -> bool {
        self.beats && Instant::now() >= self.silent_at()
    }

    /// Whether a heartbeat is due, and if so, when the next one is.
    pub(super) fn is_to_beat(&mut self) -> bool {
        let now = Instant::now();
        let due = now >= self.next;
        if due {
            self.next = now + self.every;
        }
        due
    }

    fn silent_at(&self) -> Instant {
        self.heard + self.every * SILENT_BEATS
    }
}
