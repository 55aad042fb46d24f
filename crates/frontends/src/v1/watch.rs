//! `/v1/watch`: changes as server-sent events (the HTML standard, section 9.2).
//!
//! The first event is a `set` with all instances; then each change is a `put`, a `delete` or an `expire` with the
//! instance. The `id` of an event is the position of a reader that has it and all before it, and so the resume token
//! that `Last-Event-ID` returns. Within a batch of several changes only the last has the batch's own position, so that a
//! reader that loses its connection within a batch receives the whole batch again.
//!
//! If the watch cannot resume (too long ago, another store, a lagged reader), a `set` has `"reset":true`: instances that
//! it does not contain are removed. A slow consumer is disconnected ([`BodySender`]).

use super::current_snapshot;
use super::instance::InstanceView;
use super::list::{ChunkWriter, write_matching};
use super::query::Query;
use crate::app::App;
use crate::ensure_running;
use crate::error::invalid;
use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, HeaderName, HeaderValue};
use skyhound_core::catalog::{ChangeKind, Position, Snapshot};
use skyhound_core::events::{Event, EventSubscription, Notification};
use skyhound_model::{Naming, RemovalReason, instance::InvalidParameter};
use skyhound_net::{BodySendError, BodySender, HttpError, Peer, Reply, Request, route};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

/// Interval of the comments that keep an idle connection open. Clients and proxies close one after half a minute without
/// data.
pub const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// The time that a reader has for a whole set, which keeps its snapshot in memory.
pub const SNAPSHOT_SEND_TIMEOUT: Duration = Duration::from_secs(120);
/// The time that a reader waits for this daemon to reach a position that another daemon gave it.
pub const CATCH_UP_TIMEOUT: Duration = Duration::from_millis(500);
/// The time after which a browser reconnects, in milliseconds.
const RETRY_MS: u32 = 1000;

/// Handles `/v1/watch`: sends events until the peer disconnects or the daemon stops.
pub(super) async fn watch(app: Arc<App>, request: &Request, peer: &Peer) -> Result<Reply, HttpError> {
    let query = Query::parse(request.uri().query().unwrap_or_default()).map_err(invalid)?;
    current_snapshot(&app)?;
    ensure_running(peer)?;
    let start = match (request.headers().get("last-event-id"), &query.last_event_id) {
        // A browser sends the header by itself and gives up after an error: an invalid position counts as an unknown one.
        (Some(text), _) => text.to_str().ok().and_then(|text| text.parse().ok()).map_or(Start::Reset, Start::After),
        (None, Some(text)) => Start::After(position(text).map_err(invalid)?),
        (None, None) => Start::Snapshot,
    };
    if let Start::After(at) = start {
        wait_for_position(&app, at).await;
    }
    let (sender, body) = BodySender::new(peer, app.limits.body_send_timeout);
    tokio::spawn(
        async move { WatchStream { app, query, last_position: None }.run(start, ChunkWriter::new(sender)).await },
    );
    let mut reply = route::stream("text/event-stream", body);
    let headers = reply.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx would collect the events until it has a page of them.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(reply)
}

fn position(text: &str) -> Result<Position, InvalidParameter> {
    text.parse().map_err(|problem: String| InvalidParameter::new("last-event-id", format!("is invalid: {problem}")))
}

/// Waits up to [`CATCH_UP_TIMEOUT`] until this daemon has reached the peer's position, which another daemon may have given
/// it.
async fn wait_for_position(app: &App, at: Position) {
    let mut changed = app.catalog.changed();
    let caught_up = async {
        app.catalog.reached(at.revisions.primary).await;
        while !app.catalog.snapshot().position().covers(at) && changed.changed().await.is_ok() {}
    };
    let _ = timeout(CATCH_UP_TIMEOUT, caught_up).await;
}

/// The start of a watch.
#[derive(Debug, Clone, Copy)]
enum Start {
    /// All instances, then changes.
    Snapshot,
    /// The changes after this position.
    After(Position),
    /// All instances as a reset, because the peer's position is unknown here.
    Reset,
}

/// The stream of one watcher.
struct WatchStream {
    app: Arc<App>,
    query: Query,
    /// Position of a reader that has every event up to here.
    last_position: Option<Position>,
}

impl WatchStream {
    async fn run(mut self, start: Start, mut writer: ChunkWriter) {
        let _counted = self.app.metrics.watcher();
        let stopping = writer.body.stopping();
        let ended = tokio::select! {
            ended = self.stream(start, &mut writer) => Some(ended),
            () = stopping => None,
        };
        match ended {
            Some(Ok(never)) => match never {},
            Some(Err(BodySendError::TimedOut)) => self.app.metrics.slow_consumer("v1", "send_timeout"),
            Some(Err(BodySendError::Disconnected)) => {}
            // A stop within an event does no harm: a reader ignores an event without its end.
            None => writer.body.stop().await,
        }
    }

