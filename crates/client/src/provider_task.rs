//! The task of a provider: one attempt after the other, for as long as it lives.
//!
//! Owns: which server is next and when, and what is final. Does not own: the connection itself
//! ([`super::connection`]).
//!
//! Each server has the time before which it wants to be left alone. The next one is the first in turn that
//! may be asked now: a daemon that says `Retry-After` delays nobody who has another daemon.

use super::connection::{Connection, RequestError};
use super::provide::{Provide, Timing};
use super::provider::{EVENTS_MAX, Event, Loss, Refusal, State};
use super::server::Server;
use std::time::{Duration, SystemTime};
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

/// RFC 6455's registry: "try again later".
const CLOSE_TRY_AGAIN_LATER: u16 = 1013;

/// What the task and the handle have in common.
#[derive(Debug, Clone)]
pub(super) struct SharedState {
    pub(super) state: watch::Sender<State>,
    pub(super) events: broadcast::Sender<Event>,
    /// What is said, with the updates so far.
    pub(super) provide: watch::Sender<Provide>,
    /// True from the moment of [`super::Provider::close`].
    pub(super) close: watch::Sender<bool>,
}

impl SharedState {
    /// The state and its event, under one lock (see [`super::Provider::events`]).
    fn set_state(&self, state: &State) {
        self.state.send_modify(|current| {
            current.clone_from(state);
            // Nobody listens: then nobody misses it.
            let _ = self.events.send(Event::State(state.clone()));
        });
    }

    pub(super) fn report_error(&self, server: &Server, message: String) {
        let _ = self.events.send(Event::ErrorReport { server: server.clone(), message });
    }
}

/// Why an attempt ended.
pub(super) enum AttemptEnd {
    /// By [`super::Provider::close`].
    Closed,
    /// By an answer that no waiting changes.
    Refused(Refusal),
    /// By anything else.
    Lost(Loss),
}

impl From<RequestError> for AttemptEnd {
    fn from(failed: RequestError) -> Self {
        match failed {
            RequestError::Refused(refusal) => Self::Refused(refusal),
            RequestError::Lost(loss) => Self::Lost(loss),
        }
    }
}

/// The task's own state.
pub(super) struct ProviderTask {
    shared: SharedState,
    timing: Timing,
    /// At least one, each with the time before which it is left alone.
    servers: Vec<(Server, Instant)>,
    /// The one to ask next, if it may be asked.
    current: usize,
    /// Attempts since a connection held.
    failures: u32,
    accepted: bool,
}

impl ProviderTask {
    pub(super) fn new(provide: Provide) -> (Self, SharedState) {
        let timing = provide.timing;
        let now = Instant::now();
        let mut servers: Vec<_> = provide.servers.iter().map(|server| (server.clone(), now)).collect();
        if servers.is_empty() {
            servers.push((Server::default(), now));
        }
        let shared = SharedState {
            state: watch::Sender::new(State::Connecting { server: servers[0].0.clone() }),
            events: broadcast::Sender::new(EVENTS_MAX),
            close: watch::Sender::new(false),
            provide: watch::Sender::new(provide),
        };
        let hold = Self { shared: shared.clone(), timing, servers, current: 0, failures: 0, accepted: false };
        (hold, shared)
    }

    /// Until closed or refused.
    pub(super) async fn run(mut self) {
        loop {
            let server = self.servers[self.current].0.clone();
            let state = match self.attempt(&server).await {
                AttemptEnd::Closed => State::Closed,
                AttemptEnd::Refused(refusal) if !self.accepted => State::Refused(refusal),
                AttemptEnd::Refused(Refusal { status, message, .. }) => {
                    self.lost(server, Loss::Unavailable { status, message, retry_after: None }, true)
                }
                AttemptEnd::Lost(loss) => self.lost(server, loss, false),
            };
            self.shared.set_state(&state);
            let State::Lost { retry_in, .. } = state else { return };
            if self.closed_within(retry_in).await {
                return self.shared.set_state(&State::Closed);
            }
        }
    }

    /// One connection from the first packet to its end.
    async fn attempt(&mut self, server: &Server) -> AttemptEnd {
        let state = State::Connecting { server: server.clone() };
        if *self.shared.state.borrow() != state {
            self.shared.set_state(&state);
        }
        let mut closing = self.shared.close.subscribe();
        let mut provide = self.shared.provide.subscribe();
        let (query, tls) = {
            let provide = provide.borrow_and_update();
            (provide.query(), provide.tls.clone())
        };
        let open = Connection::open(server, &query, &tls, self.timing);
        let connection = tokio::select! {
            opened = open => match opened {
                Ok(connection) => connection,
                Err(end) => return end,
            },
            () = closed(&mut closing) => return AttemptEnd::Closed,
        };
        let since = Instant::now();
        self.accepted = true;
        self.shared.set_state(&State::Registered { server: server.clone(), since: SystemTime::now() });
        let end = connection.hold(&self.shared, server, provide, closing).await;
        if since.elapsed() >= self.timing.stable_after {
            self.failures = 0;
        }
        end
    }

