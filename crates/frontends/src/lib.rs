//! The protocols in front of the registry, one module and one cargo feature each. A frontend is a translation: parse,
//! one call, reply.
//!
//! Owns: the syntax and the deviations of each protocol, its error responses, and the connections of its clients
//! ([`connection`]). Does not own: the meaning of a registration ([`skyhound_model::instance`]), its entry and claim
//! ([`skyhound_core::registry`]), and the store, which no frontend sees.
//!
//! Shared parts, in the order in which a request meets them: [`app`] (the state of all routes), [`form`] (parameters),
//! [`error`] (errors as responses), [`connection`] (held websockets), [`pick`] (one instance of several).

pub mod app;
pub mod connection;
pub mod error;
pub mod form;
#[cfg(feature = "hound-dog")]
pub mod hound_dog;
#[cfg(feature = "micro")]
pub mod micro;
pub mod pick;
#[cfg(feature = "seaport")]
pub mod seaport;
#[cfg(feature = "skyapi")]
pub mod skyapi;
#[cfg(feature = "srsr")]
pub mod srsr;
#[cfg(feature = "v1")]
pub mod v1;

use crate::app::App;
use skyhound_core::registry::{Claim, RegisterError};
use skyhound_model::Instance;
use skyhound_net::{HttpError, Peer, Route};
use std::sync::Arc;

/// A frontend's constructor of its routes.
type Routes = fn(&Arc<App>) -> Vec<Route>;

/// The HTTP routes of all frontends that are compiled in. Seaport does not speak HTTP.
pub fn routes(app: &Arc<App>) -> Vec<Route> {
    let frontends: &[Routes] = &[
        #[cfg(feature = "skyapi")]
        skyapi::routes,
        #[cfg(feature = "hound-dog")]
        hound_dog::routes,
        #[cfg(feature = "srsr")]
        srsr::routes,
        #[cfg(feature = "v1")]
        v1::routes,
        #[cfg(feature = "micro")]
        micro::routes,
    ];
    frontends.iter().flat_map(|routes| routes(app)).collect()
}

/// Rejects a request for something that the daemon's stop would end at once.
pub fn ensure_running(peer: &Peer) -> Result<(), HttpError> {
    if peer.permit.is_stopping() {
        return Err(HttpError::unavailable("this daemon is stopping; retry here or at another daemon"));
    }
    Ok(())
}

/// Registers an instance once there is a registration permit, and counts the outcome.
pub async fn register(app: &App, frontend: &'static str, instance: Instance) -> Result<Claim, HttpError> {
    let _permit =
        app.registration_permits.acquire().await.inspect_err(|_| app.metrics.registration(frontend, "unavailable"))?;
    match app.registry.register(instance).await {
        Ok(claim) => {
            app.metrics.registration(frontend, "ok");
            Ok(claim)
        }
        Err(error) => {
            app.metrics.registration(frontend, outcome(&error));
            Err(error::refused(error))
        }
    }
}

/// The outcome of a failed registration: the label of [`skyhound_net::metrics::Metrics::registration`].
pub fn outcome(error: &RegisterError) -> &'static str {
    match error {
        RegisterError::Unavailable(_) => "unavailable",
        RegisterError::Rejected(_) => "rejected",
        RegisterError::Stopping => "stopping",
        RegisterError::Full | RegisterError::TooManyPersistent(_) => "full",
    }
}
