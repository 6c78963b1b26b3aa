//! What a season is drawn from, in the forms that the figures have, checked. Shares are normalised here, once.

use super::figures::{FigureError, Used};
use super::incidents::Incident;
use crate::model::{PerPriority, Priority};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
pub const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const YEARS: std::ops::RangeInclusive<i64> = 1970..=9_999;

/// A checked profile.
#[derive(Clone, Debug)]
pub struct Season {
    pub name: &'static str,
    pub about: String,
    /// The profile of the scaling rules that goes with it.
    pub scaling: String,
    pub year: i64,
    /// IANA names, and the share of weddings there.
    pub zones: Vec<(String, f64)>,
    /// Shares of the year's weddings, January first, and of a week's, Monday first.
    pub months: [f64; 12],
    pub weekdays: [f64; 7],
    /// The busiest day against the mean day, as published.
    pub busiest_over_mean: f64,
    pub guests: Guests,
    pub team: Team,
    pub connections: Connections,
    pub opted_in: Span,
    pub online: Online,
    /// In minutes after midnight, and its standard deviation.
    pub ceremony: (f64, f64),
    pub phases: Phases,
    pub delay: Delay,
    pub broadcasts: Normal,
    /// Each part of the day: from and to, in minutes from the ceremony, and its share of the broadcasts.
    pub parts: Vec<(i64, i64, f64)>,
    pub mix: PerPriority<f64>,
    pub audiences: Audiences,
    pub incidents: Vec<(Incident, f64)>,
    /// Minutes after the last thunder.
    pub all_clear: i64,
    pub power_cut: PowerCut,
    pub score: Weights,
    pub used: Vec<Used>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Guests {
    Lognormal {
        mean: f64,
        mu: f64,
        sigma: f64,
        min: f64,
        max: f64,
    },
    Classes(Vec<Class>),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    pub name: String,
    pub min: u32,
    pub max: u32,
    pub weight: f64,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged)]
pub enum Team {
    Devices { base: f64, per_guest: f64 },
    Seed { least: u32, guests_each: u32 },
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged)]
pub enum Connections {
    Seed {
        per_team: f64,
        per_guest: f64,
    },
    /// Devices of the venue's own team, besides those of whoever works for the wedding.
    VenueTeam(u32),
}

/// A share and the range it is drawn from.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Span {
    pub share: f64,
    pub min: f64,
    pub max: f64,
}

/// The share of guests' phones that are connected.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Online {
    pub morning: f64,
    pub arrival: f64,
    pub ceremony: f64,
    pub drinks: f64,
    pub dinner: f64,
    pub dancing: f64,
    pub after_critical: f64,
}

/// Minutes from the ceremony.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phases {
    pub suppliers_in: i64,
    pub hair_makeup: i64,
    pub weather_decision: i64,
    pub guests_in: i64,
    pub ceremony: i64,
    pub drinks: i64,
    pub dinner: i64,
    pub speeches: i64,
    pub first_dance: i64,
    pub send_off: i64,
    pub load_out: i64,
}

/// Lognormal, in minutes.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Delay {
    pub median: f64,
    pub mean: f64,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normal {
    pub mean: f64,
    pub sd: f64,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audiences {
    pub few: f64,
    pub staff: f64,
    pub guests: f64,
    pub everybody: f64,
    pub few_people: u32,
}

/// Lognormal, in seconds, cut at both ends.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PowerCut {
    pub min: f64,
    pub median: f64,
    pub p95: f64,
}

/// What each measured figure counts in our own score.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Weights {
    pub critical_p99_ms: Weight,
    pub high_p99_ms: Weight,
    pub availability_writes: Weight,
    pub ack_recorded_share: Weight,
    pub reconnect_catchup_p99_s: Weight,
}

/// All of the weight at `full`, none of it at `zero`, evenly between.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weight {
    pub full: f64,
    pub zero: f64,
    pub weight: f64,
}

#[derive(Deserialize)]
pub struct Mix {
    critical: f64,
    high: f64,
    normal: f64,
    low: f64,
}

