//! The scripted Saturday against the rules themselves: all 121 verdicts, at the hour at which each broadcast is sent.
#![allow(clippy::unwrap_used, clippy::panic)] // a test says no by panicking

use campanile::base::clock;
use campanile::config::Config;
use campanile::lab::scenario::{self, Expect, Object, Scripted, Sender};
use campanile::model::broadcast::{Draft, Escalate, OnMissed};
use campanile::model::directory::{User, Venue, Wedding, WeddingStatus};
use campanile::model::{Acknowledge, Audience, Caller, Clause, Place, PlaceKind, Scope};
use campanile::state::command::{Change, Key, Publish, Spans};
use campanile::state::rights::{Denied, Grant, Question};
use campanile::state::{Command, Outcome, Refused, State};
use serde_json::Value;

fn text(object: &Object, name: &str) -> String {
    object.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn time(object: &Object, name: &str) -> i64 {
    clock::parse_rfc3339(&text(object, name)).unwrap()
}

fn change(line: &Object) -> Change {
    match line["kind"].as_str().unwrap() {
        "user" => Change::PutUser(User {
            id: text(line, "id"),
            role: text(line, "role"),
            tier: String::new(),
            locale: text(line, "locale"),
            timezone: text(line, "timezone"),
            attributes: Vec::new(),
        }),
        "venue" => Change::PutVenue(Venue {
            id: text(line, "id"),
            name: text(line, "name"),
            timezone: text(line, "timezone"),
            latitude_micro: None,
            longitude_micro: None,
        }),
        "wedding" => Change::PutWedding(Wedding {
            id: text(line, "id"),
            name: text(line, "name"),
            venue: Some(text(line, "venue")),
            timezone: text(line, "timezone"),
            starts_at: time(line, "starts_at"),
            ends_at: time(line, "ends_at"),
            guests_expected: 0,
            status: WeddingStatus::Planned,
        }),
        "member" => {
            let (kind, id) = match (&line["of"]["wedding"], &line["of"]["venue"]) {
                (Value::String(id), _) => (PlaceKind::Wedding, id),
                (_, Value::String(id)) => (PlaceKind::Venue, id),
                other => panic!("{other:?}"),
            };
            let place = Place { kind, id: id.clone() };
            Change::PutMember(place, text(line, "user"), text(line, "role"))
        }
        other => panic!("{other}"),
    }
}

fn audience(clauses: &Value) -> Audience {
    let words = |clause: &Value, name: &str| -> Vec<String> {
        let values = clause[name].as_array().into_iter().flatten();
        values.map(|value| value.as_str().unwrap().to_owned()).collect()
    };
    let clause = |clause: &Value| Clause {
        weddings: words(clause, "weddings"),
        venues: words(clause, "venues"),
        roles: words(clause, "roles"),
        ..Clause::default()
    };
    Audience {
        clauses: clauses.as_array().unwrap().iter().map(clause).collect(),
        exclude: Vec::new(),
    }
}

fn draft(scripted: &Scripted) -> Draft {
    let publish = &scripted.publish;
    let acknowledge = publish.get("acknowledge").map(|asked| Acknowledge {
        within_ms: 15_000,
        answers: Vec::new(),
        need: Vec::new(),
        escalate: asked["escalate"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|step| Escalate {
                after_ms: 30_000,
                to: audience(&step["to"]),
                priority: None,
                outputs: Vec::new(),
            })
            .collect(),
    });
    Draft {
        kind: text(publish, "type"),
        priority: scripted.priority,
        audience: audience(&publish["audience"]),
        title: text(publish, "title"),
        body: text(publish, "body"),
        texts: Vec::new(),
        data: None,
        action: None,
        deliver_at: None,
        deliver_at_local: None,
        expires_at: Some(time(publish, "expires_at")),
        supersedes: None,
        drill: false,
        on_missed: OnMissed::Send,
        acknowledge,
        trace: None,
    }
}

/// A token without a user: whoever holds the role there.
fn caller(Sender { role, wedding, venue }: &Sender) -> Caller {
    Caller {
        token: Some(format!("token of {role}")),
        user: None,
        role: role.clone(),
        weddings: wedding.iter().cloned().collect(),
        venues: venue.iter().cloned().collect(),
        scopes: [Scope::Publish].into_iter().collect(),
    }
}

fn code(denied: &Denied) -> &'static str {
    match denied {
        Denied::EventDay { .. } => "EVENT_DAY_LOCK",
        Denied::CrossEvent(_) => "CROSS_EVENT_TARGET",
        Denied::State(Refused::NoSuchRole { .. }) => "NO_SUCH_ROLE_IN_EVENT",
        Denied::State(Refused::RateLimited { .. }) => "RATE_LIMITED",
        Denied::State(_) => "UNKNOWN",
        Denied::Type { .. } => "FORBIDDEN_TYPE_FOR_ROLE",
        Denied::CriticalType(_) => "CRITICAL_TYPE_NOT_ALLOWED",
    }
}

fn publish(draft: Draft, number: u8, grant: Grant) -> Command {
    let key = Key {
        fingerprint: [number; 16],
        body: 0,
        kept_ms: 60_000,
        table_bytes_max: 0,
    };
    Command::Publish(Box::new(Publish {
        superseded: None,
        draft,
        sender: "test".into(),
        key,
        spans: Spans {
            expires_after_ms: 3_600_000,
            schedule_max_ms: 7 * 86_400_000,
        },
        grant,
    }))
}

#[test]
fn the_saturday_gets_all_of_its_verdicts() {
    let day = scenario::open(scenario::BUILT_IN).unwrap();
    let mut config = Config::default();
    // as for every rehearsal: the script has busier hours than the caps allow
    config.rates.enabled = false;
    let rules = config.rules().unwrap();
    let (mut state, mut effects) = (State::new(), Vec::new());
    let mut run = |state: &mut State, at, command| {
        let index = state.applied() + 1;
        state.apply(index, at, vec![command], &mut effects).remove(0)
    };
    let people = day.directory.iter().map(change).collect();
    let outcome = run(&mut state, day.day().0, Command::Directory(people));
    assert!(matches!(outcome, Outcome::Changed(_)), "{outcome:?}");
    let (mut accepted, mut refused) = (0, 0);
    for (number, scripted) in day.broadcasts.iter().enumerate() {
        let (caller, draft, at) = (caller(&scripted.sender), draft(scripted), scripted.at);
        let verdict = state.judge(&Question {
            rules: &rules,
            caller: &caller,
            draft: &draft,
            at,
        });
        match (&scripted.expect, verdict) {
            (Expect::Accept { targeted }, Ok(grant)) => {
                let outcome = run(&mut state, at, publish(draft, number as u8, grant));
                let Outcome::Published { number, .. } = outcome else {
                    panic!("{}: {outcome:?}", scripted.reference);
                };
                let told = state.broadcast(number).unwrap().targeted;
                assert_eq!(u64::from(told), *targeted, "{}", scripted.reference);
                accepted += 1;
            }
            (Expect::Refuse { code: expected, .. }, Err(denied)) => {
                assert_eq!(code(&denied), expected, "{}: {denied}", scripted.reference);
                refused += 1;
            }
            (expected, verdict) => panic!("{}: {expected:?}, not {verdict:?}", scripted.reference),
        }
    }
    assert_eq!((accepted, refused), (115, 6));
}
