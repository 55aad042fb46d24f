//! The handle on a registration that is being held.
//!
//! Owns: the states and events that a user sees, and the lifetime: while a [`Provider`] lives, its task
//! holds the socket. Does not own: how it is held (`provider_task`, `connection`).

use super::provide::Provide;
use super::provider_task::{ProviderTask, SharedState};
use super::server::Server;
use std::time::{Duration, SystemTime};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

/// How many events a subscriber may be behind; beyond that it misses the oldest.
pub const EVENTS_MAX: usize = 64;

/// Where a registration stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// A handshake is under way. Not in DNS by this client's doing.
    Connecting {
        /// With whom.
        server: Server,
    },
    /// In DNS: the daemon committed it and answers it.
    Registered {
        /// Who holds it.
        server: Server,
        /// Since when.
        since: SystemTime,
    },
    /// The attempt or the connection failed; there will be another.
    Lost {
        /// Who was asked.
        server: Server,
        /// Why.
        reason: Loss,
        /// In how long the next attempt begins.
        retry_in: Duration,
    },
    /// The daemon refused what this client says; there is no other attempt.
    Refused(Refusal),
    /// Closed by [`Provider::close`].
    Closed,
}

/// What happens to a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// It stands elsewhere now.
    State(State),
    /// The daemon reports an error (an `ERROR: …` frame), which ends nothing by itself.
    ErrorReport {
        /// Who reports it.
        server: Server,
        /// The sentence behind `ERROR: `.
        message: String,
    },
}

/// Why an attempt or a connection failed. Reads as the end of a sentence that names the server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Loss {
    /// No TCP or TLS connection.
    #[error("no connection: {0}")]
    Unreachable(String),
    /// Connected, and then no answer to the handshake.
    #[error("no answer within {0:?}")]
    NoResponse(Duration),
    /// It answered, and not with 101.
    #[error("it answered {status}: {message}")]
    Unavailable {
        /// The HTTP status.
        status: u16,
        /// The first line of its answer.
        message: String,
        /// Its `Retry-After`, in seconds.
        retry_after: Option<u32>,
    },
    /// It closed the connection.
    #[error("it closed the connection{}", because(*.code, .reason))]
    Closed {
        /// The close code (RFC 6455 section 7.4), if it sent one.
        code: Option<u16>,
        /// The reason, perhaps empty.
        reason: String,
    },
    /// Nothing was heard from it, not even an answer to a ping.
    #[error("nothing heard from it for {0:?}")]
    Timeout(Duration),
    /// The connection broke, or it speaks no websocket.
    #[error("the connection broke: {0}")]
    Broken(String),
}

fn because(code: Option<u16>, reason: &str) -> String {
    match (code, reason) {
        (None, _) => String::new(),
        (Some(code), "") => format!(" with code {code}"),
        (Some(code), reason) => format!(" with code {code}: {reason}"),
    }
}

/// The daemon's refusal of what a client says of itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{server} refused it: {message}")]
pub struct Refusal {
    /// Who refused.
    pub server: Server,
    /// The HTTP status: 400, or 414 or 431 when it is too long.
    pub status: u16,
    /// The daemon's sentence, which names the parameter.
    pub message: String,
}

/// Why a registration will never be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProvideError {
    /// Say something else of yourself.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// [`Provider::close`] came first.
    #[error("the provider is closed")]
    Closed,
}

/// A registration that is being held.
///
/// Drop it to leave DNS at once (the socket breaks, the daemon notices), or [`close`](Provider::close) it to
/// leave and wait for the daemon's word.
///
/// A refusal (`400`) is final while no daemon has accepted the registration. Once one has, the same words can
/// only be refused because the daemon changed, which must not end a service that runs well: then it is a
/// [`State::Lost`] like any other, retried after the longest wait.
#[derive(Debug)]
pub struct Provider {
    shared: SharedState,
    task: Option<JoinHandle<()>>,
}

impl Provider {
    /// Begins to hold `provide`, in a task of its own. Returns at once; see [`registered`](Provider::registered).
    ///
    /// # Panics
    /// Outside a tokio runtime that has I/O and time enabled.
    pub fn start(provide: Provide) -> Self {
        Self::start_with_events(provide).0
    }

    /// As [`start`](Provider::start), with everything that happens from the first attempt on.
    ///
    /// # Panics
    /// As [`start`](Provider::start).
    pub fn start_with_events(provide: Provide) -> (Self, Events) {
        let (provider_task, shared) = ProviderTask::new(provide);
        let mut provider = Self { shared, task: None };
        // Before the task runs, perhaps on another thread.
        let events = provider.events();
        provider.task = Some(tokio::spawn(provider_task.run()));
        (provider, events)
    }

    /// Waits until the daemon has it: committed, and in the daemon's own DNS. True of this moment; it may be
    /// lost and registered again later.
    pub async fn registered(&self) -> Result<(), ProvideError> {
        let mut states = self.states();
        let state = states.wait_for(|s| matches!(s, State::Registered { .. } | State::Refused(_) | State::Closed));
        match state.await.as_deref() {
            Ok(State::Registered { .. }) => Ok(()),
            Ok(State::Refused(refusal)) => Err(refusal.clone().into()),
            // The sender lives in `self.shared`, so that the last case is the closed one alone.
            Ok(_) | Err(_) => Err(ProvideError::Closed),
        }
    }

    /// Where it stands now.
    pub fn state(&self) -> State {
        self.shared.state.borrow().clone()
    }

    /// Where it stands, as a level to wait on. States that pass quickly may not be seen; see
    /// [`events`](Provider::events).
    pub fn states(&self) -> watch::Receiver<State> {
        self.shared.state.subscribe()
    }

    /// Everything that happens, from the present state on.
    pub fn events(&self) -> Events {
        // Under the lock under which states are sent: none is missed, and none is told twice.
        let state = self.shared.state.borrow();
        Events { first: Some(Event::State(state.clone())), ended: false, receiver: self.shared.events.subscribe() }
    }

    /// Says another weight, another priority, or both; `None` leaves it. Sent at once if connected, and
    /// part of every handshake from now on. The daemon does not confirm it; a refusal is an
    /// [`Event::ErrorReport`].
    pub fn update(&self, weight: Option<u16>, priority: Option<u16>) {
        self.shared.provide.send_modify(|provide| {
            provide.weight = weight.or(provide.weight);
            provide.priority = priority.or(provide.priority);
        });
    }

    /// Leaves DNS: closes the socket and waits for the daemon's close, [`Timing::close`](super::Timing) at
    /// most. Without a connection it returns at once.
    pub async fn close(mut self) {
        self.shared.close.send_replace(true);
        if let Some(task) = self.task.take() {
            // An error would be a panic in the task, which the runtime has reported; it holds nothing now.
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

/// What happens to a registration, see [`Provider::events`].
#[derive(Debug)]
pub struct Events {
    first: Option<Event>,
    ended: bool,
    receiver: broadcast::Receiver<Event>,
}

impl Events {
    /// Waits for the next event; `None` after [`State::Refused`] or [`State::Closed`], or when the provider
    /// is gone. Cancel safe. A reader more than [`EVENTS_MAX`] behind misses the oldest.
    pub async fn next(&mut self) -> Option<Event> {
        if self.ended {
            return None;
        }
        let event = match self.first.take() {
            Some(first) => Some(first),
            None => self.received().await,
        };
        self.ended = matches!(event, None | Some(Event::State(State::Refused(_) | State::Closed)));
        event
    }

    async fn received(&mut self) -> Option<Event> {
        loop {
            match self.receiver.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}
