//! Who may send what: the verdict of the rules on one draft. The rules and the time are arguments; the directory is the state's.
//!
//! The checks stand in the order in which people are told of them: event day, rate, scope, type by role, critical type.

use super::directory::Directory;
use super::outcome::Refused;
use super::rates::Rates;
use super::{State, audiences};
use crate::model::caller::Caller;
use crate::model::directory::WeddingStatus;
use crate::model::rules::{Reach, is_product_news};
use crate::model::{Audience, Clause, Draft, Millis, Place, PlaceKind, Priority, Rate, Rules};
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// After a wedding is over and completed, its people keep their rights for six months: the longest six there are.
pub const RIGHTS_AFTER: Millis = 184 * 86_400_000;

/// What a publish may rest on: apply looks at it again, since it can have changed by then.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub claim: Option<Claim>,
    pub rate: Option<Rate>,
}

/// Somebody holds a role in these places.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Without one: anybody.
    pub user: Option<String>,
    pub role: String,
    pub places: Vec<Place>,
}

/// Why the rules say no.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("{kind} waits: an event is on at a place that this reaches ({wedding})")]
    EventDay { kind: String, wedding: String },
    #[error(transparent)]
    State(#[from] Refused),
    #[error("{0} is not within the reach of this sender")]
    CrossEvent(String),
    #[error("{} may not send {kind}{}", role_of(.role), above(*.up_to))]
    Type {
        role: String,
        kind: String,
        /// The type is theirs up to this priority.
        up_to: Option<Priority>,
    },
    #[error("{0} is not among the types that may be critical")]
    CriticalType(String),
}

fn role_of(role: &str) -> String {
    if role.is_empty() {
        "a sender without a role".into()
    } else {
        format!("the role {role:?}")
    }
}

fn above(up_to: Option<Priority>) -> String {
    up_to.map_or_else(String::new, |most| format!(" above {most}"))
}

impl Denied {
    /// A state that is a little behind may say no where the newest says yes: then it is worth asking again.
    pub const fn depends_on_state(&self) -> bool {
        !matches!(self, Self::Type { .. } | Self::CriticalType(_))
    }
}

/// What is asked: may this caller send this draft?
pub struct Question<'a> {
    pub rules: &'a Rules,
    pub caller: &'a Caller,
    pub draft: &'a Draft,
    /// Log time.
    pub at: Millis,
}

impl State {
    /// The verdict of the rules, as far as this state tells.
    pub fn judge(&self, question: &Question<'_>) -> Result<Grant, Denied> {
        judge(&self.directory, &self.rates, question)
    }

    /// Whether somebody may call the draft's broadcast off: whoever may send it may. Neither rates nor the event day are asked.
    pub fn may_call_off(&self, question: &Question<'_>) -> Result<(), Denied> {
        let Question {
            rules,
            caller,
            draft,
            at,
        } = *question;
        if caller.is_unlimited() {
            return Ok(());
        }
        let look = Look {
            directory: &self.directory,
            at,
            draft,
        };
        look.scope(caller, rules.senders.reach(&caller.role, &draft.kind))?;
        type_by_role(rules, caller, draft)
    }
}

/// All checks, in their order.
pub fn judge(directory: &Directory, rates: &Rates, question: &Question<'_>) -> Result<Grant, Denied> {
    let Question {
        rules,
        caller,
        draft,
        at,
    } = *question;
    let look = Look { directory, at, draft };
    look.event_day()?;
    let rate = rules.rates.rate(caller, draft);
    rate.iter().try_for_each(|rate| rates.check(rate, at))?;
    let mut claim = None;
    // nobody was asked who they are, so there are no rights to look at
    if !caller.is_unlimited() {
        let reach = rules.senders.reach(&caller.role, &draft.kind);
        claim = look.scope(caller, reach)?;
        type_by_role(rules, caller, draft)?;
    }
    if most_urgent(draft) == Priority::Critical && !rules.may_be_critical(&draft.kind) {
        return Err(Denied::CriticalType(draft.kind.clone()));
    }
    Ok(Grant { claim, rate })
}

