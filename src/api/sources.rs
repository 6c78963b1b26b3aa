//! Segments and preferences that another application owns: how its values are read, and what a publish asks for before its audience
//! is resolved.
//!
//! Whom a broadcast reaches is decided in the log, by what every node knows by then. So a segment that may have changed is asked
//! for first; when nobody can say, the one that is known serves, and the sender hears of it.

use super::cache::refusal;
use super::context::Context;
use super::fields::{Faults, Fields, ID_BYTES_MAX, Path, word};
use super::json::{self, Json};
use super::nouns;
use super::problem::{Problem, Published};
use super::wire::Warning;
use crate::base::clock;
use crate::cache::{CacheError, Found, Readers, SourceOf, Tier};
use crate::consensus::handle::ProposeError;
use crate::control::zones;
use crate::model::{Clause, Draft, Millis, Priority};
use crate::state::sources::{Source, Sourced};
use futures_util::StreamExt;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Users whom one value may list.
const USERS_MAX: usize = 10_000;
/// Segments of one draft that are asked for at the same time.
const AT_ONCE: usize = 8;
/// Of the time that a request has, this part at most goes for asking: the log needs some.
const ASKING_DIVISOR: u32 = 2;

/// A critical does not wait longer than this for a list that may be newer than the one that is known.
const CRITICAL_WAITS: Duration = Duration::from_millis(100);

/// After which a sender may try again when what the upstream said could not be kept.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What the cache reads with.
pub const READERS: Readers = Readers { segment, preferences };

/// A list of users' ids.
fn segment(body: &[u8]) -> Result<Sourced, String> {
    let value = json::parse(body, "").map_err(detail)?;
    let Json::List(values) = value else {
        return Err(format!("it must be a list of users' ids, not {}", value.noun()));
    };
    if values.len() > USERS_MAX {
        return Err(format!("it lists {} users; {USERS_MAX} are allowed", values.len()));
    }
    let mut faults = Faults::default();
    let each = values.into_iter().enumerate();
    let ids = each.filter_map(|(index, value)| word(value, &Path::ROOT.index(index), ID_BYTES_MAX, &mut faults));
    let ids: Vec<String> = ids.collect();
    let ids = faults.or(Some(ids)).map_err(detail)?;
    Ok(Sourced {
        source: Source::Segment(ids),
        zones: Vec::new(),
    })
}

/// What `PUT /v1/users/{id}/preferences` takes.
fn preferences(body: &[u8], now: Millis) -> Result<Sourced, String> {
    let value = json::parse(body, "").map_err(detail)?;
    let mut faults = Faults::default();
    let read = Fields::open(value, &Path::ROOT, &nouns::PREFERENCES[2..], &mut faults);
    let read = read.map(|mut fields| nouns::preferences(&mut fields));
    let preferences = faults.or(read).map_err(detail)?;
    let named = preferences.quiet_hours.as_ref().map(|quiet| quiet.timezone.as_str());
    Ok(Sourced {
        zones: named.and_then(|name| zones::table(name, now)).into_iter().collect(),
        source: Source::Preferences(preferences),
    })
}

fn detail(problem: Problem) -> String {
    match problem.errors() {
        [] => problem.detail().to_owned(),
        [first, ..] => format!("{} {}", first.pointer, first.detail),
    }
}

/// Every segment that a draft names, in its audience and in the steps after it.
fn named(draft: &Draft) -> BTreeSet<&str> {
    let steps = draft.acknowledge.iter().flat_map(|asked| &asked.escalate);
    let audiences = std::iter::once(&draft.audience).chain(steps.map(|step| &step.to));
    let clauses = audiences.flat_map(|audience| audience.clauses.iter().chain(&audience.exclude));
    clauses
        .flat_map(|clause: &Clause| clause.segments.iter().map(String::as_str))
        .collect()
}

/// Asks for the segments of a draft whose time is up, or that nobody here knows. What the sender should know of it.
pub async fn fresh(context: &Arc<Context>, draft: &Draft, deadline: Instant) -> Result<Vec<Warning>, Problem> {
    let names: Vec<String> = named(draft).into_iter().map(str::to_owned).collect();
    let Some(namespace) = context
        .cache
        .source_of(SourceOf::Segments)
        .filter(|_| !names.is_empty())
    else {
        return Ok(Vec::new());
    };
    let until = clock::now() + clock::left(deadline) / ASKING_DIVISOR;
    let asked = names
        .into_iter()
        .map(|name| ask(context.clone(), namespace.to_owned(), name, draft.priority, until));
    let mut asked = futures_util::stream::iter(asked).buffer_unordered(AT_ONCE);
    let mut warnings = Vec::new();
    while let Some(known) = asked.next().await {
        match known? {
            Known::Fresh => {}
            Known::Stale => warnings.push(Warning::StaleSegment),
            // the publish ends there, and there is nothing to ask for it any more
            Known::Nowhere => break,
        }
    }
    warnings.dedup();
    Ok(warnings)
}

