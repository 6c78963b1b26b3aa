//! # Season
//!
//! What: `campanile season`: a year of weddings drawn from published figures, decided on by the real forecast and the real scaling in
//! virtual time, and, if asked for, its busiest day played on real nodes.
//! Why: how a whole season would go must be known before it comes, and each number of it must say where it is from.
//! Never: a measured figure that was not measured; a load that is derived from a machine nobody measured.
//! Start: [`figures`], [`draw`], then [`simulated`]; [`told`] makes the report.
//!
//! ```text
//! figures ─ model ─► draw, happens ─► curve ──────────────► decided ─► told ─► results
//!                        │              │                      ▲         ▲
//!                        │              └─ foresight ──────────┘         │
//!                        └─ script ─► replay (rehearse) ─► score ────────┘
//! ```

pub mod calendar;
pub mod curve;
pub mod decided;
mod dice;
pub mod draw;
mod figured;
pub mod figures;
pub mod foresight;
pub mod happens;
pub mod incidents;
pub mod model;
mod plots;
pub mod presence;
pub mod replay;
pub mod score;
pub mod script;
pub mod simulated;
pub mod told;

use crate::base::clock;
use crate::config::Config;
use crate::lab::machine;
use crate::lab::results::folder::{self, Shown};
use crate::scaling::Capacity;
use anyhow::{Context, Result, bail};
use draw::Order;
use figures::Profile;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use replay::Replayed;
use simulated::{Making, Simulated};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Weddings of one season.
pub const WEDDINGS_MAX: usize = 20_000;
pub const TRAFFIC_MAX: f64 = 20.0;
/// Broadcasts of one season, about: they are all kept in memory.
const BROADCASTS_MAX: f64 = 2_500_000.0;
/// What stands for the day with most weddings.
pub const BUSIEST: &str = "busiest";

#[derive(Clone, Debug)]
pub struct Options {
    pub weddings: usize,
    /// Broadcasts times this.
    pub traffic: f64,
    /// 1 to 12; none means all.
    pub months: Vec<u8>,
    pub seed: u64,
    pub profile: Profile,
    /// What this machine was measured to do.
    pub capacity: Option<PathBuf>,
    /// A date, or [`BUSIEST`].
    pub replay: Option<String>,
    /// The share of the day's people who are there.
    pub replay_scale: f64,
    /// How much shorter its pauses are.
    pub replay_speed: f64,
    /// Where the report goes; `None` is a folder of its own.
    pub out: Option<PathBuf>,
    /// As it was typed.
    pub command: String,
    pub json: bool,
}

/// Draws, decides, replays, keeps the report and prints it; fails when a replayed day lost or misled anything.
pub fn run(options: &Options) -> Result<ExitCode> {
    let (at, begun) = (clock::rfc3339(clock::wall()), clock::now());
    let capacity = options.capacity.as_deref().map(read).transpose()?;
    let bar = progress(options);
    let simulated = simulate(options, capacity.as_ref(), &bar)?;
    bar.finish_and_clear();
    let replayed = replay(options, &simulated)?;
    let frame = told::Frame {
        at,
        took_s: (clock::now() - begun).as_secs_f64(),
    };
    let report = told::report(options, &simulated, capacity.as_ref(), replayed.as_ref(), frame);
    let shown = if options.json { Shown::Json } else { Shown::Text };
    folder::hand_over(&report, options.out.as_deref(), shown)
}

/// What the bench of the machine wrote.
fn read(path: &Path) -> Result<Capacity> {
    let text = std::fs::read(path).with_context(|| path.display().to_string())?;
    let capacity: Capacity =
        serde_json::from_slice(&text).with_context(|| format!("{} is no measured capacity", path.display()))?;
    if capacity.deliveries_per_second.is_nan() || capacity.deliveries_per_second <= 0.0 || capacity.threads == 0 {
        bail!("{} says that this machine delivers nothing", path.display());
    }
    Ok(capacity)
}

fn simulate(options: &Options, capacity: Option<&Capacity>, bar: &ProgressBar) -> Result<Simulated> {
    if !(1..=WEDDINGS_MAX).contains(&options.weddings) {
        bail!("{} weddings; it must be 1 to {WEDDINGS_MAX}", options.weddings);
    }
    let season = figures::open(options.profile)?;
    let broadcasts = options.weddings as f64 * season.broadcasts.mean * options.traffic;
    if broadcasts > BROADCASTS_MAX {
        bail!("{broadcasts:.0} broadcasts are more than {BROADCASTS_MAX}; ask for fewer weddings or less traffic");
    }
    let mut config = Config::default();
    config.scaling.profile.clone_from(&season.scaling);
    let rules = config.scaling_profile().map_err(anyhow::Error::msg)?;
    let making = Making {
        order: Order {
            weddings: options.weddings,
            traffic: options.traffic,
            seed: options.seed,
        },
        months: &options.months,
        rules: &rules,
        every: (config.scaling.every.0.as_millis() as i64).max(1),
        cores: machine::machine().cores.max(1),
        capacity,
    };
    bar.set_message("weddings");
    let told = || {
        bar.inc(1);
        if bar.position() == options.weddings as u64 {
            bar.set_message("weddings drawn; the season is decided");
        }
    };
    Ok(simulated::simulate(season, &making, told)?)
}