fn type_by_role(rules: &Rules, caller: &Caller, draft: &Draft) -> Result<(), Denied> {
    let decides = rules.senders.find(&caller.role, &draft.kind);
    let up_to = decides.map(|sender| sender.up_to);
    // the more urgent is the smaller
    if up_to.is_some_and(|up_to| most_urgent(draft) >= up_to) {
        return Ok(());
    }
    Err(Denied::Type {
        role: caller.role.clone(),
        kind: draft.kind.clone(),
        up_to,
    })
}

/// The draft's priority, or the one that it can be raised to.
fn most_urgent(draft: &Draft) -> Priority {
    let steps = draft.acknowledge.iter().flat_map(|asked| &asked.escalate);
    let raised = steps.filter_map(|step| step.priority);
    raised.fold(draft.priority, Priority::min)
}

/// The draft's own audience, and those that it can be widened to.
fn audiences_of(draft: &Draft) -> impl Iterator<Item = &Audience> {
    let steps = draft.acknowledge.iter().flat_map(|asked| &asked.escalate);
    std::iter::once(&draft.audience).chain(steps.map(|step| &step.to))
}

fn clauses_of(draft: &Draft) -> impl Iterator<Item = &Clause> {
    audiences_of(draft).flat_map(|audience| &audience.clauses)
}

/// A clause that names no place reaches people wherever they are.
fn is_placed(clause: &Clause) -> bool {
    !(clause.weddings.is_empty() && clause.venues.is_empty() && clause.on_site.is_empty())
}

/// Whether a claim still holds everywhere; the first place where it does not.
pub fn holds(directory: &Directory, claim: &Claim, at: Millis) -> Result<(), Refused> {
    let failing = claim
        .places
        .iter()
        .find(|place| !holds_at(directory, claim.user.as_deref(), &claim.role, place, at));
    failing.map_or(Ok(()), |place| Err(no_such_role(&claim.role, place)))
}

fn no_such_role(role: &str, place: &Place) -> Refused {
    Refused::NoSuchRole {
        role: role.to_owned(),
        place: place.id.clone(),
    }
}

fn holds_at(directory: &Directory, user: Option<&str>, role: &str, place: &Place, at: Millis) -> bool {
    let has_ended = || {
        let wedding = directory.wedding(&place.id);
        wedding.is_none_or(|wedding| match wedding.status {
            WeddingStatus::Cancelled => true,
            WeddingStatus::Completed => at > wedding.ends_at.saturating_add(RIGHTS_AFTER),
            WeddingStatus::Planned | WeddingStatus::Active => false,
        })
    };
    if place.kind == PlaceKind::Wedding && has_ended() {
        return false;
    }
    match user {
        Some(user) => directory
            .user_number(user)
            .is_some_and(|user| directory.role_at(place, user) == Some(role)),
        None => directory.is_role_held(place, role),
    }
}

fn wedding(id: &str) -> Place {
    Place {
        kind: PlaceKind::Wedding,
        id: id.to_owned(),
    }
}

fn venue(id: &str) -> Place {
    Place {
        kind: PlaceKind::Venue,
        id: id.to_owned(),
    }
}

struct Look<'a> {
    directory: &'a Directory,
    at: Millis,
    draft: &'a Draft,
}

