//! What several runs came to.

use crate::lab::results::shown;

/// Of one number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub lowest: f64,
    pub highest: f64,
    pub is_of_two: bool,
}

impl Spread {
    /// Of what was measured; `None` when nothing was.
    pub fn of(values: &[Option<f64>]) -> Option<Self> {
        let mut values: Vec<f64> = values.iter().copied().flatten().collect();
        values.sort_by(f64::total_cmp);
        let (lowest, highest) = (*values.first()?, *values.last()?);
        let (lower, upper) = ((values.len() - 1) / 2, values.len() / 2);
        let median = f64::midpoint(*values.get(lower)?, *values.get(upper)?);
        Some(Self {
            median,
            lowest,
            highest,
            is_of_two: values.len() == 2,
        })
    }

    /// The median, and the extremes where they can be told from it; two values have no middle that was measured.
    pub fn text(&self) -> String {
        let [median, lowest, highest] = [self.median, self.lowest, self.highest].map(shown);
        if lowest == highest {
            median
        } else if self.is_of_two {
            format!("{lowest} to {highest}")
        } else {
            format!("{median} [{lowest} to {highest}]")
        }
    }
}
