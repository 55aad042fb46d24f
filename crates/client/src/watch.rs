//! Watches services: what is there, and every change of it, across losses.
//!
//! Owns: coming back, where to go on, and that nothing is told twice. Does not own: what is news (`known`),
//! one connection's bytes (`http`, `sse`).

use super::discover::Instance;
use super::http::{self, Failed, target};
use super::known::{Known, News};
use super::provide::Timing;
use super::provider::{Loss, Refusal};
use super::server::Server;
use super::sse::{EVENT_MAX, Parser, Sse};
use http_body_util::BodyExt;
use hyper::header::CONTENT_TYPE;
use serde::Deserialize;
use skyhound_net::tls::ClientFiles;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant as Clock, timeout};

/// How much is told ahead of who reads it. Beyond that the daemon is not read either.
const AHEAD_MAX: usize = 64;

/// What to watch, and where.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Watch {
    /// The daemons, the first one preferred: the others are tried in turn while it is away. They should share an etcd;
    /// otherwise each change of daemon tells the difference. None means [`Server::default`].
    pub servers: Vec<Server>,
    /// The services; none means all.
    pub services: Vec<String>,
    /// Certificates for servers with `https://`. Default: the system's authorities.
    pub tls: ClientFiles,
    /// How long to wait for what.
    pub timing: Timing,
}

/// What a watcher is told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Seen {
    /// An instance is there.
    Put {
        /// As it is now.
        instance: Instance,
        /// Whether it was not there before; otherwise it describes itself anew.
        new: bool,
    },
    /// An instance is gone.
    Gone {
        /// As it was last.
        instance: Instance,
        /// Why.
        why: Why,
    },
    /// A daemon tells from here on.
    Connected {
        /// Which one.
        server: Server,
    },
    /// The attempt or the connection failed; there will be another, and what is missed is told then.
    Lost {
        /// Who was asked.
        server: Server,
        /// Why.
        reason: Loss,
        /// In how long the next attempt begins.
        retry_in: Duration,
    },
    /// The daemon refused the question; nothing comes any more.
    Refused(Refusal),
}

/// Why an instance is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It left on purpose.
    Left,
    /// It fell silent.
    Expired,
    /// It was gone when the connection was back after too long, and nobody knows why.
    Missing,
}

/// A watch that is being kept. Dropping it ends that.
#[derive(Debug)]
pub struct Watcher {
    seen: mpsc::Receiver<Seen>,
    task: JoinHandle<()>,
}

impl Watcher {
    /// Begins to watch, in a task of its own.
    ///
    /// # Panics
    /// Outside a tokio runtime that has I/O and time enabled.
    pub fn start(watch: Watch) -> Self {
        let (tell, seen) = mpsc::channel(AHEAD_MAX);
        let task = tokio::spawn(Task::new(watch, tell).run());
        Self { seen, task }
    }

