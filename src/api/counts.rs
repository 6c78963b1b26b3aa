//! How far a broadcast's recipients are, counted: the ladder, and what stands beside it.

use crate::base::clock::Millis;
use crate::model::Step;
use crate::state::aside::Aside;
use crate::state::broadcasts::Hot;
use serde::Serialize;

#[derive(Debug, Serialize)]
pub struct Counts {
    pub targeted: u64,
    pub sent: u64,
    pub received: u64,
    pub read: u64,
    pub acknowledged: u64,
    pub held: u64,
    pub skipped: u64,
    pub expired: u64,
    pub failed: u64,
}

impl Counts {
    /// Steps are cumulative: who has read it was sent it. Everybody is in one state at most beside the ladder.
    pub fn of(hot: &Hot, now: Millis) -> Self {
        let Hot {
            broadcast,
            recipients,
            ledger,
            ..
        } = hot;
        let is_over = now >= broadcast.expires_at && !ledger.is_cancelled();
        let is_off = is_over || ledger.is_cancelled();
        let aside = ledger.aside.as_deref();
        let skipped = aside.map_or(0, Aside::skipped);
        let failed = if ledger.is_cancelled() { 0 } else { hot.failed() };
        Self {
            targeted: if broadcast.position.is_some() {
                recipients.len()
            } else {
                u64::from(broadcast.targeted)
            },
            sent: ledger.count(Step::Sent),
            received: ledger.count(Step::Received),
            read: ledger.count(Step::Read),
            acknowledged: ledger.count(Step::Acknowledged),
            held: if is_off { 0 } else { aside.map_or(0, Aside::held) },
            skipped,
            expired: if is_over {
                let undone = recipients.difference_len(hot.done());
                undone.saturating_sub(skipped).saturating_sub(failed)
            } else {
                0
            },
            failed,
        }
    }
}
