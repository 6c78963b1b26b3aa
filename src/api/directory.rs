//! Users, weddings, venues, segments, members and preferences over HTTP.

use super::access::{self, Asking};
use super::context::Context;
use super::fields::{Faults, Fields, ID_BYTES_MAX, Path as Pointer, WORD_MAX, check_word};
use super::json::{self, Json};
use super::nouns::{self, View};
use super::problem::{Code, Problem, code_of};
use super::request::{self, Path, Query};
use super::wire::{self, Page};
use crate::base::clock;
use crate::control::zones;
use crate::model::{Place, PlaceKind, UserNumber};
use crate::state::command::Change;
use crate::state::outcome::Did;
use crate::state::{Command, Outcome, Refused, State as Applied};
use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderValue, StatusCode, Uri};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use std::sync::Arc;
use std::time::Instant;

/// Members of one place in one request.
const MEMBERS_MAX: usize = 10_000;

/// What the directory has lists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noun {
    User,
    Wedding,
    Venue,
    Segment,
}

impl Noun {
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Wedding => "wedding",
            Self::Venue => "venue",
            Self::Segment => "segment",
        }
    }

    /// A segment goes by its name, all else by an id.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Segment => "name",
            Self::User | Self::Wedding | Self::Venue => "id",
        }
    }

    /// What a line of an import may say.
    pub const fn line_fields(self) -> &'static [&'static str] {
        match self {
            Self::User => nouns::USER,
            Self::Wedding => nouns::WEDDING,
            Self::Venue => nouns::VENUE,
            Self::Segment => nouns::SEGMENT,
        }
    }

    pub fn read(self, fields: &mut Fields<'_, '_, '_>, id: String) -> Change {
        match self {
            Self::User => Change::PutUser(nouns::user(fields, id)),
            Self::Wedding => Change::PutWedding(nouns::wedding(fields, id)),
            Self::Venue => Change::PutVenue(nouns::venue(fields, id)),
            Self::Segment => Change::PutSegment(nouns::segment(fields, id)),
        }
    }

    fn delete(self, id: String) -> Change {
        match self {
            Self::User => Change::DeleteUser(id),
            Self::Wedding => Change::DeleteWedding(id),
            Self::Venue => Change::DeleteVenue(id),
            Self::Segment => Change::DeleteSegment(id),
        }
    }

    fn show(self, state: &Applied, id: &str) -> Option<Box<RawValue>> {
        let directory = state.directory();
        match self {
            Self::User => raw(&View(&directory.user(directory.user_number(id)?)?)),
            Self::Wedding => raw(&View(directory.wedding(id)?)),
            Self::Venue => raw(&View(directory.venue(id)?)),
            Self::Segment => raw(&View(directory.segment(id)?)),
        }
    }

    /// Ids and nouns behind `after`.
    fn list(self, state: &Applied, after: Option<&str>, limit: usize) -> Vec<(String, Box<RawValue>)> {
        let directory = state.directory();
        let shown: Vec<(String, Option<Box<RawValue>>)> = match self {
            Self::User => directory
                .users_after(after, limit)
                .into_iter()
                .map(|it| (it.id.clone(), raw(&View(&it))))
                .collect(),
            Self::Wedding => directory
                .weddings_after(after, limit)
                .into_iter()
                .map(|it| (it.id.clone(), raw(&View(&it))))
                .collect(),
            Self::Venue => directory
                .venues_after(after, limit)
                .into_iter()
                .map(|it| (it.id.clone(), raw(&View(&it))))
                .collect(),
            Self::Segment => directory
                .segments_after(after, limit)
                .into_iter()
                .map(|it| (it.name.clone(), raw(&View(&it))))
                .collect(),
        };
        shown.into_iter().filter_map(|(id, shown)| Some((id, shown?))).collect()
    }
}

fn raw<T: Serialize>(value: &T) -> Option<Box<RawValue>> {
    to_raw_value(value).ok()
}

/// An id from the path.
fn check_id(id: &str) -> Result<(), Problem> {
    check_word(id, ID_BYTES_MAX)
        .map_err(|(_, detail)| Problem::new(Code::MalformedRequest, format!("the id in the path {detail}")))
}

