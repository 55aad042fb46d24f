//! The protocols that peers speak, each a translation and nothing more: parse, one call, reply.
//!
//! A dialect owns its spelling and its quirks, and what its peers hear. It does not own what a registration
//! means ([`skyhound_model::instance`]) nor what becomes of it ([`skyhound_core::registry`]), and never sees the store.
//! Errors become answers here, once for all of them.

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

/// The routes of all frontends that are compiled in, but for seaport, which is no HTTP.
pub fn routes(app: &Arc<App>) -> Vec<Route> {
    let frontends: &[fn(&Arc<App>) -> Vec<Route>] = &[
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

/// Begins nothing that the stop would end at once.
pub fn ensure_running(peer: &Peer) -> Result<(), HttpError> {
    if peer.permit.is_stopping() {
        return Err(HttpError::unavailable("this daemon is stopping; try another one, or this one again"));
    }
    Ok(())
}

/// Registers, in turn, and counts what became of it.
pub async fn register(app: &App, dialect: &'static str, instance: Instance) -> Result<Claim, HttpError> {
    let _permit =
        app.registration_permits.acquire().await.inspect_err(|_| app.metrics.registration(dialect, "unavailable"))?;
    match app.registry.register(instance).await {
        Ok(claim) => {
            app.metrics.registration(dialect, "ok");
            Ok(claim)
        }
        Err(error) => {
            app.metrics.registration(dialect, outcome(&error));
            Err(error::refused(error))
        }
    }
}

/// What became of a registration, in one word, for [`skyhound_net::metrics::Metrics::registration`].
pub fn outcome(error: &RegisterError) -> &'static str {
    match error {
        RegisterError::Unavailable(_) => "unavailable",
        RegisterError::Rejected(_) => "rejected",
        RegisterError::Stopping => "stopping",
        RegisterError::Full | RegisterError::TooManyPersistent(_) => "full",
    }
}
