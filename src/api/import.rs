//! `POST /v1/import`: a directory as lines, of any length. A thousand lines are one command: all of them or none.
//!
//! While one block is on its way through the log the next one is read; more than that would let a member overtake the
//! user it names. Sending a file again is safe: lines say how things are, not what to change.

use super::context::Context;
use super::directory::{self, Noun};
use super::fields::{Faults, Fields, ID_BYTES_MAX, Path};
use super::json::{self, Json};
use super::lines::{Line, Lines, PATIENCE};
use super::nouns;
use super::problem::{Code, Fault, Problem, code_of};
use super::request::{self, Query};
use super::wire;
use crate::base::clock;
use crate::consensus::{ProposeError, Proposed};
use crate::control::zones;
use crate::model::{Place, PlaceKind};
use crate::state::command::Change;
use crate::state::outcome::Did;
use crate::state::{Command, Outcome, Refused};
use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// Lines of one command.
const BLOCK_LINES: usize = 1000;
/// Bytes after which a block is closed early, so that one command stays small next to what the log can carry.
const BLOCK_BYTES_MAX: usize = 4 << 20;
/// Faults that are listed; the rest is counted.
const FAULTS_MAX: usize = 1000;

#[derive(Debug, Default, Serialize)]
struct Report {
    lines: u64,
    /// Lines whose change is in the log.
    applied: u64,
    created: u64,
    replaced: u64,
    /// Lines of blocks that were left out because of a fault among them.
    not_applied: u64,
    kinds: Counts,
    faults_total: u64,
    faults: Vec<LineFault>,
}

/// Applied lines of each kind, in the order of [`KINDS`].
#[derive(Debug, Default)]
struct Counts([u64; KINDS.len()]);

impl Serialize for Counts {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(KINDS.iter().map(|(name, _)| name).zip(self.0))
    }
}

#[derive(Debug, Serialize)]
struct LineFault {
    line: u64,
    #[serde(flatten)]
    fault: Fault,
}

/// A node that is told faster than its disk takes it makes an import wait, at most so long for one block, and looks this often.
const OVERLOADED_MAX: Duration = Duration::from_secs(30);
const OVERLOADED_LOOK: Duration = Duration::from_millis(50);

/// Lines read and not yet proposed.
#[derive(Default)]
struct Block {
    changes: Vec<Change>,
    /// The line of each change, and its kind's place in [`KINDS`].
    lines: Vec<(u64, usize)>,
    count: u64,
    bytes: usize,
    faulty: bool,
}

pub async fn import(State(context): State<Arc<Context>>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    Query::read(&parts.uri, &[])?;
    request::media_type(&parts.headers, request::NDJSON)?;
    let mut lines = Lines::new(body, context.config.import_line_bytes_max.bytes(), PATIENCE);
    let mut report = Report::default();
    let mut block = read_block(&mut lines, &mut report).await?;
    let mut applied = 0;
    while block.count > 0 {
        if context.is_draining() {
            return Err(Problem::new(Code::Stopping, so_far("this node is stopping", &report)));
        }
        let (sent, next) = tokio::join!(propose(&context, &mut block), read_block(&mut lines, &mut report));
        if let Some(sent) = sent {
            let proposed = sent.map_err(|error| broken_off(&error, &report))?;
            applied = proposed.index;
            settle(proposed.outcome, &block, &mut report)?;
        } else {
            // nothing of it is proposed; what else is wrong with it is told all the same
            let faults = context.handle.read(|state| state.directory().faults(&block.changes));
            report.leave_out(&block, faults);
        }
        block = next?;
    }
    // a block is settled while the next one is read
    report.faults.sort_by_key(|fault| fault.line);
    let mut response = wire::json(StatusCode::OK, &report);
    if applied > 0 {
        response
            .headers_mut()
            .insert("campanile-applied", HeaderValue::from(applied));
    }
    Ok(response)
}

fn so_far(why: &str, report: &Report) -> String {
    format!(
        "{why}; {} lines are applied, and sending all of them again is safe",
        report.applied
    )
}

fn broken_off(error: &ProposeError, report: &Report) -> Problem {
    Problem::of_proposal(error).with_detail(so_far(&error.to_string(), report))
}

