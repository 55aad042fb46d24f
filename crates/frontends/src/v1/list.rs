//! `/v1/services` and `/v1/instances`: what there is, in one snapshot.
//!
//! Owns: the filters and the envelope. The JSON is made in pieces, each when the peer has taken the one before.

use super::instance::{Written, is_in};
use super::known;
use super::query::Query;
use crate::app::App;
use crate::error::invalid;
use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, HeaderValue};
use skyhound_core::catalog::{Snapshot, Stored};
use skyhound_net::{HttpError, Outlet, Peer, Reply, Request, Unread, route};
use std::sync::Arc;

/// About how large a piece is, in bytes. An instance is a few hundred.
pub(super) const PIECE: usize = 16 * 1024;

/// An answer in the making.
pub(super) struct Pen {
    pub(super) outlet: Outlet,
    pub(super) text: Vec<u8>,
}

impl Pen {
    pub(super) fn new(outlet: Outlet) -> Self {
        Self { outlet, text: Vec::new() }
    }

    /// Sends what was written, once it is a piece.
    pub(super) async fn flow(&mut self) -> Result<(), Unread> {
        if self.text.len() < PIECE { Ok(()) } else { self.flush().await }
    }

    /// Sends what was written.
    pub(super) async fn flush(&mut self) -> Result<(), Unread> {
        if self.text.is_empty() {
            return Ok(());
        }
        let piece = Bytes::from(std::mem::take(&mut self.text));
        self.outlet.send(piece).await
    }

    async fn end(mut self) -> Result<(), Unread> {
        self.flush().await?;
        self.outlet.end().await
    }
}

/// `{"position":"…","services":[{"name":…,"instances":…}]}`
pub(super) fn services(app: &App, peer: &Peer) -> Result<Reply, HttpError> {
    let snapshot = known(app)?;
    let (outlet, body) = Outlet::new(peer, app.limits.stall);
    tokio::spawn(async move {
        // Whoever does not read it was cut off, or has gone.
        let _ = write_services(&snapshot, Pen::new(outlet)).await;
    });
    Ok(fresh(body))
}

async fn write_services(snapshot: &Snapshot, mut pen: Pen) -> Result<(), Unread> {
    begin(snapshot, "services", &mut pen);
    let mut between = "";
    for service in snapshot.services() {
        let instances = snapshot.instances(service).count();
        let line = serde_json::json!({ "name": **service, "instances": instances });
        pen.text.extend_from_slice(format!("{between}{line}").as_bytes());
        between = ",";
        pen.flow().await?;
    }
    pen.text.extend_from_slice(b"]}\n");
    pen.end().await
}

/// `{"position":"…","instances":[…]}`
pub(super) fn instances(app: Arc<App>, request: &Request, peer: &Peer) -> Result<Reply, HttpError> {
    let asked = Query::parse(request.uri().query().unwrap_or_default()).map_err(invalid)?;
    let snapshot = known(&app)?;
    let (outlet, body) = Outlet::new(peer, app.limits.stall);
    tokio::spawn(async move {
        let _ = write_instances(&app, &snapshot, &asked, Pen::new(outlet)).await;
    });
    Ok(fresh(body))
}

async fn write_instances(app: &App, snapshot: &Snapshot, asked: &Query, mut pen: Pen) -> Result<(), Unread> {
    begin(snapshot, "instances", &mut pen);
    each(app, snapshot, asked, &mut pen).await?;
    pen.text.extend_from_slice(b"]}\n");
    pen.end().await
}

/// Writes every instance that is asked for, with commas between.
pub(super) async fn each(app: &App, snapshot: &Snapshot, asked: &Query, pen: &mut Pen) -> Result<(), Unread> {
    let all = snapshot.services().map(|service| &**service).filter(|_| asked.services.is_empty());
    let mut first = true;
    for service in asked.services.iter().map(String::as_str).chain(all) {
        for stored in snapshot.instances(service).filter(|stored| is_asked(asked, stored, app)) {
            if !std::mem::take(&mut first) {
                pen.text.push(b',');
            }
            Written::new(stored, &app.naming).write_to(&mut pen.text);
            pen.flow().await?;
        }
    }
    Ok(())
}

fn is_asked(asked: &Query, stored: &Stored, app: &App) -> bool {
    let version = asked
        .version
        .as_ref()
        .is_none_or(|range| stored.entry.details.as_ref().is_some_and(|details| range.hold(details.version())));
    version && asked.category.as_ref().is_none_or(|category| is_in(category, stored, &app.naming))
}

fn begin(snapshot: &Snapshot, what: &str, pen: &mut Pen) {
    pen.text.extend_from_slice(format!("{{\"position\":\"{}\",\"{what}\":[", snapshot.position()).as_bytes());
}

/// It is true now.
fn fresh(body: skyhound_net::Body) -> Reply {
    let mut reply = route::stream("application/json", body);
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}
