//! `serve --server-name foo --server-address 127.0.0.1:9090`: registration of one application beside this daemon.
//!
//! The application is registered from start to stop by a claim of this daemon, so its entry has this daemon's lease. A
//! graceful shutdown removes it, regardless of `--on-stop`, because the application does not come back at another
//! daemon.
//!
//! With `--healthcheck-url` it is registered only while that URL responds with 200:
//!
//! | state | probe | next state |
//! |---|---|---|
//! | unknown | the first one | healthy or unhealthy, at once |
//! | healthy | `--healthcheck-fall` failures in a row | unhealthy: the registration is removed |
//! | unhealthy | `--healthcheck-rise` successes in a row | healthy: it is registered again |
//!
//! The removal reason is *expired*: no client requested the removal.
//!
//! Owns: the schedule of the probes, the health state, `/health`. The state is synchronous; `run` is the asynchronous
//! shell around it. Does not own: the probe itself ([`probe`]).

pub mod probe;

use hyper::{StatusCode, Uri};
use probe::{Probe, ProbeFailure};
use serde_json::json;
use skyhound_core::registry::Claim;
use skyhound_frontends::app::App;
use skyhound_frontends::micro::FRONTEND;
use skyhound_frontends::micro::service::{EXTRA_KEY, TTL_RANGE};
use skyhound_model::instance::InvalidParameter;
use skyhound_model::removal::RemovalReason;
use skyhound_model::{Instance, Registration};
use skyhound_net::{HttpError, Route, route};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

/// The default of `--healthcheck-interval`, in seconds: the original's own.
pub const INTERVAL_S: u32 = 30;
/// The pause before a failed registration is retried.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The application beside this daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SidecarSettings {
    /// The name of its service.
    pub name: String,
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The health check; without one the application counts as healthy.
    pub probe: Option<ProbeSettings>,
}

/// The schedule and the thresholds of a health check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeSettings {
    /// The URL: `http://…` or `https://…`.
    pub url: Uri,
    /// The authorities for an `https` URL; the system's by default.
    pub cacert: Option<PathBuf>,
    /// The interval of the probes.
    pub interval: Duration,
    /// Successful probes in a row after which the application is healthy.
    pub rise: u32,
    /// Failed probes in a row after which it is unhealthy.
    pub fall: u32,
}

impl SidecarSettings {
    /// Returns the instance to register.
    ///
    /// # Errors
    /// [`InvalidParameter`] if the name or the address cannot be registered.
    pub fn instance(&self, app: &App) -> Result<Instance, InvalidParameter> {
        let registration = Registration {
            service: self.name.clone(),
            host: self.host.clone(),
            port: self.port,
            frontend: FRONTEND,
            ..Registration::default()
        };
        let mut instance = registration.accept(&app.naming, IpAddr::V4(Ipv4Addr::LOCALHOST))?;
        if let Some(details) = &mut instance.entry.details {
            let extra = json!({ "id": format!("{}-{}", self.name, uuid::Uuid::new_v4()) }).to_string();
            details.set_meta(EXTRA_KEY, extra);
        }
        Ok(instance)
    }
}

/// The health state.
#[derive(Debug, Default)]
struct HealthTracker {
    /// The current verdict; `None` before the first probe.
    healthy: Option<bool>,
    /// Probes in a row that contradict the verdict.
    opposing: u32,
}

impl HealthTracker {
    /// Records a probe. Returns `true` if the application is healthy now.
    fn record(&mut self, passed: bool, settings: &ProbeSettings) -> bool {
        let healthy = *self.healthy.get_or_insert(passed);
        self.opposing = if passed == healthy { 0 } else { self.opposing + 1 };
        let needed = if healthy { settings.fall } else { settings.rise };
        if self.opposing >= needed {
            self.opposing = 0;
            self.healthy = Some(passed);
        }
        self.healthy == Some(true)
    }
}

