//! Rows over a connection, with or without keys.
//!
//! Owns: which of the two it is, and what is a row in what arrives. Does not own: what the keys do ([`super::sealed`]).

use super::row::Row;
use super::sealed::Sealed;
use skyhound_net::lines::{Heard as Bytes, LINE_MAX, Lines};
use std::collections::VecDeque;

/// What a peer did.
#[derive(Debug, PartialEq)]
pub enum Heard {
    /// It sent a row, or what should be one: an id and a sentence about it.
    Row(Result<Row, (String, String)>),
    /// There is room for more; see [`Bytes::Room`].
    Room,
    /// It closed in order.
    Closed,
    /// The connection is gone.
    Gone,
    /// It does not read.
    Stalled,
    /// It did what it may not.
    Broke(&'static str),
}

/// A connection of rows.
#[derive(Debug)]
pub struct Link {
    lines: Lines,
    sealed: Option<Box<Sealed>>,
    /// Rows that arrived with others in one sealed line.
    rows: VecDeque<Vec<u8>>,
}

impl Link {
    /// Without keys.
    pub fn plain(lines: Lines) -> Self {
        Self { lines, sealed: None, rows: VecDeque::new() }
    }

    /// With keys, after their exchange.
    pub fn sealed(lines: Lines, sealed: Sealed) -> Self {
        Self { lines, sealed: Some(Box::new(sealed)), rows: VecDeque::new() }
    }

    /// A line that arrived before it was known what this connection is.
    pub fn put_back(&mut self, line: Vec<u8>) {
        self.rows.push_front(line);
    }

    /// What the peer does next. Safe to cancel.
    pub async fn hear(&mut self) -> Heard {
        loop {
            if let Some(row) = self.rows.pop_front() {
                if row.is_empty() {
                    continue;
                }
                return Heard::Row(Row::parse(&row));
            }
            match self.lines.hear().await {
                Bytes::Line(line) => match &mut self.sealed {
                    None => self.rows.push_back(line),
                    Some(sealed) => match sealed.open(&line) {
                        Ok(Some(rows)) => self.rows.extend(rows),
                        Ok(None) => return Heard::Closed,
                        Err(sentence) => return Heard::Broke(sentence),
                    },
                },
                Bytes::Room => return Heard::Room,
                Bytes::Closed => return Heard::Closed,
                Bytes::Gone => return Heard::Gone,
                Bytes::Stalled => return Heard::Stalled,
                Bytes::TooLong => return Heard::Broke(TOO_LONG),
            }
        }
    }

    /// Sends a row. `false` when too much waits already.
    pub fn say(&mut self, row: &Row) -> bool {
        match &mut self.sealed {
            None => self.lines.say(&row.to_string()),
            Some(sealed) => sealed.seal(&format!("{row}\n")).is_some_and(|line| self.lines.say(&line)),
        }
    }

    /// Whether there is room for what can wait.
    pub fn has_room(&mut self) -> bool {
        self.lines.has_room()
    }

    /// Closes, with what waits. Without the line that ends a sealed direction: the original takes it for a last, empty
    /// row, and dies of that (an uncaught `SyntaxError`).
    pub async fn close(self) {
        self.lines.close().await;
    }
}

const TOO_LONG: &str = "a line is over 32768 bytes, and that is the most";
const _: () = assert!(LINE_MAX == 32_768, "the sentence says so");
