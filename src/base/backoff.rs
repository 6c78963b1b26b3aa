//! Exponential backoff with jitter, as a pure function of the attempt and a random number.

use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    pub first: Duration,
    pub factor: f64,
    pub max: Duration,
}

impl Backoff {
    /// The wait before attempt `number + 1`, between half and the whole of the exponential step; `random` is in `0.0..1.0`.
    pub fn delay(&self, number: u32, random: f64) -> Duration {
        let exponent = i32::try_from(number).unwrap_or(i32::MAX).min(64);
        let step = self.first.as_secs_f64() * self.factor.powi(exponent);
        let whole = step.min(self.max.as_secs_f64());
        Duration::from_secs_f64(whole * (0.5 + 0.5 * random.clamp(0.0, 1.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::Backoff;
    use std::time::Duration;

    #[test]
    fn delays_double_up_to_the_most() {
        let backoff = Backoff {
            first: Duration::from_secs(1),
            factor: 2.0,
            max: Duration::from_secs(60),
        };
        let whole: Vec<u64> = (0..8).map(|n| backoff.delay(n, 1.0).as_secs()).collect();
        assert_eq!(whole, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff.delay(3, 0.0), Duration::from_secs(4));
        assert_eq!(backoff.delay(u32::MAX, 1.0), Duration::from_secs(60));
    }
}
