//! The days of a year and the share of its weddings that each is expected to have: by month and by weekday. Pure.

use super::model::Season;
use crate::base::clock::{self, Millis};
use crate::scaling::calendar::Local;

pub const DAY: Millis = 86_400_000;

/// A year, day by day.
#[derive(Clone, Debug)]
pub struct Calendar {
    /// Midnight of 1 January at UTC.
    pub begins: Millis,
    /// Of those months that are looked at: what each day of the year is expected to have; they come to 1.
    pub shares: Vec<f64>,
}

impl Calendar {
    /// `months` (1 to 12) are those that are looked at; none means all.
    pub fn new(season: &Season, months: &[u8]) -> Self {
        let begins = clock::parse_rfc3339(&format!("{:04}-01-01T00:00:00Z", season.year)).unwrap_or_default();
        let of = |nth: i64| Local(begins + nth * DAY);
        let days = (365..=366).find(|days| of(*days).month() == 1).unwrap_or(365);
        let mut shares: Vec<f64> = (0..days)
            .map(|nth| season.weekdays[weekday(begins + nth * DAY)])
            .collect();
        // What a month has is shared among its days by their weekdays.
        for month in 1..=12 {
            let is_in = |nth: usize| of(nth as i64).month() == month;
            let is_asked = months.is_empty() || months.contains(&month);
            let all: f64 = (0..shares.len()).filter(|nth| is_in(*nth)).map(|nth| shares[nth]).sum();
            let share = if is_asked && all > 0.0 {
                season.months[usize::from(month) - 1] / all
            } else {
                0.0
            };
            (0..shares.len())
                .filter(|nth| is_in(*nth))
                .for_each(|nth| shares[nth] *= share);
        }
        let all: f64 = shares.iter().sum();
        if all > 0.0 {
            shares.iter_mut().for_each(|share| *share /= all);
        }
        Self { begins, shares }
    }

    pub fn days(&self) -> usize {
        self.shares.len()
    }

    /// Midnight of this day at UTC.
    pub fn at(&self, day: usize) -> Millis {
        self.begins + day as Millis * DAY
    }

    /// `2027-06-19`.
    pub fn date(&self, day: usize) -> String {
        clock::rfc3339(self.at(day)).chars().take(10).collect()
    }

    /// The day of a date.
    pub fn day(&self, date: &str) -> Option<usize> {
        (0..self.days()).find(|day| self.date(*day) == date)
    }

    /// 0 is January.
    pub fn month(&self, day: usize) -> usize {
        usize::from(Local(self.at(day)).month()) - 1
    }

    /// 0 is Monday.
    pub fn weekday(&self, day: usize) -> usize {
        weekday(self.at(day))
    }

    /// The busiest day against the mean day, as far as days are looked at.
    pub fn busiest_over_mean(&self) -> f64 {
        let days = self.shares.iter().filter(|share| **share > 0.0).count();
        self.shares.iter().copied().fold(0.0, f64::max) * days as f64
    }
}

/// 0 is Monday; 1 January 1970 was a Thursday.
fn weekday(at: Millis) -> usize {
    (at.div_euclid(DAY) + 3).rem_euclid(7) as usize
}

#[cfg(test)]
mod tests {
    use super::Calendar;
    use crate::lab::season::figures::{Profile, open};

    #[test]
    fn a_year_has_its_days_its_months_and_a_busiest_day_as_published() {
        let season = open(Profile::Published).unwrap();
        let year = Calendar::new(&season, &[]);
        assert_eq!(
            (year.days(), year.date(0), year.date(364)),
            (365, "2027-01-01".into(), "2027-12-31".into())
        );
        let june = year.day("2027-06-19").unwrap();
        assert_eq!((year.month(june), year.weekday(june)), (5, 5));
        let sum = |of: &dyn Fn(usize) -> bool| (0..365).filter(|day| of(*day)).map(|day| year.shares[day]).sum::<f64>();
        for (month, share) in season.months.iter().enumerate() {
            assert!((sum(&|day| year.month(day) == month) - share).abs() < 1e-9, "{month}");
        }
        for (weekday, share) in season.weekdays.iter().enumerate() {
            // a month with five Saturdays shares the same weddings among more of them
            assert!(
                (sum(&|day| year.weekday(day) == weekday) - share).abs() < 0.01,
                "{weekday}"
            );
        }
        let ratio = year.busiest_over_mean();
        assert!((ratio - season.busiest_over_mean).abs() < 0.15, "{ratio}");
        assert_eq!(year.day("2028-01-01"), None);
    }

    #[test]
    fn months_that_are_left_out_have_no_weddings() {
        let mut season = open(Profile::Published).unwrap();
        season.year = 2028;
        let year = Calendar::new(&season, &[6, 9]);
        assert_eq!(year.days(), 366);
        let has = |date: &str| year.shares[year.day(date).unwrap()] > 0.0;
        assert!(has("2028-06-01") && has("2028-09-30") && !has("2028-07-01") && !has("2028-02-29"));
        assert!((year.shares.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    }
}
