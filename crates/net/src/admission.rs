//! Admission of connections with a limit per client, and eviction of the longest idle one.
//!
//! | limit reached | an idle connection exists | none is idle |
//! |---|---|---|
//! | per client | the client's longest idle connection is evicted | rejected |
//! | in total | the longest idle connection is evicted | rejected |
//! | none | admitted | admitted |
//!
//! Eviction serves a client that has a request now. It costs an idle client a handshake at most, as every client has to
//! open a connection again that was closed while it was idle (RFC 7766 section 6.2.3 for DNS); a rejection would cost
//! the other client its answer. A client at its own limit loses a connection of its own, so that one client cannot
//! displace the others.
//!
//! Owns: the two limits and the choice of the evicted connection. Does not own: sockets and timeouts, nor the count
//! that a graceful shutdown waits for ([`super::drain`]).

use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Value of [`PermitState::idle_us`] for a busy connection.
const NOT_IDLE: u64 = u64::MAX;

/// The admitted connections and their limits.
#[derive(Debug)]
pub struct Admission {
    max_connections: usize,
    max_per_client: usize,
    began: Instant,
    /// In the order of their admission.
    admitted: Mutex<Vec<Arc<PermitState>>>,
}

#[derive(Debug)]
struct PermitState {
    client: IpAddr,
    /// Begin of the idle time, in microseconds since [`Admission::began`]; or [`NOT_IDLE`].
    idle_us: AtomicU64,
    evicted: Notify,
}

/// The permit of an admitted connection. Dropping it frees its place in both limits.
#[derive(Debug)]
pub struct AdmissionPermit {
    admission: Arc<Admission>,
    state: Arc<PermitState>,
}

impl Admission {
    /// Limits of connections in total and per client.
    pub fn new(max_connections: usize, max_per_client: usize) -> Arc<Self> {
        Arc::new(Self { max_connections, max_per_client, began: Instant::now(), admitted: Mutex::default() })
    }

    /// Admits a connection of a client, possibly by the eviction of another one. Returns `None` if a limit is reached
    /// and no connection is idle. The connection is idle at first: opening one is no reason to keep it.
    pub fn try_acquire(self: &Arc<Self>, ip: IpAddr) -> Option<AdmissionPermit> {
        let client = client_network(ip);
        let mut admitted = self.admitted.lock().unwrap_or_else(PoisonError::into_inner);
        let is_client = |state: &PermitState| state.client == client;
        if admitted.iter().filter(|state| is_client(state)).count() >= self.max_per_client {
            evict_longest_idle(&mut admitted, is_client)?;
        } else if admitted.len() >= self.max_connections {
            evict_longest_idle(&mut admitted, |_| true)?;
        }
        let state = Arc::new(PermitState { client, idle_us: AtomicU64::new(self.now_us()), evicted: Notify::new() });
        admitted.push(Arc::clone(&state));
        Some(AdmissionPermit { admission: Arc::clone(self), state })
    }

    /// Evicts the longest idle connection, if any.
    pub fn evict_idle(&self) {
        evict_longest_idle(&mut self.admitted.lock().unwrap_or_else(PoisonError::into_inner), |_| true);
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(NOT_IDLE - 1)
    }
}

/// Evicts the longest idle connection of a selection; `None` if none is idle. A scan of all connections takes some
/// microseconds at their limit, and happens at most once per new connection.
fn evict_longest_idle(admitted: &mut Vec<Arc<PermitState>>, selected: impl Fn(&PermitState) -> bool) -> Option<()> {
    let candidates = admitted.iter().enumerate().filter(|(_, state)| selected(state));
    let idle = candidates.map(|(at, state)| (state.idle_us.load(Relaxed), at)).filter(|(since, _)| *since != NOT_IDLE);
    let (_, at) = idle.min()?;
    // `remove` keeps the order, so that of two that are idle since the same moment the older one is evicted.
    admitted.remove(at).evicted.notify_one();
    Some(())
}

impl AdmissionPermit {
    /// Marks the connection as busy or idle. A busy connection is not evicted.
    pub fn set_busy(&self, busy: bool) {
        let was_busy = self.state.idle_us.load(Relaxed) == NOT_IDLE;
        if busy != was_busy {
            self.state.idle_us.store(if busy { NOT_IDLE } else { self.admission.now_us() }, Relaxed);
        }
    }

    /// Waits until the connection is evicted. Cancel safe.
    pub async fn evicted(&self) {
        self.state.evicted.notified().await;
    }
}

impl Drop for AdmissionPermit {
    fn drop(&mut self) {
        let mut admitted = self.admission.admitted.lock().unwrap_or_else(PoisonError::into_inner);
        admitted.retain(|state| !Arc::ptr_eq(state, &self.state));
    }
}

/// The network that counts as one client: an IPv4 address, or the /64 that one host commonly has of IPv6.
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

    fn is_evicted(permit: &AdmissionPermit) -> bool {
        permit.evicted().now_or_never().is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn longest_idle_connection_is_evicted() {
        let admission = Admission::new(3, 3);
        let mut all = Vec::new();
        for last in 1..=3 {
            all.push(admission.try_acquire(ip(&format!("10.0.0.{last}"))).unwrap());
            tokio::time::advance(Duration::from_millis(5)).await;
        }
        all[0].set_busy(true);
        let four = admission.try_acquire(ip("10.0.0.4")).unwrap();
        assert_eq!(all.iter().map(is_evicted).collect::<Vec<_>>(), [false, true, false]);
        // The first was busy until now, so that the third is idle for the longest time.
        all[0].set_busy(false);
        let five = admission.try_acquire(ip("10.0.0.5")).unwrap();
        assert!(is_evicted(&all[2]) && !is_evicted(&all[0]) && !is_evicted(&four));
        for permit in [&all[0], &four, &five] {
            permit.set_busy(true);
        }
        assert!(admission.try_acquire(ip("10.0.0.6")).is_none(), "no connection is idle");
        drop(four);
        assert!(admission.try_acquire(ip("10.0.0.6")).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn client_at_its_limit_evicts_its_own() {
        let admission = Admission::new(10, 2);
        let other = admission.try_acquire(ip("10.0.0.1")).unwrap();
        tokio::time::advance(Duration::from_millis(5)).await;
        let client = ["2001:db8::1", "2001:db8::2", "2001:db8::3"].map(|text| admission.try_acquire(ip(text)).unwrap());
        assert_eq!(client.each_ref().map(is_evicted), [true, false, false], "one /64 is one client");
        for permit in &client {
            permit.set_busy(true);
        }
        assert!(admission.try_acquire(ip("2001:db8::4")).is_none());
        assert!(admission.try_acquire(ip("2001:db8:0:1::4")).is_some());
        assert!(!is_evicted(&other));
        let mapped = client_network(ip("::ffff:10.0.0.1"));
        assert_eq!(mapped, ip("10.0.0.1"));
    }
}
