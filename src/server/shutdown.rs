//! Graceful shutdown: the order in which the parts stop, within `--stop-deadline`.
//!
//! | step | share of the deadline |
//! |---|---|
//! | deregister the sidecar's application | a half |
//! | leave queue groups, while their sockets are open: messages that were assigned until then are still delivered | a quarter |
//! | stop accepting and drain the connections of HTTP and seaport | the deadline |
//! | write the remaining changes of the registry, and keep or remove entries by `--on-stop` | the rest, at least 100 ms |
//! | save the last snapshot, stop following the store, stop DNS | |
//!
//! DNS stops last: it answers for the entries that stay.

use super::Server;
use skyhound_frontends::seaport::HubServer;
use std::time::Duration;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

/// The least time that the registry gets to write its remaining changes.
const REGISTRY_STOP_MIN: Duration = Duration::from_millis(100);

impl Server {
    /// Stops every part in order.
    pub async fn shutdown(self) {
        let deadline = self.settings.stop_deadline;
        let end = Instant::now() + deadline;
        if let Some(sidecar) = self.sidecar
            && timeout(deadline / 2, sidecar.stop()).await.is_err()
        {
            warn!("could not remove the sidecar's registration in time; it expires with its lease");
        }
        if timeout(deadline / 4, self.topics.leave_queues()).await.is_err() {
            warn!("could not leave the queue groups in time; the memberships expire with their lease");
        }
        let (http, seaport) = tokio::join!(self.http.shutdown(deadline), shutdown_seaport(self.seaport, deadline));
        if http + seaport > 0 {
            warn!(open = http + seaport, "connections did not end before the deadline; closing them");
        }
        self.registry.stop(end.saturating_duration_since(Instant::now()).max(REGISTRY_STOP_MIN)).await;
        if let Some(snapshot_saver) = self.snapshot_saver {
            snapshot_saver.finish().await;
        }
        self.follower.abort();
        if let Some(dns) = self.dns {
            dns.shutdown().await;
        }
        info!("stopped");
    }
}

/// Returns the number of connections that did not end in time.
async fn shutdown_seaport(seaport: Option<HubServer>, deadline: Duration) -> usize {
    match seaport {
        Some(seaport) => seaport.shutdown(deadline).await,
        None => 0,
    }
}