/// What there is to go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Fresh,
    Stale,
    /// Neither the upstream nor the directory has such a segment.
    Nowhere,
}

async fn ask(
    context: Arc<Context>,
    namespace: String,
    name: String,
    priority: Priority,
    until: Instant,
) -> Result<Known, Problem> {
    let is_known = || context.handle.read(|state| state.directory().has_segment(&name));
    if priority != Priority::Critical || !is_known() {
        let found = context.cache.get(&namespace, &name, until).await;
        return judge(is_known, found);
    }
    let cache = context.cache.clone();
    let wanted = name.clone();
    // it goes on when the critical does not wait for it any more: the next one may have the newer list
    let asking = tokio::spawn(async move { cache.get(&namespace, &wanted, until).await });
    match tokio::time::timeout(CRITICAL_WAITS, asking).await {
        Ok(Ok(found)) => judge(is_known, found),
        Ok(Err(_)) | Err(_) => Ok(Known::Stale),
    }
}

/// A segment that is known serves, however old it is; one that nobody knows is worth another try.
fn judge(is_known: impl Fn() -> bool, found: Result<Option<Found>, CacheError>) -> Result<Known, Problem> {
    match found {
        // It was brought and could not be kept: nobody can go by it.
        Ok(Some(found)) if !found.kept.is_kept() => {
            let why = ProposeError::Overloaded {
                retry_after: RETRY_AFTER,
            };
            if is_known() {
                Ok(Known::Stale)
            } else {
                Err(refusal(CacheError::NotProposed(why)).with_outcome(Published::NotPublished))
            }
        }
        Ok(Some(Found {
            tier: Tier::Local | Tier::Replicated | Tier::Miss,
            ..
        })) => Ok(Known::Fresh),
        // The upstream has no such segment: the directory may have.
        Ok(None) => Ok(if is_known() { Known::Fresh } else { Known::Nowhere }),
        Ok(Some(Found { tier: Tier::Stale, .. })) => Ok(Known::Stale),
        Err(_) if is_known() => Ok(Known::Stale),
        Err(error) => Err(refusal(error).with_outcome(Published::NotPublished)),
    }
}

#[cfg(test)]
mod tests {
    use super::{READERS, USERS_MAX};
    use crate::state::sources::Source;

    #[test]
    fn a_segment_is_a_list_of_ids() {
        let check = |body: &str, expected: Result<&[&str], &str>| {
            let read = (READERS.segment)(body.as_bytes()).map(|sourced| sourced.source);
            let expected = expected.map(|ids| Source::Segment(ids.iter().map(|id| (*id).to_owned()).collect()));
            match (&read, &expected) {
                (Err(said), Err(part)) => assert!(said.contains(part), "{said:?}, not {part:?}"),
                _ => assert_eq!(read, expected.map_err(str::to_owned), "{body}"),
            }
        };
        check(r#"["ann", "bob"]"#, Ok(&["ann", "bob"]));
        check("[]", Ok(&[]));
        check(r#"{"users": []}"#, Err("it must be a list of users' ids"));
        check(r#"["ann", 7]"#, Err("/1 "));
        check(r#"["ann", ""]"#, Err("/1 "));
        check("this is no JSON", Err(""));
        let many = format!("[{}\"x\"]", "\"x\",".repeat(USERS_MAX));
        check(&many, Err("it lists 10001 users; 10000 are allowed"));
    }

    #[test]
    fn preferences_obey_what_a_put_obeys_and_bring_their_zone() {
        let read = |body: &str| (READERS.preferences)(body.as_bytes(), 1_800_000_000_000);
        let quiet = r#"{"quiet_hours": {"start": "22:00", "end": "07:00", "timezone": "Europe/Berlin"}}"#;
        let sourced = read(quiet).unwrap();
        assert_eq!(sourced.zones[0].name, "Europe/Berlin");
        assert!(matches!(sourced.source, Source::Preferences(preferences) if preferences.quiet_hours.is_some()));
        assert!(read(r#"{"critical_only": true}"#).unwrap().zones.is_empty());
        for (body, part) in [
            (r#"{"critical_only": 1}"#, "/critical_only"),
            (r#"{"loud": true}"#, "/loud"),
            (r#"{"muted_categories": ["a.b"]}"#, "/muted_categories/0"),
            (
                r#"{"quiet_hours": {"start": "22:00", "end": "07:00", "timezone": "Nowhere/Land"}}"#,
                "/quiet_hours/timezone",
            ),
        ] {
            let said = read(body).unwrap_err();
            assert!(said.starts_with(part), "{said}");
        }
    }
}
