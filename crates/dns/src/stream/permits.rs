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

/// What [`PermitState::idle_us`] says of a connection that is not idle.
const NOT_IDLE: u64 = u64::MAX;

/// All places.
pub(super) struct StreamPermits {
    max_connections: usize,
    max_per_client: usize,
    began: Instant,
    held: Mutex<Vec<Arc<PermitState>>>,
}

struct PermitState {
    client: IpAddr,
    /// Since when it is idle, in microseconds since `began`; or [`NOT_IDLE`].
    idle_us: AtomicU64,
    evicted: Notify,
}

/// A connection's place. Free again when dropped.
pub(super) struct StreamPermit {
    permits: Arc<StreamPermits>,
    state: Arc<PermitState>,
}

impl StreamPermits {
    pub(super) fn new(max_connections: usize, max_per_client: usize) -> Arc<Self> {
        Arc::new(Self { max_connections, max_per_client, began: Instant::now(), held: Mutex::default() })
    }

    /// A place for a client, perhaps somebody's who has to leave for it. It is idle at first: opening a
    /// connection is no reason to stay.
    pub(super) fn acquire(self: &Arc<Self>, ip: IpAddr) -> Option<StreamPermit> {
        let client = client_network(ip);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let own = |state: &PermitState| state.client == client;
        if held.iter().filter(|state| own(state)).count() >= self.max_per_client {
            evict_longest_idle(&mut held, own)?;
        } else if held.len() >= self.max_connections {
            evict_longest_idle(&mut held, |_| true)?;
        }
        let state = Arc::new(PermitState { client, idle_us: AtomicU64::new(self.now_us()), evicted: Notify::new() });
        held.push(Arc::clone(&state));
        Some(StreamPermit { permits: Arc::clone(self), state })
    }

    /// Has one idle connection closed.
    pub(super) fn evict_idle(&self) {
        evict_longest_idle(&mut self.held.lock().unwrap_or_else(PoisonError::into_inner), |_| true);
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(NOT_IDLE - 1)
    }
}

/// Takes the place of who was idle longest among some; `None` if nobody is idle. A walk over all places: at
/// their limit that is some microseconds, and less often than connections.
fn evict_longest_idle(held: &mut Vec<Arc<PermitState>>, of: impl Fn(&PermitState) -> bool) -> Option<()> {
    let idle = held.iter().enumerate().filter(|(_, state)| of(state));
    let idle = idle.map(|(at, state)| (state.idle_us.load(Relaxed), at)).filter(|(since, _)| *since != NOT_IDLE);
    let (_, at) = idle.min()?;
    // In order, so that of two that are idle since the same moment the elder goes.
    held.remove(at).evicted.notify_one();
    Some(())
}

impl StreamPermit {
    /// Whether something is under way on the connection.
    pub(super) fn set_busy(&self, busy: bool) {
        let was_busy = self.state.idle_us.load(Relaxed) == NOT_IDLE;
        if busy != was_busy {
            self.state.idle_us.store(if busy { NOT_IDLE } else { self.permits.now_us() }, Relaxed);
        }
    }

    /// Waits until the place is another's. Safe to cancel.
    pub(super) async fn evicted(&self) {
        self.state.evicted.notified().await;
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        let mut held = self.permits.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|state| !Arc::ptr_eq(state, &self.state));
    }
}

/// What counts as one client: an IPv4 address, or the /64 that one host commonly has of IPv6.
fn client_network(ip: IpAddr) -> IpAddr {
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

    fn is_evicted(permit: &StreamPermit) -> bool {
        permit.evicted().now_or_never().is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn longest_idle_connection_is_evicted() {
        let permits = StreamPermits::new(3, 3);
        let mut all = Vec::new();
        for last in 1..=3 {
            all.push(permits.acquire(ip(&format!("10.0.0.{last}"))).unwrap());
            tokio::time::advance(Duration::from_millis(5)).await;
        }
        all[0].set_busy(true);
        let four = permits.acquire(ip("10.0.0.4")).unwrap();
        assert_eq!(all.iter().map(is_evicted).collect::<Vec<_>>(), [false, true, false]);
        // Answered just now: the third is the one that waits longest.
        all[0].set_busy(false);
        let five = permits.acquire(ip("10.0.0.5")).unwrap();
        assert!(is_evicted(&all[2]) && !is_evicted(&all[0]) && !is_evicted(&four));
        for permit in [&all[0], &four, &five] {
            permit.set_busy(true);
        }
        assert!(permits.acquire(ip("10.0.0.6")).is_none(), "nobody is idle");
        drop(four);
        assert!(permits.acquire(ip("10.0.0.6")).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn client_at_its_limit_evicts_its_own() {
        let permits = StreamPermits::new(10, 2);
        let other = permits.acquire(ip("10.0.0.1")).unwrap();
        tokio::time::advance(Duration::from_millis(5)).await;
        let own = ["2001:db8::1", "2001:db8::2", "2001:db8::3"].map(|text| permits.acquire(ip(text)).unwrap());
        assert_eq!(own.each_ref().map(is_evicted), [true, false, false], "one /64 is one client");
        for permit in &own {
            permit.set_busy(true);
        }
        assert!(permits.acquire(ip("2001:db8::4")).is_none() && permits.acquire(ip("2001:db8:0:1::4")).is_some());
        assert!(!is_evicted(&other));
        let mapped = client_network(ip("::ffff:10.0.0.1"));
        assert_eq!(mapped, ip("10.0.0.1"));
    }
}
