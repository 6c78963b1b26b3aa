//! When to leave an output alone: after some failures in a row nothing is sent for a while, then one call is let through, and its
//! end decides. Pure: the time is an argument.

use std::time::{Duration, Instant};

/// When it opens and how long it stays so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Failures in a row that open it; at least 1.
    pub failures: u32,
    pub open: Duration,
    /// A call that was let through and never came back counts no longer than this.
    pub trial: Duration,
}

/// As people see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Closed,
    Open,
    /// The time has passed; one call decides.
    HalfOpen,
}

impl State {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// How an attempt ended, as far as the breaker cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The output lives, whatever it said.
    Alive,
    Failed,
}

#[derive(Clone, Debug)]
pub struct Breaker {
    rules: Rules,
    phase: Phase,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Failures in a row.
    Closed(u32),
    Open {
        until: Instant,
    },
    /// One call is under way.
    Trial {
        until: Instant,
    },
}

impl Breaker {
    pub const fn new(rules: Rules) -> Self {
        Self {
            rules,
            phase: Phase::Closed(0),
        }
    }

    /// How long it lets nothing through; `None`: it would let a call through now.
    pub fn wait(&self, now: Instant) -> Option<Duration> {
        match self.phase {
            Phase::Closed(_) => None,
            Phase::Open { until } | Phase::Trial { until } => {
                let left = until.saturating_duration_since(now);
                (!left.is_zero()).then_some(left)
            }
        }
    }

    /// Lets a call through, or says how long it lets nothing through.
    pub fn admit(&mut self, now: Instant) -> Result<(), Duration> {
        if let Some(left) = self.wait(now) {
            return Err(left);
        }
        match self.phase {
            Phase::Closed(_) => {}
            Phase::Open { .. } | Phase::Trial { .. } => {
                self.phase = Phase::Trial {
                    until: now + self.rules.trial,
                };
            }
        }
        Ok(())
    }

    /// A call has ended.
    pub fn ended(&mut self, end: End, now: Instant) {
        let open = Phase::Open {
            until: now + self.rules.open,
        };
        self.phase = match (end, self.phase) {
            (End::Alive, _) => Phase::Closed(0),
            (End::Failed, Phase::Closed(failures)) if failures + 1 < self.rules.failures => Phase::Closed(failures + 1),
            (End::Failed, Phase::Closed(_) | Phase::Trial { .. }) => open,
            // One that began before it opened says nothing new.
            (End::Failed, Phase::Open { until }) => Phase::Open { until },
        };
    }

    pub fn state(&self, now: Instant) -> State {
        match self.phase {
            Phase::Closed(_) => State::Closed,
            Phase::Open { until } if now < until => State::Open,
            Phase::Open { .. } | Phase::Trial { .. } => State::HalfOpen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Breaker, Duration, End, Instant, Rules};
    use crate::base::clock;

    /// A script of steps: `f` a call that fails, `s` one that succeeds, `a` one that is let through and does not end yet, `x` the
    /// end of an earlier one that failed, `r` one that is refused, a number that many seconds. Then the state.
    fn check(script: &str, expected: &str) {
        let mut breaker = Breaker::new(Rules {
            failures: 3,
            open: Duration::from_secs(30),
            trial: Duration::from_secs(10),
        });
        let mut now: Instant = clock::now();
        for step in script.split(' ') {
            let admitted = |breaker: &mut Breaker, now| breaker.admit(now).is_ok();
            match step {
                "f" | "s" => {
                    assert!(admitted(&mut breaker, now), "{script}: {step} is refused");
                    breaker.ended(if step == "f" { End::Failed } else { End::Alive }, now);
                }
                "a" => assert!(admitted(&mut breaker, now), "{script}: refused"),
                "x" => breaker.ended(End::Failed, now),
                "r" => assert!(!admitted(&mut breaker, now), "{script}: let through"),
                seconds => now += Duration::from_secs(seconds.parse().unwrap()),
            }
        }
        assert_eq!(breaker.state(now).name(), expected, "{script}");
    }

    #[test]
    fn failures_in_a_row_open_it_and_one_call_decides() {
        check("f f", "closed");
        check("f f s f f", "closed");
        check("f f f", "open");
        check("f f f r 29 r", "open");
        check("f f f 30", "half_open");
        check("f f f 30 a r r", "half_open");
        check("f f f 30 s", "closed");
        check("f f f 30 s f f", "closed");
        check("f f f 30 f r 29 r", "open");
        check("f f f 30 f 30 s", "closed");
    }

    #[test]
    fn late_ends_and_lost_calls_do_no_harm() {
        check("a a f f f x 29 x 1", "half_open");
        check("f f f 30 a 9 r 1 a r", "half_open");
        check("f f f 30 a 10 s", "closed");
    }

    #[test]
    fn what_is_left_is_told() {
        let rules = Rules {
            failures: 1,
            open: Duration::from_secs(30),
            trial: Duration::from_secs(10),
        };
        let mut breaker = Breaker::new(rules);
        let now = clock::now();
        assert_eq!(breaker.wait(now), None);
        breaker.ended(End::Failed, now);
        let later = now + Duration::from_secs(12);
        assert_eq!(breaker.admit(later), Err(Duration::from_secs(18)));
        assert_eq!(breaker.admit(now + Duration::from_secs(30)), Ok(()));
        assert_eq!(
            breaker.wait(now + Duration::from_secs(33)),
            Some(Duration::from_secs(7))
        );
    }
}
