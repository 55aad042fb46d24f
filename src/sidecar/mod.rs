//! `serve --server-name foo --server-address 127.0.0.1:9090`: this daemon stands beside one app and registers it.
//!
//! It is registered from start to stop, held as a socket's registration is: what hangs on this daemon's leases goes
//! with it. At a planned stop it is removed whatever `--on-stop` says, because the app does not come back elsewhere.
//!
//! With `--healthcheck-url` it is registered only while that URL answers 200. The first answer decides at once; later
//! it takes `--healthcheck-fall` bad ones in a row to leave and `--healthcheck-rise` good ones to return. An app that
//! fails its check *expired*, for those who listen: nobody decided that it should go.
//!
//! Owns: when the app is asked, the verdict, `/health`. The verdict is synchronous; `run` is the shell around it. Does
//! not own: how it is asked ([`super::probe`]).

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

/// `--healthcheck-interval`, in seconds: the original's own.
pub const INTERVAL_S: u32 = 30;
/// The pause before a registration that failed is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The app beside this daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SidecarSettings {
    /// Its service.
    pub name: String,
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How to tell whether it is well.
    pub probe: Option<ProbeSettings>,
}

/// How often, and how many answers in a row are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeSettings {
    /// What is asked: `http://…` or `https://…`.
    pub url: Uri,
    /// The authorities that may have signed its certificate; without it, the system's.
    pub cacert: Option<PathBuf>,
    /// The time between two probes.
    pub interval: Duration,
    /// Good answers that bring it back.
    pub rise: u32,
    /// Bad answers that take it out.
    pub fall: u32,
}

impl SidecarSettings {
    /// The registration, to be checked before anything starts.
    pub fn instance(&self, app: &App) -> Result<Instance, InvalidParameter> {
        let registration = Registration {
            service: self.name.clone(),
            host: self.host.clone(),
            port: self.port,
            dialect: FRONTEND,
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

/// What the last probes say.
#[derive(Debug, Default)]
struct HealthTracker {
    /// Whether it is taken for healthy; `None` before the first answer.
    healthy: Option<bool>,
    /// Answers in a row that say otherwise.
    opposing: u32,
}

impl HealthTracker {
    /// One more answer. Says whether it is taken for well now.
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

/// What `/health` says: nothing wrong, or the last probe's status and text.
#[derive(Debug, Default)]
pub struct SidecarHealth(Mutex<Option<ProbeFailure>>);

impl SidecarHealth {
    fn set(&self, failure: Option<ProbeFailure>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }

    /// `/health`.
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

/// The app's registration, as it runs.
#[derive(Debug)]
pub struct Sidecar {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Sidecar {
    /// Starts. Within a tokio runtime.
    pub fn start(app: Arc<App>, instance: Instance, probe: Option<Probe>, health: Arc<SidecarHealth>) -> Self {
        let (stop, stopping) = watch::channel(false);
        Self { stop, task: tokio::spawn(run(app, instance, probe, health, stopping)) }
    }

    /// Removes the registration. Bound it.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        let _ = self.task.await;
    }
}

/// Holds the registration while the app is well, until it is told to stop.
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
            // An error would say that nobody can stop it any more.
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
                    info!(name = %instance.name, "registered");
                    app.metrics.registration(FRONTEND, "ok");
                    claim = Some(registered);
                }
                Err(error) => {
                    warn!(%error, name = %instance.name, "cannot be registered; trying again");
                    ticks.reset_after(RETRY_PAUSE);
                }
            },
            (false, Some(registered)) => {
                warn!(name = %instance.name, "it fails its health check and is taken out");
                app.metrics.release(FRONTEND, "unhealthy");
                // The registry goes on with it, if the store is away.
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

/// The interval in seconds, within what makes sense.
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
        let outcomes = |answers: &str| {
            let mut tracker = HealthTracker::default();
            answers.chars().map(|a| if tracker.record(a == '+', &settings) { '+' } else { '-' }).collect::<String>()
        };
        assert_eq!(outcomes("++--+---+-++"), "+++++++----+");
        assert_eq!(outcomes("-+-++"), "----+", "the first one decides at once");
        assert_eq!(outcomes("+"), "+");
    }
}
