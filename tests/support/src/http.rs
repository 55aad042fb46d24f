//! HTTP by hand: a test chooses the exact bytes that it sends, and gets the exact response.

use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::wait::SOON;

/// The usual type of a body.
pub const JSON: &str = "application/json";

/// An answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Response {
    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.body))
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// `GET path`, on a connection of its own.
pub async fn get(addr: SocketAddr, path: &str) -> io::Result<Response> {
    let head = format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
    send(addr, head.as_bytes()).await
}

/// A request with a body, on a connection of its own.
pub async fn request(method: &str, addr: SocketAddr, path: &str, kind: &str, body: &[u8]) -> io::Result<Response> {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    );
    send(addr, &[head.as_bytes(), body].concat()).await
}

/// Sends these bytes and reads one answer.
pub async fn send(addr: SocketAddr, bytes: &[u8]) -> io::Result<Response> {
    let both = async {
        let mut stream = TcpStream::connect(addr).await?;
        // A server that refuses a large head may close before all of it is sent; its answer counts.
        let written = stream.write_all(bytes).await;
        match read(&mut stream).await {
            Ok((response, _)) => Ok(response),
            Err(error) => Err(written.err().unwrap_or(error)),
        }
    };
    tokio::time::timeout(SOON, both).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Reads one answer, and what follows a 101.
pub async fn read(stream: &mut TcpStream) -> io::Result<(Response, Vec<u8>)> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("the connection ended after {:?}", String::from_utf8_lossy(&bytes)),
            ));
        }
    };
    let mut body = bytes.split_off(head_end);
    let head = String::from_utf8_lossy(&bytes).into_owned();
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let status = status.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, head.clone()))?;
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut response = Response { status, headers, body: String::new() };
    if status == 101 {
        return Ok((response, body));
    }
    match response.header("content-length").and_then(|length| length.parse::<usize>().ok()) {
        Some(length) => while body.len() < length && stream.read_buf(&mut body).await? > 0 {},
        None => while stream.read_buf(&mut body).await? > 0 {},
    }
    if response.header("transfer-encoding") == Some("chunked") {
        let (whole, ended) = unchunked(&mut body);
        if !ended {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the answer broke off"));
        }
        body = whole;
    }
    response.body = String::from_utf8_lossy(&body).into_owned();
    Ok((response, Vec::new()))
}

/// Takes the whole chunks out of `raw` (RFC 9112 section 7.1); also returns whether the last one was among them.
pub fn unchunked(raw: &mut Vec<u8>) -> (Vec<u8>, bool) {
    let mut whole = Vec::new();
    while let Some(line) = raw.windows(2).position(|two| two == b"\r\n") {
        let size = String::from_utf8_lossy(&raw[..line]).into_owned();
        let size = usize::from_str_radix(&size, 16).unwrap_or_else(|_| panic!("{size:?} is no size of a chunk"));
        let (begin, end) = (line + 2, line + 2 + size);
        if raw.len() < end + 2 {
            break;
        }
        whole.extend_from_slice(&raw[begin..end]);
        raw.drain(..end + 2);
        if size == 0 {
            return (whole, true);
        }
    }
    (whole, false)
}

/// The sum of a metric's values in a scrape, all its labels together.
pub fn metric(text: &str, name: &str) -> Option<f64> {
    let mut values = text
        .lines()
        .filter_map(|line| line.strip_prefix(name))
        .filter(|rest| rest.starts_with([' ', '{']))
        .filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok())
        .peekable();
    values.peek()?;
    Some(values.sum())
}