/// `None` for a block that has a fault already.
async fn propose(context: &Context, block: &mut Block) -> Option<Result<Proposed, ProposeError>> {
    if block.faulty {
        return None;
    }
    let changes = std::mem::take(&mut block.changes);
    let changes = context
        .handle
        .read(|state| zones::completed(changes, state.directory(), clock::wall()));
    let until = clock::now() + OVERLOADED_MAX;
    loop {
        let command = Command::Directory(changes.clone());
        let proposed = context.handle.propose(command, context.deadline()).await;
        let overloaded = matches!(proposed, Err(ProposeError::Overloaded { .. }));
        if !overloaded || context.is_draining() || clock::now() >= until {
            return Some(proposed);
        }
        tokio::time::sleep(OVERLOADED_LOOK).await;
    }
}

fn settle(outcome: Outcome, block: &Block, report: &mut Report) -> Result<(), Problem> {
    match outcome {
        Outcome::Changed(each) => {
            report.applied += block.count;
            for (did, (_, kind)) in each.iter().zip(&block.lines) {
                match did {
                    Did::Created => report.created += 1,
                    Did::Replaced | Did::Deleted | Did::Absent => report.replaced += 1,
                }
                report.kinds.0[*kind] += 1;
            }
        }
        Outcome::NotChanged(faults) => report.leave_out(block, faults),
        other => return Err(Problem::new(Code::Internal, format!("an import came to {other:?}"))),
    }
    Ok(())
}

async fn read_block(lines: &mut Lines, report: &mut Report) -> Result<Block, Problem> {
    let mut block = Block::default();
    while block.count < BLOCK_LINES as u64 && block.bytes < BLOCK_BYTES_MAX {
        let Some(Line { number, text }) = lines.next().await? else {
            break;
        };
        report.lines += 1;
        block.count += 1;
        block.bytes += text.as_ref().map_or(0, bytes::Bytes::len);
        match text.and_then(|text| change(&text)) {
            Ok((change, kind)) => {
                block.changes.push(change);
                block.lines.push((number, kind));
            }
            Err(problem) => {
                block.faulty = true;
                report.problem(number, &problem);
            }
        }
    }
    Ok(block)
}

impl Report {
    /// A block that was not applied: index of each faulty change, and why.
    fn leave_out(&mut self, block: &Block, faults: Vec<(u32, Refused)>) {
        self.not_applied += block.count;
        for (index, refused) in faults {
            let line = block.lines.get(index as usize).map_or(0, |(line, _)| *line);
            self.fault(line, Fault::new("", code_of(&refused), refused.to_string()));
        }
    }

    fn fault(&mut self, line: u64, fault: Fault) {
        self.faults_total += 1;
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(LineFault { line, fault });
        }
    }

    fn problem(&mut self, line: u64, problem: &Problem) {
        if problem.errors().is_empty() {
            self.fault(line, Fault::new("", problem.code(), problem.detail()));
        }
        for fault in problem.errors() {
            self.fault(line, fault.clone());
        }
    }
}

const KINDS: [(&str, Kind); 6] = [
    ("user", Kind::Noun(Noun::User)),
    ("venue", Kind::Noun(Noun::Venue)),
    ("wedding", Kind::Noun(Noun::Wedding)),
    ("segment", Kind::Noun(Noun::Segment)),
    ("member", Kind::Member),
    ("preferences", Kind::Preferences),
];

#[derive(Clone, Copy)]
enum Kind {
    Noun(Noun),
    Member,
    Preferences,
}

impl Kind {
    const fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Noun(noun) => noun.line_fields(),
            Self::Member => &["kind", "of", "user", "role"],
            Self::Preferences => nouns::PREFERENCES,
        }
    }
}

/// What one line says, and its kind's place in [`KINDS`].
fn change(line: &[u8]) -> Result<(Change, usize), Problem> {
    let json = json::parse(line, "")?;
    let Some(at) = kind_of(&json) else {
        let detail = "must be one of user, venue, wedding, segment, member, preferences";
        return Err(Problem::fault("/kind", Code::InvalidValue, detail));
    };
    let kind = KINDS[at].1;
    let mut faults = Faults::default();
    let change = Fields::open(json, &Path::ROOT, kind.fields(), &mut faults).and_then(|mut fields| match kind {
        Kind::Noun(noun) => {
            let id = required_word(&mut fields, noun.key())?;
            Some(noun.read(&mut fields, id))
        }
        Kind::Member => {
            let place = place(&mut fields);
            let (user, role) = directory::member(&mut fields)?;
            Some(Change::PutMember(place?, user, role))
        }
        Kind::Preferences => {
            let user = required_word(&mut fields, "user")?;
            Some(Change::PutPreferences(user, nouns::preferences(&mut fields)))
        }
    });
    Ok((faults.or(change)?, at))
}

