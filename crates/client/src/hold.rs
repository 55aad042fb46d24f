//! The task of a provider: one attempt after the other, for as long as it lives.
//!
//! Owns: which server is next and when, and what is final. Does not own: the connection itself
//! ([`super::connection`]).
//!
//! Each server has the time before which it wants to be left alone. The next one is the first in turn that
//! may be asked now: a daemon that says `Retry-After` delays nobody who has another daemon.

use super::connection::{Connection, Failed};
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
pub(super) struct Share {
    pub(super) state: watch::Sender<State>,
    pub(super) events: broadcast::Sender<Event>,
    /// What is said, with the updates so far.
    pub(super) provide: watch::Sender<Provide>,
    /// True from the moment of [`super::Provider::close`].
    pub(super) close: watch::Sender<bool>,
}

impl Share {
    /// The state and its event, under one lock (see [`super::Provider::events`]).
    fn enter(&self, state: &State) {
        self.state.send_modify(|current| {
            current.clone_from(state);
            // Nobody listens: then nobody misses it.
            let _ = self.events.send(Event::State(state.clone()));
        });
    }

    pub(super) fn complain(&self, server: &Server, sentence: String) {
        let _ = self.events.send(Event::Complaint { server: server.clone(), sentence });
    }
}

/// Why an attempt ended.
pub(super) enum End {
    /// By [`super::Provider::close`].
    Closed,
    /// By an answer that no waiting changes.
    Refused(Refusal),
    /// By anything else.
    Lost(Loss),
}

impl From<Failed> for End {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Refused(refusal) => Self::Refused(refusal),
            Failed::Lost(loss) => Self::Lost(loss),
        }
    }
}

/// The task's own state.
pub(super) struct Hold {
    share: Share,
    timing: Timing,
    /// At least one, each with the time before which it is left alone.
    servers: Vec<(Server, Instant)>,
    /// The one to ask next, if it may be asked.
    turn: usize,
    /// Attempts since a connection held.
    failures: u32,
    accepted: bool,
}

impl Hold {
    pub(super) fn new(provide: Provide) -> (Self, Share) {
        let timing = provide.timing;
        let now = Instant::now();
        let mut servers: Vec<_> = provide.servers.iter().map(|server| (server.clone(), now)).collect();
        if servers.is_empty() {
            servers.push((Server::default(), now));
        }
        let share = Share {
            state: watch::Sender::new(State::Connecting { server: servers[0].0.clone() }),
            events: broadcast::Sender::new(EVENTS_MAX),
            close: watch::Sender::new(false),
            provide: watch::Sender::new(provide),
        };
        let hold = Self { share: share.clone(), timing, servers, turn: 0, failures: 0, accepted: false };
        (hold, share)
    }

    /// Until closed or refused.
    pub(super) async fn run(mut self) {
        loop {
            let server = self.servers[self.turn].0.clone();
            let state = match self.attempt(&server).await {
                End::Closed => State::Closed,
                End::Refused(refusal) if !self.accepted => State::Refused(refusal),
                End::Refused(Refusal { status, sentence, .. }) => {
                    self.lost(server, Loss::Unavailable { status, sentence, retry_after: None }, true)
                }
                End::Lost(loss) => self.lost(server, loss, false),
            };
            self.share.enter(&state);
            let State::Lost { retry_in, .. } = state else { return };
            if self.closed_within(retry_in).await {
                return self.share.enter(&State::Closed);
            }
        }
    }

    /// One connection from the first packet to its end.
    async fn attempt(&mut self, server: &Server) -> End {
        let state = State::Connecting { server: server.clone() };
        if *self.share.state.borrow() != state {
            self.share.enter(&state);
        }
        let mut closing = self.share.close.subscribe();
        let mut said = self.share.provide.subscribe();
        let (query, tls) = {
            let said = said.borrow_and_update();
            (said.query(), said.tls.clone())
        };
        let open = Connection::open(server, &query, &tls, self.timing);
        let connection = tokio::select! {
            opened = open => match opened {
                Ok(connection) => connection,
                Err(end) => return end,
            },
            () = closed(&mut closing) => return End::Closed,
        };
        let since = Instant::now();
        self.accepted = true;
        self.share.enter(&State::Registered { server: server.clone(), since: SystemTime::now() });
        let end = connection.hold(&self.share, server, said, closing).await;
        if since.elapsed() >= self.timing.held_long {
            self.failures = 0;
        }
        end
    }

    /// Decides when to try whom after a loss. `slowly`: no sooner than after the longest wait.
    fn lost(&mut self, server: Server, reason: Loss, slowly: bool) -> State {
        let now = Instant::now();
        self.servers[self.turn].1 = now + self.left_alone(&reason, slowly);
        // A round over all servers counts once: with a daemon to fail over to, nobody waits.
        let rounds = self.failures / u32::try_from(self.servers.len()).unwrap_or(u32::MAX);
        let wait = self.timing.backoff().delay(rounds);
        self.failures = self.failures.saturating_add(1);
        let begin = self.next_turn(now) + wait;
        State::Lost { server, reason, retry_in: begin - now }
    }

    /// How long the server that was lost is to be left alone.
    fn left_alone(&self, reason: &Loss, slowly: bool) -> Duration {
        match reason {
            Loss::Unavailable { retry_after: Some(seconds), .. } => Duration::from_secs((*seconds).into()),
            Loss::Closed { code: Some(CLOSE_TRY_AGAIN_LATER), .. } => self.timing.retry_max,
            _ if slowly => self.timing.retry_max,
            _ => Duration::ZERO,
        }
    }

    /// Moves the turn to the next server that may be asked now, else to the one that may be asked soonest,
    /// and says when.
    fn next_turn(&mut self, now: Instant) -> Instant {
        let count = self.servers.len();
        let in_turn = (1..=count).map(|step| (self.turn + step) % count);
        // `min_by_key` keeps the first of equals, which is the next in turn.
        let soonest = in_turn.min_by_key(|&n| self.servers[n].1.max(now));
        self.turn = soonest.unwrap_or(self.turn);
        self.servers[self.turn].1.max(now)
    }

    /// Waits; true when the provider was closed meanwhile.
    async fn closed_within(&self, wait: Duration) -> bool {
        let mut closing = self.share.close.subscribe();
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

    fn hold(servers: &[&str]) -> Hold {
        let servers = servers.iter().map(|s| s.parse().unwrap()).collect();
        Hold::new(Provide { servers, ..Provide::new("web", 80) }).0
    }

    fn broken() -> Loss {
        Loss::Broken("test".into())
    }

    /// Loses the server whose turn it is, and says who is next and in how long.
    fn lose(hold: &mut Hold, reason: Loss) -> (String, Duration) {
        let server = hold.servers[hold.turn].0.clone();
        let State::Lost { retry_in, .. } = hold.lost(server, reason, false) else { unreachable!("lost is lost") };
        (hold.servers[hold.turn].0.host().to_owned(), retry_in)
    }

    #[tokio::test]
    async fn servers_take_turns_and_a_round_counts_once() {
        let mut hold = hold(&["a", "b", "c"]);
        for next in ["b", "c", "a"] {
            let (server, wait) = lose(&mut hold, broken());
            assert_eq!(server, next);
            assert!(wait <= super::super::provide::RETRY_MIN, "{wait:?}");
        }
        assert_eq!(hold.failures / 3, 1);
    }

    #[tokio::test]
    async fn who_wants_to_be_left_alone_is_passed_over() {
        let mut hold = hold(&["a", "b"]);
        let busy = Loss::Unavailable { status: 503, sentence: String::new(), retry_after: Some(30) };
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
