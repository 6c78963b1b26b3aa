//! People and weddings, the commands that make them, and texts that pack about as well as people's own.

use campanile::model::directory::{User, Wedding, WeddingStatus};
use campanile::model::{Audience, Clause, Draft, Place, PlaceKind};
use campanile::state::command::{Change, Key, Publish, Spans};
use campanile::state::rights::Grant;
use campanile::state::{Command, State};
use std::ops::Range;

/// Log time of everything here: far from any wedding.
pub const NOW: i64 = 1_800_000_000_000;
pub const DAY: i64 = 86_400_000;
/// Roles of a wedding's members, in turn.
pub const ROLES: [&str; 4] = ["guest", "family", "dj", "coordinator"];
pub const TIERS: [&str; 2] = ["starter", "professional"];
/// Changes of one command, as an import makes them.
const CHANGES: u32 = 1_000;

pub fn user_id(number: u32) -> String {
    format!("user-{number:07}")
}

pub fn wedding_id(number: u32) -> String {
    format!("wed-{number}")
}

/// A user's role, at a wedding and in the profile: all of a wedding's people would have one role if it went by number alone.
pub fn role(number: u32, weddings: u32) -> &'static str {
    ROLES[(number / weddings) as usize % ROLES.len()]
}

pub fn tier(number: u32) -> &'static str {
    TIERS[(number / 3) as usize % TIERS.len()]
}

fn wedding(number: u32) -> Wedding {
    Wedding {
        id: wedding_id(number),
        name: format!("Wedding {number}"),
        venue: None,
        timezone: "UTC".into(),
        starts_at: NOW + 30 * DAY,
        ends_at: NOW + 30 * DAY + 1,
        guests_expected: 200,
        status: WeddingStatus::Planned,
    }
}

/// The command that makes so many weddings.
pub fn weddings(count: u32) -> Command {
    Command::Directory((0..count).map(|number| Change::PutWedding(wedding(number))).collect())
}

/// The commands that make so many users and weddings, each made when it is asked for. User n is a member of wedding n modulo weddings:
/// people of one wedding are as far apart in the bitmaps as they can be.
pub fn import(users: u32, weddings: u32) -> impl Iterator<Item = Command> {
    let parts = (0..users).step_by(CHANGES as usize);
    let people = parts.map(move |from| Command::Directory(people(from..users.min(from + CHANGES), weddings)));
    std::iter::once(self::weddings(weddings)).chain(people)
}

fn people(numbers: Range<u32>, weddings: u32) -> Vec<Change> {
    let user = |number: u32| User {
        tier: tier(number).into(),
        ..User::bare(user_id(number), role(number, weddings))
    };
    let member = |number: u32| {
        let place = Place {
            kind: PlaceKind::Wedding,
            id: wedding_id(number % weddings),
        };
        Change::PutMember(place, user_id(number), role(number, weddings).into())
    };
    let users = numbers.clone().map(|number| Change::PutUser(user(number)));
    users.chain(numbers.map(member)).collect()
}

/// A state of those people, with nothing left to write.
pub fn state(users: u32, weddings: u32) -> State {
    let mut state = State::new();
    for (index, command) in (1..).zip(import(users, weddings)) {
        state.apply(index, NOW, vec![command], &mut Vec::new());
        drop(state.take_rows());
    }
    state
}

pub fn to_wedding(number: u32) -> Audience {
    Audience {
        clauses: vec![Clause {
            weddings: vec![wedding_id(number)],
            ..Clause::default()
        }],
        exclude: Vec::new(),
    }
}

/// A notice to the people of one of so many weddings, as `number` says, with a text of so many bytes.
pub fn notice(number: u64, weddings: u32, bytes: usize) -> Draft {
    Draft {
        audience: to_wedding((number % u64::from(weddings)) as u32),
        ..Draft::bare("venue.notice", "Gates", text(number, bytes))
    }
}

/// A publish under a key of its own, as `number` says.
pub fn publish(number: u64, draft: Draft) -> Command {
    let mut fingerprint = [0; 16];
    fingerprint[..8].copy_from_slice(&number.to_be_bytes());
    Command::Publish(Box::new(Publish {
        draft,
        sender: user_id(0),
        key: Key {
            fingerprint,
            body: number,
            kept_ms: 60_000,
            table_bytes_max: 0,
        },
        spans: Spans {
            expires_after_ms: DAY as u64,
            schedule_max_ms: 7 * DAY as u64,
        },
        superseded: None,
        grant: Grant::default(),
    }))
}

const WORDS: [&str; 32] = [
    "please", "be", "in", "place", "ten", "minutes", "before", "the", "first", "dance", "dinner", "is", "served", "on",
    "lawn", "barn", "gates", "open", "at", "five", "shuttle", "leaves", "from", "north", "parking", "rain", "expected",
    "move", "chairs", "inside", "and", "wait",
];

/// Words in an order that `seed` decides, so many bytes of them.
pub fn text(seed: u64, bytes: usize) -> String {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut text = String::with_capacity(bytes + 16);
    while text.len() < bytes {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        text.push_str(WORDS[(state >> 59) as usize]);
        text.push(' ');
    }
    text.truncate(bytes);
    // a text may not end with a space where it is a title
    if text.ends_with(' ') {
        text.pop();
        text.push('.');
    }
    text
}
