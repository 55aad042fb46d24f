//! The client and its verbs against peers that misbehave in ways that no good daemon does.
//!
//! The peers are in here, and a test leads them step by step: it waits for what must come next and never
//! for time to pass.

mod cli;
mod dns;
mod peer;
mod provide;
mod resolve;
mod service;

use std::time::Duration;

/// The time limit of a wait: an event that does not come within this will not come.
const SOON: Duration = Duration::from_secs(20);

/// Waits for `future`, and names the caller when it times out.
#[track_caller]
fn soon<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let place = std::panic::Location::caller();
    async move {
        let output = tokio::time::timeout(SOON, future).await;
        output.unwrap_or_else(|_| panic!("waited in vain at {place}"))
    }
}
