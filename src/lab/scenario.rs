//! A scripted day: its directory, its broadcasts with the verdict each should get, and its faults; and how it is moved to now.

use crate::{
    base::clock::{self, Millis},
    model::Priority,
};
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::{path::Path, time::Duration};

/// One line of JSON as it stands in a file.
pub type Object = Map<String, Value>;

/// The scenario that the program carries with it.
pub const BUILT_IN: &str = "saturday";
/// How long a broadcast lives that does not say so.
const LIVES_DEFAULT: Duration = Duration::from_secs(24 * 3600);
const DIRECTORY: &str = "directory.ndjson";
const BROADCASTS: &str = "broadcasts.ndjson";
const FAULTS: &str = "faults.ndjson";
const SATURDAY: [&[u8]; 3] = [
    include_bytes!("../../data/scenarios/saturday/directory.ndjson"),
    include_bytes!("../../data/scenarios/saturday/broadcasts.ndjson"),
    include_bytes!("../../data/scenarios/saturday/faults.ndjson"),
];

#[derive(Clone, Debug)]
pub struct Scenario {
    pub name: String,
    /// Lines for `POST /v1/import`.
    pub directory: Vec<Object>,
    /// In the order in which they are sent.
    pub broadcasts: Vec<Scripted>,
    /// In the order in which they begin.
    pub faults: Vec<Fault>,
}

#[derive(Clone, Debug)]
pub struct Scripted {
    /// The script's own name of it; `supersedes` names others by it.
    pub reference: String,
    pub at: Millis,
    pub priority: Priority,
    pub sender: Sender,
    /// The body of the publish, its times and its `supersedes` still those of the script.
    pub publish: Object,
    pub expect: Expect,
}

/// Whose token a broadcast is sent with: a role, and where it is held.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sender {
    pub role: String,
    #[serde(default)]
    pub wedding: Option<String>,
    #[serde(default)]
    pub venue: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    Accept { targeted: u64 },
    Refuse { code: String, why: String },
}

#[derive(Clone, Debug)]
pub struct Fault {
    pub id: String,
    pub at: Millis,
    pub kind: String,
    pub target: String,
    pub length: Duration,
    pub note: String,
}

#[derive(Deserialize)]
struct ScriptedLine {
    #[serde(rename = "ref")]
    reference: String,
    at: String,
    sender: Sender,
    publish: Object,
    expect: ExpectLine,
}

#[derive(Deserialize)]
struct ExpectLine {
    result: String,
    targeted: Option<u64>,
    code: Option<String>,
    why: Option<String>,
}

#[derive(Deserialize)]
struct FaultLine {
    id: String,
    at: String,
    fault: String,
    target: String,
    duration_s: u64,
    #[serde(default)]
    note: String,
}

/// The built-in scenario by its name, or the one in a folder.
pub fn open(name: &str) -> Result<Scenario> {
    if name == BUILT_IN {
        return parse(name, SATURDAY);
    }
    let folder = Path::new(name);
    if !folder.is_dir() {
        bail!("scenario {name:?} is neither {BUILT_IN:?} nor a folder with {DIRECTORY} and {BROADCASTS}");
    }
    let read = |file: &str| std::fs::read(folder.join(file)).with_context(|| format!("scenario {name:?}: {file}"));
    let faults = if folder.join(FAULTS).exists() {
        read(FAULTS)?
    } else {
        Vec::new()
    };
    parse(name, [&read(DIRECTORY)?, &read(BROADCASTS)?, &faults])
}

fn parse(name: &str, [directory, broadcasts, faults]: [&[u8]; 3]) -> Result<Scenario> {
    let mut broadcasts = lines(BROADCASTS, broadcasts, scripted)?;
    let mut faults = lines(FAULTS, faults, fault)?;
    broadcasts.sort_by_key(|scripted| scripted.at);
    faults.sort_by_key(|fault| fault.at);
    if broadcasts.is_empty() {
        bail!("scenario {name:?} has no broadcast");
    }
    Ok(Scenario {
        name: name.to_owned(),
        directory: lines(DIRECTORY, directory, Ok)?,
        broadcasts,
        faults,
    })
}