    /// Decides when to try whom after a loss. `slowly`: no sooner than after the longest wait.
    fn lost(&mut self, server: Server, reason: Loss, back_off_fully: bool) -> State {
        let now = Instant::now();
        self.servers[self.current].1 = now + self.retry_delay(&reason, back_off_fully);
        // A round over all servers counts once: with a daemon to fail over to, nobody waits.
        let rounds = self.failures / u32::try_from(self.servers.len()).unwrap_or(u32::MAX);
        let wait = self.timing.backoff().delay(rounds);
        self.failures = self.failures.saturating_add(1);
        let begin = self.advance(now) + wait;
        State::Lost { server, reason, retry_in: begin - now }
    }

    /// How long the server that was lost is to be left alone.
    fn retry_delay(&self, reason: &Loss, back_off_fully: bool) -> Duration {
        match reason {
            Loss::Unavailable { retry_after: Some(seconds), .. } => Duration::from_secs((*seconds).into()),
            Loss::Closed { code: Some(CLOSE_TRY_AGAIN_LATER), .. } => self.timing.retry_max,
            _ if back_off_fully => self.timing.retry_max,
            _ => Duration::ZERO,
        }
    }

    /// Moves the turn to the next server that may be asked now, else to the one that may be asked soonest,
    /// and says when.
    fn advance(&mut self, now: Instant) -> Instant {
        let count = self.servers.len();
        let in_turn = (1..=count).map(|step| (self.current + step) % count);
        // `min_by_key` keeps the first of equals, which is the next in turn.
        let soonest = in_turn.min_by_key(|&n| self.servers[n].1.max(now));
        self.current = soonest.unwrap_or(self.current);
        self.servers[self.current].1.max(now)
    }

    /// Waits; true when the provider was closed meanwhile.
    async fn closed_within(&self, wait: Duration) -> bool {
        let mut closing = self.shared.close.subscribe();
        tokio::time::timeout(wait, closed(&mut closing)).await.is_ok()
    }
}

/// Waits for [`super::Provider::close`]. Cancel safe.
pub(super) async fn closed(closing: &mut watch::Receiver<bool>) {
    // An error would say that the handle is gone, and this task with it.
    let _ = closing.wait_for(|close| *close).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(servers: &[&str]) -> ProviderTask {
        let servers = servers.iter().map(|s| s.parse().unwrap()).collect();
        ProviderTask::new(Provide { servers, ..Provide::new("web", 80) }).0
    }

    fn broken() -> Loss {
        Loss::Broken("test".into())
    }

    /// Loses the server whose turn it is, and says who is next and in how long.
    fn lose(hold: &mut ProviderTask, reason: Loss) -> (String, Duration) {
        let server = hold.servers[hold.current].0.clone();
        let State::Lost { retry_in, .. } = hold.lost(server, reason, false) else { unreachable!("lost is lost") };
        (hold.servers[hold.current].0.host().to_owned(), retry_in)
    }

    #[tokio::test]
    async fn servers_alternate_and_a_round_counts_once() {
        let mut hold = hold(&["a", "b", "c"]);
        for next in ["b", "c", "a"] {
            let (server, wait) = lose(&mut hold, broken());
            assert_eq!(server, next);
            assert!(wait <= super::super::provide::RETRY_MIN, "{wait:?}");
        }
        assert_eq!(hold.failures / 3, 1);
    }

    #[tokio::test]
    async fn a_server_with_retry_after_is_skipped() {
        let mut hold = hold(&["a", "b"]);
        let busy = Loss::Unavailable { status: 503, message: String::new(), retry_after: Some(30) };
        let (server, wait) = lose(&mut hold, busy);
        assert_eq!((server.as_str(), wait <= super::super::provide::RETRY_MIN), ("b", true));
        let (server, wait) = lose(&mut hold, broken());
        assert_eq!((server.as_str(), wait <= super::super::provide::RETRY_MIN), ("b", true), "a is still left alone");
        let again = Loss::Closed { code: Some(1013), reason: String::new() };
        let (server, wait) = lose(&mut hold, again);
        assert_eq!(server, "b", "both are left alone, and b for the shorter time");
        assert!(wait >= super::super::provide::RETRY_MAX, "{wait:?}");
    }
}
