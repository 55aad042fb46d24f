//! The state of a registration, shared by the handle and its task.
//!
//! Owns: the states and events that a user receives, and their order. Does not own: the transitions
//! (`provider_task`), nor the handle ([`Provider`](crate::Provider)).

use crate::error::{Loss, Refusal};
use crate::provide::Provide;
use crate::server::Server;
use std::time::{Duration, SystemTime};
use tokio::sync::{broadcast, watch};

/// Events that are buffered for a subscriber; a slower one misses the oldest.
const EVENTS_MAX: usize = 64;

/// The state of a registration.
///
/// ```
/// use skyhound_client::State;
///
/// fn is_ready(state: &State) -> bool {
///     matches!(state, State::Registered { .. })
/// }
/// assert!(!is_ready(&State::Closed));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// A handshake is in progress. This client has no entry in DNS.
    Connecting {
        /// Server of the handshake.
        server: Server,
    },
    /// In DNS: the daemon committed the registration and answers it.
    Registered {
        /// Server that holds the registration.
        server: Server,
        /// Time of the registration.
        since: SystemTime,
    },
    /// The attempt or the connection failed, and another attempt follows.
    Lost {
        /// Server of the failed attempt.
        server: Server,
        /// Reason of the failure.
        reason: Loss,
        /// Time until the next attempt.
        retry_in: Duration,
    },
    /// The daemon rejected the registration; no other attempt follows.
    Refused(Refusal),
    /// Closed by [`Provider::close`](crate::Provider::close).
    Closed,
}

/// An event of a registration.
///
/// ```
/// use skyhound_client::{Event, State};
///
/// fn log(event: &Event) {
///     match event {
///         Event::State(State::Lost { server, reason, .. }) => eprintln!("lost {server}: {reason}"),
///         Event::ErrorReport { server, message } => eprintln!("{server} reports: {message}"),
///         _ => {}
///     }
/// }
/// log(&Event::State(State::Closed));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The state changed.
    State(State),
    /// The daemon reported an error (an `ERROR: …` frame), which ends nothing by itself.
    ErrorReport {
        /// Server that sent the report.
        server: Server,
        /// Text after `ERROR: `.
        message: String,
    },
}

/// The events of a registration, see [`Provider::events`](crate::Provider::events).
///
/// ```no_run
/// use skyhound_client::{Provide, Provider};
///
/// # async fn example() {
/// let (provider, mut events) = Provider::start_with_events(Provide::new("web", 8080));
/// while let Some(event) = events.next().await {
///     println!("{event:?}");
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct Events {
    first: Option<Event>,
    ended: bool,
    receiver: broadcast::Receiver<Event>,
}

impl Events {
    /// Waits for the next event. Returns `None` after [`State::Refused`] or [`State::Closed`], or when the provider
    /// is dropped. Cancel safe. A reader that is more than 64 events late misses the oldest.
    pub async fn next(&mut self) -> Option<Event> {
        if self.ended {
            return None;
        }
        let event = match self.first.take() {
            Some(first) => Some(first),
            None => self.receive().await,
        };
        self.ended = matches!(event, None | Some(Event::State(State::Refused(_) | State::Closed)));
        event
    }

    async fn receive(&mut self) -> Option<Event> {
        loop {
            match self.receiver.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

/// The state that the handle and its task share.
#[derive(Debug, Clone)]
pub(crate) struct SharedState {
    state: watch::Sender<State>,
    events: broadcast::Sender<Event>,
    /// The registration, with the updates so far.
    pub(crate) provide: watch::Sender<Provide>,
    /// True from the call of [`Provider::close`](crate::Provider::close) on.
    close: watch::Sender<bool>,
}

impl SharedState {
    pub(crate) fn new(provide: Provide, first: Server) -> Self {
        Self {
            state: watch::Sender::new(State::Connecting { server: first }),
            events: broadcast::Sender::new(EVENTS_MAX),
            close: watch::Sender::new(false),
            provide: watch::Sender::new(provide),
        }
    }

    pub(crate) fn state(&self) -> State {
        self.state.borrow().clone()
    }

    pub(crate) fn states(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// The current state and all later events. Subscribes under the lock of [`SharedState::set_state`]: no event is
    /// missed, and none is delivered twice.
    pub(crate) fn events(&self) -> Events {
        let state = self.state.borrow();
        Events { first: Some(Event::State(state.clone())), ended: false, receiver: self.events.subscribe() }
    }

    /// Sets the state and sends its event under one lock. The current state is not repeated.
    pub(crate) fn set_state(&self, state: State) {
        self.state.send_if_modified(|current| {
            let changed = *current != state;
            if changed {
                current.clone_from(&state);
                // An error means that there is no subscriber.
                let _ = self.events.send(Event::State(state));
            }
            changed
        });
    }

    pub(crate) fn report_error(&self, server: &Server, message: String) {
        let _ = self.events.send(Event::ErrorReport { server: server.clone(), message });
    }

    pub(crate) fn close(&self) {
        self.close.send_replace(true);
    }

    /// Waits for [`SharedState::close`]. Cancel safe.
    pub(crate) async fn closed(&self) {
        let mut close = self.close.subscribe();
        // The sender lives in `self`, so that this cannot fail.
        let _ = close.wait_for(|close| *close).await;
    }
}
