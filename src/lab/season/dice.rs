//! Numbers that are drawn. The same seed draws the same ones.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::f64::consts::TAU;

pub struct Dice(SmallRng);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(SmallRng::seed_from_u64(seed))
    }

    /// From 0, below 1.
    pub fn share(&mut self) -> f64 {
        self.0.random()
    }

    pub fn between(&mut self, from: f64, to: f64) -> f64 {
        from + (to - from) * self.share()
    }

    /// Both ends included.
    pub fn whole(&mut self, from: i64, to: i64) -> i64 {
        self.0.random_range(from..=to.max(from))
    }

    pub fn normal(&mut self, mean: f64, sd: f64) -> f64 {
        // Box and Muller: 1 - share is never 0
        let (one, other) = (1.0 - self.share(), self.share());
        mean + sd * (-2.0 * one.ln()).sqrt() * (TAU * other).cos()
    }

    pub fn lognormal(&mut self, median: f64, sigma: f64) -> f64 {
        self.normal(median.ln(), sigma).exp()
    }

    pub fn triangular(&mut self, min: f64, mode: f64, max: f64) -> f64 {
        let (share, wide) = (self.share(), max - min);
        if share * wide < mode - min {
            min + (share * wide * (mode - min)).sqrt()
        } else {
            max - ((1.0 - share) * wide * (max - mode)).sqrt()
        }
    }

    /// The place of one of these shares, which come to 1 together.
    pub fn pick(&mut self, shares: impl IntoIterator<Item = f64>) -> usize {
        let mut left = self.share();
        let mut last = 0;
        for (at, share) in shares.into_iter().enumerate() {
            if share <= 0.0 {
                continue;
            }
            if left < share {
                return at;
            }
            left -= share;
            last = at;
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::Dice;

    const DRAWS: u32 = 20_000;

    #[track_caller]
    fn check(mut draw: impl FnMut(&mut Dice) -> f64, mean: f64, within: f64) {
        let mut dice = Dice::new(7);
        let sum: f64 = (0..DRAWS).map(|_| draw(&mut dice)).sum();
        let found = sum / f64::from(DRAWS);
        assert!((found - mean).abs() < within, "{found}, not {mean}");
    }

    #[test]
    fn draws_come_to_their_means() {
        check(|dice| dice.normal(50.0, 15.0), 50.0, 0.5);
        check(
            |dice| dice.lognormal(8.0, (2.0 * (11.0_f64 / 8.0).ln()).sqrt()),
            11.0,
            0.3,
        );
        check(|dice| dice.triangular(0.2, 0.65, 0.8), 0.55, 0.005);
        check(|dice| dice.whole(1, 6) as f64, 3.5, 0.05);
        check(|dice| dice.pick([0.1, 0.0, 0.9]) as f64, 1.8, 0.02);
        check(|dice| dice.between(10.0, 20.0), 15.0, 0.1);
    }

    #[test]
    fn the_same_seed_draws_the_same() {
        let draw = |seed| {
            let mut dice = Dice::new(seed);
            (0..100).map(|_| dice.whole(0, 1_000_000)).collect::<Vec<_>>()
        };
        assert!(draw(1) == draw(1) && draw(1) != draw(2));
    }
}
