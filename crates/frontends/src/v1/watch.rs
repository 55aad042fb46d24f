//! `/v1/watch`: what changes, as server-sent events (the HTML standard, section 9.2).
//!
//! The first event is a `set` with all instances; then each change is a `put`, a `delete` or an `expire` with the
//! instance. The `id` of an event is the position of a reader who has it and all before it: `Last-Event-ID` goes on
//! from there. Within a batch of several changes only the last has the batch's own position, so that who is lost in
//! the middle hears the whole of it again.
//!
//! Where it cannot go on (too long ago, another store, a reader that is behind) a `set` says so with `"reset":true`:
//! what it does not name is gone. A reader that takes nothing is cut off ([`Outlet`]).

use super::instance::Written;
use super::known;
use super::list::{Pen, each};
use super::query::Query;
use crate::app::App;
use crate::error::invalid;
use crate::not_stopping;
use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, HeaderName, HeaderValue};
use skyhound_core::catalog::{Kind, Position, Snapshot};
use skyhound_core::events::{Event, Heard, Listener};
use skyhound_model::{Departure, Naming, instance::Invalid};
use skyhound_net::{HttpError, Outlet, Peer, Reply, Request, Unread, route};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

/// How often a comment says that the connection lives, when nothing else does. Clients and proxies give up on a
/// silence of half a minute.
pub const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// How long a whole set may take to be read. It keeps the snapshot that it is made from.
pub const SET_MAX: Duration = Duration::from_secs(120);
/// How long a reader that was told more by another daemon than this one knows is kept waiting for it.
pub const CATCH_UP: Duration = Duration::from_millis(500);
/// After how long a browser comes back, in milliseconds.
const RETRY_MS: u32 = 1000;

/// Answers with events until the peer goes, or the daemon.
pub(super) async fn watch(app: Arc<App>, request: &Request, peer: &Peer) -> Result<Reply, HttpError> {
    let asked = Query::parse(request.uri().query().unwrap_or_default()).map_err(invalid)?;
    known(&app)?;
    not_stopping(peer)?;
    let begin = match (request.headers().get("last-event-id"), &asked.last_event_id) {
        // A browser sends it on its own and gives up at a refusal: what is no position is one that is not known.
        (Some(said), _) => said.to_str().ok().and_then(|said| said.parse().ok()).map_or(Begin::Anew, Begin::After),
        (None, Some(said)) => Begin::After(position(said).map_err(invalid)?),
        (None, None) => Begin::New,
    };
    if let Begin::After(at) = begin {
        arrive(&app, at).await;
    }
    let (outlet, body) = Outlet::new(peer, app.limits.stall);
    tokio::spawn(async move { Watch { app, asked, told: None }.run(begin, Pen::new(outlet)).await });
    let mut reply = route::stream("text/event-stream", body);
    let headers = reply.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx would collect the events until it has a page of them.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(reply)
}

fn position(said: &str) -> Result<Position, Invalid> {
    said.parse().map_err(|problem: String| Invalid::new("last-event-id", format!("is wrong: {problem}")))
}

/// Waits a moment until this daemon knows what its peer knows, which another daemon may have told it.
async fn arrive(app: &App, at: Position) {
    let mut changed = app.catalog.changed();
    let there = async {
        app.catalog.reached(at.own).await;
        while !app.catalog.snapshot().position().covers(at) && changed.changed().await.is_ok() {}
    };
    let _ = timeout(CATCH_UP, there).await;
}

/// Where a watch begins.
#[derive(Debug, Clone, Copy)]
enum Begin {
    /// With everything.
    New,
    /// Behind what the peer knows.
    After(Position),
    /// With everything, to a peer that knows something of which nothing is known here.
    Anew,
}

/// One who watches.
struct Watch {
    app: Arc<App>,
    asked: Query,
    /// Where the reader is that has read everything up to here.
    told: Option<Position>,
}

