//! Watches of services: the current instances and all their changes, across lost connections.
//!
//! Owns: reconnection, the position from which the stream resumes, and that no change is delivered twice. Does not
//! own: the differences of sets (`instance_set`), nor the bytes of one connection (`http`, `sse`).

use crate::discover::Instance;
use crate::error::{Loss, Refusal, RequestError};
use crate::http::{self, HttpRequest, target};
use crate::instance_set::{InstanceChange, InstanceSet};
use crate::server::Server;
use crate::sse::{EVENT_MAX, Parser, SseEvent};
use crate::timing::Timing;
use http_body_util::BodyExt;
use hyper::header::CONTENT_TYPE;
use serde::Deserialize;
use skyhound_net::tls::ClientFiles;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant as Clock, timeout};

/// Events that are buffered for the reader. While the buffer is full, nothing is read from the daemon.
const EVENTS_BUFFERED: usize = 64;

/// The settings of a watch.
///
/// ```
/// use skyhound_client::Watch;
///
/// # fn main() -> Result<(), skyhound_client::ServerError> {
/// let watch = Watch {
///     servers: vec!["http://node1:8053".parse()?],
///     services: vec!["web".into()],
///     ..Watch::default()
/// };
/// assert_eq!(watch.services, ["web"]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Watch {
    /// The daemons, the first one preferred: the others are tried in turn while it is unavailable. They should share an
    /// etcd; otherwise each change of the daemon delivers the differences between them. An empty list means
    /// [`Server::default`].
    pub servers: Vec<Server>,
    /// Services; an empty list means all.
    pub services: Vec<String>,
    /// Certificates for servers with `https://`. Default: the system's authorities.
    pub tls: ClientFiles,
    /// Timeouts and retry intervals.
    pub timing: Timing,
}

/// An event of a watch.
///
/// ```
/// use skyhound_client::{Server, WatchEvent};
///
/// fn describe(event: &WatchEvent) -> String {
///     match event {
///         WatchEvent::Put { instance, .. } => format!("{} is at {}", instance.name, instance.endpoint()),
///         WatchEvent::Removed { instance, why } => format!("{} was removed: {why:?}", instance.name),
///         other => format!("{other:?}"),
///     }
/// }
/// assert!(describe(&WatchEvent::Connected { server: Server::default() }).starts_with("Connected"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchEvent {
    /// An instance was added or changed.
    Put {
        /// Current description.
        instance: Instance,
        /// True for an added instance, false for a changed one.
        new: bool,
    },
    /// An instance was removed.
    Removed {
        /// Last description.
        instance: Instance,
        /// Reason of the removal.
        why: RemovalCause,
    },
    /// A connection was established; its events follow.
    Connected {
        /// Server of the connection.
        server: Server,
    },
    /// The attempt or the connection failed. Another attempt follows, and delivers what was missed.
    Lost {
        /// Server of the failed attempt.
        server: Server,
        /// Reason of the failure.
        reason: Loss,
        /// Time until the next attempt.
        retry_in: Duration,
    },
    /// The daemon rejected the watch; no other event follows.
    Refused(Refusal),
}

/// The reason why an instance was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemovalCause {
    /// A request removed it, or its client disconnected in order.
    Deregistered,
    /// Its client missed its heartbeats or pings.
    Expired,
    /// It was absent after a reconnection that came too late for the daemon to know the reason.
    Missing,
}

/// A running watch. Dropping it ends the watch.
///
/// ```no_run
/// use skyhound_client::{Watch, WatchEvent, Watcher};
///
/// # async fn example() {
/// let mut watcher = Watcher::start(Watch { services: vec!["web".into()], ..Watch::default() });
/// while let Some(event) = watcher.next().await {
///     if let WatchEvent::Put { instance, new: true } = event {
///         println!("new: {}", instance.endpoint());
///     }
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct Watcher {
    events: mpsc::Receiver<WatchEvent>,
    task: JoinHandle<()>,
}