pub async fn put(
    noun: Noun,
    State(context): State<Arc<Context>>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    check_id(&id)?;
    let (body, deadline) = body(&context, request).await?;
    let mut faults = Faults::default();
    let change = Fields::open(
        json::parse(&body, "")?,
        &Pointer::ROOT,
        &noun.line_fields()[1..],
        &mut faults,
    )
    .map(|mut fields| {
        if fields.raw_text(noun.key()).is_some_and(|given| given != id) {
            fields.fault(noun.key(), Code::InvalidValue, "is another than the one in the path");
        }
        noun.read(&mut fields, id.clone())
    });
    let change = faults.or(change)?;
    let (did, index) = change_one(&context, change, deadline, |refused| match refused {
        Refused::UnknownVenue(_) => Some("/venue".to_owned()),
        _ => None,
    })
    .await?;
    let shown = context.handle.read(|state| noun.show(state, &id));
    Ok(stamped(wire::json(status_of(did), &shown), index))
}

pub async fn get(
    noun: Noun,
    State(context): State<Arc<Context>>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    let deadline = context.deadline();
    context.fresh(&Query::read(&uri, &[])?, deadline).await?;
    let look = |context: &Context| context.handle.read(|state| noun.show(state, &id));
    let shown = context.find(deadline, look).await?;
    shown
        .map(|shown| wire::json(StatusCode::OK, &shown))
        .ok_or_else(|| absent(noun.name(), &id))
}

pub async fn delete(
    noun: Noun,
    State(context): State<Arc<Context>>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    check_id(&id)?;
    let (did, index) = change_one(&context, noun.delete(id.clone()), context.deadline(), |_| None).await?;
    gone(did, index).ok_or_else(|| absent(noun.name(), &id))
}

pub async fn list(noun: Noun, State(context): State<Arc<Context>>, uri: Uri) -> Result<Response, Problem> {
    let query = Query::read(&uri, &["limit", "after"])?;
    context.fresh(&query, context.deadline()).await?;
    let limit = query.limit()?;
    let found = context
        .handle
        .read(|state| noun.list(state, query.get("after"), limit + 1));
    let page = Page::cut(found, limit, |(id, _)| id.clone());
    let items = page.items.into_iter().map(|(_, shown)| shown).collect();
    Ok(wire::json(StatusCode::OK, &Page { items, next: page.next }))
}

fn absent(what: &str, id: &str) -> Problem {
    Problem::absent(what, super::fields::shorten(id))
}

const fn place_name(kind: PlaceKind) -> &'static str {
    match kind {
        PlaceKind::Wedding => "wedding",
        PlaceKind::Venue => "venue",
    }
}

#[derive(Serialize)]
struct Member {
    user: String,
    role: String,
}

pub async fn members(
    kind: PlaceKind,
    State(context): State<Arc<Context>>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    let (query, deadline) = (Query::read(&uri, &["limit", "after"])?, context.deadline());
    context.fresh(&query, deadline).await?;
    let (limit, after) = (query.limit()?, query.get("after").unwrap_or_default());
    let place = Place { kind, id };
    let look = |context: &Context| context.handle.read(|state| state.directory().members(&place));
    let mut found = context
        .find(deadline, look)
        .await?
        .ok_or_else(|| absent(place_name(kind), &place.id))?;
    found.sort_unstable();
    let items = found
        .into_iter()
        .filter(|(user, _)| user.as_str() > after)
        .take(limit + 1);
    let items = items.map(|(user, role)| Member { user, role }).collect();
    Ok(wire::json(
        StatusCode::OK,
        &Page::cut(items, limit, |member: &Member| member.user.clone()),
    ))
}

pub async fn put_members(
    kind: PlaceKind,
    State(context): State<Arc<Context>>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    check_id(&id)?;
    let (body, deadline) = body(&context, request).await?;
    let members = read_members(json::parse(&body, "")?)?;
    let place = Place { kind, id };
    let change = Change::PutMembers(place.clone(), members.clone());
    let pointer = |refused: &Refused| match refused {
        Refused::UnknownUser(id) => members
            .iter()
            .position(|(user, _)| user == id)
            .map(|index| format!("/{index}/user")),
        _ => None,
    };
    let changed = change_one(&context, change, deadline, pointer).await;
    let (_, index) = changed.map_err(|problem| not_found(problem, kind, &place.id))?;
    Ok(stamped(
        wire::json(StatusCode::OK, &serde_json::json!({"members": members.len()})),
        index,
    ))
}

