//! People and rules for the tests, and the short words in which these ask.
//!
//! Two weddings at the barn, one at the mill. Who is named `dj-1` is the DJ of wedding 1, and so on.

use super::{Denied, Grant, Question};
use crate::model::broadcast::Escalate;
use crate::model::directory::{Segment, User, Venue, Wedding, WeddingStatus};
use crate::model::rules::{RateRules, TypeRate};
use crate::model::{Acknowledge, Audience, Caller, Clause, Draft, Kinds, Place, PlaceKind, Priority, Rules, Scopes};
use crate::state::command::{Change, Key, Publish, Spans};
use crate::state::{Command, Outcome, Refused, State};

pub const HOUR: i64 = 3_600_000;
pub const DAY: i64 = 24 * HOUR;
/// Far from every event window.
pub const QUIET: i64 = 1_800_000_000_000;
/// When the weddings start; they last six hours.
pub const START: i64 = QUIET + 30 * DAY;
pub const END: i64 = START + 6 * HOUR;

pub fn user(id: &str, role: &str) -> Change {
    Change::PutUser(User {
        id: id.into(),
        role: role.into(),
        tier: String::new(),
        locale: String::new(),
        timezone: "UTC".into(),
        attributes: Vec::new(),
    })
}

pub fn wedding(id: &str, venue: &str, status: WeddingStatus) -> Change {
    Change::PutWedding(Wedding {
        id: id.into(),
        name: String::new(),
        venue: Some(venue.into()),
        timezone: "UTC".into(),
        starts_at: START,
        ends_at: END,
        guests_expected: 0,
        status,
    })
}

pub fn venue(id: &str) -> Change {
    Change::PutVenue(Venue {
        id: id.into(),
        name: String::new(),
        timezone: "UTC".into(),
        latitude_micro: None,
        longitude_micro: None,
    })
}

pub fn member(kind: PlaceKind, of: &str, id: &str, role: &str) -> [Change; 2] {
    let place = Place { kind, id: of.into() };
    [user(id, role), Change::PutMember(place, id.into(), role.into())]
}

pub fn people() -> Vec<Change> {
    let mut changes = vec![venue("barn"), venue("mill")];
    for (id, at) in [("w1", "barn"), ("w2", "barn"), ("w3", "mill")] {
        changes.push(wedding(id, at, WeddingStatus::Planned));
    }
    for number in 1..=3 {
        for role in ["coordinator", "dj", "guest"] {
            let (of, id) = (format!("w{number}"), format!("{role}-{number}"));
            changes.extend(member(PlaceKind::Wedding, &of, &id, role));
        }
    }
    changes.extend(member(PlaceKind::Venue, "barn", "ops", "venue_ops"));
    changes.extend(member(PlaceKind::Venue, "barn", "guard", "security"));
    changes.push(user("sre", "sre"));
    changes.push(Change::PutSegment(Segment {
        name: "guests".into(),
        roles: vec!["guest".into()],
        ..Segment::default()
    }));
    changes
}

pub fn rules() -> Rules {
    let senders = serde_json::json!({"sender": [
        {"roles": ["administrator"], "types": ["*"], "up_to": "critical", "scope": "any"},
        {"roles": ["sre"], "types": ["feature.*", "system.*"], "up_to": "normal", "scope": "any"},
        {"roles": ["coordinator"], "types": ["cue.*", "venue.*"], "up_to": "critical", "scope": "own"},
        {"roles": ["venue_ops"], "types": ["cue.*"], "up_to": "critical", "scope": "venue"},
        {"roles": ["dj"], "types": ["cue.*"], "up_to": "high", "scope": "own"},
        {"roles": ["staff"], "types": ["medical.assist"], "up_to": "critical", "scope": "own"},
    ]});
    let own = TypeRate {
        types: Kinds::parse("cue.tea").unwrap(),
        hour: 1,
        day: 1,
    };
    Rules {
        senders: serde_json::from_value(senders).unwrap(),
        critical: ["medical.assist", "venue.*"]
            .into_iter()
            .filter_map(Kinds::parse)
            .collect(),
        rates: RateRules {
            hour: 2,
            day: 3,
            types: vec![own],
            ..RateRules::default()
        },
    }
}

/// `dj@w1,w2` is a token for that role in these places; `dj-1=dj@w1` is one of that user; `nobody` was not asked.
pub fn caller(text: &str) -> Caller {
    if text == "nobody" {
        return Caller::administrator();
    }
    let (who, places) = text.split_once('@').unwrap_or((text, ""));
    let (user, role) = who
        .split_once('=')
        .map_or((None, who), |(user, role)| (Some(user), role));
    let places = || places.split(',').filter(|id| !id.is_empty()).map(str::to_owned);
    Caller {
        token: Some("tok".into()),
        user: user.map(str::to_owned),
        role: role.into(),
        weddings: places().filter(|id| id.starts_with('w')).collect(),
        venues: places().filter(|id| !id.starts_with('w')).collect(),
        scopes: Scopes::all(),
    }
}