impl Watcher {
    /// Starts a task that watches.
    ///
    /// # Panics
    /// Outside a tokio runtime that has I/O and time enabled.
    pub fn start(watch: Watch) -> Self {
        let (sender, events) = mpsc::channel(EVENTS_BUFFERED);
        let task = tokio::spawn(WatchTask::new(watch, sender).run());
        Self { events, task }
    }

    /// Waits for the next event. Returns `None` after [`WatchEvent::Refused`]. Cancel safe. A slow reader receives all
    /// events, or, if they exceed the buffers, the differences to the complete set.
    pub async fn next(&mut self) -> Option<WatchEvent> {
        self.events.recv().await
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The end of a connection.
enum ConnectionEnd {
    RequestError(RequestError),
    /// The watcher was dropped.
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
    /// Position from which the stream resumes.
    last_id: Option<String>,
    current: usize,
    /// Attempts since a stable connection.
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

    /// Chooses the next server and the pause before it.
    fn lost(&mut self, server: Server, reason: Loss) -> WatchEvent {
        let count = u32::try_from(self.servers.len()).unwrap_or(u32::MAX);
        // A round over all servers counts once: a client with a daemon to fail over to does not wait.
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

    /// Makes one connection and reads it until it ends.
    async fn follow(&mut self, server: &Server) -> ConnectionEnd {
        let (target, id) = (self.target.clone(), self.last_id.clone());
        let request =
            HttpRequest { target: &target, accept: "text/event-stream", last_event_id: id.as_deref(), body: None };
        let sending = http::send(server, request, &self.tls, self.timing);
        let response = tokio::select! {
            sent = sending => match sent {
                Ok(response) => response,
                Err(error) => return ConnectionEnd::RequestError(error),
            },
            () = self.events.closed() => return ConnectionEnd::WatcherDropped,
        };
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.starts_with("text/event-stream") {
            return Loss::Broken(
                "the response is no event stream; is that the address of skyhound's HTTP port?".into(),
            )
            .into();
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
            let chunk = match frame {
                Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
                Ok(Some(Err(error))) => return Loss::Broken(error.to_string()).into(),
                Ok(None) => return Loss::Closed { code: None, reason: String::new() }.into(),
                Err(_) => return Loss::Timeout(self.timing.liveness_timeout).into(),
            };
            let Ok(events) = parser.feed(&chunk) else {
                return Loss::Broken(format!("an event exceeds {EVENT_MAX} bytes")).into();
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
        // After the delivery: a connection lost in between repeats the event, which then is no change.
        self.last_id = event.id.or(self.last_id.take());
        Ok(())
    }

    fn changes(&mut self, event: &SseEvent) -> Result<(Vec<InstanceChange>, RemovalCause), Loss> {
        Ok(match event.event.as_str() {
            "set" => (self.instances.replace_all(read::<Set>(&event.data)?.instances), RemovalCause::Missing),
            "put" => (self.instances.put(read(&event.data)?).into_iter().collect(), RemovalCause::Missing),
            "delete" => (self.instances.remove(&read(&event.data)?).into_iter().collect(), RemovalCause::Deregistered),
            "expire" => (self.instances.remove(&read(&event.data)?).into_iter().collect(), RemovalCause::Expired),
            // From a later version of the daemon.
            _ => (Vec::new(), RemovalCause::Missing),
        })
    }
}

#[derive(Deserialize)]
struct Set {
    instances: Vec<Instance>,
}

fn read<'a, T: Deserialize<'a>>(data: &'a [u8]) -> Result<T, Loss> {
    serde_json::from_slice(data).map_err(|error| Loss::Broken(format!("an event is not skyhound's: {error}")))
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
        assert_eq!((current, wait < Duration::from_secs(3)), (1, true), "another server is left");
        assert_eq!(lose(&mut two).0, 0);
        let mut one = WatchTask::new(watch(&["a"]), events);
        let (current, wait) = lose(&mut one);
        assert_eq!((current, wait >= Duration::from_secs(3)), (0, true));
    }
}
