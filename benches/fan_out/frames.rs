//! What a client has read, frame by frame: whether a broadcast came is counted, not taken from how many bytes there were.

/// How the text of a broadcast begins, and no other frame's.
const BROADCAST: &[u8] = br#"{"event":"b"#;

/// A walk over the frames of one client, whose bytes come in pieces.
pub struct Walk {
    /// Of the next frame, until it is known what it is.
    head: Vec<u8>,
    /// Bytes that are still to come of what has begun.
    rest: usize,
    is_broadcast: bool,
}

impl Walk {
    /// So many bytes stand before the first frame.
    pub fn behind(bytes: usize) -> Self {
        Self {
            head: Vec::new(),
            rest: bytes,
            is_broadcast: false,
        }
    }

    /// How many broadcasts are whole with these bytes.
    pub fn read(&mut self, mut bytes: &[u8]) -> u64 {
        let mut whole = 0;
        while let Some((first, behind)) = bytes.split_first() {
            if self.rest > 0 {
                let read = self.rest.min(bytes.len());
                self.rest -= read;
                bytes = &bytes[read..];
                whole += u64::from(self.is_broadcast && self.rest == 0);
                continue;
            }
            self.head.push(*first);
            bytes = behind;
            if let Some((is_broadcast, rest)) = begun(&self.head) {
                (self.is_broadcast, self.rest) = (is_broadcast, rest);
                self.head.clear();
            }
        }
        whole
    }
}

/// Once enough of a frame is there: whether it is a broadcast, and how much of it is to come.
fn begun(head: &[u8]) -> Option<(bool, usize)> {
    let (start, length) = match *head {
        [_, 126, high, low, ..] => (4, usize::from(u16::from_be_bytes([high, low]))),
        [_, length @ 0..=125, ..] => (2, usize::from(length)),
        [_, 127..=255, ..] => panic!("a frame of more than 64 KiB, or a masked one"),
        _ => return None,
    };
    let (text, wanted) = (head.get(start..)?, length.min(BROADCAST.len()));
    (text.len() >= wanted).then(|| (text == BROADCAST, length - wanted))
}

/// A frame of so many bytes that begins like a broadcast, and so counts as one.
pub fn like_a_broadcast(bytes: usize) -> Vec<u8> {
    let length = bytes.checked_sub(4).and_then(|length| u16::try_from(length).ok());
    let length = length
        .filter(|length| *length >= 126)
        .expect("a frame as a broadcast has one");
    let mut frame = vec![0; bytes];
    frame[..2].copy_from_slice(&[0x81, 126]);
    frame[2..4].copy_from_slice(&length.to_be_bytes());
    frame[4..4 + BROADCAST.len()].copy_from_slice(BROADCAST);
    frame
}
