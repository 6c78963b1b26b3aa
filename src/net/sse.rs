//! Server-sent events as a client reads them, from bytes that come in any pieces.

/// A line, or the data of one event; the server's are far shorter.
const BYTES_MAX: usize = 4 << 20;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `message` unless the server named it.
    pub event: String,
    pub data: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the event stream is broken: {0}")]
pub struct Broken(&'static str);

/// Keeps the unfinished line and event between two reads.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    /// The last byte was a carriage return: a line feed that follows belongs to it.
    is_after_return: bool,
    event: String,
    data: String,
    id: Option<String>,
    last_id: Option<String>,
}

impl Parser {
    /// The id that a reconnect sends as `Last-Event-ID`.
    pub fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// Reads some bytes; whole events are appended to `events`. After a fault the stream is of no more use.
    pub fn push(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> Result<(), Broken> {
        for byte in bytes {
            let is_second_half = std::mem::replace(&mut self.is_after_return, *byte == b'\r');
            match byte {
                b'\n' if is_second_half => {}
                b'\n' | b'\r' => self.end_line(events)?,
                byte if self.line.len() < BYTES_MAX => self.line.push(*byte),
                _ => return Err(Broken("a line is too long")),
            }
        }
        Ok(())
    }

    fn end_line(&mut self, events: &mut Vec<Event>) -> Result<(), Broken> {
        let bytes = std::mem::take(&mut self.line);
        let line = std::str::from_utf8(&bytes).map_err(|_| Broken("a line is not UTF-8"))?;
        if line.is_empty() {
            self.dispatch(events);
            return Ok(());
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event),
            "data" if self.data.len() + value.len() > BYTES_MAX => return Err(Broken("an event is too long")),
            "data" => self.data.extend([value, "\n"]),
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            // Comments (no field name) are heartbeats; `retry` is for browsers.
            _ => {}
        }
        Ok(())
    }

    /// An empty line: the id counts from here on, and data makes an event.
    fn dispatch(&mut self, events: &mut Vec<Event>) {
        if let Some(id) = self.id.take() {
            self.last_id = Some(id);
        }
        let event = std::mem::take(&mut self.event);
        let mut data = std::mem::take(&mut self.data);
        if data.pop().is_none() {
            return;
        }
        let event = if event.is_empty() { "message".into() } else { event };
        events.push(Event { event, data });
    }
}

#[cfg(test)]
mod tests {
    use super::{BYTES_MAX, Event, Parser};

    fn check(wire: &str, expected: &[(&str, &str)], last_id: Option<&str>) {
        for cut in 1..=wire.len() {
            let (mut parser, mut found) = (Parser::default(), Vec::new());
            for part in wire.as_bytes().chunks(cut) {
                parser.push(part, &mut found).unwrap();
            }
            let event = |(event, data): &(&str, &str)| Event {
                event: (*event).into(),
                data: (*data).into(),
            };
            assert_eq!(
                found,
                expected.iter().map(event).collect::<Vec<_>>(),
                "{wire:?} cut at {cut}"
            );
            assert_eq!(parser.last_id(), last_id, "{wire:?} cut at {cut}");
        }
    }

    #[test]
    fn events_are_read_however_they_are_cut() {
        check("data: a\n\n", &[("message", "a")], None);
        check(
            "event: hello\ndata: {\"x\":\ndata: 1}\nid: 1.0.0.0.7\n\n",
            &[("hello", "{\"x\":\n1}")],
            Some("1.0.0.0.7"),
        );
        check("event:e\r\ndata:grüezi\r\n\r\n", &[("e", "grüezi")], None);
        check("data: a\r\rdata: b\r\r", &[("message", "a"), ("message", "b")], None);
        check(
            "data\n\ndata: \n\ndata:  x\n\n",
            &[("message", ""), ("message", ""), ("message", " x")],
            None,
        );
    }

    #[test]
    fn comments_ids_and_unfinished_events_dispatch_nothing() {
        check(": hello\nretry: 1000\n\n:\n\n", &[], None);
        check("id: 5\n\n", &[], Some("5"));
        check("data: cut", &[], None);
        check("data: cut\nid: 9\n", &[], None);
        check("event: lost\n\ndata: a\n\n", &[("message", "a")], None);
        check("id: a\0b\n\nunknown: x\nnothing\n\n", &[], None);
    }

    #[test]
    fn what_is_broken_or_endless_is_refused() {
        let mut events = Vec::new();
        assert!(Parser::default().push(b"data: \xFF\n", &mut events).is_err());
        assert!(Parser::default().push(&vec![b'a'; BYTES_MAX + 1], &mut events).is_err());
        let mut line = b"data: ".to_vec();
        line.resize(BYTES_MAX / 2, b'x');
        line.push(b'\n');
        assert!(Parser::default().push(&line.repeat(3), &mut events).is_err());
        assert!(events.is_empty());
    }
}
