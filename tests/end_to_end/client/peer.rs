//! A scripted daemon: the test handles its connections one at a time.

use super::soon;
use futures_util::StreamExt;
use skyhound_client::{Provide, Server, Timing};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

pub(crate) type Socket = WebSocketStream<TcpStream>;

pub(crate) struct Peer {
    listener: TcpListener,
}

impl Peer {
    pub(crate) async fn bind() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.listener.local_addr().unwrap())
    }

    pub(crate) fn server(&self) -> Server {
        self.url().parse().unwrap()
    }

    /// The next TCP connection.
    pub(crate) async fn connected(&self) -> TcpStream {
        soon(self.listener.accept()).await.unwrap().0
    }

    /// Returns whether no connection comes for a while. The one wait for time to pass: there is no event to wait for.
    pub(crate) async fn nobody_comes(&self) -> bool {
        tokio::time::timeout(Duration::from_millis(300), self.listener.accept()).await.is_err()
    }

    /// Completes the handshake with the next client; also returns its request.
    pub(crate) async fn accept(&self) -> (Socket, String) {
        let mut target = String::new();
        // The callback's type is the library's, with its large error.
        #[allow(clippy::result_large_err)]
        let read = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
            target = request.uri().to_string();
            Ok(response)
        };
        let socket = soon(accept_hdr_async(self.connected().await, read)).await.unwrap();
        (socket, target)
    }

    /// Answers the next handshake with `status`, `headers` (each with its CRLF) and `body`.
    pub(crate) async fn answer(&self, status: &str, headers: &str, body: &str) {
        let mut tcp = self.connected().await;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(soon(tcp.read_u8()).await.unwrap());
        }
        let length = body.len();
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{headers}\r\n{body}");
        tcp.write_all(answer.as_bytes()).await.unwrap();
    }
}

/// The next message that is neither ping nor pong. Reading also answers pings.
pub(crate) async fn next(socket: &mut Socket) -> Option<Message> {
    loop {
        match soon(socket.next()).await {
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(message)) => return Some(message),
            Some(Err(_)) | None => return None,
        }
    }
}

/// `web` on port 8080 with `servers`, and every wait short.
pub(crate) fn web(servers: &[&Peer]) -> Provide {
    let ms = Duration::from_millis;
    let timing = Timing {
        connect: ms(2000),
        response: ms(2000),
        ping_interval: ms(50),
        liveness_timeout: ms(2000),
        close: ms(5000),
        retry_min: ms(1),
        retry_max: ms(20),
        stable_after: ms(1000),
    };
    Provide { servers: servers.iter().map(|peer| peer.server()).collect(), timing, ..Provide::new("web", 8080) }
}
