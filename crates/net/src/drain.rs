//! The count of connections with its limit, and graceful shutdown.
//!
//! Every connection has a [`ConnectionPermit`] from accept to close. A WebSocket holds its permit after it leaves
//! hyper, because hyper's own graceful shutdown does not include upgraded sockets. Owns: the count, its limit, and the
//! stop signal. Does not own: the reaction of a connection to the signal, nor limits per client ([`super::admission`]).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// The permits of all connections of a server.
#[derive(Debug)]
pub struct Drain {
    max: usize,
    in_use: watch::Sender<usize>,
    stopping: watch::Sender<bool>,
}

impl Drain {
    /// A limit of `max` connections at a time.
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, in_use: watch::Sender::new(0), stopping: watch::Sender::new(false) })
    }

    /// A permit, or `None` at the limit.
    pub fn try_acquire(self: &Arc<Self>) -> Option<Arc<ConnectionPermit>> {
        let in_use = self.in_use.send_if_modified(|in_use| {
            let free = *in_use < self.max;
            *in_use += usize::from(free);
            free
        });
        in_use.then(|| Arc::new(ConnectionPermit { drain: Arc::clone(self), disconnect: Notify::new() }))
    }

    /// The number of permits in use.
    pub fn in_use(&self) -> usize {
        *self.in_use.borrow()
    }

    /// The limit of permits.
    pub fn max(&self) -> usize {
        self.max
    }

    /// Signals all connections to stop. Final.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Waits until all permits are free, at most for `deadline`. Returns the number of permits that are still in use.
    pub async fn wait_until_idle(&self, deadline: Duration) -> usize {
        let mut in_use = self.in_use.subscribe();
        // The sender lives as long as `self`, so that only the deadline can end the wait early.
        let _ = tokio::time::timeout(deadline, in_use.wait_for(|in_use| *in_use == 0)).await;
        self.in_use()
    }
}

/// The permit of one connection. Dropping the last reference frees it.
#[derive(Debug)]
pub struct ConnectionPermit {
    drain: Arc<Drain>,
    disconnect: Notify,
}

impl ConnectionPermit {
    /// Waits for the stop signal.
    pub async fn stopping(&self) {
        let _ = self.drain.stopping.subscribe().wait_for(|stopping| *stopping).await;
    }

    /// Returns true after the stop signal.
    pub fn is_stopping(&self) -> bool {
        *self.drain.stopping.borrow()
    }

    /// Ends the connection without a farewell: its peer reads nothing.
    pub fn disconnect(&self) {
        // Stores a notification, so that the order of this call and the wait does not matter.
        self.disconnect.notify_one();
    }

    /// Waits for [`ConnectionPermit::disconnect`]. For the one task that serves the connection.
    pub(super) async fn disconnect_requested(&self) {
        self.disconnect.notified().await;
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.drain.in_use.send_modify(|in_use| *in_use -= 1);
    }
}

/// The other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Address of the peer.
    pub addr: SocketAddr,
    /// Permit of the connection. A task that holds the socket beyond the request holds the permit as well.
    pub permit: Arc<ConnectionPermit>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn permits_are_counted_limited_and_awaited() {
        let drain = Drain::new(2);
        let one = drain.try_acquire().unwrap();
        let two = drain.try_acquire().unwrap();
        assert!(drain.try_acquire().is_none(), "over the limit");
        drop(one);
        let three = drain.try_acquire().unwrap();
        assert_eq!(drain.wait_until_idle(Duration::from_secs(1)).await, 2, "the deadline ends the wait");
        assert!(!two.is_stopping());
        drain.stop();
        two.stopping().await;
        let waiting = tokio::spawn(async move { drain.wait_until_idle(Duration::from_secs(60)).await });
        drop((two, three));
        assert_eq!(waiting.await.unwrap(), 0);
    }
}