fn lines<L, T>(file: &str, bytes: &[u8], read: impl Fn(L) -> Result<T>) -> Result<Vec<T>>
where
    L: for<'de> Deserialize<'de>,
{
    let text = std::str::from_utf8(bytes).with_context(|| format!("{file} is not UTF-8"))?;
    let numbered = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
    numbered
        .map(|(line, number)| {
            let parsed = serde_json::from_str(line).map_err(anyhow::Error::from);
            parsed.and_then(&read).with_context(|| format!("{file}, line {number}"))
        })
        .collect()
}

fn scripted(line: ScriptedLine) -> Result<Scripted> {
    let expect = match (line.expect.result.as_str(), line.expect.targeted) {
        ("accept", Some(targeted)) => Expect::Accept { targeted },
        ("accept", None) => bail!("{}: an accepted broadcast needs \"targeted\"", line.reference),
        ("reject", _) => Expect::Refuse {
            code: line.expect.code.unwrap_or_default(),
            why: line.expect.why.unwrap_or_default(),
        },
        (other, _) => bail!(
            "{}: result {other:?} is neither \"accept\" nor \"reject\"",
            line.reference
        ),
    };
    let name = line.publish.get("priority").map_or(Some("normal"), Value::as_str);
    Ok(Scripted {
        at: time(&line.at)?,
        priority: name
            .and_then(Priority::parse)
            .with_context(|| format!("{}: unknown priority", line.reference))?,
        reference: line.reference,
        sender: line.sender,
        publish: line.publish,
        expect,
    })
}

fn fault(line: FaultLine) -> Result<Fault> {
    Ok(Fault {
        at: time(&line.at)?,
        id: line.id,
        kind: line.fault,
        target: line.target,
        length: Duration::from_secs(line.duration_s),
        note: line.note,
    })
}

fn time(text: &str) -> Result<Millis> {
    clock::parse_rfc3339(text).with_context(|| format!("{text:?} is not a time with a zone"))
}

impl Scenario {
    /// When the script's first broadcast is sent, and its last.
    pub fn day(&self) -> (Millis, Millis) {
        let at = |scripted: Option<&Scripted>| scripted.map_or(0, |scripted| scripted.at);
        (at(self.broadcasts.first()), at(self.broadcasts.last()))
    }

    /// Moves every time by the same amount, so that the day's middle is `now`: then a run of minutes lies
    /// inside every event window that the day lay in. What a script says about lengths stays true.
    pub fn move_to(&mut self, now: Millis) {
        let (first, last) = self.day();
        let shift = now - i64::midpoint(first, last);
        for object in &mut self.directory {
            shift_times(object, shift);
        }
        for scripted in &mut self.broadcasts {
            scripted.at += shift;
            shift_times(&mut scripted.publish, shift);
        }
        for fault in &mut self.faults {
            fault.at += shift;
        }
    }
}

impl Scripted {
    /// From when it is sent until it expires.
    pub fn lives(&self) -> Duration {
        let expires_at = self.publish.get("expires_at").and_then(Value::as_str);
        let expires_at = expires_at.and_then(clock::parse_rfc3339);
        expires_at.map_or(LIVES_DEFAULT, |at| Duration::from_millis((at - self.at).max(0) as u64))
    }

    pub fn is_to_be_accepted(&self) -> bool {
        match self.expect {
            Expect::Accept { .. } => true,
            Expect::Refuse { .. } => false,
        }
    }

    /// The body to send at `now`: what was to happen so and so long after the publish still does, and
    /// a superseded broadcast has the id that the cluster gave it. `None` when that one was never accepted.
    pub fn body(&self, now: Millis, id_of: impl Fn(&str) -> Option<String>) -> Option<Object> {
        let mut body = self.publish.clone();
        shift_times(&mut body, now - self.at);
        if let Some(Value::String(reference)) = body.get_mut("supersedes") {
            *reference = id_of(reference)?;
        }
        Some(body)
    }
}