#[derive(Deserialize)]
pub struct Ceremony {
    mode: String,
    sd_min: f64,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub enum Chances {
    Each(BTreeMap<String, f64>),
    /// The origin has one kind.
    Emergency(f64),
}

/// The figures as they were read.
pub struct Raw {
    pub year: i64,
    pub zones: BTreeMap<String, f64>,
    pub months: BTreeMap<String, f64>,
    pub weekdays: BTreeMap<String, f64>,
    pub busiest_over_mean: f64,
    pub guests: Guests,
    pub team: Team,
    pub connections: Connections,
    pub opted_in: Span,
    pub online: Online,
    pub ceremony: Ceremony,
    pub phases: Phases,
    pub delay: Delay,
    pub broadcasts: Normal,
    pub rates: BTreeMap<String, f64>,
    pub mix: Mix,
    pub audiences: Audiences,
    pub incidents: Chances,
    pub all_clear: i64,
    pub power_cut: PowerCut,
    pub score: Weights,
}

impl Phases {
    /// In their order.
    pub fn all(&self) -> [(&'static str, i64); 11] {
        [
            ("suppliers_in", self.suppliers_in),
            ("hair_makeup", self.hair_makeup),
            ("weather_decision", self.weather_decision),
            ("guests_in", self.guests_in),
            ("ceremony", self.ceremony),
            ("drinks", self.drinks),
            ("dinner", self.dinner),
            ("speeches", self.speeches),
            ("first_dance", self.first_dance),
            ("send_off", self.send_off),
            ("load_out", self.load_out),
        ]
    }
}

impl Guests {
    /// The mean that draws should come to.
    pub fn mean(&self) -> f64 {
        match self {
            Self::Lognormal { mean, .. } => *mean,
            Self::Classes(classes) => {
                let weights: f64 = classes.iter().map(|class| class.weight).sum();
                let of = |class: &Class| class.weight * f64::midpoint(f64::from(class.min), f64::from(class.max));
                classes.iter().map(of).sum::<f64>() / weights
            }
        }
    }

