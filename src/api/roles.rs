//! In which roles people get a broadcast: those that they hold at the places its audience names, else the profile's.
//!
//! A coordinator looks for "the DJ", not for `ah-dj-01`. Somebody who is a guest of one wedding and plays at another is named by
//! what they are where the broadcast is about. Asked for a page of people at once: a role is one set operation, a person would be
//! one look-up per place.

use crate::model::{Audience, Draft, Millis, Place, PlaceKind, UserNumber};
use crate::state::directory::Directory;
use roaring::RoaringBitmap;
use std::collections::{BTreeMap, BTreeSet};

/// Some people's roles.
#[derive(Debug, Default)]
pub struct Roles(BTreeMap<String, RoaringBitmap>);

impl Roles {
    /// The roles in which `users` get a draft that goes out at `at`. Whoever has none at the places of its audience, but was reached
    /// by an escalation, has those at the places of that; whoever has none there either, the profile's, if it names one.
    pub fn of(directory: &Directory, draft: &Draft, at: Millis, users: &RoaringBitmap) -> Self {
        let mut roles = Self::default();
        let mut left = users.clone();
        let steps = draft.acknowledge.iter().flat_map(|asked| &asked.escalate);
        let widened = steps.flat_map(|step| places(directory, &step.to, at)).collect();
        for places in [places(directory, &draft.audience, at), widened] {
            let held = places.iter().flat_map(|place| directory.roles_at(place));
            left = roles.take(held, &left);
        }
        roles.take(directory.profile_roles(), &left);
        roles
    }

    /// Notes who of `among` holds which role; gives back who holds none.
    fn take<'d>(
        &mut self,
        held: impl Iterator<Item = (&'d str, &'d RoaringBitmap)>,
        among: &RoaringBitmap,
    ) -> RoaringBitmap {
        let mut left = among.clone();
        for (role, users) in held.filter(|(role, _)| !role.is_empty()) {
            let users = users & among;
            if !users.is_empty() {
                left -= &users;
                *self.0.entry(role.to_owned()).or_default() |= users;
            }
        }
        left
    }

    /// The first of somebody's roles; empty where there is none.
    pub fn first_of(&self, user: UserNumber) -> &str {
        let mut held = self.0.iter().filter(|(_, users)| users.contains(user));
        held.next().map_or("", |(role, _)| role)
    }

    /// Somebody's roles, sorted.
    pub fn held_by(&self, user: UserNumber) -> Vec<String> {
        let held = self.0.iter().filter(|(_, users)| users.contains(user));
        held.map(|(role, _)| role.clone()).collect()
    }
}

