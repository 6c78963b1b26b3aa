//! A stream whose first bytes have been read already: they are read again, then the rest.

use super::Stream;
use bytes::{Buf, Bytes, BytesMut};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

#[derive(Debug)]
pub struct Rewind<S> {
    read: Bytes,
    inner: S,
}

impl<S> Rewind<S> {
    pub fn new(inner: S, read: Bytes) -> Self {
        Self { read, inner }
    }

    /// The stream, and what has not been read again.
    pub fn into_parts(self) -> (S, Bytes) {
        (self.inner, self.read)
    }
}

/// The socket behind an upgraded request, and the bytes that came after the request's head. Gives the connection back when it
/// was not served from a [`Rewind`] over a [`Stream`] (HTTP/2).
pub fn socket(upgraded: Upgraded) -> Result<(Stream, Bytes), Upgraded> {
    let parts = upgraded.downcast::<TokioIo<Rewind<Stream>>>()?;
    let (stream, left) = parts.io.into_inner().into_parts();
    if left.is_empty() {
        return Ok((stream, parts.read_buf));
    }
    let mut read = BytesMut::from(parts.read_buf.as_ref());
    read.extend_from_slice(&left);
    Ok((stream, read.freeze()))
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewind<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return Pin::new(&mut self.inner).poll_read(context, buffer);
        }
        let count = self.read.len().min(buffer.remaining());
        buffer.put_slice(&self.read[..count]);
        self.read.advance(count);
        if self.read.is_empty() {
            // Frees the buffer: a kept connection would hold it for its whole life.
            self.read = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewind<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::Rewind;
    use bytes::Bytes;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn what_was_read_is_read_again_then_the_rest() {
        for buffer in 1..8 {
            let mut stream = Rewind::new(&b" world"[..], Bytes::from_static(b"hello"));
            let (mut text, mut part) = (Vec::new(), vec![0; buffer]);
            while let count @ 1.. = stream.read(&mut part).await.unwrap() {
                text.extend_from_slice(&part[..count]);
            }
            assert_eq!(text, b"hello world");
        }
        let mut stream = Rewind::new(&b""[..], Bytes::from_static(b"hello"));
        stream.read_exact(&mut [0; 2]).await.unwrap();
        assert_eq!(stream.into_parts().1, "llo");
    }
}