/// A list of `{user, role}`; nobody stands in it twice.
fn read_members(body: Json<'_>) -> Result<Vec<(String, String)>, Problem> {
    let Json::List(values) = body else {
        let detail = format!("must be a list, not {}", body.noun());
        return Err(Problem::fault("", Code::WrongType, detail));
    };
    if values.len() > MEMBERS_MAX {
        let detail = format!("has {} members; {MEMBERS_MAX} are allowed", values.len());
        return Err(Problem::fault("", Code::TooLong, detail));
    }
    let mut faults = Faults::default();
    let mut seen = std::collections::BTreeSet::new();
    let mut members = Vec::with_capacity(values.len());
    for (index, value) in values.into_iter().enumerate() {
        let path = Pointer::ROOT;
        let path = path.index(index);
        let Some(mut fields) = Fields::open(value, &path, &["user", "role"], &mut faults) else {
            continue;
        };
        let Some((user, role)) = member(&mut fields) else {
            continue;
        };
        if seen.insert(user.clone()) {
            members.push((user, role));
        } else {
            fields.fault("user", Code::InvalidValue, "stands in the list before");
        }
    }
    faults.or(Some(members))
}

/// A member's user and role, both required.
pub fn member(fields: &mut Fields<'_, '_, '_>) -> Option<(String, String)> {
    for name in ["user", "role"] {
        if !fields.has(name) {
            fields.missing(name);
        }
    }
    let (user, role) = (fields.word("user", ID_BYTES_MAX), fields.word("role", WORD_MAX));
    Some((user?, role?))
}

type MemberPath = Path<(String, String)>;

pub async fn get_member(
    kind: PlaceKind,
    State(context): State<Arc<Context>>,
    Path((id, user)): MemberPath,
    uri: Uri,
) -> Result<Response, Problem> {
    let deadline = context.deadline();
    context.fresh(&Query::read(&uri, &[])?, deadline).await?;
    let place = Place { kind, id };
    let look = |context: &Context| {
        context.handle.read(|state| {
            let number = state.directory().user_number(&user)?;
            state.directory().role_at(&place, number).map(str::to_owned)
        })
    };
    let role = context
        .find(deadline, look)
        .await?
        .ok_or_else(|| absent("member", &user))?;
    Ok(wire::json(StatusCode::OK, &Member { user, role }))
}

pub async fn put_member(
    kind: PlaceKind,
    State(context): State<Arc<Context>>,
    Path((id, user)): MemberPath,
    request: Request,
) -> Result<Response, Problem> {
    check_id(&id)?;
    check_id(&user)?;
    let (body, deadline) = body(&context, request).await?;
    let mut faults = Faults::default();
    let role =
        Fields::open(json::parse(&body, "")?, &Pointer::ROOT, &["user", "role"], &mut faults).and_then(|mut fields| {
            if fields.raw_text("user").is_some_and(|given| given != user) {
                fields.fault("user", Code::InvalidValue, "is another than the one in the path");
            }
            if !fields.has("role") {
                fields.missing("role");
            }
            fields.word("role", WORD_MAX)
        });
    let role = faults.or(role)?;
    let place = Place { kind, id };
    let change = Change::PutMember(place.clone(), user.clone(), role.clone());
    let changed = change_one(&context, change, deadline, |_| None).await;
    let (did, index) = changed.map_err(|problem| not_found(problem, kind, &place.id))?;
    Ok(stamped(wire::json(status_of(did), &Member { user, role }), index))
}

pub async fn delete_member(
    kind: PlaceKind,
    State(context): State<Arc<Context>>,
    Path((id, user)): MemberPath,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    check_id(&id)?;
    check_id(&user)?;
    let change = Change::DeleteMember(Place { kind, id: id.clone() }, user.clone());
    let changed = change_one(&context, change, context.deadline(), |_| None).await;
    let (did, index) = changed.map_err(|problem| not_found(problem, kind, &id))?;
    gone(did, index).ok_or_else(|| absent("member", &user))
}

pub async fn put_preferences(
    State(context): State<Arc<Context>>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    access::acts_for(Asking::of(request.extensions())?.caller(), &id)?;
    check_id(&id)?;
    let (body, deadline) = body(&context, request).await?;
    let mut faults = Faults::default();
    let preferences = Fields::open(
        json::parse(&body, "")?,
        &Pointer::ROOT,
        &nouns::PREFERENCES[2..],
        &mut faults,
    )
    .map(|mut fields| nouns::preferences(&mut fields));
    let preferences = faults.or(preferences)?;
    let change = Change::PutPreferences(id.clone(), preferences.clone());
    let changed = change_one(&context, change, deadline, |_| None).await;
    let (_, index) = changed.map_err(|problem| {
        if problem.code() == Code::UnknownUser {
            absent("user", &id)
        } else {
            problem
        }
    })?;
    Ok(stamped(wire::json(StatusCode::OK, &View(&preferences)), index))
}

