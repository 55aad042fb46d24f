//! A parser of server-sent events (the HTML standard, section 9.2).
//!
//! Owns: the split of bytes into events. Does not own: the connection, nor the meaning of an event. Pure. Unknown
//! fields are ignored; a lone carriage return, which no daemon sends, ends no line here.

/// Limit of an event, in bytes: a set of a million instances has about half of it.
pub(crate) const EVENT_MAX: usize = 1024 * 1024 * 1024;

/// A complete event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct SseEvent {
    /// Type of the event; `message` if it names none.
    pub(crate) event: String,
    /// Id of this event, not the last id of the stream.
    pub(crate) id: Option<String>,
    pub(crate) data: Vec<u8>,
}

/// An event over [`EVENT_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLarge;

/// The state of an incomplete event.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    event: SseEvent,
    has_data: bool,
}

impl Parser {
    /// Reads further bytes and returns the events that are complete now.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<SseEvent>, TooLarge> {
        let mut complete = Vec::new();
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.line.extend_from_slice(&rest[..end]);
            rest = &rest[end + 1..];
            let line = std::mem::take(&mut self.line);
            complete.extend(self.end_line(line.strip_suffix(b"\r").unwrap_or(&line)));
        }
        self.line.extend_from_slice(rest);
        if self.line.len() + self.event.data.len() > EVENT_MAX { Err(TooLarge) } else { Ok(complete) }
    }

    fn end_line(&mut self, line: &[u8]) -> Option<SseEvent> {
        if line.is_empty() {
            let mut event = std::mem::take(&mut self.event);
            if event.event.is_empty() {
                event.event = "message".into();
            }
            return std::mem::take(&mut self.has_data).then_some(event);
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (field, value) = line.split_at(colon.unwrap_or(line.len()));
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"event" => self.event.event = String::from_utf8_lossy(value).into_owned(),
            b"id" => self.event.id = Some(String::from_utf8_lossy(value).into_owned()),
            b"data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push(b'\n');
                }
                self.event.data.extend_from_slice(value);
            }
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "retry: 5\n\n: comment\nevent: put\nid: 7\ndata: {\"a\":1}\n\ndata:x\r\ndata\r\n\r\nid: 9\n\ndata: half";

    fn event(event: &str, id: Option<&str>, data: &str) -> SseEvent {
        SseEvent { event: event.into(), id: id.map(Into::into), data: data.into() }
    }

    #[test]
    fn events_are_independent_of_chunk_boundaries() {
        let events = [event("put", Some("7"), "{\"a\":1}"), event("message", None, "x\n")];
        for size in 1..=TEXT.len() {
            let mut parser = Parser::default();
            let read: Vec<_> = TEXT.as_bytes().chunks(size).flat_map(|chunk| parser.feed(chunk).unwrap()).collect();
            assert_eq!(read, events, "in chunks of {size}");
        }
    }
}