/// The kind decides which other fields there are, so it is looked up first.
fn kind_of(json: &Json<'_>) -> Option<usize> {
    let Json::Object(members) = json else { return None };
    let (_, value) = members.iter().find(|(name, _)| name == "kind")?;
    let Json::Text(word) = value else { return None };
    KINDS.iter().position(|(name, _)| name == word)
}

fn required_word(fields: &mut Fields<'_, '_, '_>, name: &str) -> Option<String> {
    if !fields.has(name) {
        fields.missing(name);
        return None;
    }
    fields.word(name, ID_BYTES_MAX)
}

/// `{"wedding": ID}` or `{"venue": ID}`.
fn place(fields: &mut Fields<'_, '_, '_>) -> Option<Place> {
    let Some(value) = fields.take("of") else {
        fields.missing("of");
        return None;
    };
    let path = fields.path.name("of");
    let mut of = Fields::open(value, &path, &["wedding", "venue"], fields.faults)?;
    match (of.word("wedding", ID_BYTES_MAX), of.word("venue", ID_BYTES_MAX)) {
        (Some(id), None) => Some(Place {
            kind: PlaceKind::Wedding,
            id,
        }),
        (None, Some(id)) => Some(Place {
            kind: PlaceKind::Venue,
            id,
        }),
        _ => {
            fields.fault("of", Code::InvalidValue, "must be {\"wedding\": ID} or {\"venue\": ID}");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::change;
    use crate::model::{Place, PlaceKind};
    use crate::state::command::Change;

    fn check(line: &str, expected: &[(&str, &str)]) {
        let problem = change(line.as_bytes()).unwrap_err();
        let found: Vec<(&str, &str)> = problem
            .errors()
            .iter()
            .map(|f| (f.pointer.as_str(), f.code.text()))
            .collect();
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn every_kind_of_line_is_read() {
        for line in [
            r#"{"kind": "user", "id": "a", "role": "couple", "timezone": "America/New_York", "locale": "en"}"#,
            r#"{"kind": "venue", "id": "v", "name": "V", "timezone": "America/New_York", "latitude": 42.44, "longitude": -72.33}"#,
            r#"{"kind": "wedding", "id": "w", "venue": "v", "starts_at": "2027-06-19T15:30:00-04:00", "ends_at": "2027-06-19T23:00:00-04:00"}"#,
            r#"{"kind": "segment", "name": "s", "roles": ["guest"]}"#,
            r#"{"kind": "preferences", "user": "a", "critical_only": true}"#,
        ] {
            assert!(change(line.as_bytes()).is_ok(), "{line}");
        }
        let member = change(br#"{"kind": "member", "of": {"venue": "v"}, "user": "a", "role": "dj"}"#).unwrap();
        let place = Place {
            kind: PlaceKind::Venue,
            id: "v".into(),
        };
        assert_eq!(member.0, Change::PutMember(place, "a".into(), "dj".into()));
    }

    #[test]
    fn faulty_lines_are_named() {
        check("[]", &[("/kind", "INVALID_VALUE")]);
        check(r#"{"kind": "guest"}"#, &[("/kind", "INVALID_VALUE")]);
        check(r#"{"kind": "user"}"#, &[("/id", "MISSING_FIELD")]);
        check(
            r#"{"kind": "user", "id": "a", "rule": "dj"}"#,
            &[("/rule", "UNKNOWN_FIELD")],
        );
        check(
            r#"{"kind": "member", "user": "a", "role": "dj"}"#,
            &[("/of", "MISSING_FIELD")],
        );
        check(
            r#"{"kind": "member", "of": {"wedding": "w", "venue": "v"}, "user": "a"}"#,
            &[("/of", "INVALID_VALUE"), ("/role", "MISSING_FIELD")],
        );
        assert_eq!(change(b"{").unwrap_err().code().text(), "MALFORMED_JSON");
    }
}
