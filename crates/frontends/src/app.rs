//! The state of all routes: one of each part, shared by all connections.
//!
//! Owns: the registration permits. Does not own: the parts, which the server creates and stops.

use skyhound_core::catalog::{Catalog, Health, Snapshot};
use skyhound_core::events::Events;
use skyhound_core::registry::OnStop;
use skyhound_core::registry::Registry;
use skyhound_core::topics::Topics;
use skyhound_model::Naming;
use skyhound_net::metrics::Metrics;
use skyhound_net::{HttpError, Limits, limits};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};

/// The parts that routes use.
#[derive(Debug)]
pub struct App {
    /// Write path.
    pub registry: Arc<Registry>,
    /// Read path.
    pub catalog: Arc<Catalog>,
    /// Subscriptions to changes.
    pub events: Arc<Events>,
    /// Topics and queue groups of micro's `/broker`; the groups are left before a stop.
    pub topics: Arc<Topics>,
    /// Topics of hound-dog's custom events.
    pub event_topics: Arc<Topics>,
    /// Rules by which registrations become names.
    pub naming: Naming,
    /// `--timeout`: the longest time that a dead peer stays listed whose connection was not closed.
    pub timeout: Duration,
    /// `--on-stop`.
    pub on_stop: OnStop,
    /// Limits of HTTP and websockets.
    pub limits: Limits,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Limit of concurrent registrations.
    pub registration_permits: RegistrationPermits,
}

impl App {
    /// The current snapshot; 503 with this message if the store was never read, because an empty answer would mean that
    /// nothing is registered.
    pub fn loaded_snapshot(&self, message: &'static str) -> Result<Arc<Snapshot>, HttpError> {
        match self.catalog.health() {
            Health::NeverLoaded => Err(HttpError::unavailable(message)),
            Health::Current | Health::Stale { .. } => Ok(self.catalog.snapshot()),
        }
    }
}

/// Permits of [`limits::CONCURRENT_REGISTRATIONS`], given in the order of requests.
#[derive(Debug)]
pub struct RegistrationPermits(Semaphore);

impl Default for RegistrationPermits {
    fn default() -> Self {
        Self(Semaphore::new(limits::CONCURRENT_REGISTRATIONS))
    }
}

impl RegistrationPermits {
    /// Waits for a permit, at most for [`limits::REGISTRATION_WAIT`]. Dropping it gives it back.
    pub async fn acquire(&self) -> Result<SemaphorePermit<'_>, HttpError> {
        match tokio::time::timeout(limits::REGISTRATION_WAIT, self.0.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(HttpError::unavailable("too many registrations are in progress; retry later")),
        }
    }
}
