//! Who is let in when too much waits already: the less urgent a publish, the sooner it is turned away, so that there is always
//! room for a critical one. What was let in is never dropped.

use crate::model::{PerPriority, Priority};

/// How full a node may be, as a share of each of its limits, for a publish of this priority to be let in.
pub const SHARES: PerPriority<f64> = [1.0, 0.9, 0.75, 0.5];

/// How full a node is: shares of its limits, 1 is at the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Fullness {
    /// Commands that wait to be packed.
    pub waiting: f64,
    /// Rows that wait for the disk.
    pub rows: f64,
    /// Entries of the log that this node has not applied.
    pub lag: f64,
    /// How late the oldest release is that is not yet written to all.
    pub late: f64,
}

impl Fullness {
    fn most(self) -> f64 {
        self.waiting.max(self.rows).max(self.lag).max(self.late)
    }
}

/// Whether a publish of this priority is let in.
pub fn admits(priority: Priority, fullness: Fullness) -> bool {
    fullness.most() < SHARES[priority.index()]
}

/// `part` of `limit`; a limit of nothing is reached.
pub fn share(part: usize, limit: usize) -> f64 {
    if limit == 0 { 1.0 } else { part as f64 / limit as f64 }
}

#[cfg(test)]
mod tests {
    use super::{Fullness, admits, share};
    use crate::model::Priority;

    /// Which priorities are let in, most urgent first, as their first letters.
    fn check(fullness: Fullness, expected: &str) {
        let admitted = Priority::ALL.into_iter().filter(|priority| admits(*priority, fullness));
        let letters: String = admitted.map(|priority| priority.name()[..1].to_uppercase()).collect();
        assert_eq!(letters, expected, "{fullness:?}");
    }

    #[test]
    fn low_goes_first_and_critical_has_a_reserve() {
        for (waiting, expected) in [
            (0.0, "CHNL"),
            (0.499, "CHNL"),
            (0.5, "CHN"),
            (0.749, "CHN"),
            (0.75, "CH"),
            (0.899, "CH"),
            (0.9, "C"),
            (0.999, "C"),
            (1.0, ""),
        ] {
            let none = Fullness::default();
            check(Fullness { waiting, ..none }, expected);
            check(Fullness { rows: waiting, ..none }, expected);
            check(Fullness { lag: waiting, ..none }, expected);
            check(Fullness { late: waiting, ..none }, expected);
        }
    }

    #[test]
    fn the_fullest_counts() {
        let fullness = Fullness {
            waiting: 0.1,
            rows: 0.8,
            lag: 0.7,
            late: 0.6,
        };
        check(fullness, "CH");
    }

    #[test]
    fn a_share_is_of_its_limit() {
        assert!(share(8, 16) >= 0.5 && share(7, 16) < 0.5);
        assert!(share(0, 0) >= 1.0);
    }

    /// A node that takes ten times less than what comes: of each priority about what its share allows gets in, critical always.
    #[test]
    fn ten_times_too_much_turns_away_the_least_urgent() {
        const LIMIT: usize = 1_000;
        let (mut waiting, mut came, mut admitted) = (0usize, [0u32; 4], [0u32; 4]);
        for step in 0..200_000u32 {
            // critical 5, high 10, normal 65, low 20 of 100
            let priority = match step * 37 % 100 {
                0..5 => Priority::Critical,
                5..15 => Priority::High,
                15..80 => Priority::Normal,
                _ => Priority::Low,
            };
            came[priority.index()] += 1;
            let fullness = Fullness {
                waiting: share(waiting, LIMIT),
                ..Fullness::default()
            };
            if admits(priority, fullness) {
                admitted[priority.index()] += 1;
                waiting += 1;
            }
            waiting -= usize::from(step % 10 == 0 && waiting > 0);
            assert!(waiting < LIMIT);
        }
        assert_eq!(admitted[0], came[0], "a critical was turned away");
        assert!(
            admitted[2] * 2 < came[2] && admitted[3] * 10 < came[3],
            "{admitted:?} of {came:?}"
        );
    }
}
