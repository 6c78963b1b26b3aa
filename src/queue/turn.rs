//! Whose turn it is: critical always, then the others 6:4:2, so that none starves.

use crate::model::{PerPriority, Priority};

/// Releases of each priority in one cycle. Critical takes no turns: it goes whenever it waits.
pub const SHARES: PerPriority<u8> = [0, 6, 4, 2];

/// What is left of the cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turns {
    left: PerPriority<u8>,
}

impl Default for Turns {
    fn default() -> Self {
        Self { left: SHARES }
    }
}

impl Turns {
    /// Takes the next turn among the priorities that wait; `None` when nobody does.
    pub fn next(&mut self, waits: PerPriority<bool>) -> Option<Priority> {
        if waits[Priority::Critical.index()] {
            return Some(Priority::Critical);
        }
        if !waits.contains(&true) {
            return None;
        }
        self.take(waits).or_else(|| {
            self.left = SHARES;
            self.take(waits)
        })
    }

    fn take(&mut self, waits: PerPriority<bool>) -> Option<Priority> {
        let next = Priority::ALL
            .into_iter()
            .find(|priority| waits[priority.index()] && self.left[priority.index()] > 0)?;
        self.left[next.index()] -= 1;
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::Turns;
    use crate::model::Priority;

    /// `waiting` as "C2 L1": how many of each wait; `expected` as "CCL".
    fn check(waiting: &str, expected: &str) {
        let mut counts = [0usize; 4];
        for part in waiting.split_whitespace() {
            let index = "CHNL".find(&part[..1]).unwrap();
            counts[index] = part[1..].parse().unwrap();
        }
        let mut turns = Turns::default();
        let mut order = String::new();
        while let Some(next) = turns.next(counts.map(|count| count > 0)) {
            counts[next.index()] -= 1;
            order.push_str(&next.name()[..1].to_uppercase());
        }
        assert_eq!(order, expected.replace(' ', ""), "{waiting}");
    }

    #[test]
    fn critical_is_strict_and_low_is_never_starved() {
        check("", "");
        check("C20 L1", "CCCCCCCCCCCCCCCCCCCC L");
        check("C1 H1 N1 L1", "C H N L");
        check("H13 N1 L5", "HHHHHH N LL HHHHHH LL H L");
        check("H12 N8 L4", "HHHHHH NNNN LL HHHHHH NNNN LL");
        check("L5", "LLLLL");
        check("N5 L3", "NNNN LL N L");
    }

    #[test]
    fn shares_hold_over_a_long_run() {
        let mut turns = Turns::default();
        let mut taken = [0; 4];
        for _ in 0..1200 {
            taken[turns.next([false, true, true, true]).unwrap().index()] += 1;
        }
        assert_eq!(taken, [0, 600, 400, 200]);
        assert_eq!(turns.next([true; 4]), Some(Priority::Critical));
    }
}
