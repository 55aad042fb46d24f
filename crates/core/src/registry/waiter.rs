//! The channel by which a caller learns the outcome of a change.

use super::RegisterError;
use skyhound_store::Revision;
use tokio::sync::oneshot;

/// The outcome of a change: the revision that a reader has to have seen, or the error.
type ChangeResult = Result<Revision, RegisterError>;

/// The sending end, held by a slot until its change is written.
pub(super) type Waiter = oneshot::Sender<ChangeResult>;

/// The receiving end.
#[derive(Debug)]
pub(super) struct Completion(oneshot::Receiver<ChangeResult>);

impl Completion {
    pub(super) fn new() -> (Waiter, Self) {
        let (waiter, receiver) = oneshot::channel();
        (waiter, Self(receiver))
    }

    /// Waits for the outcome. A waiter that was dropped had nothing to wait for: no change was necessary.
    pub(super) async fn wait(self) -> ChangeResult {
        self.0.await.unwrap_or(Ok(Revision::default()))
    }
}

/// Sends one outcome to all waiters.
pub(super) fn notify(waiters: impl IntoIterator<Item = Waiter>, outcome: &ChangeResult) {
    for waiter in waiters {
        // The caller may have dropped its future.
        let _ = waiter.send(outcome.clone());
    }
}
