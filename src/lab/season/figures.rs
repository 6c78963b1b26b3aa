//! The figures as they stand in `data/seasons`: each with its kind and its source, and a profile that says which of them it goes by.

use super::model::{Raw, Season};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

const FIGURES: &str = include_str!("../../../data/seasons/figures.json");
const PUBLISHED: &str = include_str!("../../../data/seasons/published.json");
const ORIGIN: &str = include_str!("../../../data/seasons/origin.json");

/// Which figures a season is drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    Published,
    Origin,
}

#[derive(Debug, thiserror::Error)]
pub enum FigureError {
    #[error("{file} cannot be read: {source}")]
    Unreadable {
        file: &'static str,
        source: serde_json::Error,
    },
    #[error("the profile {profile} names no figure for {name}")]
    Unnamed { profile: &'static str, name: &'static str },
    #[error("{name} is {pointer}; there is no figure with a value, a kind and a source")]
    Missing { name: &'static str, pointer: String },
    #[error("{name} ({pointer}) is of another form: {source}")]
    Form {
        name: &'static str,
        pointer: String,
        source: serde_json::Error,
    },
    #[error("{name} ({pointer}) names the source {source_id}, which is not listed")]
    Source {
        name: &'static str,
        pointer: String,
        source_id: String,
    },
    #[error("{0}")]
    Wrong(String),
}

/// Where a figure comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Printed by its source.
    Published,
    /// Arithmetic on published numbers.
    Derived,
    /// The origin's.
    Seed,
    /// Ours.
    Assumption,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Published => "published",
            Self::Derived => "derived",
            Self::Seed => "origin",
            Self::Assumption => "assumption",
        })
    }
}

/// A figure that a season was drawn from.
#[derive(Clone, Debug, Serialize)]
pub struct Used {
    pub name: &'static str,
    /// Its place in `data/seasons/figures.json`.
    pub pointer: String,
    pub kind: Kind,
    /// As its sources are listed there.
    pub source: Vec<String>,
    pub note: String,
}

#[derive(Deserialize)]
struct Figure {
    value: Value,
    kind: Kind,
    source: Vec<String>,
    #[serde(default)]
    note: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    about: String,
    /// The profile of the scaling rules that goes with it.
    scaling: String,
    figures: BTreeMap<String, String>,
}

impl Profile {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Origin => "origin",
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Published => PUBLISHED,
            Self::Origin => ORIGIN,
        }
    }
}

/// Reads what a profile goes by, and checks all of it.
pub fn open(profile: Profile) -> Result<Season, FigureError> {
    let unreadable = |file| move |source| FigureError::Unreadable { file, source };
    let all: Value = serde_json::from_str(FIGURES).map_err(unreadable("figures.json"))?;
    let file: File = serde_json::from_str(profile.text()).map_err(unreadable(profile.name()))?;
    let mut shelf = Shelf {
        profile: profile.name(),
        all,
        file,
        used: Vec::new(),
    };
    let raw = Raw {
        year: shelf.take("year")?,
        zones: shelf.take("zones")?,
        months: shelf.take("months")?,
        weekdays: shelf.take("weekdays")?,
        busiest_over_mean: shelf.take("busiest_over_mean")?,
        guests: shelf.take("guests")?,
        team: shelf.take("team")?,
        connections: shelf.take("connections")?,
        opted_in: shelf.take("opted_in")?,
        online: shelf.take("online")?,
        ceremony: shelf.take("ceremony")?,
        phases: shelf.take("phases")?,
        delay: shelf.take("delay")?,
        broadcasts: shelf.take("broadcasts")?,
        rates: shelf.take("rates")?,
        mix: shelf.take("mix")?,
        audiences: shelf.take("audiences")?,
        incidents: shelf.take("incidents")?,
        all_clear: shelf.take("all_clear")?,
        power_cut: shelf.take("power_cut")?,
        score: shelf.take("score")?,
    };
    raw.checked(profile.name(), shelf.file.about, shelf.file.scaling, shelf.used)
}

/// All figures, and which of them were taken.
struct Shelf {
    profile: &'static str,
    all: Value,
    file: File,
    used: Vec<Used>,
}

impl Shelf {
    fn take<T: DeserializeOwned>(&mut self, name: &'static str) -> Result<T, FigureError> {
        let pointer = self.file.figures.get(name).ok_or(FigureError::Unnamed {
            profile: self.profile,
            name,
        })?;
        let pointer = pointer.clone();
        let found = self.all.pointer(&pointer).cloned();
        let figure: Option<Figure> = found.and_then(|value| serde_json::from_value(value).ok());
        let Some(figure) = figure.filter(|figure| !figure.source.is_empty()) else {
            return Err(FigureError::Missing { name, pointer });
        };
        let sources = self.all.pointer("/meta/sources").and_then(Value::as_object);
        let unknown = |id: &&String| sources.is_none_or(|sources| !sources.contains_key(id.as_str()));
        if let Some(source_id) = figure.source.iter().find(unknown).cloned() {
            return Err(FigureError::Source {
                name,
                pointer,
                source_id,
            });
        }
        let value = serde_json::from_value(figure.value).map_err(|source| FigureError::Form {
            name,
            pointer: pointer.clone(),
            source,
        })?;
        self.used.push(Used {
            name,
            pointer,
            kind: figure.kind,
            source: figure.source,
            note: figure.note,
        });
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::{FIGURES, Figure, Kind, Profile, open};
    use serde_json::Value;

    #[test]
    fn both_profiles_are_whole_and_say_where_each_figure_is_from() {
        let published = open(Profile::Published).unwrap();
        let origin = open(Profile::Origin).unwrap();
        let kinds = |season: &super::Season, kind| season.used.iter().filter(|used| used.kind == kind).count();
        assert_eq!((kinds(&published, Kind::Seed), published.used.len()), (0, 21));
        assert_eq!((kinds(&origin, Kind::Seed), origin.used.len()), (7, 21));
    }

    /// Not only those that a profile takes.
    #[test]
    fn every_figure_has_a_kind_and_sources_that_are_listed() {
        let all: Value = serde_json::from_str(FIGURES).unwrap();
        let sources = all["meta"]["sources"].as_object().unwrap();
        let mut count = 0;
        let mut left = vec![&all];
        while let Some(value) = left.pop() {
            match value {
                Value::Object(object) if object.contains_key("value") && object.contains_key("kind") => {
                    let figure: Figure = serde_json::from_value(value.clone()).unwrap();
                    assert!(figure.source.iter().all(|id| sources.contains_key(id)), "{value}");
                    count += 1;
                }
                Value::Object(object) => left.extend(object.values()),
                Value::Array(_) | Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => {}
            }
        }
        assert!(count > 50, "{count}");
    }
}
