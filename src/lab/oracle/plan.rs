//! What must follow from a broadcast, and who keeps silent about it.

use super::{Device, Recipients};
use crate::{lab::scenario::Object, model::Priority};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// What must follow from one broadcast.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub needs: Vec<Wanted>,
    /// In their order; nothing replaces the broadcast before they are due.
    pub steps: Vec<Planned>,
    /// When each step that the script names is due, whether it must be taken or must not: counted from when the broadcast went out.
    pub dues: Vec<Duration>,
    /// What all these steps name.
    pub outputs: BTreeSet<String>,
    /// The place in the script of the broadcast that replaces it.
    pub replaced_by: Option<usize>,
}

/// So many of these must confirm.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    pub role: String,
    pub count: u64,
    pub holders: Recipients,
}

/// A step that must be taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    pub index: u64,
    pub after: Duration,
    /// Who has not confirmed by then.
    pub alerted: Recipients,
    /// Those who were no recipients before.
    pub widened: Recipients,
    pub priority: Priority,
    pub outputs: BTreeSet<String>,
}

impl Plan {
    /// Whether a step calls in somebody who is no recipient.
    pub fn calls_in(&self, device: Device) -> bool {
        self.steps.iter().any(|step| step.widened.contains(&device))
    }
}

/// Who says nothing at the first alert. A device knows a broadcast by its words: those with the same words are kept silent about
/// together, or not at all.
#[derive(Debug, Default)]
pub struct Silence(BTreeMap<(String, String), Recipients>);

impl Silence {
    pub fn is_kept_by(&self, device: Device, title: &str, body: &str) -> bool {
        let words = (title.to_owned(), body.to_owned());
        self.0.get(&words).is_some_and(|silent| silent.contains(&device))
    }

    pub(super) fn of(&self, publish: &Object) -> Recipients {
        self.0.get(&words(publish)).cloned().unwrap_or_default()
    }

    /// Makes it of who would have to be silent about each broadcast; `None` where nobody may be.
    pub(super) fn new(of_each: impl Iterator<Item = ((String, String), Option<Recipients>)>) -> Self {
        let mut all: BTreeMap<_, Option<Recipients>> = BTreeMap::new();
        for (words, wanted) in of_each {
            let known = all.entry(words).or_insert_with(|| Some(Recipients::new()));
            *known = known.take().zip(wanted).map(|(known, wanted)| &known | &wanted);
        }
        Self(
            all.into_iter()
                .filter_map(|(words, silent)| Some((words, silent?)))
                .collect(),
        )
    }
}

/// Title and body.
pub(super) fn words(publish: &Object) -> (String, String) {
    let text = |name: &str| publish.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    (text("title"), text("body"))
}
