//! What the routes work with: one of each part, shared by all connections.

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

/// The parts.
#[derive(Debug)]
pub struct App {
    /// Writes.
    pub registry: Arc<Registry>,
    /// Reads.
    pub catalog: Arc<Catalog>,
    /// Who listens.
    pub events: Arc<Events>,
    /// Messages, and the queues that are left before a stop: those of micro's `/broker`.
    pub topics: Arc<Topics>,
    /// Custom events of hound-dog's API.
    pub event_topics: Arc<Topics>,
    /// How registrations become names.
    pub naming: Naming,
    /// `--timeout`: the longest time that a dead peer behind a silent connection stays listed.
    pub timeout: Duration,
    /// See [`OnStop`].
    pub on_stop: OnStop,
    /// What its peers may ask.
    pub limits: Limits,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// See [`limits::CONCURRENT_REGISTRATIONS`].
    pub registration_permits: RegistrationPermits,
}

impl App {
    /// What is known; 503 and this sentence if the store was never read. Nothing known is not the same as nothing
    /// there.
    pub fn loaded_snapshot(&self, message: &'static str) -> Result<Arc<Snapshot>, HttpError> {
        match self.catalog.health() {
            Health::NeverLoaded => Err(HttpError::unavailable(message)),
            Health::Current | Health::Stale { .. } => Ok(self.catalog.snapshot()),
        }
    }
}

/// Registrations take turns.
#[derive(Debug)]
pub struct RegistrationPermits(Semaphore);

impl Default for RegistrationPermits {
    fn default() -> Self {
        Self(Semaphore::new(limits::CONCURRENT_REGISTRATIONS))
    }
}

impl RegistrationPermits {
    /// A turn, in the order asked; over when dropped.
    pub async fn acquire(&self) -> Result<SemaphorePermit<'_>, HttpError> {
        match tokio::time::timeout(limits::REGISTRATION_WAIT, self.0.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(HttpError::unavailable("too many registrations are under way; come again")),
        }
    }
}