pub fn clause(text: &str) -> Clause {
    let mut clause = Clause::default();
    for word in text.split(' ') {
        let (key, values) = word.split_once(':').unwrap_or((word, ""));
        let values = values
            .split(',')
            .filter(|value| !value.is_empty())
            .map(str::to_owned)
            .collect();
        match key {
            "everyone" => clause.everyone = true,
            "users" => clause.users = values,
            "roles" => clause.roles = values,
            "at" => clause.venues = values,
            "on_site" => clause.on_site = values,
            "segments" => clause.segments = values,
            "to" => clause.weddings = values,
            other => panic!("{other}"),
        }
    }
    clause
}

pub fn audience(text: &str) -> Audience {
    let (clauses, exclude) = text
        .split_once(" not ")
        .map_or((text, None), |(all, not)| (all, Some(not)));
    Audience {
        clauses: clauses.split(" or ").map(clause).collect(),
        exclude: exclude.into_iter().map(clause).collect(),
    }
}

pub fn draft(kind: &str, priority: Priority, to: &str) -> Draft {
    Draft {
        priority,
        audience: audience(to),
        ..Draft::bare(kind, "T", "B")
    }
}

pub fn widened(kind: &str, to: &str, priority: Option<Priority>) -> Draft {
    let step = Escalate {
        after_ms: 1,
        to: audience(to),
        priority,
        outputs: Vec::new(),
    };
    Draft {
        acknowledge: Some(Acknowledge {
            within_ms: 1,
            answers: Vec::new(),
            need: Vec::new(),
            escalate: vec![step],
        }),
        ..draft(kind, Priority::High, "to:w1")
    }
}

pub struct Bench {
    pub state: State,
    pub rules: Rules,
    key: u8,
}

impl Bench {
    pub fn new() -> Self {
        let mut bench = Self {
            state: State::new(),
            rules: rules(),
            key: 0,
        };
        bench.change(people());
        bench
    }

    pub fn run(&mut self, at: i64, command: Command) -> Outcome {
        let index = self.state.applied() + 1;
        self.state.apply(index, at, vec![command], &mut Vec::new()).remove(0)
    }

    pub fn change(&mut self, changes: Vec<Change>) {
        let outcome = self.run(QUIET, Command::Directory(changes));
        assert!(matches!(outcome, Outcome::Changed(_)), "{outcome:?}");
    }

    pub fn judge(&self, who: &str, draft: &Draft, at: i64) -> Result<Grant, Denied> {
        let (rules, caller) = (&self.rules, &caller(who));
        self.state.judge(&Question {
            rules,
            caller,
            draft,
            at,
        })
    }

    pub fn verdict(&self, who: &str, draft: &Draft, at: i64) -> &'static str {
        match self.judge(who, draft, at) {
            Ok(_) => "yes",
            Err(Denied::EventDay { .. }) => "event day",
            Err(Denied::State(Refused::RateLimited { .. })) => "rate",
            Err(Denied::CrossEvent(_)) => "cross",
            Err(Denied::State(Refused::NoSuchRole { .. })) => "no role",
            Err(Denied::State(_)) => "unknown",
            Err(Denied::Type { .. }) => "type",
            Err(Denied::CriticalType(_)) => "critical",
        }
    }

    #[track_caller]
    pub fn check(&self, who: &str, what: &str, to: &str, expected: &str) {
        let (kind, priority) = what.split_once('!').unwrap_or((what, "normal"));
        let draft = draft(kind, Priority::parse(priority).unwrap(), to);
        assert_eq!(self.verdict(who, &draft, QUIET), expected, "{who} sends {what} {to}");
    }

    pub fn send(&mut self, key: u8, draft: Draft, grant: Grant, at: i64) -> Outcome {
        let key = Key {
            fingerprint: [key; 16],
            body: 0,
            kept_ms: 60_000,
            table_bytes_max: 0,
        };
        let publish = Publish {
            superseded: None,
            draft,
            sender: "test".into(),
            key,
            spans: Spans {
                expires_after_ms: HOUR as u64,
                schedule_max_ms: 7 * 86_400_000,
            },
            grant,
        };
        self.run(at, Command::Publish(Box::new(publish)))
    }

    /// Judges and publishes; whether it was accepted.
    pub fn publish(&mut self, who: &str, draft: Draft, at: i64) -> bool {
        self.key += 1;
        let Ok(grant) = self.judge(who, &draft, at) else {
            return false;
        };
        matches!(self.send(self.key, draft, grant, at), Outcome::Published { .. })
    }
}
