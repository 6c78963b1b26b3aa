//! Which of the loops that matter stand still. Pure: whoever asks says what the loops show, and when that is.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What a loop shows of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beat {
    pub name: String,
    /// Grows while it moves.
    pub count: u64,
    /// It has nothing to do and need not move.
    pub is_at_rest: bool,
}

impl Beat {
    pub fn of(name: impl Into<String>, count: u64) -> Self {
        Self {
            name: name.into(),
            count,
            is_at_rest: false,
        }
    }
}

/// Remembers when each has moved last.
#[derive(Debug)]
pub struct Pulse {
    patience: Duration,
    moved: BTreeMap<String, (u64, Instant)>,
}

impl Pulse {
    /// A loop that has not moved for longer than `patience` stands still.
    pub fn new(patience: Duration) -> Self {
        Self {
            patience,
            moved: BTreeMap::new(),
        }
    }

    /// The names of those that stand still. One that is seen for the first time has just moved; one that is not shown any more has
    /// ended and is forgotten.
    pub fn still(&mut self, now: Instant, beats: &[Beat]) -> Vec<String> {
        let mut moved = BTreeMap::new();
        let mut still = Vec::new();
        for beat in beats {
            let known = self.moved.get(&beat.name);
            let known = known.filter(|(count, _)| *count == beat.count && !beat.is_at_rest);
            let at = known.map_or(now, |(_, at)| *at);
            if now.saturating_duration_since(at) > self.patience {
                still.push(beat.name.clone());
            }
            moved.insert(beat.name.clone(), (beat.count, at));
        }
        self.moved = moved;
        still
    }
}

#[cfg(test)]
mod tests {
    use super::{Beat, Pulse};
    use crate::base::clock;
    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// Looks at these moments (seconds) at one loop that shows these counts; when it was found to stand still.
    fn check(shown: &[(u64, u64)], expected: &[u64]) {
        let (mut pulse, start) = (Pulse::new(PATIENCE), clock::now());
        let looks = shown.iter().filter(|(at, count)| {
            let beats = [Beat::of("loop", *count)];
            !pulse.still(start + Duration::from_secs(*at), &beats).is_empty()
        });
        let still: Vec<u64> = looks.map(|(at, _)| *at).collect();
        assert_eq!(still, expected, "{shown:?}");
    }

    #[test]
    fn a_loop_that_moves_never_stands_still() {
        check(&[(0, 1), (9, 2), (18, 3), (27, 4)], &[]);
        check(&[(0, 1), (10, 1), (20, 2)], &[]);
    }

    #[test]
    fn a_loop_that_stands_still_is_found_until_it_moves_again() {
        check(&[(0, 1), (11, 1), (15, 1), (16, 2), (20, 2), (27, 2)], &[11, 15, 27]);
    }

    #[test]
    fn who_has_nothing_to_do_may_rest() {
        let (mut pulse, start) = (Pulse::new(PATIENCE), clock::now());
        let mut look = |at: u64, is_at_rest: bool| {
            let beat = Beat {
                is_at_rest,
                ..Beat::of("apply", 7)
            };
            pulse.still(start + Duration::from_secs(at), &[beat]).len()
        };
        assert_eq!([look(0, true), look(60, true), look(65, false)], [0, 0, 0]);
        assert_eq!(
            [look(70, false), look(71, false)],
            [0, 1],
            "ten seconds after it had something to do"
        );
    }

    #[test]
    fn one_that_ended_is_forgotten_and_the_others_are_named() {
        let (mut pulse, start) = (Pulse::new(PATIENCE), clock::now());
        let both = [Beat::of("worker-0", 1), Beat::of("worker-1", 1)];
        assert!(pulse.still(start, &both).is_empty());
        let later = start + PATIENCE * 2;
        assert_eq!(pulse.still(later, &both[..1]), ["worker-0"]);
        assert_eq!(pulse.still(later, &both), ["worker-0"], "the other has just come");
    }
}
