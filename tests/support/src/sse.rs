//! A reader of server-sent events, by hand: it can be lost in the middle, or stop reading.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::http::unchunked;
use super::wait::SOON;

/// An event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The field `event`.
    pub name: String,
    /// The field `id`.
    pub id: String,
    /// The field `data`, which is JSON here.
    pub data: Value,
}

impl Event {
    /// Its name, and the port of its instance.
    pub fn port(&self) -> (&str, u64) {
        (&self.name, self.data["port"].as_u64().unwrap_or_else(|| panic!("{self:?} is of no instance")))
    }

    /// The ports of a set's instances, in order.
    pub fn ports(&self) -> Vec<u64> {
        assert_eq!(self.name, "set", "{self:?}");
        let instances = self.data["instances"].as_array().expect("a list");
        let mut ports: Vec<_> = instances.iter().map(|instance| instance["port"].as_u64().expect("a port")).collect();
        ports.sort_unstable();
        ports
    }

    /// Returns whether the event resets the reader's state.
    pub fn is_reset(&self) -> bool {
        self.data["reset"] == Value::Bool(true)
    }
}

/// A connection that events come over.
#[derive(Debug)]
pub struct Sse {
    stream: TcpStream,
    raw: Vec<u8>,
    text: String,
    ended: bool,
    /// Comments that came.
    pub comments: usize,
}

impl Sse {
    /// Asks, with a `Last-Event-ID` if there is one.
    pub async fn open(addr: SocketAddr, path: &str, last: Option<&str>) -> Self {
        Self::open_with(TcpSocket::new_v4().expect("a socket"), addr, path, last).await
    }

    /// The same on a socket that the caller prepared.
    pub async fn open_with(socket: TcpSocket, addr: SocketAddr, path: &str, last: Option<&str>) -> Self {
        let mut stream = socket.connect(addr).await.expect("it listens");
        let last = last.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        let head = format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\n{last}\r\n");
        stream.write_all(head.as_bytes()).await.expect("it reads");
        let mut raw = Vec::new();
        let end = loop {
            if let Some(at) = raw.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            let read = tokio::time::timeout(SOON, stream.read_buf(&mut raw)).await.expect("an answer in time");
            assert!(read.expect("an answer") > 0, "it ended after {:?}", String::from_utf8_lossy(&raw));
        };
        let head = String::from_utf8_lossy(&raw[..end]).to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 200") && head.contains("content-type: text/event-stream"), "{head}");
        raw.drain(..end);
        Self { stream, raw, text: String::new(), ended: false, comments: 0 }
    }

    /// The next event; `None` at the end of a whole answer. Panics when it breaks off.
    pub async fn read(&mut self) -> Option<Event> {
        loop {
            while let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                if let Some(event) = self.event(&block) {
                    return Some(event);
                }
            }
            if self.ended {
                return None;
            }
            let (whole, ended) = unchunked(&mut self.raw);
            self.text.push_str(str::from_utf8(&whole).expect("pieces end at characters here"));
            self.ended = ended;
            if whole.is_empty() && !ended {
                let read = tokio::time::timeout(SOON, self.stream.read_buf(&mut self.raw)).await;
                assert!(read.expect("an event in time").expect("a connection") > 0, "the answer broke off");
            }
        }
    }

    /// The next event, which has to come.
    pub async fn next(&mut self) -> Event {
        self.read().await.expect("an event, and not the end")
    }

    /// The next event's name and port.
    pub async fn received(&mut self) -> (String, u64) {
        let event = self.next().await;
        let (name, port) = event.port();
        (name.to_owned(), port)
    }

    /// Waits until the connection is over, however it ends.
    pub async fn over(mut self) {
        let over = async { while self.stream.read_buf(&mut self.raw).await.is_ok_and(|read| read > 0) {} };
        tokio::time::timeout(SOON, over).await.expect("it ends in time");
    }

    fn event(&mut self, block: &str) -> Option<Event> {
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        self.comments += usize::from(block.starts_with(':'));
        let data = serde_json::from_str(field("data")?).unwrap_or_else(|error| panic!("{block}: {error}"));
        let id = field("id").expect("every event has an id").to_owned();
        Some(Event { name: field("event").expect("every event has a name").to_owned(), id, data })
    }
}
