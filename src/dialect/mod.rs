//! The protocols that peers speak, each a translation and nothing more: parse, one call, reply.
//!
//! A dialect owns its spelling and its quirks, and what its peers hear. It does not own what a registration
//! means ([`crate::model::instance`]) nor what becomes of it ([`crate::registry`]), and never sees the store.
//! Errors become answers here, once for all of them.

pub mod hold;
pub mod skyapi;

use crate::app::App;
use crate::model::instance::Invalid;
use crate::net::{HttpError, Route};
use crate::registry::RegisterError;
use hyper::StatusCode;
use std::sync::Arc;

/// The rows of all dialects.
pub fn routes(app: &Arc<App>) -> Vec<Route> {
    skyapi::routes(app)
}

impl From<Invalid> for HttpError {
    fn from(invalid: Invalid) -> Self {
        Self::bad_request(invalid.to_string())
    }
}

impl From<RegisterError> for HttpError {
    fn from(error: RegisterError) -> Self {
        match error {
            RegisterError::Unavailable(_) | RegisterError::Stopping => Self::unavailable(error.to_string()),
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
    }
}
