//! When each broadcast is due and what it is: fixed before the run, so that a slow server delays answers and never questions. Pure.

use super::scenario::Scenario;
use super::stamp::{EVERYBODY, Phase};
use crate::model::{PerPriority, Priority};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Planned {
    pub number: u32,
    /// After the beginning.
    pub at: Duration,
    pub group: u16,
    /// Counts the broadcasts to this group.
    pub ordinal: u32,
    pub priority: Priority,
    pub phase: Phase,
}

/// Broadcasts in the order in which they are due. The same scenario and seed give the same ones.
pub struct Plan {
    pace: Pace,
    warm_up: Duration,
    end: Duration,
    dice: Dice,
    /// When criticals to everybody are due; the next one last.
    emergencies: Vec<Duration>,
    /// Of the steady stream.
    sent: u32,
    number: u32,
}

/// A rate that is reached within the ramp.
#[derive(Clone, Copy, Debug)]
struct Pace {
    per_second: f64,
    ramp: f64,
}

impl Pace {
    /// When the nth is due, from 0: the rate grows evenly over the ramp and stays.
    fn due(self, nth: u32) -> Duration {
        let (nth, in_ramp) = (f64::from(nth), self.per_second * self.ramp / 2.0);
        let seconds = if nth < in_ramp {
            (2.0 * self.ramp * nth / self.per_second).sqrt()
        } else {
            self.ramp + (nth - in_ramp) / self.per_second
        };
        Duration::from_secs_f64(seconds)
    }
}

/// Which group, and how urgent: drawn, and each group's broadcasts counted.
pub struct Dice {
    random: SmallRng,
    weights: PerPriority<u32>,
    ordinals: Vec<u32>,
    to_everybody: u32,
}

impl Dice {
    pub fn new(scenario: &Scenario, seed: u64) -> Self {
        Self {
            random: SmallRng::seed_from_u64(seed),
            weights: scenario.weights(),
            ordinals: vec![0; scenario.groups as usize],
            to_everybody: 0,
        }
    }

    /// A group, its next ordinal, and a priority.
    pub fn throw(&mut self) -> (u16, u32, Priority) {
        let group = self.random.random_range(0..self.ordinals.len());
        let mut left = self.random.random_range(0..100);
        let mut priority = Priority::Low;
        for (candidate, weight) in Priority::ALL.into_iter().zip(self.weights) {
            if left < weight {
                priority = candidate;
                break;
            }
            left -= weight;
        }
        let ordinal = self.ordinals.get_mut(group).map(next).unwrap_or_default();
        (group as u16, ordinal, priority)
    }

    fn everybody(&mut self) -> (u16, u32, Priority) {
        (EVERYBODY, next(&mut self.to_everybody), Priority::Critical)
    }
}

fn next(counter: &mut u32) -> u32 {
    *counter += 1;
    *counter - 1
}

impl Plan {
    pub fn new(scenario: &Scenario, seed: u64) -> Self {
        let (warm_up, length) = (scenario.warm_up.0, scenario.length.0);
        let times = scenario.emergency.map_or(0, |emergency| emergency.times);
        let emergency = |nth: u32| warm_up + length.mul_f64(f64::from(nth) / f64::from(times + 1));
        Self {
            pace: Pace {
                per_second: scenario.broadcasts_per_second,
                ramp: scenario.ramp.0.as_secs_f64(),
            },
            warm_up,
            end: warm_up + length,
            dice: Dice::new(scenario, seed),
            emergencies: (1..=times).rev().map(emergency).collect(),
            sent: 0,
            number: 0,
        }
    }
}

impl Iterator for Plan {
    type Item = Planned;

    fn next(&mut self) -> Option<Planned> {
        let steady = self.pace.due(self.sent);
        let at = match self.emergencies.last() {
            Some(emergency) if *emergency <= steady => *emergency,
            Some(_) | None => steady,
        };
        if at >= self.end {
            return None;
        }
        let is_steady = at == steady && self.emergencies.last() != Some(&at);
        let (group, ordinal, priority) = if is_steady {
            self.sent += 1;
            self.dice.throw()
        } else {
            self.emergencies.pop();
            self.dice.everybody()
        };
        let number = next(&mut self.number);
        let phase = if at < self.warm_up {
            Phase::WarmUp
        } else {
            Phase::Measured
        };
        Some(Planned {
            number,
            at,
            group,
            ordinal,
            priority,
            phase,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{EVERYBODY, Pace, Phase, Plan, Planned};
    use crate::lab::load::scenario;
    use crate::model::Priority;
    use std::time::Duration;

    #[test]
    fn the_ramp_grows_evenly_and_ends_at_the_full_rate() {
        let pace = Pace {
            per_second: 100.0,
            ramp: 2.0,
        };
        for (nth, millis) in [(0, 0), (25, 1_000), (100, 2_000), (101, 2_010), (200, 3_000)] {
            assert_eq!(pace.due(nth).as_millis(), millis, "{nth}");
        }
        let flat = Pace {
            per_second: 10.0,
            ramp: 0.0,
        };
        assert_eq!((flat.due(0).as_millis(), flat.due(7).as_millis()), (0, 700));
    }

    fn plan(name: &str, seed: u64) -> Vec<Planned> {
        let scenario = scenario::open(name).unwrap().lasting(Duration::from_secs(30));
        Plan::new(&scenario, seed).collect()
    }

    #[test]
    fn what_is_due_is_fixed_by_the_seed_and_mixed_as_asked() {
        let (one, same, other) = (plan("standard", 1), plan("standard", 1), plan("standard", 2));
        assert!(one == same && one != other);
        let measured: Vec<&Planned> = one.iter().filter(|planned| planned.phase == Phase::Measured).collect();
        assert_eq!(measured.len(), 3_000);
        let share = |priority| measured.iter().filter(|planned| planned.priority == priority).count() as f64 / 30.0;
        for (priority, expected) in Priority::ALL.into_iter().zip([5.0, 10.0, 65.0, 20.0]) {
            assert!(
                (share(priority) - expected).abs() < 3.0,
                "{priority:?} {}",
                share(priority)
            );
        }
        for group in 0..25 {
            let ordinals: Vec<u32> = one
                .iter()
                .filter(|planned| planned.group == group)
                .map(|planned| planned.ordinal)
                .collect();
            assert!(
                ordinals.iter().copied().eq(0..ordinals.len() as u32) && ordinals.len() > 50,
                "group {group}"
            );
        }
    }

    #[test]
    fn emergencies_come_between_the_others_at_their_times() {
        let all = plan("emergency", 1);
        assert!(
            all.is_sorted_by_key(|planned| planned.at)
                && all.iter().zip(0..).all(|(planned, number)| planned.number == number)
        );
        let urgent: Vec<(u128, u32, Priority)> = all
            .iter()
            .filter(|planned| planned.group == EVERYBODY)
            .map(|planned| (planned.at.as_millis(), planned.ordinal, planned.priority))
            .collect();
        let warm_up = 5_000;
        let expected = [7_500, 15_000, 22_500].map(|at| warm_up + at);
        assert_eq!(urgent.iter().map(|(at, _, _)| *at).collect::<Vec<_>>(), expected);
        assert!(
            urgent
                .iter()
                .zip(0..)
                .all(|((_, ordinal, priority), nth)| *ordinal == nth && *priority == Priority::Critical)
        );
    }
}
