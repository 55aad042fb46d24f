//! The protocols that peers speak, each a translation and nothing more: parse, one call, reply.
//!
//! A dialect owns its spelling and its quirks, and what its peers hear. It does not own what a registration
//! means ([`crate::model::instance`]) nor what becomes of it ([`crate::registry`]), and never sees the store.
//! Errors become answers here, once for all of them.

pub mod form;
pub mod hold;
pub mod hound_dog;
pub mod micro;
pub mod pick;
pub mod seaport;
pub mod skyapi;
pub mod srsr;
pub mod v1;

use crate::app::App;
use crate::model::Instance;
use crate::model::instance::Invalid;
use crate::net::{HttpError, Peer, Route};
use crate::registry::{Claim, RegisterError};
use hyper::StatusCode;
use std::sync::Arc;

/// The rows of all dialects.
pub fn routes(app: &Arc<App>) -> Vec<Route> {
    let mut routes = skyapi::routes(app);
    routes.extend(hound_dog::routes(app));
    routes.extend(srsr::routes(app));
    routes.extend(v1::routes(app));
    routes.extend(micro::routes(app));
    routes
}

/// Begins nothing that the stop would end at once.
pub fn not_stopping(peer: &Peer) -> Result<(), HttpError> {
    if peer.seat.is_stopping() {
        return Err(HttpError::unavailable("this daemon is stopping; try another one, or this one again"));
    }
    Ok(())
}

/// Registers, in turn, and counts what became of it.
pub async fn register(app: &App, dialect: &'static str, instance: Instance) -> Result<Claim, HttpError> {
    let _turn = app.turns.turn().await.inspect_err(|_| app.metrics.registration(dialect, "unavailable"))?;
    match app.registry.register(instance).await {
        Ok(claim) => {
            app.metrics.registration(dialect, "ok");
            Ok(claim)
        }
        Err(error) => {
            app.metrics.registration(dialect, outcome(&error));
            Err(error.into())
        }
    }
}

impl From<Invalid> for HttpError {
    fn from(invalid: Invalid) -> Self {
        Self::bad_request(invalid.to_string())
    }
}

impl From<RegisterError> for HttpError {
    fn from(error: RegisterError) -> Self {
        match error {
            RegisterError::Unavailable(_) | RegisterError::Stopping | RegisterError::Full => {
                Self::unavailable(error.to_string())
            }
            RegisterError::TooManyLasting(_) => Self::new(StatusCode::INSUFFICIENT_STORAGE, error.to_string()),
            RegisterError::Rejected(_) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        }
    }
}

/// What became of a registration, in one word, for [`crate::metrics::Metrics::registration`].
pub fn outcome(error: &RegisterError) -> &'static str {
    match error {
        RegisterError::Unavailable(_) => "unavailable",
        RegisterError::Rejected(_) => "rejected",
        RegisterError::Stopping => "stopping",
        RegisterError::Full | RegisterError::TooManyLasting(_) => "full",
    }
}