impl Watch {
    async fn run(mut self, begin: Begin, mut pen: Pen) {
        let _counted = self.app.metrics.watcher();
        let stopping = pen.outlet.stopping();
        let told = tokio::select! {
            told = self.tell(begin, &mut pen) => Some(told),
            () = stopping => None,
        };
        match told {
            Some(Ok(never)) => match never {},
            Some(Err(Unread::Stalled)) => self.app.metrics.watcher_cut(),
            Some(Err(Unread::Gone)) => {}
            // In the middle of an event or not: a reader passes over one without its end.
            None => pen.outlet.stop().await,
        }
    }

    async fn tell(&mut self, begin: Begin, pen: &mut Pen) -> Result<std::convert::Infallible, Unread> {
        pen.text.extend_from_slice(format!("retry: {RETRY_MS}\n\n").as_bytes());
        let resumed = match begin {
            Begin::After(at) => self.app.events.resume(self.asked.selection(), at).inspect(|_| self.told = Some(at)),
            Begin::New | Begin::Anew => None,
        };
        let mut listener = match resumed {
            Some(listener) => listener,
            None => self.set(!matches!(begin, Begin::New), pen).await?,
        };
        pen.flush().await?;
        let mut alive = interval_at(Instant::now() + KEEP_ALIVE, KEEP_ALIVE);
        alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let heard = tokio::select! {
                heard = listener.next() => Some(heard),
                _ = alive.tick() => None,
                () = pen.outlet.gone() => return Err(Unread::Gone),
            };
            let behind = match heard {
                Some(Heard::Event(event)) => {
                    self.event(&event, &listener, pen);
                    self.rest(&mut listener, pen).await?
                }
                Some(Heard::Behind) => true,
                None => {
                    pen.text.extend_from_slice(b":\n\n");
                    false
                }
            };
            if behind {
                listener = self.set(true, pen).await?;
            }
            pen.flush().await?;
            alive.reset();
        }
    }

    /// What else is there to hear, in one piece. True when it was too much.
    async fn rest(&mut self, listener: &mut Listener, pen: &mut Pen) -> Result<bool, Unread> {
        while let Some(heard) = listener.try_next() {
            match heard {
                Heard::Event(event) => self.event(&event, listener, pen),
                Heard::Behind => return Ok(true),
            }
            pen.flow().await?;
        }
        Ok(false)
    }

    /// Everything that is there, and a listener for what comes after it.
    async fn set(&mut self, reset: bool, pen: &mut Pen) -> Result<Listener, Unread> {
        let (listener, snapshot) = self.app.events.listen(self.asked.selection(), false);
        match timeout(SET_MAX, self.write_set(&snapshot, reset, pen)).await {
            Ok(written) => written?,
            Err(_) => return Err(pen.outlet.cut()),
        }
        self.told = Some(snapshot.position());
        Ok(listener)
    }

    async fn write_set(&self, snapshot: &Snapshot, reset: bool, pen: &mut Pen) -> Result<(), Unread> {
        let at = snapshot.position();
        let head = format!("event: set\nid: {at}\ndata: {{\"position\":\"{at}\",\"reset\":{reset},\"instances\":[");
        pen.text.extend_from_slice(head.as_bytes());
        each(&self.app, snapshot, &self.asked, pen).await?;
        pen.text.extend_from_slice(b"]}\n\n");
        Ok(())
    }

    fn event(&mut self, event: &Event, listener: &Listener, pen: &mut Pen) {
        let at = event.change.at;
        if !listener.is_before(at) {
            self.told = Some(at);
        }
        let told = self.told.unwrap_or_default();
        let id = format!("id: {told}\n");
        pen.text.extend_from_slice(id.as_bytes());
        pen.text.extend_from_slice(&event.plain(|event| written(event, &self.app.naming)));
    }
}

/// A change without its id, which not all readers have in common.
fn written(event: &Event, naming: &Naming) -> Bytes {
    let kind = match event.change.kind {
        Kind::Put => "put",
        Kind::Gone(Departure::Left) => "delete",
        Kind::Gone(Departure::Expired) => "expire",
    };
    // JSON has no line breaks of its own.
    let mut text = format!("event: {kind}\ndata: ").into_bytes();
    Written::new(&event.change.instance, naming).write_to(&mut text);
    text.extend_from_slice(b"\n\n");
    Bytes::from(text)
}