/// The weddings and venues that an audience names; a venue whose site it means stands for the weddings under way there, too.
fn places(directory: &Directory, audience: &Audience, at: Millis) -> BTreeSet<Place> {
    let mut places = BTreeSet::new();
    let mut add = |kind, id: &str| {
        places.insert(Place {
            kind,
            id: id.to_owned(),
        })
    };
    for clause in &audience.clauses {
        for id in &clause.weddings {
            add(PlaceKind::Wedding, id);
        }
        for id in clause.venues.iter().chain(&clause.on_site) {
            add(PlaceKind::Venue, id);
        }
        let held = clause.on_site.iter().flat_map(|venue| directory.held_at(venue));
        for id in held.filter(|id| directory.wedding(id).is_some_and(|wedding| wedding.window_is_open(at))) {
            add(PlaceKind::Wedding, id);
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::Roles;
    use crate::model::broadcast::Escalate;
    use crate::model::directory::{User, Venue, Wedding, WeddingStatus};
    use crate::model::{Acknowledge, Audience, Clause, Draft, Millis, Place, PlaceKind};
    use crate::state::command::Change;
    use crate::state::{Command, State};

    const NOON: Millis = 1_800_000_000_000;
    const DAY: Millis = 86_400_000;

    fn at(kind: PlaceKind, id: &str, members: &[(&str, &str)]) -> Change {
        let members = members.iter().map(|(user, role)| ((*user).into(), (*role).into()));
        Change::PutMembers(Place { kind, id: id.into() }, members.collect())
    }

    fn wedding(id: &str, starts_at: Millis) -> Change {
        Change::PutWedding(Wedding {
            id: id.into(),
            name: id.into(),
            venue: Some("barn".into()),
            timezone: "UTC".into(),
            starts_at,
            ends_at: starts_at + DAY / 4,
            guests_expected: 0,
            status: WeddingStatus::Planned,
        })
    }

    /// Bob is the DJ of one wedding and a guest of the next, and helps at the venue; Ann has a profile only; Cid not even that.
    fn state() -> State {
        let barn = Venue {
            id: "barn".into(),
            name: "Barn".into(),
            timezone: "UTC".into(),
            latitude_micro: None,
            longitude_micro: None,
        };
        let mut state = State::new();
        let changes = vec![
            Change::PutUser(User::bare("ann", "couple")),
            Change::PutUser(User::bare("bob", "band")),
            Change::PutUser(User::bare("cid", "")),
            Change::PutVenue(barn),
            wedding("today", NOON),
            wedding("later", NOON + 30 * DAY),
            at(PlaceKind::Wedding, "today", &[("bob", "dj")]),
            at(PlaceKind::Wedding, "later", &[("bob", "guest")]),
            at(PlaceKind::Venue, "barn", &[("bob", "venue_ops")]),
        ];
        state.apply(1, NOON, vec![Command::Directory(changes)], &mut Vec::new());
        state
    }

    fn strings(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    /// The roles of Ann, Bob and Cid, whose numbers are 0, 1 and 2.
    #[track_caller]
    fn check(draft: &Draft, expected: [&[&str]; 3]) {
        let state = state();
        let roles = Roles::of(state.directory(), draft, NOON, &(0..3).collect());
        assert_eq!([0, 1, 2].map(|user| roles.held_by(user)), expected.map(strings));
    }

    fn to(clause: Clause) -> Draft {
        let mut draft = Draft::bare("venue.notice", "T", "B");
        draft.audience.clauses.push(clause);
        draft
    }

    #[test]
    fn somebody_is_what_they_are_where_the_broadcast_is_about() {
        let weddings = |ids: &[&str]| Clause {
            weddings: strings(ids),
            ..Clause::default()
        };
        let everyone = Clause {
            everyone: true,
            ..Clause::default()
        };
        let venues = Clause {
            venues: strings(&["barn"]),
            ..Clause::default()
        };
        let on_site = Clause {
            on_site: strings(&["barn"]),
            ..Clause::default()
        };
        check(&to(everyone), [&["couple"], &["band"], &[]]);
        check(&to(weddings(&["today"])), [&["couple"], &["dj"], &[]]);
        check(&to(weddings(&["later", "today"])), [&["couple"], &["dj", "guest"], &[]]);
        check(&to(venues), [&["couple"], &["venue_ops"], &[]]);
        // the wedding of today is under way there, the later one is not
        check(&to(on_site), [&["couple"], &["dj", "venue_ops"], &[]]);
    }

    #[test]
    fn whom_an_escalation_adds_is_named_by_its_places() {
        let users = Clause {
            users: strings(&["ann"]),
            ..Clause::default()
        };
        let step = Escalate {
            after_ms: 1,
            to: Audience {
                clauses: vec![Clause {
                    venues: strings(&["barn"]),
                    ..Clause::default()
                }],
                exclude: Vec::new(),
            },
            priority: None,
            outputs: Vec::new(),
        };
        let asked = Acknowledge {
            within_ms: 1,
            answers: Vec::new(),
            need: Vec::new(),
            escalate: vec![step],
        };
        let draft = Draft {
            acknowledge: Some(asked),
            ..to(users)
        };
        check(&draft, [&["couple"], &["venue_ops"], &[]]);
    }
}
