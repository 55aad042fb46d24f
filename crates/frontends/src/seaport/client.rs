//! The other end: a connection to a hub, of ours or of the original.
//!
//! Owns: connecting, with or without a key, and what a hub has said so far. Does not own: when to come back.

use super::keys::KeyPair;
use super::link::{Heard, Link};
use super::meta::Said;
use super::pulse::Pulse;
use super::row::Row;
use super::sealed::{Offer, SEALED_MAX};
use serde_json::Value;
use skyhound_model::address::joined;
use skyhound_net::Lines;
use skyhound_net::lines::Heard as Bytes;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{sleep_until, timeout};

/// How long a connection may take, with the exchange of keys.
const CONNECT: Duration = Duration::from_secs(5);
/// How often a client says that it lives: as the original does.
const BEAT: Duration = Duration::from_secs(15);

/// A connection to a hub.
#[derive(Debug)]
pub struct Client {
    link: Link,
    /// What the hub sees as this side's address; empty before it has said so.
    pub addr: String,
    pulse: Pulse,
}

impl Client {
    /// Connects to `HOST:PORT`.
    pub async fn connect(hub: &str, key: Option<Arc<KeyPair>>) -> Result<Self, String> {
        // A hub with keys waits for a word; any hub takes this one.
        let link = open(hub, key, &Row::Synced).await?.link;
        Ok(Self { link, addr: String::new(), pulse: Pulse::new(BEAT) })
    }

    /// The next row but heartbeats; or why there is none. Safe to cancel.
    pub async fn next(&mut self) -> Result<Row, String> {
        loop {
            let heard = tokio::select! {
                biased;
                heard = self.link.hear() => heard,
                () = sleep_until(self.pulse.due()) => {
                    if self.pulse.is_silent() {
                        return Err("the hub has fallen silent".into());
                    }
                    if self.pulse.is_to_beat() {
                        self.say(&Row::Heartbeat);
                    }
                    continue;
                }
            };
            self.pulse.heard();
            match heard {
                Heard::Row(Ok(Row::Heartbeat)) => self.pulse.beats(),
                Heard::Row(Ok(row)) => {
                    if let Row::Helo(addr, _) = &row {
                        self.addr.clone_from(addr);
                    }
                    return Ok(row);
                }
                Heard::Row(Err((_, sentence))) => return Err(format!("this is no hub: {sentence}")),
                Heard::Room => {}
                Heard::Closed | Heard::Gone => return Err("the hub closed the connection".into()),
                Heard::Stalled => return Err("the hub does not read".into()),
                Heard::Broke(sentence) => return Err(sentence.into()),
            }
        }
    }

    /// Sends a row.
    pub fn say(&mut self, row: &Row) {
        // A hub that does not read ends the connection by that.
        self.link.say(row);
    }

    /// Closes.
    pub async fn close(self) {
        self.link.close().await;
    }
}

/// A connection that has just begun.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) link: Link,
    /// Where it goes.
    pub(super) addr: SocketAddr,
    /// The hub's public key, if there are keys.
    pub(super) key: Option<String>,
}

/// Connects to `HOST:PORT`, with or without a key, and says a first row.
pub(super) async fn open(hub: &str, key: Option<Arc<KeyPair>>, first: &Row) -> Result<Opened, String> {
    let opening = async {
        let stream = TcpStream::connect(hub).await.map_err(|error| error.to_string())?;
        let addr = stream.peer_addr().map_err(|error| error.to_string())?;
        let (mut link, key) = greet(Lines::new(stream), key).await?;
        link.say(first);
        Ok(Opened { link, addr, key })
    };
    timeout(CONNECT, opening).await.unwrap_or_else(|_| Err(format!("no answer within {CONNECT:?}")))
}

/// Says which kind of connection this is.
async fn greet(mut lines: Lines, key: Option<Arc<KeyPair>>) -> Result<(Link, Option<String>), String> {
    let Some(key) = key else { return Ok((Link::plain(lines), None)) };
    let offer = Offer::new(key).ok_or("the key signs nothing")?;
    lines.say(&offer.line);
    let (sealed, pem) = match lines.hear().await {
        Bytes::Line(header) => offer.meet(&header).map_err(|sentence| format!("the hub has no keys: {sentence}"))?,
        _ => return Err("the hub closed the connection".into()),
    };
    lines.allow(SEALED_MAX);
    Ok((Link::sealed(lines, sealed), Some(pem)))
}

/// What a hub has said.
#[derive(Debug, Default)]
pub struct Known(BTreeMap<String, Said>);

impl Known {
    /// Takes a row in. Returns what was known of that id before.
    pub fn take(&mut self, row: &Row) -> Option<Said> {
        match row {
            Row::Register(id, said) => self.0.insert(id.clone(), said.clone()),
            Row::Free(id) => self.0.remove(id),
            _ => None,
        }
    }

    /// Every service, in the order of ids.
    pub fn services(&self) -> impl Iterator<Item = (&String, &Said)> {
        self.0.iter()
    }

    /// Other hubs that are known: where they are.
    pub fn hubs(&self) -> impl Iterator<Item = String> {
        self.0.values().filter(|said| said.get("role").is_some_and(|role| role == "seaport")).filter_map(place)
    }
}

/// `HOST:PORT` of a service.
pub fn place(said: &Said) -> Option<String> {
    let host = said.get("host")?.as_str()?;
    let port = match said.get("port")? {
        Value::String(port) => port.clone(),
        port => port.to_string(),
    };
    Some(joined(host, port))
}