    async fn stream(
        &mut self,
        start: Start,
        writer: &mut ChunkWriter,
    ) -> Result<std::convert::Infallible, BodySendError> {
        writer.buffer.extend_from_slice(format!("retry: {RETRY_MS}\n\n").as_bytes());
        let resumed = match start {
            Start::After(at) => {
                self.app.events.resume(self.query.selection(), at).inspect(|_| self.last_position = Some(at))
            }
            Start::Snapshot | Start::Reset => None,
        };
        let mut subscription = match resumed {
            Some(subscription) => subscription,
            None => self.send_snapshot(!matches!(start, Start::Snapshot), writer).await?,
        };
        writer.flush().await?;
        let mut keep_alive = interval_at(Instant::now() + KEEP_ALIVE, KEEP_ALIVE);
        keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let received = tokio::select! {
                received = subscription.next() => Some(received),
                _ = keep_alive.tick() => None,
                () = writer.body.disconnected() => return Err(BodySendError::Disconnected),
            };
            let lagged = match received {
                Some(Notification::Event(event)) => {
                    self.write_event(&event, &subscription, writer);
                    self.drain_pending(&mut subscription, writer).await?
                }
                Some(Notification::Lagged) => true,
                None => {
                    writer.buffer.extend_from_slice(b":\n\n");
                    false
                }
            };
            if lagged {
                subscription = self.send_snapshot(true, writer).await?;
            }
            writer.flush().await?;
            keep_alive.reset();
        }
    }

    /// Writes all pending events at once. True when the subscription lagged.
    async fn drain_pending(
        &mut self,
        subscription: &mut EventSubscription,
        writer: &mut ChunkWriter,
    ) -> Result<bool, BodySendError> {
        while let Some(received) = subscription.try_next() {
            match received {
                Notification::Event(event) => self.write_event(&event, subscription, writer),
                Notification::Lagged => return Ok(true),
            }
            writer.flush_if_full().await?;
        }
        Ok(false)
    }

    /// Sends all instances, and returns a subscription to the changes after them.
    async fn send_snapshot(
        &mut self,
        reset: bool,
        writer: &mut ChunkWriter,
    ) -> Result<EventSubscription, BodySendError> {
        let (subscription, snapshot) = self.app.events.subscribe(self.query.selection(), false);
        match timeout(SNAPSHOT_SEND_TIMEOUT, self.write_snapshot(&snapshot, reset, writer)).await {
            Ok(written) => written?,
            Err(_) => return Err(writer.body.disconnect()),
        }
        self.last_position = Some(snapshot.position());
        Ok(subscription)
    }

    async fn write_snapshot(
        &self,
        snapshot: &Snapshot,
        reset: bool,
        writer: &mut ChunkWriter,
    ) -> Result<(), BodySendError> {
        let at = snapshot.position();
        let head = format!("event: set\nid: {at}\ndata: {{\"position\":\"{at}\",\"reset\":{reset},\"instances\":[");
        writer.buffer.extend_from_slice(head.as_bytes());
        write_matching(&self.app, snapshot, &self.query, writer).await?;
        writer.buffer.extend_from_slice(b"]}\n\n");
        Ok(())
    }

    fn write_event(&mut self, event: &Event, subscription: &EventSubscription, writer: &mut ChunkWriter) {
        let at = event.change.at;
        if !subscription.has_more_at(at) {
            self.last_position = Some(at);
        }
        let last_position = self.last_position.unwrap_or_default();
        let id = format!("id: {last_position}\n");
        writer.buffer.extend_from_slice(id.as_bytes());
        writer.buffer.extend_from_slice(&event.rendered_v1(|event| encode_change(event, &self.app.naming)));
    }
}

/// Encodes a change without its id, so that readers with different ids share it.
fn encode_change(event: &Event, naming: &Naming) -> Bytes {
    let kind = match event.change.kind {
        ChangeKind::Put => "put",
        ChangeKind::Removed(RemovalReason::Deregistered) => "delete",
        ChangeKind::Removed(RemovalReason::Expired) => "expire",
    };
    // The JSON contains no line breaks.
    let mut text = format!("event: {kind}\ndata: ").into_bytes();
    InstanceView::new(&event.change.instance, naming).write_to(&mut text);
    text.extend_from_slice(b"\n\n");
    Bytes::from(text)
}