    fn is_whole(&self) -> bool {
        match self {
            Self::Lognormal { sigma, min, max, .. } => *sigma > 0.0 && *min >= 1.0 && min < max && *max <= 10_000.0,
            Self::Classes(classes) => {
                let fits = |class: &Class| class.weight > 0.0 && 1 <= class.min && class.min <= class.max;
                !classes.is_empty() && classes.iter().all(fits)
            }
        }
    }
}

impl Raw {
    /// The season, or what is wrong with it.
    pub fn checked(
        self,
        name: &'static str,
        about: String,
        scaling: String,
        used: Vec<Used>,
    ) -> Result<Season, FigureError> {
        let must = |holds: bool, what: &str| {
            holds
                .then_some(())
                .ok_or_else(|| FigureError::Wrong(format!("{name}: {what}")))
        };
        must(YEARS.contains(&self.year), "year must be between 1970 and 9999")?;
        must(self.guests.is_whole(), "guests must have a spread and sensible limits")?;
        let Span { share, min, max } = self.opted_in;
        must(
            0.0 <= min && min < max && max <= 1.0 && (min..=max).contains(&mode(&self.opted_in)) && share > 0.0,
            "opted_in must be shares of 1, with a mean that its limits allow",
        )?;
        let order = self.phases.all();
        must(order.is_sorted_by_key(|(_, at)| *at), "phases must follow one another")?;
        must(
            self.delay.median > 0.0 && self.delay.mean > self.delay.median,
            "delay must have a mean above its median",
        )?;
        let Normal { mean, sd } = self.broadcasts;
        must(mean > 0.0 && sd >= 0.0, "broadcasts must have a mean above 0")?;
        let PowerCut { min, median, p95 } = self.power_cut;
        must(
            0.0 < min && min <= median && median < p95,
            "power_cut must have min, median and p95 in this order",
        )?;
        must(self.all_clear > 0, "all_clear must be above 0")?;
        let incidents = incidents(&self.incidents)
            .ok_or_else(|| FigureError::Wrong(format!("{name}: incidents must be known, with chances from 0 to 1")))?;
        let ceremony = minutes(&self.ceremony.mode)
            .ok_or_else(|| FigureError::Wrong(format!("{name}: ceremony must be a time like 16:00")))?;
        let named = |names: &[&str], given: &BTreeMap<String, f64>, what: &str| {
            shares(names, given).ok_or_else(|| {
                FigureError::Wrong(format!("{name}: {what} must have a share for each, and none below 0"))
            })
        };
        let Mix {
            critical,
            high,
            normal,
            low,
        } = self.mix;
        let of = |priority| match priority {
            Priority::Critical => critical,
            Priority::High => high,
            Priority::Normal => normal,
            Priority::Low => low,
        };
        let zone_names: Vec<&str> = self.zones.keys().map(String::as_str).collect();
        let zones = named(&zone_names, &self.zones, "zones")?;
        Ok(Season {
            name,
            about,
            scaling,
            year: self.year,
            zones: self.zones.keys().cloned().zip(zones).collect(),
            months: array(&months(&self.months, name)?),
            weekdays: array(&named(&WEEKDAYS, &self.weekdays, "weekdays")?),
            busiest_over_mean: self.busiest_over_mean,
            guests: self.guests,
            team: self.team,
            connections: self.connections,
            opted_in: self.opted_in,
            online: self.online,
            ceremony: (ceremony, self.ceremony.sd_min),
            parts: parts(&self.phases, &self.rates)
                .ok_or_else(|| FigureError::Wrong(format!("{name}: rates must be of phases, and above 0 in all")))?,
            phases: self.phases,
            delay: self.delay,
            broadcasts: self.broadcasts,
            mix: Priority::ALL.map(of),
            audiences: self.audiences,
            incidents,
            all_clear: self.all_clear,
            power_cut: self.power_cut,
            score: self.score,
            used,
        })
    }
}

/// The top of the triangle between min and max whose mean is the share.
pub fn mode(span: &Span) -> f64 {
    3.0 * span.share - span.min - span.max
}

/// By name, or by number as the origin has them.
fn months(given: &BTreeMap<String, f64>, name: &str) -> Result<Vec<f64>, FigureError> {
    let numbers: Vec<String> = (1..=12).map(|month: u32| month.to_string()).collect();
    let numbers: Vec<&str> = numbers.iter().map(String::as_str).collect();
    shares(&MONTHS, given)
        .or_else(|| shares(&numbers, given))
        .ok_or_else(|| FigureError::Wrong(format!("{name}: months must have a share for each of the twelve")))
}

/// Normalised, in the order of the names; `None` unless each has one.
fn shares(names: &[&str], given: &BTreeMap<String, f64>) -> Option<Vec<f64>> {
    let each: Option<Vec<f64>> = names.iter().map(|name| given.get(*name).copied()).collect();
    let each = each.filter(|each| each.len() == given.len() && each.iter().all(|share| *share >= 0.0))?;
    let all: f64 = each.iter().sum();
    (all > 0.0).then(|| each.iter().map(|share| share / all).collect())
}

fn array<const N: usize>(given: &[f64]) -> [f64; N] {
    std::array::from_fn(|at| given.get(at).copied().unwrap_or_default())
}

fn incidents(chances: &Chances) -> Option<Vec<(Incident, f64)>> {
    let each: Vec<(Incident, f64)> = match chances {
        Chances::Emergency(chance) => vec![(Incident::Emergency, *chance)],
        // the delay of a ceremony is drawn for each wedding, and an incident when it is long
        Chances::Each(chances) => chances
            .iter()
            .filter(|(name, _)| *name != Incident::Delay.name())
            .map(|(name, chance)| Some((Incident::named(name)?, *chance)))
            .collect::<Option<_>>()?,
    };
    let fits = each.iter().all(|(_, chance)| (0.0..=1.0).contains(chance));
    fits.then_some(each)
}

/// `16:00` as minutes after midnight.
fn minutes(text: &str) -> Option<f64> {
    let (hour, minute) = text.split_once(':')?;
    let (hour, minute): (u32, u32) = (hour.parse().ok()?, minute.parse().ok()?);
    (hour < 24 && minute < 60).then(|| f64::from(hour * 60 + minute))
}

/// A part of the day goes on until the next one that has a rate, the last until everybody has left.
fn parts(phases: &Phases, rates: &BTreeMap<String, f64>) -> Option<Vec<(i64, i64, f64)>> {
    let all = phases.all();
    let known = rates.keys().all(|name| all.iter().any(|(phase, _)| phase == name));
    let with: Vec<(i64, f64)> = all
        .iter()
        .filter_map(|(name, at)| Some((*at, *rates.get(*name)?)))
        .collect();
    let ends = with.iter().skip(1).map(|(at, _)| *at).chain([phases.load_out]);
    let sum: f64 = with.iter().map(|(_, rate)| rate).sum();
    let fits = known && sum > 0.0 && with.iter().all(|(_, rate)| *rate >= 0.0);
    fits.then(|| {
        with.iter()
            .zip(ends)
            .map(|((from, rate), to)| (*from, to, rate / sum))
            .collect()
    })
}