/// Moves the fields of one object that hold a time: their names end in `_at`.
fn shift_times(object: &mut Object, by: Millis) {
    let times = object.iter_mut().filter(|(name, _)| name.ends_with("_at"));
    for (_, value) in times {
        if let Some(at) = value.as_str().and_then(clock::parse_rfc3339) {
            *value = Value::String(clock::rfc3339(at + by));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Expect, Object, Scenario, open};
    use crate::{base::clock, model::directory};

    const HOUR: i64 = 3_600_000;

    fn of_kind<'a>(scenario: &'a Scenario, kind: &str) -> Vec<&'a Object> {
        scenario
            .directory
            .iter()
            .filter(|object| object["kind"] == kind)
            .collect()
    }

    fn time(object: &Object, name: &str) -> i64 {
        clock::parse_rfc3339(object[name].as_str().unwrap()).unwrap()
    }

    #[test]
    fn the_built_in_day_is_whole() {
        let day = open("saturday").unwrap();
        let counts = ["user", "member", "wedding", "venue"].map(|kind| of_kind(&day, kind).len());
        assert_eq!(counts, [239, 237, 2, 1]);
        let targeted = |expect: &Expect| match expect {
            Expect::Accept { targeted } => Some(*targeted),
            Expect::Refuse { .. } => None,
        };
        let accepted: Vec<u64> = day
            .broadcasts
            .iter()
            .filter_map(|scripted| targeted(&scripted.expect))
            .collect();
        assert_eq!((day.broadcasts.len(), accepted.len()), (121, 115));
        assert_eq!(accepted.iter().sum::<u64>(), 4539);
        assert_eq!(day.faults.len(), 13);
    }

    #[test]
    fn moved_to_now_the_run_lies_in_every_event_window_and_lengths_stay() {
        let before = open("saturday").unwrap();
        let mut after = before.clone();
        let now = 1_800_000_000_000;
        after.move_to(now);
        let (first, last) = after.day();
        assert!((i64::midpoint(first, last) - now).abs() <= 1);
        for (was, is) in of_kind(&before, "wedding").into_iter().zip(of_kind(&after, "wedding")) {
            let (start, end) = (time(is, "starts_at"), time(is, "ends_at"));
            assert_eq!(end - start, time(was, "ends_at") - time(was, "starts_at"));
            let (opens, closes) = (start - directory::WINDOW_BEFORE, end + directory::WINDOW_AFTER);
            assert!(opens <= first && last <= closes, "the whole day lies in the window");
            assert!(opens <= now && now + HOUR <= closes, "and so does the run");
        }
        for (was, is) in before.broadcasts.iter().zip(&after.broadcasts) {
            let length = |scripted: &super::Scripted| time(&scripted.publish, "expires_at") - scripted.at;
            assert_eq!(length(was), length(is));
        }
    }

    #[test]
    fn a_body_keeps_the_length_of_its_expiry_and_names_what_it_supersedes() {
        let day = open("saturday").unwrap();
        let storm = day
            .broadcasts
            .iter()
            .find(|scripted| scripted.reference == "sat-061")
            .unwrap();
        let now = 1_800_000_000_000;
        let body = storm.body(now, |reference| Some(format!("id of {reference}"))).unwrap();
        assert_eq!(time(&body, "expires_at"), now + HOUR / 2);
        assert_eq!(body["supersedes"], "id of sat-056");
        assert_eq!(storm.body(now, |_| None), None);
        assert_eq!(storm.lives().as_secs(), 1800);
        let mut endless = storm.clone();
        endless.publish.remove("expires_at");
        assert_eq!(endless.lives().as_secs(), 86_400);
    }

    #[test]
    fn what_is_no_scenario_is_named() {
        let error = open("no/such/folder").unwrap_err().to_string();
        assert!(error.contains("no/such/folder"), "{error}");
        let parse = |broadcasts: &str| super::parse("x", [b"", broadcasts.as_bytes(), b""]).map(|_| ());
        let error = parse("\n{\"ref\": 1}").unwrap_err().to_string();
        assert_eq!(error, "broadcasts.ndjson, line 2");
        assert!(parse("").is_err());
    }
}
