//! Rows over a connection, with or without keys.
//!
//! Owns: which of the two it is, and what is a row in what arrives. Does not own: what the keys do ([`super::sealed`]).

use super::row::Row;
use super::sealed::SealedChannel;
use skyhound_net::lines::{LINE_MAX, LineConnection, LineEvent};
use std::collections::VecDeque;

/// What a peer did.
#[derive(Debug, PartialEq)]
pub enum LinkEvent {
    /// It sent a row, or what should be one: an id and a sentence about it.
    Row(Result<Row, (String, String)>),
    /// There is room for more; see [`LineEvent::Writable`].
    Writable,
    /// It closed in order.
    Closed,
    /// The connection is gone.
    Disconnected,
    /// It does not read.
    SendTimeout,
    /// It did what it may not.
    ProtocolViolation(&'static str),
}

/// A connection of rows.
#[derive(Debug)]
pub struct Link {
    lines: LineConnection,
    sealed: Option<Box<SealedChannel>>,
    /// Rows that arrived with others in one sealed line.
    rows: VecDeque<Vec<u8>>,
}

impl Link {
    /// Without keys.
    pub fn plain(lines: LineConnection) -> Self {
        Self { lines, sealed: None, rows: VecDeque::new() }
    }

    /// With keys, after their exchange.
    pub fn sealed(lines: LineConnection, sealed: SealedChannel) -> Self {
        Self { lines, sealed: Some(Box::new(sealed)), rows: VecDeque::new() }
    }

    /// A line that arrived before it was known what this connection is.
    pub fn put_back(&mut self, line: Vec<u8>) {
        self.rows.push_front(line);
    }

    /// What the peer does next. Safe to cancel.
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

    /// Sends a row. `false` when too much waits already.
    pub fn send(&mut self, row: &Row) -> bool {
        match &mut self.sealed {
            None => self.lines.send(&row.to_string()),
            Some(sealed) => sealed.seal(&format!("{row}\n")).is_some_and(|line| self.lines.send(&line)),
        }
    }

    /// Whether there is room for what can wait.
    pub fn has_capacity(&mut self) -> bool {
        self.lines.has_capacity()
    }

    /// Closes, with what waits. Without the line that ends a sealed direction: the original takes it for a last, empty
    /// row, and dies of that (an uncaught `SyntaxError`).
    pub async fn close(self) {
        self.lines.close().await;
    }
}

const TOO_LONG: &str = "a line is over 32768 bytes, and that is the most";
const _: () = assert!(LINE_MAX == 32_768, "the sentence says so");
