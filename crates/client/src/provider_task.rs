//! The task of a provider: one attempt after the other while the provider lives.
//!
//! Owns: the choice of the next server and its time, and the decision which rejection is final. Does not own: the
//! connection (`connection`).
//!
//! | end of an attempt | no daemon accepted yet | accepted before |
//! |---|---|---|
//! | closed by the handle | `Closed`, end | `Closed`, end |
//! | rejected | `Refused`, end | `Lost`, this server again after the longest pause |
//! | lost | `Lost`, next server after the backoff | the same |
//!
//! Each server has a time before which it is not tried. The next server is the first in turn that may be tried now: a
//! daemon that sends `Retry-After` delays no client that has another daemon.

use crate::connection::{AttemptEnd, Connection};
use crate::error::{Loss, Refusal};
use crate::provide::Provide;
use crate::server::Server;
use crate::state::{SharedState, State};
use crate::timing::Timing;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// Close code of RFC 6455's registry: "try again later".
const CLOSE_TRY_AGAIN_LATER: u16 = 1013;

pub(crate) struct ProviderTask {
    shared: SharedState,
    timing: Timing,
    /// At least one server, each with the time before which it is not tried.
    servers: Vec<(Server, Instant)>,
    /// Index of the next server.
    current: usize,
    /// Attempts since a stable connection.
    failures: u32,
    accepted: bool,
}

impl ProviderTask {
    pub(crate) fn new(provide: Provide) -> (Self, SharedState) {
        let timing = provide.timing;
        let now = Instant::now();
        let mut servers: Vec<_> = provide.servers.iter().map(|server| (server.clone(), now)).collect();
        if servers.is_empty() {
            servers.push((Server::default(), now));
        }
        let shared = SharedState::new(provide, servers[0].0.clone());
        let task = Self { shared: shared.clone(), timing, servers, current: 0, failures: 0, accepted: false };
        (task, shared)
    }

    /// Runs until the provider is closed or rejected.
    pub(crate) async fn run(mut self) {
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
            self.shared.set_state(state.clone());
            let State::Lost { retry_in, .. } = state else { return };
            if tokio::time::timeout(retry_in, self.shared.closed()).await.is_ok() {
                return self.shared.set_state(State::Closed);
            }
        }
    }

    /// Makes one connection and holds it until it ends.
    async fn attempt(&mut self, server: &Server) -> AttemptEnd {
        self.shared.set_state(State::Connecting { server: server.clone() });
        let mut provide = self.shared.provide.subscribe();
        let (query, tls) = {
            let provide = provide.borrow_and_update();
            (provide.query(), provide.tls.clone())
        };
        let connection = tokio::select! {
            opened = Connection::open(server, &query, &tls, self.timing) => match opened {
                Ok(connection) => connection,
                Err(error) => return error.into(),
            },
            () = self.shared.closed() => return AttemptEnd::Closed,
        };
        let since = Instant::now();
        self.accepted = true;
        self.shared.set_state(State::Registered { server: server.clone(), since: SystemTime::now() });
        let end = connection.hold(&self.shared, server, provide).await;
        if since.elapsed() >= self.timing.stable_after {
            self.failures = 0;
        }
        end
    }

    /// Chooses the next server and its time after a loss. `longest_pause` delays this server by the longest pause.
    fn lost(&mut self, server: Server, reason: Loss, longest_pause: bool) -> State {
        let now = Instant::now();
        self.servers[self.current].1 = now + self.server_pause(&reason, longest_pause);
        // A round over all servers counts once: a client with a daemon to fail over to does not wait.
        let rounds = self.failures / u32::try_from(self.servers.len()).unwrap_or(u32::MAX);
        let pause = self.timing.backoff().delay(rounds);
        self.failures = self.failures.saturating_add(1);
        let begin = self.advance(now) + pause;
        State::Lost { server, reason, retry_in: begin - now }
    }

    /// The time for which the lost server is not tried.
    fn server_pause(&self, reason: &Loss, longest_pause: bool) -> Duration {
        match reason {
            Loss::Unavailable { retry_after: Some(seconds), .. } => Duration::from_secs((*seconds).into()),
            Loss::Closed { code: Some(CLOSE_TRY_AGAIN_LATER), .. } => self.timing.retry_max,
            _ if longest_pause => self.timing.retry_max,
            _ => Duration::ZERO,
        }
    }

    /// Selects the next server in turn that may be tried now, or else the one that may be tried soonest. Returns the
    /// time from which it may be tried.
    fn advance(&mut self, now: Instant) -> Instant {
        let count = self.servers.len();
        let in_turn = (1..=count).map(|step| (self.current + step) % count);
        // `min_by_key` keeps the first of equals, which is the next in turn.
        let soonest = in_turn.min_by_key(|&n| self.servers[n].1.max(now));
        self.current = soonest.unwrap_or(self.current);
        self.servers[self.current].1.max(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(servers: &[&str]) -> ProviderTask {
        let servers = servers.iter().map(|s| s.parse().unwrap()).collect();
        ProviderTask::new(Provide { servers, ..Provide::new("web", 80) }).0
    }

    fn broken() -> Loss {
        Loss::Broken("test".into())
    }

    /// Loses the current server. Returns the next one, and the pause before it.
    fn lose(task: &mut ProviderTask, reason: Loss) -> (String, Duration) {
        let server = task.servers[task.current].0.clone();
        let State::Lost { retry_in, .. } = task.lost(server, reason, false) else { unreachable!("lost is lost") };
        (task.servers[task.current].0.host().to_owned(), retry_in)
    }

    #[tokio::test]
    async fn servers_alternate_and_a_round_counts_once() {
        let mut task = task(&["a", "b", "c"]);
        for next in ["b", "c", "a"] {
            let (server, pause) = lose(&mut task, broken());
            assert_eq!(server, next);
            assert!(pause <= Timing::default().retry_min, "{pause:?}");
        }
        assert_eq!(task.failures / 3, 1);
    }

    #[tokio::test]
    async fn a_server_with_retry_after_is_skipped() {
        let Timing { retry_min, retry_max, .. } = Timing::default();
        let mut task = task(&["a", "b"]);
        let busy = Loss::Unavailable { status: 503, message: String::new(), retry_after: Some(30) };
        let (server, pause) = lose(&mut task, busy);
        assert_eq!((server.as_str(), pause <= retry_min), ("b", true));
        let (server, pause) = lose(&mut task, broken());
        assert_eq!((server.as_str(), pause <= retry_min), ("b", true), "a is still paused");
        let again = Loss::Closed { code: Some(1013), reason: String::new() };
        let (server, pause) = lose(&mut task, again);
        assert_eq!(server, "b", "both are paused, and b for the shorter time");
        assert!(pause >= retry_max, "{pause:?}");
    }
}
