//! # Delivery
//!
//! What: brings releases to the sessions of this node and their receipts back into the log.
//! Why: nobody waits for it; a publish is answered before its fan-out.
//! Never: a publish; another node.
//! Start: [`receipts`].

pub mod answers;
pub mod receipts;

use crate::base::size::Span;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How often receipts and presence go into the log.
    pub receipts_every: Span,
    /// A lost node's sessions are closed after this long.
    pub node_lost_after: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            receipts_every: Span::millis(50),
            node_lost_after: Span::seconds(5),
        }
    }
}
