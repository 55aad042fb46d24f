//! A client that sends given bytes and parses the responses.

use skyhound_test_support::wait::SOON;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A key from RFC 6455 section 1.3.
pub const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                           Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// An HTTP response.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let is_it = |line: &&str| line.split(':').next().is_some_and(|there| there.eq_ignore_ascii_case(name));
        self.head.lines().find(is_it).and_then(|line| line.split_once(':')).map(|(_, value)| value.trim())
    }
}

/// A frame from the server.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    Text(String),
    Ping,
    Pong,
    Close(u16, String),
    /// The connection ended.
    End,
}

pub struct Raw {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Raw {
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, read: Vec::new() }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.expect("the other end takes bytes");
    }

    /// Sends, whether or not the other end takes it to the end.
    pub async fn push(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    /// Sends a whole request and returns its response.
    pub async fn ask(&mut self, line: &str, headers: &str) -> Answer {
        self.send(format!("{line} HTTP/1.1\r\nHost: x\r\n{headers}\r\n")).await;
        if line.starts_with("HEAD ") { self.head().await } else { self.answer().await }
    }

    /// The next response, with its body.
    pub async fn answer(&mut self) -> Answer {
        let mut answer = self.head().await;
        let length = answer.header("content-length").map_or(0, |length| length.parse().expect("a number"));
        self.fill(length).await;
        answer.body = String::from_utf8(self.read.drain(..length).collect()).expect("UTF-8");
        answer
    }

    async fn head(&mut self) -> Answer {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            self.fill(self.read.len() + 1).await;
        };
        let head = String::from_utf8(self.read.drain(..end).collect()).expect("UTF-8");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line");
        Answer { status, head, body: String::new() }
    }

    /// Becomes a websocket.
    pub async fn provide(&mut self, query: &str) {
        let answer = self.ask(&format!("GET /provide?{query}"), UPGRADE).await;
        assert_eq!(answer.status, 101, "{answer:?}");
        assert_eq!(answer.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    }

    /// Sends a frame, masked with zeros. `first` is the first byte: FIN, RSV and opcode.
    pub async fn frame(&mut self, first: u8, payload: &[u8]) {
        self.push(frame(first, payload)).await;
    }

    /// The next frame.
    pub async fn receive(&mut self) -> Frame {
        if !self.try_fill(2).await {
            return Frame::End;
        }
        let (opcode, length) = (self.read[0], usize::from(self.read[1]));
        // No frame of the server is longer than that.
        let (start, length) = match length {
            126 => {
                self.fill(4).await;
                (4, usize::from(u16::from_be_bytes([self.read[2], self.read[3]])))
            }
            short => (2, short),
        };
        self.fill(start + length).await;
        let payload: Vec<u8> = self.read.drain(..start + length).skip(start).collect();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
        match opcode {
            0x81 => Frame::Text(text(&payload)),
            0x88 if payload.is_empty() => Frame::Close(1005, String::new()),
            0x88 => Frame::Close(u16::from_be_bytes([payload[0], payload[1]]), text(&payload[2..])),
            0x89 => Frame::Ping,
            0x8a => Frame::Pong,
            other => panic!("a frame of kind {other:#x}"),
        }
    }

    /// The next frame that is no ping. Pings stay unanswered.
    pub async fn receive_past_pings(&mut self) -> Frame {
        loop {
            match self.receive().await {
                Frame::Ping => {}
                other => return other,
            }
        }
    }

    /// Returns whether the connection ends without another byte.
    pub async fn ends(&mut self) -> bool {
        !self.try_fill(1).await
    }

    /// Closes the writing half.
    pub async fn shut(&mut self) {
        self.stream.shutdown().await.expect("it is connected");
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        self.stream.set_zero_linger().expect("a TCP socket");
    }

    async fn fill(&mut self, length: usize) {
        assert!(self.try_fill(length).await, "the connection ended behind {:?}", String::from_utf8_lossy(&self.read));
    }

    /// Reads until there are so many bytes; `false` if the connection ends before.
    async fn try_fill(&mut self, length: usize) -> bool {
        while self.read.len() < length {
            let read = timeout(SOON, self.stream.read_buf(&mut self.read)).await;
            if !matches!(read.expect("the server sends something, or closes"), Ok(1..)) {
                return false;
            }
        }
        true
    }
}

/// A client's frame, masked with zeros.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        short @ ..126 => frame.push(0x80 | u8::try_from(short).expect("below 126")),
        long => {
            frame.push(0x80 | 0x7e);
            frame.extend(u16::try_from(long).expect("16 bits").to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}
