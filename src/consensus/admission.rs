//! Who waits, and who is turned away, when a node cannot take all that comes: each command is asked for by itself, wherever it
//! came in, so that a critical one is never turned away for the company it keeps.

use super::handle::ProposeError;
use super::line::Line;
use super::state_machine::Shared;
use super::types::Raft;
use crate::metrics::METRICS;
use crate::model::Priority;
use crate::queue::admission::{Fullness, admits, share};
use crate::state::Command;
use openraft::async_runtime::WatchReceiver;
use std::time::Duration;

/// Entries that this node has in its log and has not applied: what waits behind so many is seconds late.
const LAG_ENTRIES_MAX: usize = 1_024;
/// However far behind this node is: the other nodes apply a critical as soon as they have it, and deliver it.
const LAG_COUNTS_MAX: f64 = 0.99;
/// What a refused caller may wait before trying again.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How a command stands to others when there is not room for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// What keeps the cluster going is not turned away.
    Needed,
    /// The same, and a critical may hang on it: what is due, and what calls a false alarm off.
    Urgent,
    Broadcast(Priority),
    /// The directory and the cache can wait like a broadcast of low priority, though they have none to name.
    Patient,
}

impl Standing {
    pub fn of(command: &Command) -> Self {
        match command {
            Command::Publish(publish) => Self::Broadcast(publish.draft.priority),
            // What turns away everything turns a probe away too; a burst of what is less urgent is no outage.
            Command::Probe(_) => Self::Broadcast(Priority::Critical),
            Command::Directory(_) | Command::Cache(_) => Self::Patient,
            Command::Tick(_) | Command::Cancel(_) => Self::Urgent,
            Command::Found(_)
            | Command::Redeliver(_)
            | Command::Settle(_)
            | Command::Acknowledge(_)
            | Command::Receipts(_)
            | Command::Presence(_)
            | Command::NodeStarted(_)
            | Command::NodeLost { .. }
            | Command::Zones(_)
            | Command::CreateToken(_)
            | Command::RevokeToken(_)
            | Command::Claim(_)
            | Command::Called(_)
            | Command::Alert(_)
            | Command::Audit(_) => Self::Needed,
        }
    }

    /// The same of a command as it travels. What cannot be read stops the node where it is applied, as it would have in any case.
    pub fn of_encoded(command: &[u8]) -> Self {
        bincode::deserialize(command).map_or(Self::Needed, |command| Self::of(&command))
    }

    pub fn fits(self, fullness: Fullness) -> bool {
        match self {
            Self::Needed | Self::Urgent => true,
            Self::Broadcast(priority) => admits(priority, fullness),
            Self::Patient => admits(Priority::Low, fullness),
        }
    }

    /// The same for a command as it travels, which is read only where it matters.
    pub fn fits_encoded(command: &[u8], fullness: Fullness) -> bool {
        admits(Priority::Low, fullness) || Self::of_encoded(command).fits(fullness)
    }

    /// What its caller is told; counts it.
    pub fn turned_away(self) -> ProposeError {
        let retry_after = RETRY_AFTER;
        METRICS.limits_hit.with_label_values(&["queue.admission"]).inc();
        match self {
            Self::Broadcast(priority) => {
                METRICS.shed.with_label_values(&[priority.name()]).inc();
                ProposeError::of_shed(priority, retry_after)
            }
            Self::Needed | Self::Urgent | Self::Patient => ProposeError::Overloaded { retry_after },
        }
    }
}

/// Rows that wait for the disk as a share of what is let in; the other half of the limit is for what was accepted.
pub fn rows_share(shared: &Shared) -> f64 {
    share(shared.dirty(), shared.storage.write_behind_rows_max / 2)
}

/// How full the way into the log is on this node.
pub fn fullness(line: &Line, shared: &Shared, raft: &Raft) -> Fullness {
    let last = raft.metrics().borrow_watched().last_log_index.unwrap_or(0);
    let lag = last.saturating_sub(*shared.applied.borrow());
    let lag = share(usize::try_from(lag).unwrap_or(usize::MAX), LAG_ENTRIES_MAX);
    Fullness {
        waiting: line.share_with(0),
        rows: rows_share(shared),
        lag: lag.min(LAG_COUNTS_MAX),
        late: 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::Standing;
    use crate::model::Priority;
    use crate::queue::admission::Fullness;
    use crate::state::Command;
    use crate::state::command::Tick;

    #[test]
    fn each_command_is_asked_for_by_itself() {
        let directory = Command::Directory(Vec::new());
        let tick = Command::Tick(Tick {
            kept_ms: 1,
            missed_after_ms: 1,
            retry: crate::model::Retry::DEFAULT,
        });
        let check = |waiting: f64, standing: Standing, expected: bool| {
            let none = Fullness::default();
            let fullness = Fullness { waiting, ..none };
            assert_eq!(standing.fits(fullness), expected, "{standing:?} at {waiting}");
        };
        for (waiting, critical, low, patient) in [
            (0.4, true, true, true),
            (0.6, true, false, false),
            (1.0, false, false, false),
        ] {
            check(waiting, Standing::Broadcast(Priority::Critical), critical);
            check(waiting, Standing::Broadcast(Priority::Low), low);
            check(waiting, Standing::of(&directory), patient);
            check(waiting, Standing::of(&tick), true);
        }
        let encode = |command: &Command| bincode::serialize(command).unwrap();
        let half = Fullness {
            rows: 0.5,
            ..Fullness::default()
        };
        assert!(Standing::fits_encoded(&encode(&tick), half) && !Standing::fits_encoded(&encode(&directory), half));
        assert!(Standing::fits_encoded(&encode(&directory), Fullness::default()));
        assert!(Standing::fits_encoded(b"what nobody can read", half));
    }
}
