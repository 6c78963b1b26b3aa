//! Many messages over one HTTP/2 request, in order, both ways: each a length (u32, little-endian), then what
//! [`rpc::encode`](super::rpc::encode) makes. The next goes out while the answers to those before are still under way.

use super::rpc::BODY_BYTES_MAX;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc;

/// Messages that wait for the connection to take them.
const MESSAGES_MAX: usize = 32;
const LENGTH_BYTES: usize = 4;

/// The end that messages are put into; the request, or its answer, ends when it is dropped.
pub type Messages = mpsc::Sender<Bytes>;

/// A body of messages.
pub struct MessageBody(mpsc::Receiver<Bytes>);

pub fn channel() -> (Messages, MessageBody) {
    let (sender, receiver) = mpsc::channel(MESSAGES_MAX);
    (sender, MessageBody(receiver))
}

/// An encoded message with its length in front.
pub fn frame(message: &Bytes) -> Bytes {
    let mut framed = BytesMut::with_capacity(LENGTH_BYTES + message.len());
    framed.put_u32_le(message.len() as u32);
    framed.put_slice(message);
    framed.freeze()
}

impl Body for MessageBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0
            .poll_recv(context)
            .map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// Reads the messages of a body.
pub struct Reader {
    body: Incoming,
    read: BytesMut,
}

impl Reader {
    pub fn new(body: Incoming) -> Self {
        Self {
            body,
            read: BytesMut::new(),
        }
    }

    /// The next message, or `None` when the peer has ended well. Dropping the future before it is ready loses nothing.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(message) = cut(&mut self.read)? {
                return Ok(Some(message));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.read.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(io::Error::other(error)),
                None if self.read.is_empty() => return Ok(None),
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }
}

fn cut(read: &mut BytesMut) -> io::Result<Option<Bytes>> {
    let Some(length) = read.first_chunk().map(|bytes| u32::from_le_bytes(*bytes) as usize) else {
        return Ok(None);
    };
    if length > BODY_BYTES_MAX {
        let detail = format!("a message of {length} bytes; at most {BODY_BYTES_MAX}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, detail));
    }
    if read.len() < LENGTH_BYTES + length {
        return Ok(None);
    }
    read.advance(LENGTH_BYTES);
    Ok(Some(read.split_to(length).freeze()))
}

#[cfg(test)]
mod tests {
    use super::{cut, frame};
    use bytes::{Bytes, BytesMut};

    #[test]
    fn messages_come_whole_however_they_were_cut() {
        let all = [
            frame(&Bytes::from_static(b"one")),
            frame(&Bytes::new()),
            frame(&Bytes::from_static(b"three")),
        ]
        .concat();
        for piece in 1..all.len() {
            let (mut read, mut found) = (BytesMut::new(), Vec::new());
            for part in all.chunks(piece) {
                read.extend_from_slice(part);
                while let Some(message) = cut(&mut read).unwrap() {
                    found.push(message);
                }
            }
            assert_eq!(
                (found, read.len()),
                (vec![Bytes::from("one"), Bytes::new(), Bytes::from("three")], 0),
                "{piece}"
            );
        }
    }

    #[test]
    fn a_length_that_cannot_be_is_refused_before_memory_is_asked_for() {
        let mut read = BytesMut::from(&u32::MAX.to_le_bytes()[..]);
        assert!(cut(&mut read).unwrap_err().to_string().contains("at most"));
    }
}
