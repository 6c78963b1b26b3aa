//! Scaling's calendar, given every month and the weekend's edges. Pure.

use super::proof::Proof;
use crate::base::clock;
use crate::config::Config;
use crate::scaling::Profile;
use crate::scaling::calendar::Local;
use anyhow::{Context, Result};

/// Each profile and its season, by the domain and not by the file.
const SEASONS: [(&str, &[u8]); 2] = [("origin", &[5, 6, 9, 10]), ("default", &[5, 6, 7, 8, 9, 10])];
/// In which the weekend is looked for: its edges, and days without one.
const MOMENTS: [(&str, bool); 6] = [
    ("2027-06-18T13:59:59Z", false),
    ("2027-06-18T14:00:00Z", true),
    ("2027-06-19T03:00:00Z", true),
    ("2027-06-20T20:59:59Z", true),
    ("2027-06-20T21:00:00Z", false),
    ("2027-06-23T12:00:00Z", false),
];

/// One of those that are built in.
pub fn profile(name: &str) -> Result<Profile> {
    let mut config = Config::default();
    name.clone_into(&mut config.scaling.profile);
    config.scaling_profile().map_err(anyhow::Error::msg)
}

fn local(text: &str) -> Result<Local> {
    Ok(Local(clock::parse_rfc3339(text).with_context(|| text.to_owned())?))
}

/// Whether a month is in the season of the profile that nodes have by default.
pub fn is_season(month: u8) -> bool {
    SEASONS[1].1.contains(&month)
}

pub fn calendar(proof: &mut Proof) -> Result<()> {
    let (mut right, mut all) = (0, 0);
    for (name, months) in SEASONS {
        let profile = profile(name)?;
        for month in 1..=12_u8 {
            for (day, hour) in [(1, "00:00:00"), (15, "12:00:00"), (28, "23:59:59")] {
                let at = local(&format!("2027-{month:02}-{day:02}T{hour}Z"))?;
                all += 1;
                if profile.is_season(&[at]) == months.contains(&month) {
                    right += 1;
                } else {
                    proof.wrong(format!("{name}: day {day} of month {month}"));
                }
            }
        }
        for (moment, is_weekend) in MOMENTS {
            all += 1;
            if profile.is_weekend(&[local(moment)?]) == is_weekend {
                right += 1;
            } else {
                proof.wrong(format!("{name}: {moment} and the weekend"));
            }
        }
    }
    proof.exactly("dates told as season and weekend as they are", all, right);
    proof.saw("seasons: May, June, September, October by the origin; with July and August by ours");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::calendar;
    use crate::lab::validate::proof::Proof;
    use crate::lab::validate::verdict::{Ending, Outcome, outcome};

    #[test]
    fn the_calendar_that_is_built_in_is_as_the_domain_has_it() {
        let mut proof = Proof::default();
        calendar(&mut proof).unwrap();
        assert_eq!(outcome(&Ending::Ran, &proof), Outcome::Passed, "{:?}", proof.findings());
    }
}