pub async fn get_preferences(
    State(context): State<Arc<Context>>,
    asking: Asking,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    access::acts_for(asking.caller(), &id)?;
    let deadline = context.deadline();
    context.fresh(&Query::read(&uri, &[])?, deadline).await?;
    let number: UserNumber = context.user(&id, deadline).await?;
    let found = context
        .handle
        .read(|state| state.directory().preferences(number).cloned());
    Ok(wire::json(StatusCode::OK, &View(&found.unwrap_or_default())))
}

async fn body(context: &Context, request: Request) -> Result<(bytes::Bytes, Instant), Problem> {
    let deadline = context.deadline();
    let (parts, body) = request.into_parts();
    Query::read(&parts.uri, &[])?;
    request::media_type(&parts.headers, request::JSON)?;
    Ok((
        request::body(body, context.config.body_bytes_max.bytes(), deadline).await?,
        deadline,
    ))
}

/// Proposes one change: what it did, and the entry that holds it. `pointer` says where in the body a refused id stands.
async fn change_one(
    context: &Context,
    change: Change,
    deadline: Instant,
    pointer: impl Fn(&Refused) -> Option<String>,
) -> Result<(Did, u64), Problem> {
    let changes = context
        .handle
        .read(|state| zones::completed(vec![change], state.directory(), clock::wall()));
    let proposed = context.handle.propose(Command::Directory(changes), deadline).await?;
    match proposed.outcome {
        Outcome::Changed(did) => Ok((did.first().copied().unwrap_or(Did::Absent), proposed.index)),
        Outcome::NotChanged(faults) => match faults.first() {
            Some((_, refused)) => Err(match pointer(refused) {
                Some(pointer) => Problem::fault(&pointer, code_of(refused), refused.to_string()),
                None => Problem::from(refused),
            }),
            None => Err(Problem::new(Code::Internal, "a change was refused without a reason")),
        },
        other => Err(Problem::new(Code::Internal, format!("a change came to {other:?}"))),
    }
}

/// An unknown place or user that stands in the path is a 404; one in the body has a pointer and stays.
fn not_found(problem: Problem, kind: PlaceKind, place: &str) -> Problem {
    let in_path = problem.errors().is_empty();
    match (problem.code(), kind) {
        (Code::UnknownWedding, PlaceKind::Wedding) | (Code::UnknownVenue, PlaceKind::Venue) => {
            absent(place_name(kind), place)
        }
        (Code::UnknownUser, _) if in_path => Problem::new(Code::NotFound, problem.detail()),
        _ => problem,
    }
}

const fn status_of(did: Did) -> StatusCode {
    match did {
        Did::Created => StatusCode::CREATED,
        Did::Replaced | Did::Deleted | Did::Absent => StatusCode::OK,
    }
}

fn gone(did: Did, index: u64) -> Option<Response> {
    (did == Did::Deleted).then(|| stamped(wire::empty(StatusCode::NO_CONTENT), index))
}

fn stamped(mut response: Response, index: u64) -> Response {
    response
        .headers_mut()
        .insert("campanile-applied", HeaderValue::from(index));
    response
}

#[cfg(test)]
mod tests {
    use super::read_members;
    use crate::api::json;

    fn check(body: &str, expected: &[(&str, &str)]) {
        let problem = read_members(json::parse(body.as_bytes(), "").unwrap()).unwrap_err();
        let found: Vec<(&str, &str)> = problem
            .errors()
            .iter()
            .map(|f| (f.pointer.as_str(), f.code.text()))
            .collect();
        assert_eq!(found, expected, "{body}");
    }

    #[test]
    fn members_are_users_with_one_role_each() {
        check("{}", &[("", "WRONG_TYPE")]);
        check(r#"[{"user": "a"}]"#, &[("/0/role", "MISSING_FIELD")]);
        check(
            r#"[{"user": "a", "role": "dj"}, {"user": "a", "role": "bar"}]"#,
            &[("/1/user", "INVALID_VALUE")],
        );
        check(
            r#"["a", {"user": 1, "rol": "x"}]"#,
            &[
                ("/0", "WRONG_TYPE"),
                ("/1/rol", "UNKNOWN_FIELD"),
                ("/1/role", "MISSING_FIELD"),
                ("/1/user", "WRONG_TYPE"),
            ],
        );
        let good = read_members(json::parse(br#"[{"user": "a", "role": "dj"}]"#, "").unwrap()).unwrap();
        assert_eq!(good, [("a".to_owned(), "dj".to_owned())]);
    }
}
