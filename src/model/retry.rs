//! How often a broadcast is written again to a session that promised receipts and gave none.

use super::{Millis, PerPriority, Priority};
use serde::{Deserialize, Serialize};

/// Settings as a command carries them: every node decides with the same numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Writes in all, the first one too.
    pub attempts: PerPriority<u8>,
    /// The wait after the first write; each further one is twice as long ...
    pub first_ms: u64,
    /// ... up to this.
    pub longest_ms: u64,
}

impl Retry {
    pub const DEFAULT: Self = Self {
        attempts: [5, 3, 3, 3],
        first_ms: 1_000,
        longest_ms: 60_000,
    };

    pub fn attempts(&self, priority: Priority) -> usize {
        usize::from(self.attempts[priority.index()].max(1))
    }

    /// How long a receipt is waited for after so many writes: between half and the whole of the exponential step, so that those who
    /// failed together are not all tried again at once. `seed` decides where; whole numbers, since all nodes must agree.
    pub fn wait(&self, writes: usize, seed: u64) -> Millis {
        const DOUBLINGS_MAX: usize = 32;
        let doublings = writes.saturating_sub(1).min(DOUBLINGS_MAX);
        let whole = self.first_ms.saturating_mul(1 << doublings).min(self.longest_ms);
        let half = whole / 2;
        let jitter = mixed(seed ^ (writes as u64) << 56) % (whole - half + 1);
        Millis::try_from(half + jitter).unwrap_or(Millis::MAX)
    }
}

/// One number for another, so that near ones come to be far apart (the finalizer of `SplitMix64`).
const fn mixed(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::Retry;
    use crate::model::Priority;

    const RETRY: Retry = Retry {
        attempts: [5, 3, 3, 0],
        first_ms: 1_000,
        longest_ms: 60_000,
    };

    #[test]
    fn waits_double_up_to_the_most_and_are_spread_over_their_second_half() {
        for (writes, whole) in [
            (1, 1_000),
            (2, 2_000),
            (3, 4_000),
            (6, 32_000),
            (7, 60_000),
            (500, 60_000),
        ] {
            let waits: Vec<i64> = (0..1_000).map(|seed| RETRY.wait(writes, seed)).collect();
            assert!(waits.iter().all(|wait| (whole / 2..=whole).contains(wait)), "{writes}");
            let early = waits.iter().filter(|wait| **wait < whole * 3 / 4).count();
            assert!(
                (300..700).contains(&early),
                "{early} of 1000 in the first half of the jitter"
            );
        }
        assert_eq!(RETRY.wait(3, 77), RETRY.wait(3, 77));
    }

    #[test]
    fn there_is_one_write_at_least() {
        assert_eq!(Priority::ALL.map(|priority| RETRY.attempts(priority)), [5, 3, 3, 1]);
    }
}
