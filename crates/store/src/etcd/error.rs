//! The mapping of etcd's errors to [`StoreError`], in one place, so that a response never has two meanings.
//!
//! The decision table is [`store_error`]; the functions before it recognize the errors that a caller handles itself.

use crate::StoreError;
use etcd_client::Error;
use skyhound_base::errors::sources;
use tonic::{Code, ConnectError, Status};

/// Messages with the code `InvalidArgument` that a new token may cure: after any change of users or roles (JWT tokens
/// carry the revision of the user table), and if authentication was enabled after the connection. (With
/// `Unauthenticated` the token has expired or etcd was restarted.)
const CURED_BY_LOGIN: [&str; 2] = ["revision of auth store is old", "user name is empty"];
/// Message for a wrong password, also with `InvalidArgument`.
const WRONG_PASSWORD: &str = "authentication failed";
/// Message with the code `ResourceExhausted` after etcd has reached its `--quota-backend-bytes`, until it is compacted,
/// defragmented and its alarm disarmed. Other messages with that code concern the request.
const NO_SPACE: &str = "database space exceeded";
/// Messages of a TLS handshake in which one side does not trust the other. (With TLS 1.3 etcd's alert that it requires
/// another certificate follows our end of the handshake, and is often lost when the connection closes.)
const TLS_DISTRUST: [&str; 2] = ["fatal alert", "peer certificate"];

/// Returns true if the call may succeed after another login. It had no effect.
pub(super) fn cured_by_login(error: &Error) -> bool {
    let Error::GRpcStatus(status) = error else { return false };
    match status.code() {
        Code::Unauthenticated => true,
        Code::InvalidArgument => CURED_BY_LOGIN.iter().any(|text| status.message().contains(text)),
        _ => false,
    }
}

/// Returns true if etcd has authentication disabled, so that there are no tokens.
pub(super) fn has_no_users(error: &Error) -> bool {
    matches!(error, Error::GRpcStatus(status)
        if status.code() == Code::FailedPrecondition && status.message().contains("authentication is not enabled"))
}

/// Returns true if the lease of a call does not exist.
pub(super) fn lease_is_gone(error: &Error) -> bool {
    matches!(error, Error::GRpcStatus(status)
        if status.code() == Code::NotFound && status.message().contains("lease not found"))
}

/// Returns true if the revision of a read was compacted.
pub(super) fn is_compacted(error: &Error) -> bool {
    matches!(error, Error::GRpcStatus(status)
        if status.code() == Code::OutOfRange && status.message().contains("compacted"))
}

/// Returns true if a response was over the limit of our own decoder.
pub(super) fn is_too_long(error: &Error) -> bool {
    matches!(error, Error::GRpcStatus(status)
        if status.code() == Code::OutOfRange && status.message().contains("message length too large"))
}

/// Returns true if there was no connection to send the request on, so that any request may be sent to another endpoint.
pub(super) fn was_never_sent(error: &Error) -> bool {
    matches!(error, Error::GRpcStatus(status) if sources(status).any(<dyn std::error::Error>::is::<ConnectError>))
}

/// Maps the error of a call to `url`.
pub(super) fn store_error(url: &str, error: &Error) -> StoreError {
    let Error::GRpcStatus(status) = error else {
        return match error {
            // The token of etcd cannot be sent as a header, so no call succeeds with it.
            Error::InvalidMetadataValue(_) => StoreError::Denied(format!("{url}: {error}")),
            _ => StoreError::Unreachable(format!("{url}: {error}")),
        };
    };
    let text = format!("{url}: {}", describe(status));
    match status.code() {
        Code::NotFound if lease_is_gone(error) => StoreError::LeaseNotFound,
        Code::Unauthenticated | Code::PermissionDenied => StoreError::Denied(text),
        Code::InvalidArgument if cured_by_login(error) || status.message().contains(WRONG_PASSWORD) => {
            StoreError::Denied(text)
        }
        Code::ResourceExhausted if status.message().contains(NO_SPACE) => {
            StoreError::Unwritable(format!("{text} (alarm NOSPACE)"))
        }
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented => StoreError::Rejected(text),
        _ if TLS_DISTRUST.iter().any(|message| text.contains(message)) => StoreError::Denied(text),
        // Including `Unknown` and `Internal`: after an error of unknown meaning the call may have taken effect.
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => StoreError::Unreachable(text),
    }
}

/// Formats the message with its sources: tonic's own is often just "transport error".
fn describe(status: &Status) -> String {
    let mut text = status.message().to_owned();
    for source in sources(status) {
        let source = source.to_string();
        if !text.contains(&source) {
            text.push_str(": ");
            text.push_str(&source);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(code: Code, message: &str) -> StoreError {
        store_error("http://e:1", &Error::GRpcStatus(Status::new(code, message)))
    }

    #[test]
    fn etcd_errors_are_mapped_by_code_and_message() {
        use StoreError::{Denied, LeaseNotFound, Rejected, Unreachable, Unwritable};
        type Is = fn(&StoreError) -> bool;
        let denied: Is = |e| matches!(e, Denied(_));
        let rejected: Is = |e| matches!(e, Rejected(_));
        let unreachable: Is = |e| matches!(e, Unreachable(_));
        let unwritable: Is = |e| matches!(e, Unwritable(_));
        let no_lease: Is = |e| matches!(e, LeaseNotFound);
        for (code, message, is_expected) in [
            (Code::NotFound, "etcdserver: requested lease not found", no_lease),
            (Code::Unauthenticated, "etcdserver: invalid auth token", denied),
            (Code::PermissionDenied, "etcdserver: permission denied", denied),
            (Code::InvalidArgument, "etcdserver: authentication failed, invalid user ID or password", denied),
            (Code::InvalidArgument, "etcdserver: revision of auth store is old", denied),
            (Code::InvalidArgument, "etcdserver: user name is empty", denied),
            (Code::InvalidArgument, "etcdserver: request is too large", rejected),
            (Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded", unwritable),
            (Code::ResourceExhausted, "grpc: received message larger than max", rejected),
            (Code::InvalidArgument, "etcdserver: duplicate key given in txn request", rejected),
            (Code::Unavailable, "etcdserver: no leader", unreachable),
            (Code::Unavailable, "etcdserver: request timed out", unreachable),
            (Code::Unknown, "transport error: received fatal alert: CertificateRequired", denied),
            (Code::Unknown, "etcdserver: something new", unreachable),
        ] {
            let error = mapped(code, message);
            assert!(is_expected(&error), "{code:?} {message:?} became {error:?}");
        }
    }

    #[test]
    fn an_expired_token_differs_from_a_wrong_password() {
        let error = |code, message| Error::GRpcStatus(Status::new(code, message));
        assert!(cured_by_login(&error(Code::Unauthenticated, "etcdserver: invalid auth token")));
        assert!(cured_by_login(&error(Code::InvalidArgument, "etcdserver: revision of auth store is old")));
        assert!(!cured_by_login(&error(Code::InvalidArgument, "etcdserver: authentication failed, invalid user ID")));
        assert!(!cured_by_login(&error(Code::PermissionDenied, "etcdserver: permission denied")));
    }
}
