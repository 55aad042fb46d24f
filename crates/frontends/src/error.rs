//! Refusals of the registry as HTTP errors, for every frontend that speaks HTTP.

use hyper::StatusCode;
use skyhound_core::registry::RegisterError;
use skyhound_model::instance::InvalidParameter;
use skyhound_net::HttpError;

/// A 400 that says why a registration is invalid.
#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
pub fn invalid(invalid: InvalidParameter) -> HttpError {
    HttpError::bad_request(invalid.to_string())
}

/// The status of a registration, update or release that the registry refused: 503 where a retry is right, 507 over a
/// limit, 500 where the store cannot hold the entry.
#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
pub fn refused(error: RegisterError) -> HttpError {
    match error {
        RegisterError::Unavailable(_) | RegisterError::Stopping | RegisterError::Full => {
            HttpError::unavailable(error.to_string())
        }
        RegisterError::TooManyPersistent(_) => HttpError::new(StatusCode::INSUFFICIENT_STORAGE, error.to_string()),
        RegisterError::Rejected(_) => HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}
