//! The client side: a connection to a hub, of skyhound or of the original.
//!
//! Owns: connecting, with or without a key, and the services that a hub has sent. Does not own: reconnecting.

use super::heartbeat::HeartbeatTimer;
use super::keys::KeyPair;
use super::link::{Link, LinkEvent};
use super::meta::ServiceMeta;
use super::row::Row;
use super::sealed::{KeyOffer, SEALED_MAX};
use serde_json::Value;
use skyhound_model::address::join_host_port;
use skyhound_net::LineConnection;
use skyhound_net::lines::LineEvent;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{sleep_until, timeout};

/// The time limit of a connection attempt, including the exchange of keys.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The interval of a client's heartbeats: the original's.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);

/// A connection to a hub.
#[derive(Debug)]
pub struct HubClient {
    link: Link,
    /// This side's address as the hub sees it; empty before `helo`.
    pub addr: String,
    heartbeats: HeartbeatTimer,
}

impl HubClient {
    /// Connects to `HOST:PORT`.
    pub async fn connect(hub: &str, key: Option<Arc<KeyPair>>) -> Result<Self, String> {
        // A hub with keys waits for a first line; `synced` is one that every hub accepts.
        let link = open(hub, key, &Row::Synced).await?.link;
        Ok(Self { link, addr: String::new(), heartbeats: HeartbeatTimer::new(HEARTBEAT_INTERVAL) })
    }

    /// Returns the next row other than a heartbeat, or the reason for which the connection ended. Safe to cancel.
    pub async fn next(&mut self) -> Result<Row, String> {
        loop {
            let event = tokio::select! {
                biased;
                event = self.link.next_event() => event,
                () = sleep_until(self.heartbeats.due()) => {
                    if self.heartbeats.timed_out() {
                        return Err("the hub missed its heartbeats".into());
                    }
                    if self.heartbeats.take_due() {
                        self.send(&Row::Heartbeat);
                    }
                    continue;
                }
            };
            self.heartbeats.row_received();
            match event {
                LinkEvent::Row(Ok(Row::Heartbeat)) => self.heartbeats.heartbeat_received(),
                LinkEvent::Row(Ok(row)) => {
                    if let Row::Helo(addr, _) = &row {
                        self.addr.clone_from(addr);
                    }
                    return Ok(row);
                }
                LinkEvent::Row(Err((_, sentence))) => {
                    return Err(format!("the server is not a seaport hub: {sentence}"));
                }
                LinkEvent::Writable => {}
                LinkEvent::Closed | LinkEvent::Disconnected => return Err("the hub closed the connection".into()),
                LinkEvent::SendTimeout => return Err("the hub does not read fast enough".into()),
                LinkEvent::ProtocolViolation(sentence) => return Err(sentence.into()),
            }
        }
    }

    /// Sends a row.
    pub fn send(&mut self, row: &Row) {
        // A hub that does not read makes [`Self::next`] fail.
        self.link.send(row);
    }

    /// Sends the queued rows and closes the connection.
    pub async fn close(self) {
        self.link.close().await;
    }
}

/// A new connection to a hub.
#[derive(Debug)]
pub(super) struct OpenLink {
    pub(super) link: Link,
    /// The hub's address.
    pub(super) addr: SocketAddr,
    /// The hub's public key, if there are keys.
    pub(super) key: Option<String>,
}

/// Connects to `HOST:PORT`, with or without a key, and sends a first row.
pub(super) async fn open(hub: &str, key: Option<Arc<KeyPair>>, first: &Row) -> Result<OpenLink, String> {
    let opening = async {
        let stream = TcpStream::connect(hub).await.map_err(|error| error.to_string())?;
        let addr = stream.peer_addr().map_err(|error| error.to_string())?;
        let (mut link, key) = exchange_keys(LineConnection::new(stream), key).await?;
        link.send(first);
        Ok(OpenLink { link, addr, key })
    };
    timeout(CONNECT_TIMEOUT, opening).await.unwrap_or_else(|_| Err(format!("no connection within {CONNECT_TIMEOUT:?}")))
}

/// Exchanges keys with the hub if there is a key pair, and returns the hub's public key.
async fn exchange_keys(mut lines: LineConnection, key: Option<Arc<KeyPair>>) -> Result<(Link, Option<String>), String> {
    let Some(key) = key else { return Ok((Link::plain(lines), None)) };
    let offer = KeyOffer::new(key).ok_or("the key cannot sign; give an RSA key of 2048 to 4096 bits")?;
    lines.send(&offer.line);
    let (sealed, pem) = match lines.next_event().await {
        LineEvent::Line(header) => offer
            .accept(&header)
            .map_err(|sentence| format!("the hub did not complete the exchange of keys: {sentence}"))?,
        _ => return Err("the hub closed the connection".into()),
    };
    lines.set_max_line(SEALED_MAX);
    Ok((Link::sealed(lines, sealed), Some(pem)))
}

/// The services that a hub has sent.
#[derive(Debug, Default)]
pub struct KnownServices(BTreeMap<String, ServiceMeta>);

impl KnownServices {
    /// Applies a row. Returns the previous service of that id.
    pub fn apply(&mut self, row: &Row) -> Option<ServiceMeta> {
        match row {
            Row::Register(id, meta) => self.0.insert(id.clone(), meta.clone()),
            Row::Free(id) => self.0.remove(id),
            _ => None,
        }
    }

    /// All services, in the order of ids.
    pub fn services(&self) -> impl Iterator<Item = (&String, &ServiceMeta)> {
        self.0.iter()
    }

    /// The addresses of the other hubs among them.
    pub fn hubs(&self) -> impl Iterator<Item = String> {
        self.0.values().filter(|meta| meta.get("role").is_some_and(|role| role == "seaport")).filter_map(address)
    }
}

/// Returns the `HOST:PORT` of a service.
pub fn address(meta: &ServiceMeta) -> Option<String> {
    let host = meta.get("host")?.as_str()?;
    let port = match meta.get("port")? {
        Value::String(port) => port.clone(),
        port => port.to_string(),
    };
    Some(join_host_port(host, port))
}
