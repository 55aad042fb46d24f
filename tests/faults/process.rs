//! A process as it should behave: it holds its socket, and when that ends it comes back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;

use skyhound_test_support::provider::Provider;
use skyhound_test_support::wait::wait_until;

/// The pause between two tries.
const RETRY: Duration = Duration::from_millis(50);
/// The time limit for a new registration once it is possible.
const BACK: Duration = Duration::from_secs(20);

/// Ends with its socket when it is dropped.
pub struct Process {
    times: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Process {
    /// Registers at this daemon, again and again.
    pub fn start(daemon: SocketAddr, query: &str) -> Self {
        let times = Arc::new(AtomicUsize::new(0));
        let (count, query) = (Arc::clone(&times), query.to_owned());
        let task = tokio::spawn(async move {
            loop {
                if let Ok(mut provider) = Provider::open(daemon, &query).await {
                    count.fetch_add(1, Ordering::Relaxed);
                    provider.over().await;
                }
                tokio::time::sleep(RETRY).await;
            }
        });
        Self { times, task }
    }

    /// The number of its registrations so far.
    pub fn times(&self) -> usize {
        self.times.load(Ordering::Relaxed)
    }

    /// Waits until it was registered so often.
    pub async fn registered(&self, times: usize) {
        wait_until(BACK, async || {
            let so_far = self.times();
            if so_far >= times { Ok(()) } else { Err(format!("registered {so_far} times, not {times}")) }
        })
        .await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.task.abort();
    }
}
