//! Why a session ends: a code, a reason, and whether to come back and when.

use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Goodbye {
    pub code: u16,
    pub reason: &'static str,
    /// `None`: coming back would end the same way.
    pub reconnect: Option<Duration>,
}

const fn goodbye(code: u16, reason: &'static str, reconnect_ms: u64) -> Goodbye {
    Goodbye {
        code,
        reason,
        reconnect: Some(Duration::from_millis(reconnect_ms)),
    }
}

const fn for_good(code: u16, reason: &'static str) -> Goodbye {
    Goodbye {
        code,
        reason,
        reconnect: None,
    }
}

pub const PROTOCOL: Goodbye = for_good(1002, "the WebSocket protocol was broken");
pub const NOT_TEXT: Goodbye = for_good(1007, "a message is not UTF-8 text");
pub const FLOOD: Goodbye = for_good(1008, "too many messages in a second");
pub const TOO_BIG: Goodbye = for_good(1009, "a message is larger than gateway.message_bytes_max");
pub const RESTART: Goodbye = goodbye(1012, "this node stops or restarts", 1_000);
pub const MOVE: Goodbye = goodbye(
    1012,
    "this node is much fuller than the others: come back to another one",
    1_000,
);
pub const SPREAD: Goodbye = goodbye(
    1012,
    "all of this event's staff are on this node: come back to another one",
    1_000,
);
pub const AHEAD: Goodbye = goodbye(1013, "this node has not caught up with the cursor", 1_000);
pub const TRY_LATER: Goodbye = goodbye(1013, "this node cannot read what was missed right now", 2_000);
pub const TOKEN_OVER: Goodbye = for_good(4001, "the token has expired or was revoked; come back with another one");
pub const ERASED: Goodbye = for_good(4003, "the user is not allowed here any more");
pub const SLOW: Goodbye = goodbye(4008, "slow consumer: nothing was read for gateway.stall_max", 1_000);
pub const SILENT: Goodbye = goodbye(4008, "silent: nothing was heard for gateway.silent_max", 1_000);

impl Goodbye {
    /// The pause spread over half to one and a half of it, so that the sessions of a node do not come back at once.
    #[must_use]
    pub fn spread(mut self, random: f64) -> Self {
        self.reconnect = self.reconnect.map(|pause| pause.mul_f64(0.5 + random.clamp(0.0, 1.0)));
        self
    }
}
