//! Errors of the registry as HTTP errors, once for every frontend that uses HTTP.

use hyper::StatusCode;
use skyhound_core::registry::RegisterError;
use skyhound_model::instance::InvalidParameter;
use skyhound_net::HttpError;

/// A 400 with the reason why a parameter is invalid.
#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
pub fn invalid(invalid: InvalidParameter) -> HttpError {
    HttpError::bad_request(invalid.to_string())
}

/// The response to a registration, update or release that the registry refused: 503 where a retry may succeed, 507 over
/// a limit, 500 where the store cannot hold the entry.
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
