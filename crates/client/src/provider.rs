//! The handle of a registration that is held.
//!
//! Owns: the lifetime. While a [`Provider`] lives, its task holds the connection. Does not own: the states
//! (`state`), nor the attempts (`provider_task`).

use crate::error::Refusal;
use crate::provide::Provide;
use crate::provider_task::ProviderTask;
use crate::state::{Events, SharedState, State};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The reason why a registration ended for good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProvideError {
    /// The daemon rejected the registration; it has to be changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// [`Provider::close`] was called first.
    #[error("the provider is closed")]
    Closed,
}

/// A registration that is held.
///
/// Drop it to leave DNS at once (the connection breaks, and the daemon notices), or [`close`](Provider::close) it to
/// leave and wait for the daemon's confirmation.
///
/// A rejection (`400`) is final while no daemon has accepted the registration. Once one has, the same registration can
/// only be rejected because the daemon changed, which must not end a service that runs well: then it is a
/// [`State::Lost`] like any other, retried after the longest pause.
///
/// ```no_run
/// use skyhound_client::{Provide, Provider};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let provider = Provider::start(Provide::new("web", 8080));
/// provider.registered().await?;
/// // Half of the default load; no reconnect is needed.
/// provider.update(Some(50), None);
/// provider.close().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Provider {
    shared: SharedState,
    task: Option<JoinHandle<()>>,
}

impl Provider {
    /// Starts a task that holds `provide`. Returns at once; see [`registered`](Provider::registered).
    ///
    /// # Panics
    /// Outside a tokio runtime that has I/O and time enabled.
    pub fn start(provide: Provide) -> Self {
        Self::start_with_events(provide).0
    }

    /// Starts as [`start`](Provider::start) does, and returns all events from the first attempt on.
    ///
    /// # Panics
    /// As [`start`](Provider::start).
    pub fn start_with_events(provide: Provide) -> (Self, Events) {
        let (task, shared) = ProviderTask::new(provide);
        let mut provider = Self { shared, task: None };
        // Before the task runs, possibly on another thread.
        let events = provider.events();
        provider.task = Some(tokio::spawn(task.run()));
        (provider, events)
    }

    /// Waits until the daemon has committed the registration and answers it in its own DNS. That holds for this
    /// moment; the registration may be lost and renewed later.
    ///
    /// # Errors
    /// [`ProvideError::Refused`] if the daemon rejected the registration, [`ProvideError::Closed`] after
    /// [`close`](Provider::close). An unavailable daemon is no error: the call waits for it.
    pub async fn registered(&self) -> Result<(), ProvideError> {
        let mut states = self.states();
        let state = states.wait_for(|s| matches!(s, State::Registered { .. } | State::Refused(_) | State::Closed));
        match state.await.as_deref() {
            Ok(State::Registered { .. }) => Ok(()),
            Ok(State::Refused(refusal)) => Err(refusal.clone().into()),
            // The sender lives in `self.shared`, so that only the closed state is left.
            Ok(_) | Err(_) => Err(ProvideError::Closed),
        }
    }

    /// The current state.
    pub fn state(&self) -> State {
        self.shared.state()
    }

    /// The current state as a level to wait on. States that pass quickly may not be seen; see
    /// [`events`](Provider::events).
    pub fn states(&self) -> watch::Receiver<State> {
        self.shared.states()
    }

    /// All events from the current state on.
    pub fn events(&self) -> Events {
        self.shared.events()
    }

    /// Changes the weight, the priority or both; `None` leaves a value unchanged. The update is sent at once if a
    /// connection exists, and it is part of every later handshake. The daemon does not confirm it; a rejection is an
    /// [`Event::ErrorReport`](crate::Event::ErrorReport).
    pub fn update(&self, weight: Option<u16>, priority: Option<u16>) {
        self.shared.provide.send_modify(|provide| {
            provide.weight = weight.or(provide.weight);
            provide.priority = priority.or(provide.priority);
        });
    }

    /// Leaves DNS: closes the connection and waits for the daemon's close frame, at most for
    /// [`Timing::close`](crate::Timing::close). Without a connection it returns at once.
    pub async fn close(mut self) {
        self.shared.close();
        if let Some(task) = self.task.take() {
            // An error would be a panic of the task, which the runtime has reported; the task holds nothing then.
            let _ = task.await;
        }
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}
