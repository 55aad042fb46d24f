//! A simulated process that registers itself: it holds the websocket of `GET /provide`, and can do
//! whatever processes do to it.
//!
//! A task of its own reads, so that pings are answered while the test does something else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::http::{self, Response};
use super::wait::SOON;

/// The time limit for the response to a registration: the daemon answers 503 after 5 s.
const OPEN_DEADLINE: Duration = Duration::from_secs(30);

/// RFC 6455's own example, and its answer.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The head of a right handshake up to its end, to be sent as it is or spoilt.
pub fn handshake(addr: SocketAddr, query: &str) -> String {
    handshake_for(addr, &format!("/provide?{query}"))
}

/// The same for another path.
pub fn handshake_for(addr: SocketAddr, target: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: {addr}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    )
}

/// The reason why there is no websocket.
#[derive(Debug)]
pub enum Refusal {
    /// The daemon responded with another status than 101.
    Answer(Response),
    /// The daemon did not respond.
    NoResponse(std::io::Error),
}

impl Refusal {
    /// The answer; panics when there is none.
    pub fn answer(self) -> Response {
        match self {
            Self::Answer(response) => response,
            Self::NoResponse(error) => panic!("no answer: {error}"),
        }
    }
}

/// A message from the socket; pings are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// A text frame.
    Text(String),
    /// A close frame with its code and reason, or without.
    Closed(Option<(u16, String)>),
    /// The connection ended.
    Gone(String),
}

enum Do {
    Send(Message),
    Write(Vec<u8>),
    Reset,
    StopReading,
}

/// One held socket. Dropping it ends the connection without a close frame, as when a process ends.
#[derive(Debug)]
pub struct Provider {
    todo: mpsc::UnboundedSender<Do>,
    received: mpsc::UnboundedReceiver<Received>,
    pings: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Provider {
    /// Registers with this query; returns with the 101.
    pub async fn open(addr: SocketAddr, query: &str) -> Result<Self, Refusal> {
        let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        Self::open_on(socket.map_err(Refusal::NoResponse)?, addr, query).await
    }

    /// The same on a socket that the caller has prepared (or bound).
    pub async fn open_on(socket: TcpSocket, addr: SocketAddr, query: &str) -> Result<Self, Refusal> {
        Self::open_with(socket, addr, handshake(addr, query)).await
    }

    /// A websocket of any other path.
    pub async fn open_for(addr: SocketAddr, target: &str) -> Result<Self, Refusal> {
        let socket = TcpSocket::new_v4().map_err(Refusal::NoResponse)?;
        Self::open_with(socket, addr, handshake_for(addr, target)).await
    }

    async fn open_with(socket: TcpSocket, addr: SocketAddr, handshake: String) -> Result<Self, Refusal> {
        let opening = async {
            let mut stream = socket.connect(addr).await?;
            stream.set_nodelay(true)?;
            stream.write_all(handshake.as_bytes()).await?;
            let (response, early) = http::read(&mut stream).await?;
            std::io::Result::Ok((stream, response, early))
        };
        let opened = tokio::time::timeout(OPEN_DEADLINE, opening).await;
        let opened = opened.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
        let (stream, response, early) = opened.map_err(Refusal::NoResponse)?;
        if response.status != 101 {
            return Err(Refusal::Answer(response));
        }
        assert_eq!(response.header("sec-websocket-accept"), Some(ACCEPT));
        let socket = WebSocketStream::from_partially_read(stream, early, Role::Client, None).await;
        let (todo, todos) = mpsc::unbounded_channel();
        let (sender, received) = mpsc::unbounded_channel();
        let pings = Arc::new(AtomicUsize::new(0));
        let task = tokio::spawn(run(socket, todos, sender, Arc::clone(&pings)));
        Ok(Self { todo, received, pings, task })
    }

    fn perform(&self, what: Do) {
        // The task ends with the socket; later orders are dropped.
        let _ = self.todo.send(what);
    }

    /// Sends a text frame.
    pub fn text(&self, text: impl Into<String>) {
        self.perform(Do::Send(Message::text(text.into())));
    }

    /// Sends a binary frame.
    pub fn binary(&self, bytes: &[u8]) {
        self.perform(Do::Send(Message::binary(bytes.to_vec())));
    }

    /// Writes bytes past the protocol.
    pub fn bytes(&self, bytes: impl Into<Vec<u8>>) {
        self.perform(Do::Write(bytes.into()));
    }

    /// Reads nothing from now on, and so answers no ping.
    pub fn stop_reading(&self) {
        self.perform(Do::StopReading);
    }

    /// The next message.
    pub async fn next(&mut self) -> Received {
        let next = tokio::time::timeout(SOON, self.received.recv()).await;
        next.expect("something is received in time").unwrap_or_else(|| Received::Gone("the socket is over".into()))
    }

    /// The next message that has already been received, without waiting.
    pub fn received(&mut self) -> Option<Received> {
        self.received.try_recv().ok()
    }

    /// The number of pings so far.
    pub fn pings(&self) -> usize {
        self.pings.load(Ordering::Relaxed)
    }

    /// Returns whether the socket is still open.
    pub fn is_open(&self) -> bool {
        !self.task.is_finished()
    }

    /// Waits until the socket has ended, however long that takes.
    pub async fn over(&mut self) {
        while !matches!(self.received.recv().await, None | Some(Received::Gone(_))) {}
    }

    /// Waits until the socket has ended, which has to be soon.
    pub async fn ended(&mut self) {
        while !matches!(self.next().await, Received::Gone(_)) {}
    }

    /// Sends a close frame, waits for its answer, and for the end of the connection.
    pub async fn close(mut self) {
        self.perform(Do::Send(Message::Close(None)));
        self.ended().await;
    }

    /// Ends the connection with a reset.
    pub async fn reset(mut self) {
        self.perform(Do::Reset);
        self.ended().await;
    }
}

async fn run(
    mut socket: WebSocketStream<TcpStream>,
    mut todo: mpsc::UnboundedReceiver<Do>,
    sender: mpsc::UnboundedSender<Received>,
    pings: Arc<AtomicUsize>,
) {
    let mut reading = true;
    let end = loop {
        tokio::select! {
            what = todo.recv() => match what {
                // Errors show when the socket is read next.
                Some(Do::Send(message)) => drop(socket.send(message).await),
                Some(Do::Write(bytes)) => drop(socket.get_mut().write_all(&bytes).await),
                Some(Do::StopReading) => reading = false,
                Some(Do::Reset) => {
                    let stream = socket2::SockRef::from(socket.get_ref());
                    stream.set_linger(Some(Duration::ZERO)).expect("the system knows SO_LINGER");
                    break "reset by us".into();
                }
                None => break "dropped".into(),
            },
            received = socket.next(), if reading => match received {
                Some(Ok(Message::Text(text))) => drop(sender.send(Received::Text(text.to_string()))),
                Some(Ok(Message::Ping(_))) => drop(pings.fetch_add(1, Ordering::Relaxed)),
                Some(Ok(Message::Close(frame))) => {
                    let close = frame.map(|frame| (frame.code.into(), frame.reason.to_string()));
                    let _ = sender.send(Received::Closed(close));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => break error.to_string(),
                None => break "closed in order".into(),
            },
        }
    };
    drop(socket);
    let _ = sender.send(Received::Gone(end));
}