/// The failure that `/health` returns, if the last probe failed.
#[derive(Debug, Default)]
pub struct SidecarHealth(Mutex<Option<ProbeFailure>>);

impl SidecarHealth {
    fn set(&self, failure: Option<ProbeFailure>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }

    /// The route `/health`.
    pub fn route(self: &Arc<Self>) -> Route {
        let health = Arc::clone(self);
        Route::get("/health", move |_, _| {
            let failure = health.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
            async move {
                match failure {
                    None => Ok(route::text(StatusCode::OK, "ok\n")),
                    Some((status, text)) => Err(HttpError::new(status, text)),
                }
            }
        })
    }
}

/// The running task that registers the application.
#[derive(Debug)]
pub struct Sidecar {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Sidecar {
    /// Starts the task. Call it within a tokio runtime.
    pub fn start(app: Arc<App>, instance: Instance, probe: Option<Probe>, health: Arc<SidecarHealth>) -> Self {
        let (stop, stopping) = watch::channel(false);
        Self { stop, task: tokio::spawn(run(app, instance, probe, health, stopping)) }
    }

    /// Removes the registration. It waits for the store, so bound it by a timeout.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        let _ = self.task.await;
    }
}

/// Holds the registration while the application is healthy, until `stopping` is true.
async fn run(
    app: Arc<App>,
    instance: Instance,
    probe: Option<Probe>,
    health: Arc<SidecarHealth>,
    mut stopping: watch::Receiver<bool>,
) {
    let mut claim: Option<Claim> = None;
    let mut tracker = HealthTracker::default();
    let mut ticks = interval(probe.as_ref().map_or(RETRY_PAUSE, |probe| probe.settings.interval));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            // An error means that the sender is gone and nothing else can stop the task.
            _ = stopping.wait_for(|stop| *stop) => break,
            _ = ticks.tick() => {}
        }
        let healthy = match &probe {
            None => true,
            Some(probe) => {
                let failure = probe.check().await;
                let healthy = tracker.record(failure.is_none(), &probe.settings);
                health.set(failure);
                healthy
            }
        };
        match (healthy, claim.take()) {
            (true, None) => match app.registry.register(instance.clone()).await {
                Ok(registered) => {
                    info!(name = %instance.name, "registered the sidecar's application");
                    app.metrics.registration(FRONTEND, "ok");
                    claim = Some(registered);
                }
                Err(error) => {
                    warn!(%error, name = %instance.name, "cannot register the sidecar's application; retrying");
                    ticks.reset_after(RETRY_PAUSE);
                }
            },
            (false, Some(registered)) => {
                warn!(name = %instance.name, "the health check failed; removing the registration");
                app.metrics.release(FRONTEND, "unhealthy");
                // The registry retries the removal if the store is unavailable.
                drop(registered.release(RemovalReason::Expired).await);
            }
            (_, same) => claim = same,
        }
    }
    if let Some(claim) = claim {
        app.metrics.release(FRONTEND, "shutdown");
        drop(claim.release(RemovalReason::Deregistered).await);
    }
}

/// Returns the interval of the probes, if it is from a second to a day.
pub fn probe_interval(seconds: u32) -> Option<Duration> {
    (u64::from(seconds) <= *TTL_RANGE.end() && seconds > 0).then(|| Duration::from_secs(seconds.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_changes_after_rise_or_fall_in_a_row() {
        let settings = ProbeSettings {
            url: Uri::from_static("http://127.0.0.1/"),
            cacert: None,
            interval: Duration::from_secs(1),
            rise: 2,
            fall: 3,
        };
        let outcomes = |probes: &str| {
            let mut tracker = HealthTracker::default();
            probes.chars().map(|p| if tracker.record(p == '+', &settings) { '+' } else { '-' }).collect::<String>()
        };
        assert_eq!(outcomes("++--+---+-++"), "+++++++----+");
        assert_eq!(outcomes("-+-++"), "----+", "the first probe decides at once");
        assert_eq!(outcomes("+"), "+");
    }
}
