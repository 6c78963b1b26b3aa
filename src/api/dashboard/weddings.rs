//! The weddings of the day, whose event window is open, and then those whose window opens within the week; the earliest first.

use super::room::Seasonal;
use crate::api::wire::At;
use crate::base::clock::Millis;
use crate::model::directory::{WINDOW_AFTER, WINDOW_BEFORE, Wedding, WeddingStatus};
use crate::model::{Place, PlaceKind};
use crate::state::State;
use serde::Serialize;

/// How far ahead is looked.
const AHEAD: Millis = 7 * 24 * 3_600_000;
/// Weddings that are shown; the others are counted.
const SHOWN_MAX: usize = 12;

#[derive(Serialize)]
pub struct Weddings {
    /// Whose event window is open.
    open_now: usize,
    /// Those, and whose window opens within 7 days.
    within_7_days: usize,
    items: Vec<View>,
    seasonal: Seasonal,
}

#[derive(Serialize)]
struct View {
    id: String,
    name: String,
    venue: Option<String>,
    venue_name: Option<String>,
    timezone: String,
    status: WeddingStatus,
    starts_at: At,
    ends_at: At,
    window_opens_at: At,
    window_closes_at: At,
    open: bool,
    guests_expected: u32,
    members: u64,
    /// Members with a session somewhere.
    connected: u64,
}

/// How many there are.
pub struct Near {
    /// Whose event window is open.
    pub open: usize,
    /// Those, and whose window opens within 7 days.
    pub soon: usize,
}

pub fn near(state: &State, now: Millis) -> Near {
    let near = state.directory().weddings().filter(|wedding| is_near(wedding, now));
    near.fold(Near { open: 0, soon: 0 }, |near, wedding| Near {
        open: near.open + usize::from(wedding.window_is_open(now)),
        soon: near.soon + 1,
    })
}

fn is_near(wedding: &Wedding, now: Millis) -> bool {
    wedding.status != WeddingStatus::Cancelled
        && wedding.starts_at - WINDOW_BEFORE <= now + AHEAD
        && wedding.ends_at + WINDOW_AFTER >= now
}

pub fn weddings(state: &State, now: Millis, seasonal: Seasonal) -> Weddings {
    let all = state.directory().weddings();
    let mut near: Vec<&Wedding> = all.filter(|wedding| is_near(wedding, now)).collect();
    near.sort_by_key(|wedding| (!wedding.window_is_open(now), wedding.starts_at, &wedding.id));
    Weddings {
        open_now: near.iter().filter(|wedding| wedding.window_is_open(now)).count(),
        within_7_days: near.len(),
        items: near
            .iter()
            .take(SHOWN_MAX)
            .map(|wedding| View::of(state, wedding, now))
            .collect(),
        seasonal,
    }
}

impl View {
    fn of(state: &State, wedding: &Wedding, now: Millis) -> Self {
        let directory = state.directory();
        let place = Place {
            kind: PlaceKind::Wedding,
            id: wedding.id.clone(),
        };
        let members = directory.members_at(&place);
        let venue = wedding.venue.as_deref().and_then(|venue| directory.venue(venue));
        Self {
            id: wedding.id.clone(),
            name: wedding.name.clone(),
            venue: wedding.venue.clone(),
            venue_name: venue.map(|venue| venue.name.clone()).filter(|name| !name.is_empty()),
            timezone: wedding.timezone.clone(),
            status: wedding.status,
            starts_at: At(wedding.starts_at),
            ends_at: At(wedding.ends_at),
            window_opens_at: At(wedding.starts_at - WINDOW_BEFORE),
            window_closes_at: At(wedding.ends_at + WINDOW_AFTER),
            open: wedding.window_is_open(now),
            guests_expected: wedding.guests_expected,
            members: members.len(),
            connected: state.presence().connected_among(&members),
        }
    }
}
