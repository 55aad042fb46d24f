//! `/v1/services` and `/v1/instances`: services and instances of one snapshot.
//!
//! Owns: the filters and the envelope. The JSON is written in chunks, each when the peer has taken the one before.

use super::current_snapshot;
use super::instance::{InstanceView, is_in};
use super::query::Query;
use crate::app::App;
use crate::error::invalid;
use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, HeaderValue};
use skyhound_core::catalog::{Snapshot, StoredEntry};
use skyhound_net::{BodySendError, BodySender, HttpError, Peer, Reply, Request, route};
use std::sync::Arc;

/// Approximate size of a chunk, in bytes. An instance has a few hundred.
pub(super) const CHUNK_BYTES: usize = 16 * 1024;

/// A response body that is written in chunks.
pub(super) struct ChunkWriter {
    pub(super) body: BodySender,
    pub(super) buffer: Vec<u8>,
}

impl ChunkWriter {
    pub(super) fn new(body: BodySender) -> Self {
        Self { body, buffer: Vec::new() }
    }

    /// Sends the buffer once it has the size of a chunk.
    pub(super) async fn flush_if_full(&mut self) -> Result<(), BodySendError> {
        if self.buffer.len() < CHUNK_BYTES { Ok(()) } else { self.flush().await }
    }

    /// Sends the buffer.
    pub(super) async fn flush(&mut self) -> Result<(), BodySendError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = Bytes::from(std::mem::take(&mut self.buffer));
        self.body.send(chunk).await
    }

    async fn end(mut self) -> Result<(), BodySendError> {
        self.flush().await?;
        self.body.end().await
    }
}

/// Handles `/v1/services`: `{"position":"…","services":[{"name":…,"instances":…}]}`.
pub(super) fn services(app: &App, peer: &Peer) -> Result<Reply, HttpError> {
    let snapshot = current_snapshot(app)?;
    let (sender, body) = BodySender::new(peer, app.limits.body_send_timeout);
    tokio::spawn(async move {
        // An error means a slow consumer or a lost connection, which the sender has closed.
        let _ = write_services(&snapshot, ChunkWriter::new(sender)).await;
    });
    Ok(json_stream(body))
}

async fn write_services(snapshot: &Snapshot, mut writer: ChunkWriter) -> Result<(), BodySendError> {
    write_head(snapshot, "services", &mut writer);
    let mut separator = "";
    for service in snapshot.services() {
        let instances = snapshot.instances(service).count();
        let element = serde_json::json!({ "name": **service, "instances": instances });
        writer.buffer.extend_from_slice(format!("{separator}{element}").as_bytes());
        separator = ",";
        writer.flush_if_full().await?;
    }
    writer.buffer.extend_from_slice(b"]}\n");
    writer.end().await
}

/// Handles `/v1/instances`: `{"position":"…","instances":[…]}`.
pub(super) fn instances(app: Arc<App>, request: &Request, peer: &Peer) -> Result<Reply, HttpError> {
    let query = Query::parse(request.uri().query().unwrap_or_default()).map_err(invalid)?;
    let snapshot = current_snapshot(&app)?;
    let (sender, body) = BodySender::new(peer, app.limits.body_send_timeout);
    tokio::spawn(async move {
        let _ = write_instances(&app, &snapshot, &query, ChunkWriter::new(sender)).await;
    });
    Ok(json_stream(body))
}

async fn write_instances(
    app: &App,
    snapshot: &Snapshot,
    query: &Query,
    mut writer: ChunkWriter,
) -> Result<(), BodySendError> {
    write_head(snapshot, "instances", &mut writer);
    write_matching(app, snapshot, query, &mut writer).await?;
    writer.buffer.extend_from_slice(b"]}\n");
    writer.end().await
}

/// Writes every instance that matches the query, separated by commas.
pub(super) async fn write_matching(
    app: &App,
    snapshot: &Snapshot,
    query: &Query,
    writer: &mut ChunkWriter,
) -> Result<(), BodySendError> {
    let all = snapshot.services().map(|service| &**service).filter(|_| query.services.is_empty());
    let mut first = true;
    for service in query.services.iter().map(String::as_str).chain(all) {
        for stored in snapshot.instances(service).filter(|stored| matches(query, stored, app)) {
            if !std::mem::take(&mut first) {
                writer.buffer.push(b',');
            }
            InstanceView::new(stored, &app.naming).write_to(&mut writer.buffer);
            writer.flush_if_full().await?;
        }
    }
    Ok(())
}

fn matches(query: &Query, stored: &StoredEntry, app: &App) -> bool {
    let version = query
        .version
        .as_ref()
        .is_none_or(|range| stored.entry.details.as_ref().is_some_and(|details| range.contains(details.version())));
    version && query.category.as_ref().is_none_or(|category| is_in(category, stored, &app.naming))
}

fn write_head(snapshot: &Snapshot, list: &str, writer: &mut ChunkWriter) {
    writer.buffer.extend_from_slice(format!("{{\"position\":\"{}\",\"{list}\":[", snapshot.position()).as_bytes());
}

/// A JSON response that no cache may store: it is true only now.
fn json_stream(body: skyhound_net::Body) -> Reply {
    let mut reply = route::stream("application/json", body);
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}