fn replay(options: &Options, simulated: &Simulated) -> Result<Option<Replayed>> {
    let Some(wanted) = &options.replay else {
        return Ok(None);
    };
    let day = if wanted == BUSIEST {
        simulated.busiest_day().0
    } else {
        let year = simulated.season.year;
        let found = simulated.calendar.day(wanted);
        found.with_context(|| format!("{wanted} is no day of {year}, like {year}-06-19, and not {BUSIEST:?}"))?
    };
    let (date, weddings) = (simulated.calendar.date(day), simulated.of_day(day));
    let scenario = script::script(&date, &weddings, &simulated.season, options.replay_scale)?;
    let people = scenario
        .directory
        .iter()
        .filter(|line| line.get("kind").is_some_and(|kind| kind == "user"))
        .count();
    let broadcasts = scenario.broadcasts.len();
    if !options.json {
        eprintln!(
            "{date}: {} weddings, {people} people, {broadcasts} broadcasts, at {} times the pace",
            weddings.len(),
            options.replay_speed
        );
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(async {
        tokio::select! {
            report = replay::play(scenario, options.replay_speed) => report,
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        }
    })?;
    Ok(Some(Replayed {
        date,
        weddings: weddings.len(),
        people,
        broadcasts,
        scale: options.replay_scale,
        report,
    }))
}

fn progress(options: &Options) -> ProgressBar {
    let bar = ProgressBar::new(options.weddings as u64);
    if options.json {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len}  {msg}");
    style.map_or(bar.clone(), |style| bar.with_style(style))
}

#[cfg(test)]
mod tests {
    use super::figures::Profile;
    use super::simulated::tests::capacity;
    use super::told::{Frame, report};
    use super::{Options, simulate};
    use crate::scaling::Capacity;
    use indicatif::ProgressBar;
    use serde_json::Value;

    fn options(seed: u64) -> Options {
        Options {
            weddings: 120,
            traffic: 1.0,
            months: Vec::new(),
            seed,
            profile: Profile::Published,
            capacity: None,
            replay: None,
            replay_scale: 1.0,
            replay_speed: 1_200.0,
            out: None,
            command: "campanile season".into(),
            json: true,
        }
    }

    fn told(options: &Options, capacity: Option<&Capacity>) -> Value {
        let simulated = simulate(options, capacity, &ProgressBar::hidden()).unwrap();
        let frame = Frame {
            at: "2026-11-26T12:00:00.000Z".into(),
            took_s: 1.0,
        };
        report(options, &simulated, capacity, None, frame).json()
    }

    #[test]
    fn the_same_seed_tells_the_same_byte_for_byte() {
        let capacity = capacity(5_000.0);
        let of = |seed| told(&options(seed), Some(&capacity)).to_string();
        assert!(of(1) == of(1) && of(1) != of(2));
    }

    #[test]
    fn what_was_not_measured_is_not_told() {
        let json = told(&options(1), None);
        for (key, value) in json["values"].as_object().unwrap() {
            let is_open = key.starts_with("scaling.") || key.starts_with("replay.");
            assert!(!is_open || value.is_null(), "{key} {value}");
        }
        for key in ["scaling.decisions", "replay.uptime", "replay.mean", "replay.score"] {
            assert!(json["values"].get(key).is_some(), "{key} is told as not measured");
        }
        assert_eq!(json["outcomes"]["score of the replayed day"], "not measured");
        assert_eq!(json["verdict"], "good");
        assert!(json["headline"].as_str().unwrap().contains("not measured"));
        let json = told(&options(1), Some(&capacity(5_000.0)));
        assert!(json["values"]["scaling.headroom"].as_f64().unwrap() > 1.0);
    }

    #[test]
    fn too_many_weddings_are_refused_at_once() {
        let mut options = options(1);
        for weddings in [0, super::WEDDINGS_MAX + 1] {
            options.weddings = weddings;
            assert!(simulate(&options, None, &ProgressBar::hidden()).is_err());
        }
        (options.weddings, options.traffic) = (super::WEDDINGS_MAX, super::TRAFFIC_MAX);
        assert!(simulate(&options, None, &ProgressBar::hidden()).is_err());
    }
}