    /// The next thing that is seen; `None` after [`Seen::Refused`]. Cancel safe. Whoever reads slowly is told
    /// everything all the same, or, when that is too much, what differs.
    pub async fn next(&mut self) -> Option<Seen> {
        self.seen.recv().await
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Why a connection is over.
enum End {
    Failed(Failed),
    /// The watcher is gone.
    Unwatched,
}

impl From<Loss> for End {
    fn from(loss: Loss) -> Self {
        Self::Failed(Failed::Lost(loss))
    }
}

struct Task {
    servers: Vec<Server>,
    target: String,
    tls: ClientFiles,
    timing: Timing,
    tell: mpsc::Sender<Seen>,
    known: Known,
    /// Where to go on.
    last_id: Option<String>,
    turn: usize,
    /// Attempts since a connection held.
    failures: u32,
}

impl Task {
    fn new(watch: Watch, tell: mpsc::Sender<Seen>) -> Self {
        let servers = if watch.servers.is_empty() { vec![Server::default()] } else { watch.servers };
        let target = target("/v1/watch", &[("service", watch.services.join(","))]);
        let (known, timing) = (Known::default(), watch.timing);
        Self { servers, target, tls: watch.tls, timing, tell, known, last_id: None, turn: 0, failures: 0 }
    }

    async fn run(mut self) {
        loop {
            let server = self.servers[self.turn % self.servers.len()].clone();
            let began = Clock::now();
            let end = self.connection(&server).await;
            if began.elapsed() >= self.timing.held_long {
                self.failures = 0;
            }
            let last = match end {
                End::Unwatched => return,
                End::Failed(Failed::Refused(refusal)) => Seen::Refused(refusal),
                End::Failed(Failed::Lost(reason)) => self.lost(server, reason),
            };
            let wait = match &last {
                Seen::Lost { retry_in, .. } => Some(*retry_in),
                _ => None,
            };
            if self.tell.send(last).await.is_err() {
                return;
            }
            let Some(wait) = wait else { return };
            tokio::time::sleep(wait).await;
        }
    }

    /// Decides who is next, and when.
    fn lost(&mut self, server: Server, reason: Loss) -> Seen {
        let count = u32::try_from(self.servers.len()).unwrap_or(u32::MAX);
        // A round over all servers counts once: with a daemon to fail over to, nobody waits.
        let rounds = self.failures / count;
        let mut wait = self.timing.backoff().delay(rounds);
        if let Loss::Unavailable { retry_after: Some(seconds), .. } = &reason
            && count == 1
        {
            wait = wait.max(Duration::from_secs((*seconds).into()));
        }
        self.failures = self.failures.saturating_add(1);
        self.turn = (self.turn + 1) % self.servers.len();
        Seen::Lost { server, reason, retry_in: wait }
    }

    /// One connection, to its end.
    async fn connection(&mut self, server: &Server) -> End {
        let (target, id) = (self.target.clone(), self.last_id.clone());
        let ask = http::Ask { target: &target, accept: "text/event-stream", last_event_id: id.as_deref(), body: None };
        let asked = http::ask(server, ask, &self.tls, self.timing);
        let response = tokio::select! {
            asked = asked => match asked {
                Ok(response) => response,
                Err(failed) => return End::Failed(failed),
            },
            () = self.tell.closed() => return End::Unwatched,
        };
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.starts_with("text/event-stream") {
            return Loss::Broken("it answers no events; is that the address of skyhound's HTTP port?".into()).into();
        }
        if self.tell.send(Seen::Connected { server: server.clone() }).await.is_err() {
            return End::Unwatched;
        }
        let (mut body, mut parser) = (response.into_body(), Parser::default());
        loop {
            let frame = tokio::select! {
                frame = timeout(self.timing.silence, body.frame()) => frame,
                () = self.tell.closed() => return End::Unwatched,
            };
            let piece = match frame {
                Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
                Ok(Some(Err(error))) => return Loss::Broken(error.to_string()).into(),
                Ok(None) => return Loss::Closed { code: None, reason: String::new() }.into(),
                Err(_) => return Loss::Silent(self.timing.silence).into(),
            };
            let Ok(events) = parser.feed(&piece) else {
                return Loss::Broken(format!("an event is over {EVENT_MAX} bytes")).into();
            };
            for event in events {
                if let Err(end) = self.event(event).await {
                    return end;
                }
            }
        }
    }

    async fn event(&mut self, event: Sse) -> Result<(), End> {
        let (news, why) = self.news(&event)?;
        for news in news {
            let seen = match news {
                News::New(instance) => Seen::Put { instance, new: true },
                News::Changed(instance) => Seen::Put { instance, new: false },
                News::Gone(instance) => Seen::Gone { instance, why },
            };
            self.tell.send(seen).await.map_err(|_| End::Unwatched)?;
        }
        // After it was told: who is lost in between hears it again, and that is no news then.
        self.last_id = event.id.or(self.last_id.take());
        Ok(())
    }

    fn news(&mut self, event: &Sse) -> Result<(Vec<News>, Why), Loss> {
        Ok(match event.event.as_str() {
            "set" => (self.known.set(read::<Set>(&event.data)?.instances), Why::Missing),
            "put" => (self.known.put(read(&event.data)?).into_iter().collect(), Why::Missing),
            "delete" => (self.known.gone(&read(&event.data)?).into_iter().collect(), Why::Left),
            "expire" => (self.known.gone(&read(&event.data)?).into_iter().collect(), Why::Expired),
            // A later daemon's.
            _ => (Vec::new(), Why::Missing),
        })
    }
}

#[derive(Deserialize)]
struct Set {
    instances: Vec<Instance>,
}

fn read<'a, T: Deserialize<'a>>(data: &'a [u8]) -> Result<T, Loss> {
    serde_json::from_slice(data).map_err(|error| Loss::Broken(format!("its event is none of skyhound's: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn servers_take_turns_and_who_asks_for_time_gets_it() {
        let (tell, _seen) = mpsc::channel(1);
        let watch = |servers: &[&str]| Watch {
            servers: servers.iter().map(|server| server.parse().unwrap()).collect(),
            ..Watch::default()
        };
        let busy = || Loss::Unavailable { status: 503, sentence: String::new(), retry_after: Some(3) };
        let lose = |task: &mut Task| match task.lost(task.servers[task.turn].clone(), busy()) {
            Seen::Lost { retry_in, .. } => (task.turn, retry_in),
            other => panic!("{other:?}"),
        };
        let mut two = Task::new(watch(&["a", "b"]), tell.clone());
        let (turn, wait) = lose(&mut two);
        assert_eq!((turn, wait < Duration::from_secs(3)), (1, true), "there is another one to ask");
        assert_eq!(lose(&mut two).0, 0);
        let mut one = Task::new(watch(&["a"]), tell);
        let (turn, wait) = lose(&mut one);
        assert_eq!((turn, wait >= Duration::from_secs(3)), (0, true));
    }
}
