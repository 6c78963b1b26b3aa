//! `campanile season`: a year of weddings, drawn and decided in seconds, and its busiest day for real.

use super::failure::Failure;
use crate::lab::season::{self, TRAFFIC_MAX, WEDDINGS_MAX, figures};
use clap::{Args, ValueEnum};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// Draw a wedding season, decide it in virtual time, and play its busiest day for real
#[derive(Debug, Args)]
#[command(after_help = "\
Weddings are drawn by month, weekday, guests, team and time of day; each says its broadcasts and has
its incidents. The real forecast and the real scaling decide the year in virtual time, on what this
machine was measured to deliver (--capacity); without that, scaling is `not measured`. With --replay
a day is played on three nodes of its own: a device for each of its people, every delivery
accounted for, and a probe every second. Uptime, latency and score come from there alone. Exits 1
when anything in it was missing, wrong or unexpected.

Profiles:
  published  month shares, guests and the spike of the busiest day by official figures; the rest is
             ours, and marked so
  origin     classes small to luxury, month multipliers, 5 % emergencies, team*10 + guests*0.1
             connections, and the origin's scaling rules
Each figure has its kind and source in data/seasons/figures.json; the report lists those it used.

The same seed gives the same season. A replay shortens the pauses between broadcasts, not its times
to confirm; --replay-scale leaves people out, not broadcasts.

Examples:
  campanile season
  campanile season --weddings 5000 --profile origin --months 5,6,9,10 --json
  campanile season --weddings 2000 --capacity capacity.json --out ./my-season
  campanile season --replay busiest --replay-scale 0.5")]
pub struct Season {
    /// Weddings of the year
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub weddings: usize,
    /// Broadcasts times this
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = traffic)]
    pub traffic: f64,
    /// Only in these months, 1 to 12 [default: all]
    #[arg(long, value_name = "MONTHS", value_delimiter = ',', value_parser = clap::value_parser!(u8).range(1..=12))]
    pub months: Vec<u8>,
    /// What is drawn is drawn the same with the same number
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Whose figures
    #[arg(long, value_enum, default_value_t = Profile::Published)]
    pub profile: Profile,
    /// What this machine delivers, as `cargo bench --bench scaling -- capacity --write FILE` measured it
    #[arg(long, value_name = "FILE")]
    pub capacity: Option<PathBuf>,
    /// Play this day for real: a date of the season's year, or `busiest`
    #[arg(long, value_name = "DAY")]
    pub replay: Option<String>,
    /// The share of the day's people who are there
    #[arg(long, value_name = "SHARE", default_value_t = 1.0, value_parser = share, requires = "replay")]
    pub replay_scale: f64,
    /// How many times shorter the pauses between its broadcasts are
    #[arg(long, value_name = "TIMES", default_value_t = 1200.0, value_parser = speed, requires = "replay")]
    pub replay_speed: f64,
    /// Where the report goes [default: campanile-reports/season-PROFILE-TIME]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// Calibrated by published figures
    Published,
    /// The origin's
    Origin,
}

fn number(text: &str, most: f64) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "it must be a number".to_owned())?;
    if number > 0.0 && number <= most {
        Ok(number)
    } else {
        Err(format!("it must be above 0, {most} at most"))
    }
}

fn traffic(text: &str) -> Result<f64, String> {
    number(text, TRAFFIC_MAX)
}

fn share(text: &str) -> Result<f64, String> {
    number(text, 1.0)
}

fn speed(text: &str) -> Result<f64, String> {
    number(text, 100_000.0)
}

pub fn run(options: Season, json: bool) -> Result<ExitCode, Failure> {
    if !(1..=WEDDINGS_MAX).contains(&options.weddings) {
        let what = format!("--weddings {}: it must be 1 to {WEDDINGS_MAX}", options.weddings);
        return Err(Failure::usage(what));
    }
    let command = typed(&options);
    Ok(season::run(&season::Options {
        weddings: options.weddings,
        traffic: options.traffic,
        months: options.months,
        seed: options.seed,
        profile: match options.profile {
            Profile::Published => figures::Profile::Published,
            Profile::Origin => figures::Profile::Origin,
        },
        capacity: options.capacity,
        replay: options.replay,
        replay_scale: options.replay_scale,
        replay_speed: options.replay_speed,
        out: options.out,
        command,
        json,
    })?)
}

/// As it could be typed again.
fn typed(options: &Season) -> String {
    let profile = match options.profile {
        Profile::Published => figures::Profile::Published.name(),
        Profile::Origin => figures::Profile::Origin.name(),
    };
    let mut words = format!(
        "campanile season --weddings {} --traffic {} --seed {} --profile {profile}",
        options.weddings, options.traffic, options.seed
    );
    if !options.months.is_empty() {
        let months: Vec<String> = options.months.iter().map(u8::to_string).collect();
        let _ = write!(words, " --months {}", months.join(","));
    }
    if let Some(capacity) = &options.capacity {
        let _ = write!(words, " --capacity {}", capacity.display());
    }
    if let Some(day) = &options.replay {
        let (scale, speed) = (options.replay_scale, options.replay_speed);
        let _ = write!(words, " --replay {day} --replay-scale {scale} --replay-speed {speed}");
    }
    words
}

#[cfg(test)]
mod tests {
    use super::number;
    use crate::lab::season::BUSIEST;

    #[test]
    fn numbers_that_make_no_season_are_refused() {
        assert_eq!(number("0.5", 1.0), Ok(0.5));
        for text in ["0", "-1", "NaN", "inf", "1.5", BUSIEST] {
            assert!(number(text, 1.0).is_err(), "{text}");
        }
    }
}