impl Look<'_> {
    /// When the draft goes out: what is scheduled for an event day is refused on the day before as well. A local time comes at
    /// another instant in each zone.
    fn release_times(&self) -> BTreeSet<Millis> {
        let times = match self.draft.deliver_at_local {
            Some(local) => self.directory.instants(self.draft, local),
            None => BTreeSet::from([self.draft.deliver_at.unwrap_or(self.at)]),
        };
        times.into_iter().map(|time| time.max(self.at)).collect()
    }

    /// Whom the draft goes out to at one of these times, or may be widened to then.
    fn reached_at(&self, time: Millis) -> Result<RoaringBitmap, Refused> {
        let mut reached = RoaringBitmap::new();
        for audience in audiences_of(self.draft) {
            reached |= &*audiences::resolve(self.directory, audience, time)?.recipients;
        }
        let Some(local) = self.draft.deliver_at_local else {
            return Ok(reached);
        };
        let groups = self.directory.groups(self.draft, local, &reached).into_iter();
        let due = groups.filter(|(at, _)| (*at).max(self.at) == time);
        Ok(due.fold(RoaringBitmap::new(), |due, (_, users)| due | users))
    }

    /// Product news reaches no place where an event is on, whether named or through the people who belong there.
    fn event_day(&self) -> Result<(), Denied> {
        if !is_product_news(&self.draft.kind) {
            return Ok(());
        }
        self.release_times()
            .into_iter()
            .try_for_each(|time| self.event_day_at(time))
    }

    fn event_day_at(&self, time: Millis) -> Result<(), Denied> {
        let reached = self.reached_at(time)?;
        // a local time may come to the people of a place that is named when its event is over
        let is_for_all = self.draft.deliver_at_local.is_none();
        let on = self.directory.weddings_on(time);
        let disturbed = on.into_iter().find(|(id, at)| {
            let named = clauses_of(self.draft).any(|clause| {
                let at = at.map(str::to_owned);
                clause.weddings.iter().any(|named| named == id)
                    || clause
                        .venues
                        .iter()
                        .chain(&clause.on_site)
                        .any(|named| Some(named) == at.as_ref())
            });
            let places = std::iter::once(wedding(id)).chain(at.map(venue));
            is_for_all && named || places.into_iter().any(|place| self.directory.has_any(&place, &reached))
        });
        disturbed.map_or(Ok(()), |(wedding, _)| {
            Err(Denied::EventDay {
                kind: self.draft.kind.clone(),
                wedding: wedding.to_owned(),
            })
        })
    }

    /// Every target lies within the caller's reach, and the caller's role is held where that reach comes from.
    fn scope(&self, caller: &Caller, reach: Reach) -> Result<Option<Claim>, Denied> {
        if reach == Reach::Any {
            return Ok(None);
        }
        let grounds = self.grounds(caller, reach);
        let targets = Targets {
            places: self.targets(),
            people: self.people()?,
        };
        let all: Vec<&Ground> = grounds.iter().collect();
        if let Some(outside) = self.outside(&all, &targets) {
            return Err(Denied::CrossEvent(outside));
        }
        let held: Vec<&Ground> = grounds.iter().filter(|ground| ground.is_held).collect();
        if held.is_empty() || self.outside(&held, &targets).is_some() {
            let failing = grounds.iter().find(|ground| !ground.is_held);
            let nowhere = wedding("any of the places that the token names");
            let place = failing.map_or(&nowhere, |ground| &ground.place);
            return Err(no_such_role(&caller.role, place).into());
        }
        Ok(Some(Claim {
            user: caller.user.clone(),
            role: caller.role.clone(),
            places: rest_on(&held, &targets),
        }))
    }

    fn grounds(&self, caller: &Caller, reach: Reach) -> Vec<Ground> {
        let weddings = caller.weddings.iter().map(|id| wedding(id));
        let places = weddings.chain(caller.venues.iter().map(|id| venue(id)));
        let ground = |place: Place| Ground {
            is_held: holds_at(self.directory, caller.user.as_deref(), &caller.role, &place, self.at),
            covers: self.covers(reach, &place),
            place,
        };
        places.map(ground).collect()
    }

    /// The first target that no ground covers.
    fn outside(&self, grounds: &[&Ground], targets: &Targets) -> Option<String> {
        let mut places = targets.places.iter();
        if let Some(place) = places.find(|place| !grounds.iter().any(|ground| ground.covers.contains(place))) {
            return Some(format!("{:?}", place.id));
        }
        let mut people = targets.people.clone()?;
        let covered = grounds.iter().flat_map(|ground| &ground.covers);
        covered.for_each(|place| self.directory.remove_members(place, &mut people));
        let first = self.directory.user_id(people.min()?)?;
        Some(format!("user {first:?}"))
    }

    /// What belonging to a place lets one reach.
    fn covers(&self, reach: Reach, place: &Place) -> Vec<Place> {
        let mut covers = vec![place.clone()];
        match (place.kind, reach) {
            (PlaceKind::Wedding, _) => {
                let at = self
                    .directory
                    .wedding(&place.id)
                    .and_then(|wedding| wedding.venue.as_ref());
                covers.extend(at.map(|id| venue(id)));
            }
            (PlaceKind::Venue, Reach::Venue) => covers.extend(self.directory.held_at(&place.id).map(wedding)),
            (PlaceKind::Venue, Reach::Own | Reach::Any) => {}
        }
        covers
    }

    /// The places that the audiences name. Who is on site counts by its venue alone when it is critical, since danger does not
    /// ask whose guest one is; else the weddings under way there are targets too.
    fn targets(&self) -> Vec<Place> {
        let mut targets = Vec::new();
        let times = self.release_times();
        for clause in clauses_of(self.draft) {
            targets.extend(clause.weddings.iter().map(|id| wedding(id)));
            targets.extend(clause.venues.iter().chain(&clause.on_site).map(|id| venue(id)));
            if self.draft.priority != Priority::Critical {
                let held = clause.on_site.iter().flat_map(|id| self.directory.held_at(id));
                let on = held.filter(|id| {
                    let wedding = self.directory.wedding(id);
                    wedding.is_some_and(|wedding| times.iter().any(|time| wedding.window_is_open(*time)))
                });
                targets.extend(on.map(wedding));
            }
        }
        targets
    }

    /// Whom the clauses without a place reach; `None` when every clause names a place.
    fn people(&self) -> Result<Option<RoaringBitmap>, Denied> {
        let mut reached = None;
        for audience in audiences_of(self.draft) {
            let unplaced = audience.clauses.iter().filter(|clause| !is_placed(clause));
            let unplaced = Audience {
                clauses: unplaced.cloned().collect(),
                exclude: audience.exclude.clone(),
            };
            if self.draft.is_timed() && unplaced.clauses.iter().any(|clause| clause.users.is_empty()) {
                // who that will be is not known before it goes out
                return Err(Denied::CrossEvent(
                    "an audience without a place, at a later time,".into(),
                ));
            }
            if unplaced.clauses.is_empty() {
                continue;
            }
            for time in self.release_times() {
                let found = audiences::resolve(self.directory, &unplaced, time)?;
                *reached.get_or_insert_with(RoaringBitmap::new) |= &*found.recipients;
            }
        }
        Ok(reached)
    }
}

/// A place that the caller's token names, and what follows from it.
struct Ground {
    place: Place,
    is_held: bool,
    covers: Vec<Place>,
}

/// What a draft is aimed at: places, and people named without one.
struct Targets {
    places: Vec<Place>,
    people: Option<RoaringBitmap>,
}

/// The places that a verdict rests on: the first that covers each target, and all of them for people who may belong to any.
fn rest_on(held: &[&Ground], targets: &Targets) -> Vec<Place> {
    let is_first = |ground: &Ground, target: &Place| {
        let mut covering = held.iter().filter(|other| other.covers.contains(target));
        covering.next().is_some_and(|first| first.place == ground.place)
    };
    let needed =
        |ground: &Ground| targets.people.is_some() || targets.places.iter().any(|target| is_first(ground, target));
    let needed = held.iter().filter(|ground| needed(ground));
    needed.map(|ground| ground.place.clone()).collect()
}

#[cfg(test)]
mod bench;
#[cfg(test)]
mod tests;
