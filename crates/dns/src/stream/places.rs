//! Who may stay when there are more connections than places.
//!
//! Owns: the two limits, in all and per client, and the choice of who goes. The rule: who was idle longest
//! goes, so that somebody who has a question now is served. It costs an idle client a handshake at most, as
//! every client has to open a connection again that was closed while it was idle (RFC 7766 section 6.2.3);
//! a refusal would cost the other its answer. A client at its own limit loses a connection of its own, so that
//! one alone cannot push out the others. Only when nobody is idle the new one is refused.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;
use tokio::time::Instant;

/// What [`Seat::idle_us`] says of a connection that is not idle.
const BUSY: u64 = u64::MAX;

/// All places.
pub(super) struct Places {
    most: usize,
    per_client: usize,
    began: Instant,
    taken: Mutex<Vec<Arc<Seat>>>,
}

struct Seat {
    client: IpAddr,
    /// Since when it is idle, in microseconds since `began`; or [`BUSY`].
    idle_us: AtomicU64,
    wanted: Notify,
}

/// A connection's place. Free again when dropped.
pub(super) struct Place {
    places: Arc<Places>,
    seat: Arc<Seat>,
}

impl Places {
    pub(super) fn new(most: usize, per_client: usize) -> Arc<Self> {
        Arc::new(Self { most, per_client, began: Instant::now(), taken: Mutex::default() })
    }

    /// A place for a client, perhaps somebody's who has to leave for it. It is idle at first: opening a
    /// connection is no reason to stay.
    pub(super) fn admit(self: &Arc<Self>, ip: IpAddr) -> Option<Place> {
        let client = network(ip);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = |seat: &Seat| seat.client == client;
        if taken.iter().filter(|seat| own(seat)).count() >= self.per_client {
            dismiss(&mut taken, own)?;
        } else if taken.len() >= self.most {
            dismiss(&mut taken, |_| true)?;
        }
        let seat = Arc::new(Seat { client, idle_us: AtomicU64::new(self.now_us()), wanted: Notify::new() });
        taken.push(Arc::clone(&seat));
        Some(Place { places: Arc::clone(self), seat })
    }

    /// Has one idle connection closed.
    pub(super) fn make_room(&self) {
        dismiss(&mut self.taken.lock().unwrap_or_else(PoisonError::into_inner), |_| true);
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(BUSY - 1)
    }
}

/// Takes the place of who was idle longest among some; `None` if nobody is idle. A walk over all places: at
/// their limit that is some microseconds, and less often than connections.
fn dismiss(taken: &mut Vec<Arc<Seat>>, of: impl Fn(&Seat) -> bool) -> Option<()> {
    let idle = taken.iter().enumerate().filter(|(_, seat)| of(seat));
    let idle = idle.map(|(at, seat)| (seat.idle_us.load(Relaxed), at)).filter(|(since, _)| *since != BUSY);
    let (_, at) = idle.min()?;
    // In order, so that of two that are idle since the same moment the elder goes.
    taken.remove(at).wanted.notify_one();
    Some(())
}

impl Place {
    /// Whether something is under way on the connection.
    pub(super) fn set_busy(&self, busy: bool) {
        let was_busy = self.seat.idle_us.load(Relaxed) == BUSY;
        if busy != was_busy {
            self.seat.idle_us.store(if busy { BUSY } else { self.places.now_us() }, Relaxed);
        }
    }

    /// Waits until the place is another's. Safe to cancel.
    pub(super) async fn wanted(&self) {
        self.seat.wanted.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.retain(|seat| !Arc::ptr_eq(seat, &self.seat));
    }
}

/// What counts as one client: an IPv4 address, or the /64 that one host commonly has of IPv6.
fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::time::Duration;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn left(place: &Place) -> bool {
        place.wanted().now_or_never().is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_idle_longest_leaves_and_who_is_busy_stays() {
        let places = Places::new(3, 3);
        let mut all = Vec::new();
        for last in 1..=3 {
            all.push(places.admit(ip(&format!("10.0.0.{last}"))).unwrap());
            tokio::time::advance(Duration::from_millis(5)).await;
        }
        all[0].set_busy(true);
        let four = places.admit(ip("10.0.0.4")).unwrap();
        assert_eq!(all.iter().map(left).collect::<Vec<_>>(), [false, true, false]);
        // Answered just now: the third is the one that waits longest.
        all[0].set_busy(false);
        let five = places.admit(ip("10.0.0.5")).unwrap();
        assert!(left(&all[2]) && !left(&all[0]) && !left(&four));
        for place in [&all[0], &four, &five] {
            place.set_busy(true);
        }
        assert!(places.admit(ip("10.0.0.6")).is_none(), "nobody is idle");
        drop(four);
        assert!(places.admit(ip("10.0.0.6")).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_at_its_limit_loses_its_own() {
        let places = Places::new(10, 2);
        let other = places.admit(ip("10.0.0.1")).unwrap();
        tokio::time::advance(Duration::from_millis(5)).await;
        let own = ["2001:db8::1", "2001:db8::2", "2001:db8::3"].map(|text| places.admit(ip(text)).unwrap());
        assert_eq!(own.each_ref().map(left), [true, false, false], "one /64 is one client");
        for place in &own {
            place.set_busy(true);
        }
        assert!(places.admit(ip("2001:db8::4")).is_none() && places.admit(ip("2001:db8:0:1::4")).is_some());
        assert!(!left(&other));
        let mapped = network(ip("::ffff:10.0.0.1"));
        assert_eq!(mapped, ip("10.0.0.1"));
    }
}
