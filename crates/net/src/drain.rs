//! Who is connected, and stopping without losing anyone.
//!
//! Every connection has a [`Seat`] from accept to close. A websocket takes its seat along when it leaves
//! hyper, because hyper's own graceful shutdown does not know of upgraded sockets. Owns: the count, the
//! limit of it, the stop signal. Does not own: what a connection does when it hears the signal.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// All seats.
#[derive(Debug)]
pub struct Drain {
    most: usize,
    taken: watch::Sender<usize>,
    stopping: watch::Sender<bool>,
}

impl Drain {
    /// `most` seats at a time.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, taken: watch::Sender::new(0), stopping: watch::Sender::new(false) })
    }

    /// A seat; `None` when all are taken.
    pub fn seat(self: &Arc<Self>) -> Option<Arc<Seat>> {
        let taken = self.taken.send_if_modified(|taken| {
            let free = *taken < self.most;
            *taken += usize::from(free);
            free
        });
        taken.then(|| Arc::new(Seat { drain: Arc::clone(self), cut: Notify::new() }))
    }

    /// How many seats are taken.
    pub fn taken(&self) -> usize {
        *self.taken.borrow()
    }

    /// How many seats there are.
    pub fn most(&self) -> usize {
        self.most
    }

    /// Tells everybody to stop, once and for all.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Waits until all seats are free, at most for `deadline`. Returns how many are not.
    pub async fn empty(&self, deadline: Duration) -> usize {
        let mut taken = self.taken.subscribe();
        // The sender lives as long as `self`, so that only the deadline can end the wait early.
        let _ = tokio::time::timeout(deadline, taken.wait_for(|taken| *taken == 0)).await;
        self.taken()
    }
}

/// One connection's place. Dropping the last reference frees it.
#[derive(Debug)]
pub struct Seat {
    drain: Arc<Drain>,
    cut: Notify,
}

impl Seat {
    /// Waits for the stop signal.
    pub async fn stopping(&self) {
        let _ = self.drain.stopping.subscribe().wait_for(|stopping| *stopping).await;
    }

    /// Whether it was given.
    pub fn is_stopping(&self) -> bool {
        *self.drain.stopping.borrow()
    }

    /// Ends the connection without another word: its peer does not take any.
    pub fn cut(&self) {
        // Leaves a permit, so that it does not matter who comes first.
        self.cut.notify_one();
    }

    /// Waits until somebody cuts the connection. For the one task that serves it.
    pub(super) async fn is_cut(&self) {
        self.cut.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.drain.taken.send_modify(|taken| *taken -= 1);
    }
}

/// Who is at the other end.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its address.
    pub addr: SocketAddr,
    /// Its seat. Whatever outlives the request and keeps the socket keeps this as well.
    pub seat: Arc<Seat>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn seats_are_counted_limited_and_waited_for() {
        let drain = Drain::new(2);
        let one = drain.seat().unwrap();
        let two = drain.seat().unwrap();
        assert!(drain.seat().is_none(), "over the limit");
        drop(one);
        let three = drain.seat().unwrap();
        assert_eq!(drain.empty(Duration::from_secs(1)).await, 2, "the deadline ends the wait");
        assert!(!two.is_stopping());
        drain.stop();
        two.stopping().await;
        let waiting = tokio::spawn(async move { drain.empty(Duration::from_secs(60)).await });
        drop((two, three));
        assert_eq!(waiting.await.unwrap(), 0);
    }
}
