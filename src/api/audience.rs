//! From a request's JSON to an audience: who must be stated, and whom an empty list takes away.

use super::fields::{Faults, Fields, ID_BYTES_MAX, Path, WORD_MAX};
use super::json::Json;
use super::problem::Code;
use crate::model::{Audience, Clause};

const CLAUSES_MAX: usize = 100;
/// Values of one key of a clause; the body's own limit binds earlier for long ids.
const VALUES_MAX: usize = 20_000;

/// Whom a broadcast is for: `audience` and `exclude`.
pub fn audience(fields: &mut Fields<'_, '_, '_>) -> Option<Audience> {
    let path = fields.path.name("audience");
    let clauses = match fields.take("audience") {
        Some(value) => clauses(value, &path, fields.faults)?,
        None => Vec::new(),
    };
    if clauses.is_empty() {
        fields.fault(
            "audience",
            Code::EmptyAudience,
            "must name somebody: a clause, or a list of clauses",
        );
        return None;
    }
    let path = fields.path.name("exclude");
    let exclude = match fields.take("exclude") {
        Some(value) => self::clauses(value, &path, fields.faults)?,
        None => Vec::new(),
    };
    Some(Audience { clauses, exclude })
}

/// A clause or a list of them. A clause with an empty list of values names nobody, so it is left out.
pub fn clauses(value: Json<'_>, path: &Path<'_>, faults: &mut Faults) -> Option<Vec<Clause>> {
    let values = match value {
        Json::List(values) => values,
        other => return Some(clause(other, path, faults)?.into_iter().collect()),
    };
    if values.len() > CLAUSES_MAX {
        faults.add(
            path,
            Code::TooLong,
            format!("has {} clauses; {CLAUSES_MAX} are allowed", values.len()),
        );
        return None;
    }
    // every clause is looked at, so that all their faults are named
    let each: Vec<_> = values
        .into_iter()
        .enumerate()
        .map(|(index, value)| clause(value, &path.index(index), faults))
        .collect();
    let each: Option<Vec<_>> = each.into_iter().collect();
    Some(each?.into_iter().flatten().collect())
}

/// `None` where it is faulty; `Some(None)` where it names nobody.
#[allow(clippy::option_option)] // two different ways of not being a clause
fn clause(value: Json<'_>, path: &Path<'_>, faults: &mut Faults) -> Option<Option<Clause>> {
    const KEYS: [&str; 8] = [
        "everyone", "users", "weddings", "venues", "on_site", "roles", "tiers", "segments",
    ];
    let before = faults.count();
    let mut fields = Fields::open(value, path, &KEYS, faults)?;
    let mut names_nobody = false;
    let mut words = |fields: &mut Fields<'_, '_, '_>, name: &str, max: usize| {
        let given = fields.words(name, VALUES_MAX, max);
        names_nobody |= given.as_ref().is_some_and(Vec::is_empty);
        given.unwrap_or_default()
    };
    let clause = Clause {
        users: words(&mut fields, "users", ID_BYTES_MAX),
        weddings: words(&mut fields, "weddings", ID_BYTES_MAX),
        venues: words(&mut fields, "venues", ID_BYTES_MAX),
        on_site: words(&mut fields, "on_site", ID_BYTES_MAX),
        roles: words(&mut fields, "roles", WORD_MAX),
        tiers: words(&mut fields, "tiers", WORD_MAX),
        segments: words(&mut fields, "segments", ID_BYTES_MAX),
        everyone: fields.flag("everyone").unwrap_or_default(),
    };
    if faults.count() > before {
        return None;
    }
    if names_nobody {
        return Some(None);
    }
    if clause.is_empty() {
        faults.add(path, Code::EmptyAudience, "this clause names nobody");
        return None;
    }
    Some(Some(clause))
}
