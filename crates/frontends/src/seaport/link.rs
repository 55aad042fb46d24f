//! Rows over a connection, with or without keys.
//!
//! Owns: the kind of the connection, and the separation of lines into rows. Does not own: sealing ([`super::sealed`]).

use super::row::Row;
use super::sealed::SealedChannel;
use skyhound_net::lines::{LINE_MAX, LineConnection, LineEvent};
use std::collections::VecDeque;

/// An event on a connection.
#[derive(Debug, PartialEq)]
pub enum LinkEvent {
    /// The peer sent a row, or an invalid line: the id that it concerns, and an error.
    Row(Result<Row, (String, String)>),
    /// The send queue has capacity again; see [`LineEvent::Writable`].
    Writable,
    /// The peer closed the connection in order.
    Closed,
    /// The connection is lost.
    Disconnected,
    /// The peer did not read within the send timeout.
    SendTimeout,
    /// The peer violated the protocol.
    ProtocolViolation(&'static str),
}

/// A connection of rows.
#[derive(Debug)]
pub struct Link {
    lines: LineConnection,
    sealed: Option<Box<SealedChannel>>,
    /// Rows that were received and not returned yet: a sealed line may contain several.
    rows: VecDeque<Vec<u8>>,
}

impl Link {
    /// A connection without keys.
    pub fn plain(lines: LineConnection) -> Self {
        Self { lines, sealed: None, rows: VecDeque::new() }
    }

    /// A connection with keys, after their exchange.
    pub fn sealed(lines: LineConnection, sealed: SealedChannel) -> Self {
        Self { lines, sealed: Some(Box::new(sealed)), rows: VecDeque::new() }
    }

    /// Returns a line that was read before the kind of the connection was known.
    pub fn put_back(&mut self, line: Vec<u8>) {
        self.rows.push_front(line);
    }

    /// Waits for the next event. Safe to cancel.
    pub async fn next_event(&mut self) -> LinkEvent {
        loop {
            if let Some(row) = self.rows.pop_front() {
                if row.is_empty() {
                    continue;
                }
                return LinkEvent::Row(Row::parse(&row));
            }
            match self.lines.next_event().await {
                LineEvent::Line(line) => match &mut self.sealed {
                    None => self.rows.push_back(line),
                    Some(sealed) => match sealed.open(&line) {
                        Ok(Some(rows)) => self.rows.extend(rows),
                        Ok(None) => return LinkEvent::Closed,
                        Err(sentence) => return LinkEvent::ProtocolViolation(sentence),
                    },
                },
                LineEvent::Writable => return LinkEvent::Writable,
                LineEvent::Closed => return LinkEvent::Closed,
                LineEvent::Disconnected => return LinkEvent::Disconnected,
                LineEvent::SendTimeout => return LinkEvent::SendTimeout,
                LineEvent::TooLong => return LinkEvent::ProtocolViolation(TOO_LONG),
            }
        }
    }

    /// Queues a row. Returns `false` when the send queue is full.
    pub fn send(&mut self, row: &Row) -> bool {
        match &mut self.sealed {
            None => self.lines.send(&row.to_string()),
            Some(sealed) => sealed.seal(&format!("{row}\n")).is_some_and(|line| self.lines.send(&line)),
        }
    }

    /// Reports that the send queue has capacity for rows that can wait.
    pub fn has_capacity(&mut self) -> bool {
        self.lines.has_capacity()
    }

    /// Sends the queued rows and closes. A sealed direction ends without its closing line: the original takes that line
    /// for a last, empty row, and terminates (an uncaught `SyntaxError`).
    pub async fn close(self) {
        self.lines.close().await;
    }
}

const TOO_LONG: &str = "a line is longer than the limit of 32768 bytes";
const _: () = assert!(LINE_MAX == 32_768, "TOO_LONG contains the limit");
