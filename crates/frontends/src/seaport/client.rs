//! The other end: a connection to a hub, of ours or of the original.
//!
//! Owns: connecting, with or without a key, and what a hub has said so far. Does not own: when to come back.

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

/// How long a connection may take, with the exchange of keys.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a client says that it lives: as the original does.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);

/// A connection to a hub.
#[derive(Debug)]
pub struct Client {
    link: Link,
    /// What the hub sees as this side's address; empty before it has said so.
    pub addr: String,
    heartbeats: HeartbeatTimer,
}

impl Client {
    /// Connects to `HOST:PORT`.
    pub async fn connect(hub: &str, key: Option<Arc<KeyPair>>) -> Result<Self, String> {
        // A hub with keys waits for a word; any hub takes this one.
        let link = open(hub, key, &Row::Synced).await?.link;
        Ok(Self { link, addr: String::new(), heartbeats: HeartbeatTimer::new(HEARTBEAT_INTERVAL) })
    }

    /// The next row but heartbeats; or why there is none. Safe to cancel.
    pub async fn next(&mut self) -> Result<Row, String> {
        loop {
            let heard = tokio::select! {
                biased;
                heard = self.link.next_event() => heard,
                () = sleep_until(self.heartbeats.due()) => {
                    if self.heartbeats.timed_out() {
                        return Err("the hub has fallen silent".into());
                    }
                    if self.heartbeats.take_due() {
                        self.send(&Row::Heartbeat);
                    }
                    continue;
                }
            };
            self.heartbeats.row_received();
            match heard {
                LinkEvent::Row(Ok(Row::Heartbeat)) => self.heartbeats.heartbeat_received(),
                LinkEvent::Row(Ok(row)) => {
                    if let Row::Helo(addr, _) = &row {
                        self.addr.clone_from(addr);
                    }
                    return Ok(row);
                }
                LinkEvent::Row(Err((_, sentence))) => return Err(format!("this is no hub: {sentence}")),
                LinkEvent::Writable => {}
                LinkEvent::Closed | LinkEvent::Disconnected => return Err("the hub closed the connection".into()),
                LinkEvent::SendTimeout => return Err("the hub does not read".into()),
                LinkEvent::ProtocolViolation(sentence) => return Err(sentence.into()),
            }
        }
    }

    /// Sends a row.
    pub fn send(&mut self, row: &Row) {
        // A hub that does not read ends the connection by that.
        self.link.send(row);
    }

    /// Closes.
    pub async fn close(self) {
        self.link.close().await;
    }
}

/// A connection that has just begun.
#[derive(Debug)]
pub(super) struct OpenLink {
    pub(super) link: Link,
    /// Where it goes.
    pub(super) addr: SocketAddr,
    /// The hub's public key, if there are keys.
    pub(super) key: Option<String>,
}

/// Connects to `HOST:PORT`, with or without a key, and says a first row.
pub(super) async fn open(hub: &str, key: Option<Arc<KeyPair>>, first: &Row) -> Result<OpenLink, String> {
    let opening = async {
        let stream = TcpStream::connect(hub).await.map_err(|error| error.to_string())?;
        let addr = stream.peer_addr().map_err(|error| error.to_string())?;
        let (mut link, key) = exchange_keys(LineConnection::new(stream), key).await?;
        link.send(first);
        Ok(OpenLink { link, addr, key })
    };
    timeout(CONNECT_TIMEOUT, opening).await.unwrap_or_else(|_| Err(format!("no answer within {CONNECT_TIMEOUT:?}")))
}

/// Says which kind of connection this is.
async fn exchange_keys(mut lines: LineConnection, key: Option<Arc<KeyPair>>) -> Result<(Link, Option<String>), String> {
    let Some(key) = key else { return Ok((Link::plain(lines), None)) };
    let offer = KeyOffer::new(key).ok_or("the key signs nothing")?;
    lines.send(&offer.line);
    let (sealed, pem) = match lines.next_event().await {
        LineEvent::Line(header) => {
            offer.accept(&header).map_err(|sentence| format!("the hub has no keys: {sentence}"))?
        }
        _ => return Err("the hub closed the connection".into()),
    };
    lines.set_max_line(SEALED_MAX);
    Ok((Link::sealed(lines, sealed), Some(pem)))
}

/// What a hub has said.
#[derive(Debug, Default)]
pub struct KnownServices(BTreeMap<String, ServiceMeta>);

impl KnownServices {
    /// Takes a row in. Returns what was known of that id before.
    pub fn apply(&mut self, row: &Row) -> Option<ServiceMeta> {
        match row {
            Row::Register(id, meta) => self.0.insert(id.clone(), meta.clone()),
            Row::Free(id) => self.0.remove(id),
            _ => None,
        }
    }

    /// Every service, in the order of ids.
    pub fn services(&self) -> impl Iterator<Item = (&String, &ServiceMeta)> {
        self.0.iter()
    }

    /// Other hubs that are known: where they are.
    pub fn hubs(&self) -> impl Iterator<Item = String> {
        self.0.values().filter(|meta| meta.get("role").is_some_and(|role| role == "seaport")).filter_map(address)
    }
}

/// `HOST:PORT` of a service.
pub fn address(meta: &ServiceMeta) -> Option<String> {
    let host = meta.get("host")?.as_str()?;
    let port = match meta.get("port")? {
        Value::String(port) => port.clone(),
        port => port.to_string(),
    };
    Some(join_host_port(host, port))
}
