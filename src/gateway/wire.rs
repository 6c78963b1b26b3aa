//! A frame's bytes on each transport.

use super::Transport;
use super::frame;
use super::goodbye::Goodbye;
use super::websocket;
use crate::model::Cursor;
use crate::state::Release;
use bytes::Bytes;

/// What a transport puts around a frame's text, at most.
const AROUND_BYTES: usize = 32;

impl Transport {
    pub const ALL: [Self; 3] = [Self::WebSocket, Self::Sse, Self::Lines];

    pub const fn index(self) -> usize {
        self as usize
    }

    /// What stands before everything else in the stream.
    pub const fn opening(self) -> &'static [u8] {
        match self {
            Self::Sse => b"retry: 1000\n\n",
            Self::WebSocket | Self::Lines => b"",
        }
    }

    /// A release's frame: the same bytes for all sessions of a transport.
    pub fn encode(self, release: &Release) -> Bytes {
        let (event, text) = frame::release(release);
        let mut out = Vec::with_capacity(text.len() + AROUND_BYTES);
        self.frame(&mut out, event, &text, None);
        out.shrink_to_fit();
        out.into()
    }

    /// Appends a frame. `id` sets the browser's last event id along with it.
    pub fn frame(self, out: &mut Vec<u8>, event: &str, text: &[u8], id: Option<Cursor>) {
        match self {
            Self::WebSocket => websocket::text(out, text),
            Self::Sse => {
                out.extend_from_slice(b"event: ");
                out.extend_from_slice(event.as_bytes());
                if let Some(cursor) = id {
                    out.extend_from_slice(format!("\nid: {cursor}").as_bytes());
                }
                out.extend_from_slice(b"\ndata: ");
                out.extend_from_slice(text);
                out.extend_from_slice(b"\n\n");
            }
            Self::Lines => {
                out.extend_from_slice(text);
                out.push(b'\n');
            }
        }
    }

    /// Appends the short line that ends each write.
    pub fn cursor(self, out: &mut Vec<u8>, cursor: Cursor) {
        match self {
            Self::Sse => out.extend_from_slice(format!("id: {cursor}\n\n").as_bytes()),
            Self::WebSocket | Self::Lines => self.frame(out, "cursor", &frame::cursor(cursor), None),
        }
    }

    /// Appends a sign of life.
    pub fn heartbeat(self, out: &mut Vec<u8>) {
        match self {
            Self::WebSocket => websocket::control(out, websocket::PING, &[]),
            Self::Sse => out.extend_from_slice(b":\n\n"),
            Self::Lines => self.frame(out, "ping", frame::PING, None),
        }
    }

    /// Appends the last words.
    pub fn goodbye(self, out: &mut Vec<u8>, goodbye: &Goodbye, nodes: &[String]) {
        self.frame(out, "goodbye", &frame::goodbye(goodbye, nodes), None);
        if self == Self::WebSocket {
            websocket::close(out, goodbye.code, goodbye.reason);
        }
    }
}
