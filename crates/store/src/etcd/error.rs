//! What etcd's errors mean here. One place decides, so that the same answer never means two things.

use crate::StoreError;
use etcd_client::Error;
use skyhound_base::errors::sources;
use tonic::{Code, ConnectError, Status};

/// Answers that a new token may cure. With `Unauthenticated` the token has expired or etcd was restarted;
/// the other two come as `InvalidArgument`: after any change of users or roles (JWT tokens carry the
/// revision of the user table), and when authentication was switched on after we had connected without.
const CURED_BY_LOGIN: [&str; 2] = ["revision of auth store is old", "user name is empty"];
/// What etcd says to a password that is wrong, also as `InvalidArgument`.
const WRONG_PASSWORD: &str = "authentication failed";
/// What etcd says, as `ResourceExhausted`, once it has reached its `--quota-backend-bytes`, until it is compacted,
/// defragmented and its alarm disarmed. Other answers with that code are about the request.
const NO_SPACE: &str = "database space exceeded";
/// What a TLS handshake says when one side does not trust the other. (With TLS 1.3 etcd's word that it wants
/// another certificate comes after our handshake is over, and is often lost in the connection's end.)
const TLS_DISTRUST: [&str; 2] = ["fatal alert", "peer certificate"];

/// Whether the call may go through after authenticating again. It has had no effect.
pub(super) fn cured_by_login(error: &Error) -> bool {
    let Error::GRpcStatus(status) = error else { return false };
    match status.code() {
        Code::Unauthenticated => true,
        Code::InvalidArgument => CURED_BY_LOGIN.iter().any(|text| status.message().contains(text)),
        _ => false,
    }
}

/// Whether etcd has no users at all, so that asking for a token makes no sense.
pub(super) fn has_no_users(error: &Error) -> bool {
    matches!(error, Error::GRpcStatus(status)
        if status.code() == Code::FailedPrecondition && status.message().contains("authentication is not enabled"))
}

/// Whether the lease that a call named is gone.
pub(super) fn lease_is_gone(error: &Error) -> bool {
    matches!(error, Error::GRpcStatus(status)
        if status.code() == Code::NotFound && status.message().contains("lease not found"))
}

/// Whether the history that a read named is gone.
pub(super) fn is_compacted(error: &Error) -> bool {
    matches!(error, Error::GRpcStatus(status)
        if status.code() == Code::OutOfRange && status.message().contains("compacted"))
}

/// Whether an answer was longer than we accept. Only our own decoder says so.
pub(super) fn is_too_long(error: &Error) -> bool {
    matches!(error, Error::GRpcStatus(status)
        if status.code() == Code::OutOfRange && status.message().contains("message length too large"))
}

/// Whether there was no connection to send the request on, so that it may be sent elsewhere whatever it is.
pub(super) fn was_never_sent(error: &Error) -> bool {
    matches!(error, Error::GRpcStatus(status) if sources(status).any(<dyn std::error::Error>::is::<ConnectError>))
}

/// What the error of a call to `url` means to who called the store.
pub(super) fn store_error(url: &str, error: &Error) -> StoreError {
    let Error::GRpcStatus(status) = error else {
        return match error {
            // The token that etcd gave cannot be sent as a header: no call will succeed with it.
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
        _ if TLS_DISTRUST.iter().any(|mark| text.contains(mark)) => StoreError::Denied(text),
        // `Unknown`, `Internal` and the like are here too: what is not understood may have happened.
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

/// The message with its causes: tonic's own is often just "transport error".
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

    fn meaning(code: Code, message: &str) -> StoreError {
        store_error("http://e:1", &Error::GRpcStatus(Status::new(code, message)))
    }

    #[test]
    fn each_answer_of_etcd_means_one_thing() {
        use StoreError::{Denied, LeaseNotFound, Rejected, Unreachable, Unwritable};
        type Means = fn(&StoreError) -> bool;
        let denied: Means = |e| matches!(e, Denied(_));
        let rejected: Means = |e| matches!(e, Rejected(_));
        let unreachable: Means = |e| matches!(e, Unreachable(_));
        let unwritable: Means = |e| matches!(e, Unwritable(_));
        let no_lease: Means = |e| matches!(e, LeaseNotFound);
        for (code, message, means) in [
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
            let error = meaning(code, message);
            assert!(means(&error), "{code:?} {message:?} became {error:?}");
        }
    }

    #[test]
    fn a_lost_token_is_told_from_a_wrong_password() {
        let error = |code, message| Error::GRpcStatus(Status::new(code, message));
        assert!(cured_by_login(&error(Code::Unauthenticated, "etcdserver: invalid auth token")));
        assert!(cured_by_login(&error(Code::InvalidArgument, "etcdserver: revision of auth store is old")));
        assert!(!cured_by_login(&error(Code::InvalidArgument, "etcdserver: authentication failed, invalid user ID")));
        assert!(!cured_by_login(&error(Code::PermissionDenied, "etcdserver: permission denied")));
    }
}
