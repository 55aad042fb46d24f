//! Watches services: what is there, and every change of it, across losses.
//!
//! Owns: coming back, where to go on, and that nothing is told twice. Does not own: what is news (`instance_set`),
//! one connection's bytes (`http`, `sse`).

use super::discover::Instance;
use super::http::{self, RequestError, target};
use super::instance_set::{InstanceChange, InstanceSet};
use super::provide::Timing;
use super::provider::{Loss, Refusal};
use super::server::Server;
use super::sse::{EVENT_MAX, Parser, SseEvent};
use http_body_util::BodyExt;
use hyper::header::CONTENT_TYPE;
use serde::Deserialize;
use skyhound_net::tls::ClientFiles;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant as Clock, timeout};

/// How much is told ahead of who reads it. Beyond that the daemon is not read either.
const EVENTS_BUFFERED: usize = 64;

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
pub enum WatchEvent {
    /// An instance is there.
    Put {
        /// As it is now.
        instance: Instance,
        /// Whether it was not there before; otherwise it describes itself anew.
        new: bool,
    },
    /// An instance is gone.
    Removed {
        /// As it was last.
        instance: Instance,
        /// Why.
        why: RemovalCause,
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
pub enum RemovalCause {
    /// It left on purpose.
    Deregistered,
    /// It fell silent.
    Expired,
    /// It was gone when the connection was back after too long, and nobody knows why.
    Missing,
}

/// A watch that is being kept. Dropping it ends that.
#[derive(Debug)]
pub struct Watcher {
    events: mpsc::Receiver<WatchEvent>,
    task: JoinHandle<()>,
}

impl Watcher {
    /// Begins to watch, in a task of its own.
    ///
    /// # Panics
    /// Outside a tokio runtime that has I/O and time enabled.
    pub fn start(watch: Watch) -> Self {
        let (sender, events) = mpsc::channel(EVENTS_BUFFERED);
        let task = tokio::spawn(WatchTask::new(watch, sender).run());
        Self { events, task }
    }

    /// The next thing that is seen; `None` after [`WatchEvent::Refused`]. Cancel safe. Whoever reads slowly is told
    /// everything all the same, or, when that is too much, what differs.
    pub async fn next(&mut self) -> Option<WatchEvent> {
        self.events.recv().await
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Why a connection is over.
enum ConnectionEnd {
    RequestError(RequestError),
    /// The watcher is gone.
    WatcherDropped,
}

impl From<Loss> for ConnectionEnd {
    fn from(loss: Loss) -> Self {
        Self::RequestError(RequestError::Lost(loss))
    }
}

struct WatchTask {
    servers: Vec<Server>,
    target: String,
    tls: ClientFiles,
    timing: Timing,
    events: mpsc::Sender<WatchEvent>,
    instances: InstanceSet,
    /// Where to go on.
    last_id: Option<String>,
    current: usize,
    /// Attempts since a connection held.
    failures: u32,
}

impl WatchTask {
    fn new(watch: Watch, events: mpsc::Sender<WatchEvent>) -> Self {
        let servers = if watch.servers.is_empty() { vec![Server::default()] } else { watch.servers };
        let target = target("/v1/watch", &[("service", watch.services.join(","))]);
        let (instances, timing) = (InstanceSet::default(), watch.timing);
        Self { servers, target, tls: watch.tls, timing, events, instances, last_id: None, current: 0, failures: 0 }
    }

    async fn run(mut self) {
        loop {
            let server = self.servers[self.current % self.servers.len()].clone();
            let began = Clock::now();
            let end = self.follow(&server).await;
            if began.elapsed() >= self.timing.stable_after {
                self.failures = 0;
            }
            let last = match end {
                ConnectionEnd::WatcherDropped => return,
                ConnectionEnd::RequestError(RequestError::Refused(refusal)) => WatchEvent::Refused(refusal),
                ConnectionEnd::RequestError(RequestError::Lost(reason)) => self.lost(server, reason),
            };
            let wait = match &last {
                WatchEvent::Lost { retry_in, .. } => Some(*retry_in),
                _ => None,
            };
            if self.events.send(last).await.is_err() {
                return;
            }
            let Some(wait) = wait else { return };
            tokio::time::sleep(wait).await;
        }
    }

    /// Decides who is next, and when.
    fn lost(&mut self, server: Server, reason: Loss) -> WatchEvent {
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
        self.current = (self.current + 1) % self.servers.len();
        WatchEvent::Lost { server, reason, retry_in: wait }
    }

    /// One connection, to its end.
    async fn follow(&mut self, server: &Server) -> ConnectionEnd {
        let (target, id) = (self.target.clone(), self.last_id.clone());
        let request = http::HttpRequest {
            target: &target,
            accept: "text/event-stream",
            last_event_id: id.as_deref(),
            body: None,
        };
        let asked = http::send(server, request, &self.tls, self.timing);
        let response = tokio::select! {
            asked = asked => match asked {
                Ok(response) => response,
                Err(failed) => return ConnectionEnd::RequestError(failed),
            },
            () = self.events.closed() => return ConnectionEnd::WatcherDropped,
        };
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.starts_with("text/event-stream") {
            return Loss::Broken("it answers no events; is that the address of skyhound's HTTP port?".into()).into();
        }
        if self.events.send(WatchEvent::Connected { server: server.clone() }).await.is_err() {
            return ConnectionEnd::WatcherDropped;
        }
        let (mut body, mut parser) = (response.into_body(), Parser::default());
        loop {
            let frame = tokio::select! {
                frame = timeout(self.timing.liveness_timeout, body.frame()) => frame,
                () = self.events.closed() => return ConnectionEnd::WatcherDropped,
            };
            let piece = match frame {
                Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
                Ok(Some(Err(error))) => return Loss::Broken(error.to_string()).into(),
                Ok(None) => return Loss::Closed { code: None, reason: String::new() }.into(),
                Err(_) => return Loss::Timeout(self.timing.liveness_timeout).into(),
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

    async fn event(&mut self, event: SseEvent) -> Result<(), ConnectionEnd> {
        let (changes, why) = self.changes(&event)?;
        for change in changes {
            let event = match change {
                InstanceChange::Added(instance) => WatchEvent::Put { instance, new: true },
                InstanceChange::Changed(instance) => WatchEvent::Put { instance, new: false },
                InstanceChange::Removed(instance) => WatchEvent::Removed { instance, why },
            };
            self.events.send(event).await.map_err(|_| ConnectionEnd::WatcherDropped)?;
        }
        // After it was told: who is lost in between hears it again, and that is no news then.
        self.last_id = event.id.or(self.last_id.take());
        Ok(())
    }

    fn changes(&mut self, event: &SseEvent) -> Result<(Vec<InstanceChange>, RemovalCause), Loss> {
        Ok(match event.event.as_str() {
            "set" => (self.instances.replace_all(read::<Set>(&event.data)?.instances), RemovalCause::Missing),
            "put" => (self.instances.put(read(&event.data)?).into_iter().collect(), RemovalCause::Missing),
            "delete" => (self.instances.remove(&read(&event.data)?).into_iter().collect(), RemovalCause::Deregistered),
            "expire" => (self.instances.remove(&read(&event.data)?).into_iter().collect(), RemovalCause::Expired),
            // A later daemon's.
            _ => (Vec::new(), RemovalCause::Missing),
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
    async fn servers_alternate_and_retry_after_is_respected() {
        let (events, _receiver) = mpsc::channel(1);
        let watch = |servers: &[&str]| Watch {
            servers: servers.iter().map(|server| server.parse().unwrap()).collect(),
            ..Watch::default()
        };
        let busy = || Loss::Unavailable { status: 503, message: String::new(), retry_after: Some(3) };
        let lose = |task: &mut WatchTask| match task.lost(task.servers[task.current].clone(), busy()) {
            WatchEvent::Lost { retry_in, .. } => (task.current, retry_in),
            other => panic!("{other:?}"),
        };
        let mut two = WatchTask::new(watch(&["a", "b"]), events.clone());
        let (current, wait) = lose(&mut two);
        assert_eq!((current, wait < Duration::from_secs(3)), (1, true), "there is another one to ask");
        assert_eq!(lose(&mut two).0, 0);
        let mut one = WatchTask::new(watch(&["a"]), events);
        let (current, wait) = lose(&mut one);
        assert_eq!((current, wait >= Duration::from_secs(3)), (0, true));
    }
}
