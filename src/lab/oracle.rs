//! Who a broadcast is for, worked out a second time: plain sets over the directory's lines, no index, no bitmap, none of the server's code.
//! What must follow when nobody confirms is worked out in [`steps`].

use super::scenario::Object;
use crate::base::clock::{self, Millis};
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

mod asked;
pub mod plan;
pub mod steps;

/// A user's place in the order of the directory's lines.
pub type Device = usize;
pub type Recipients = BTreeSet<Device>;

/// A place and its kind, as `of` names it.
type Place = (&'static str, String);

const HOUR: Millis = 3_600_000;

#[derive(Debug, Default)]
pub struct Oracle {
    users: Vec<User>,
    devices: BTreeMap<String, Device>,
    weddings: BTreeMap<String, Wedding>,
    segments: BTreeMap<String, Rule>,
    members: BTreeMap<Place, BTreeSet<(Device, String)>>,
}

#[derive(Debug, Deserialize)]
struct User {
    id: String,
    #[serde(default)]
    role: String,
    #[serde(default)]
    tier: String,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct Wedding {
    id: String,
    venue: Option<String>,
    starts_at: String,
    ends_at: String,
    status: String,
}

#[derive(Debug, Deserialize)]
struct Member {
    of: MemberOf,
    user: String,
    role: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum MemberOf {
    Wedding(String),
    Venue(String),
}

#[derive(Debug, Deserialize)]
struct Segment {
    name: String,
    #[serde(flatten)]
    rule: Rule,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Rule {
    roles: Vec<String>,
    tiers: Vec<String>,
    attributes: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Clause {
    everyone: bool,
    users: Option<Vec<String>>,
    weddings: Option<Vec<String>>,
    venues: Option<Vec<String>>,
    on_site: Option<Vec<String>>,
    roles: Option<Vec<String>>,
    tiers: Option<Vec<String>>,
    segments: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(Box<Clause>),
    Many(Vec<Clause>),
}

impl Oracle {
    pub fn new(directory: &[Object]) -> Result<Self> {
        let mut oracle = Self::default();
        for (object, number) in directory.iter().zip(1..) {
            let learned = oracle.learn(object);
            learned.with_context(|| format!("directory, line {number}"))?;
        }
        Ok(oracle)
    }

    /// The users' ids, by device.
    pub fn users(&self) -> impl ExactSizeIterator<Item = &str> {
        self.users.iter().map(|user| user.id.as_str())
    }

    /// Phones that sleep through a ceremony.
    pub fn is_guest(&self, device: Device) -> bool {
        let guests = ["guests".to_owned()];
        self.users
            .get(device)
            .is_some_and(|user| role_is(&user.role, Some(&guests)))
    }

    /// Whom this body reaches when it is released at `now`.
    pub fn recipients(&self, publish: &Object, now: Millis) -> Result<Recipients> {
        let audience = self.any_of(publish.get("audience"), now)?;
        let exclude = self.any_of(publish.get("exclude"), now)?;
        Ok(&audience - &exclude)
    }

    /// Whom a step of it calls in besides.
    fn called_in(&self, publish: &Object, to: Option<&Value>, now: Millis) -> Result<Recipients> {
        let exclude = self.any_of(publish.get("exclude"), now)?;
        Ok(&self.any_of(to, now)? - &exclude)
    }

    /// Who holds a role in any place that these audiences name; where a clause names none, by their own role.
    fn holders(&self, audiences: &[&Value], role: &str, now: Millis) -> Result<Recipients> {
        let roles = [role.to_owned()];
        let roles = Some(roles.as_slice());
        let mut found = Recipients::new();
        for audience in audiences {
            for clause in clauses(audience)? {
                let places = self.places(&clause, now);
                if places.iter().all(Option::is_none) {
                    let by_profile = self
                        .users
                        .iter()
                        .zip(0..)
                        .filter(|(user, _)| role_is(&user.role, roles));
                    found.extend(by_profile.map(|(_, device)| device));
                }
                let members = places
                    .iter()
                    .flatten()
                    .flatten()
                    .filter_map(|place| self.members.get(place));
                let holders = members.flatten().filter(|(_, role)| role_is(role, roles));
                found.extend(holders.map(|(device, _)| device));
            }
        }
        Ok(found)
    }

    fn learn(&mut self, object: &Object) -> Result<()> {
        let value = || Value::Object(object.clone());
        match object.get("kind").and_then(Value::as_str) {
            Some("user") => {
                let user: User = serde_json::from_value(value())?;
                self.devices.insert(user.id.clone(), self.users.len());
                self.users.push(user);
            }
            Some("wedding") => {
                let wedding: Wedding = serde_json::from_value(value())?;
                self.weddings.insert(wedding.id.clone(), wedding);
            }
            Some("member") => {
                let member: Member = serde_json::from_value(value())?;
                let device = *self
                    .devices
                    .get(&member.user)
                    .with_context(|| format!("no user {}", member.user))?;
                let place = match member.of {
                    MemberOf::Wedding(id) => ("wedding", id),
                    MemberOf::Venue(id) => ("venue", id),
                };
                self.members.entry(place).or_default().insert((device, member.role));
            }
            Some("segment") => {
                let segment: Segment = serde_json::from_value(value())?;
                self.segments.insert(segment.name, segment.rule);
            }
            Some("venue" | "preferences") => {}
            other => bail!("kind {other:?} is not known"),
        }
        Ok(())
    }

    fn any_of(&self, clauses: Option<&Value>, now: Millis) -> Result<Recipients> {
        let clauses = clauses.map_or(Ok(Vec::new()), self::clauses)?;
        let mut found = Recipients::new();
        for clause in &clauses {
            found.extend((0..self.users.len()).filter(|device| self.holds(clause, *device, now)));
        }
        Ok(found)
    }

    /// Whether every key of the clause holds for this user.
    fn holds(&self, clause: &Clause, device: Device, now: Millis) -> bool {
        let user = &self.users[device];
        let roles = clause.roles.as_deref();
        let within = |places: &[Place]| {
            let members = places.iter().filter_map(|place| self.members.get(place)).flatten();
            members
                .into_iter()
                .any(|(member, role)| *member == device && role_is(role, roles))
        };
        let places = self.places(clause, now);
        let keys = [
            clause.users.as_ref().map(|ids| ids.contains(&user.id)),
            clause.tiers.as_ref().map(|tiers| tiers.contains(&user.tier)),
            clause
                .segments
                .as_ref()
                .map(|names| names.iter().any(|name| self.in_segment(name, user))),
            clause.everyone.then_some(true),
        ];
        let mut given = places.iter().flatten().map(|places| within(places)).peekable();
        let by_place = given.peek().is_some();
        let profile = roles.filter(|_| !by_place).map(|_| role_is(&user.role, roles));
        let mut all = given.chain(keys.into_iter().chain([profile]).flatten()).peekable();
        all.peek().is_some() && all.all(|holds| holds)
    }

    /// The places of each key of a clause that names some.
    fn places(&self, clause: &Clause, now: Millis) -> [Option<Vec<Place>>; 3] {
        let named = |kind: &'static str, ids: &[String]| ids.iter().map(|id| (kind, id.clone())).collect::<Vec<_>>();
        [
            clause.weddings.as_deref().map(|ids| named("wedding", ids)),
            clause.venues.as_deref().map(|ids| named("venue", ids)),
            clause.on_site.as_deref().map(|ids| self.on_site(ids, now)),
        ]
    }

    /// A venue and the weddings held there whose event window is open.
    fn on_site(&self, venues: &[String], now: Millis) -> Vec<Place> {
        let here = |wedding: &&Wedding| wedding.venue.as_ref().is_some_and(|venue| venues.contains(venue));
        let open = self
            .weddings
            .values()
            .filter(here)
            .filter(|wedding| wedding.is_open(now));
        let weddings = open.map(|wedding| ("wedding", wedding.id.clone()));
        venues.iter().map(|id| ("venue", id.clone())).chain(weddings).collect()
    }

    fn in_segment(&self, name: &str, user: &User) -> bool {
        self.segments.get(name).is_some_and(|rule| {
            let one_of = |values: &[String], value: &String| values.is_empty() || values.contains(value);
            one_of(&rule.roles, &user.role)
                && one_of(&rule.tiers, &user.tier)
                && rule
                    .attributes
                    .iter()
                    .all(|(name, values)| user.attributes.get(name).is_some_and(|value| values.contains(value)))
        })
    }
}

fn clauses(audience: &Value) -> Result<Vec<Clause>> {
    match serde_json::from_value(audience.clone()) {
        Ok(OneOrMany::One(clause)) => Ok(vec![*clause]),
        Ok(OneOrMany::Many(clauses)) => Ok(clauses),
        Err(error) => Err(error).context("an audience the oracle does not understand"),
    }
}

impl Wedding {
    /// From 12 h before the start to 6 h after the end.
    fn is_open(&self, now: Millis) -> bool {
        let times = (
            clock::parse_rfc3339(&self.starts_at),
            clock::parse_rfc3339(&self.ends_at),
        );
        let (Some(start), Some(end)) = times else { return false };
        self.status != "cancelled" && (start - 12 * HOUR..=end + 6 * HOUR).contains(&now)
    }
}

fn role_is(role: &str, wanted: Option<&[String]>) -> bool {
    wanted.is_none_or(|wanted| {
        wanted.iter().any(|name| match name.as_str() {
            "guests" => matches!(role, "guest" | "family" | "wedding_party"),
            "staff" => !matches!(role, "" | "guest" | "family" | "wedding_party" | "couple"),
            exact => role == exact,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::Oracle;
    use crate::{
        base::clock,
        lab::scenario::{self, Expect, Object},
    };
    use serde_json::{Value, json};

    fn object(value: Value) -> Object {
        serde_json::from_value(value).unwrap()
    }

    fn small() -> Oracle {
        let user = |id: &str, role: &str, tier: &str| json!({"kind": "user", "id": id, "role": role, "tier": tier});
        let wedding = |id: &str, starts: &str, ends: &str| json!({"kind": "wedding", "id": id, "venue": "barn", "starts_at": starts, "ends_at": ends, "status": "planned"});
        let member = |kind: &str, id: &str, user: &str, role: &str| json!({"kind": "member", "of": {kind: id}, "user": user, "role": role});
        let lines = [
            json!({"kind": "venue", "id": "barn"}),
            wedding("today", "2027-06-19T15:00:00Z", "2027-06-19T23:00:00Z"),
            wedding("later", "2027-08-01T15:00:00Z", "2027-08-01T23:00:00Z"),
            user("ann", "guest", "starter"),
            user("bob", "dj", "scale"),
            user("cat", "coordinator", "scale"),
            user("dan", "venue_ops", ""),
            user("eve", "couple", ""),
            user("flo", "sre", ""),
            member("wedding", "today", "ann", "guest"),
            member("wedding", "today", "bob", "dj"),
            member("wedding", "today", "eve", "couple"),
            member("wedding", "later", "ann", "family"),
            member("wedding", "later", "cat", "coordinator"),
            member("wedding", "later", "bob", "guest"),
            member("venue", "barn", "dan", "venue_ops"),
            member("venue", "barn", "bob", "security"),
            json!({"kind": "segment", "name": "scale people", "tiers": ["scale"]}),
        ];
        Oracle::new(&lines.map(object)).unwrap()
    }

    #[track_caller]
    fn check(audience: &Value, exclude: &Value, expected: &str) {
        let oracle = small();
        let now = clock::parse_rfc3339("2027-06-19T16:00:00Z").unwrap();
        let mut publish = object(json!({"audience": audience}));
        if !exclude.is_null() {
            publish.insert("exclude".into(), exclude.clone());
        }
        let found = oracle.recipients(&publish, now).unwrap();
        let names: Vec<&str> = oracle
            .users()
            .zip(0..)
            .filter(|(_, n)| found.contains(n))
            .map(|(id, _)| id)
            .collect();
        assert_eq!(names.join(" "), expected, "{audience} without {exclude}");
    }

    #[test]
    fn keys_are_and_values_are_or_and_clauses_are_or() {
        let none = Value::Null;
        check(&json!({"everyone": true}), &none, "ann bob cat dan eve flo");
        check(
            &json!([{"users": ["ann", "nobody"]}, {"users": ["flo"]}]),
            &none,
            "ann flo",
        );
        check(&json!({"weddings": ["today", "later"]}), &none, "ann bob cat eve");
        check(&json!({"weddings": ["later"], "tiers": ["scale"]}), &none, "bob cat");
        check(&json!({"segments": ["scale people"], "venues": ["barn"]}), &none, "bob");
        check(&json!({"weddings": ["today"]}), &json!({"users": ["bob"]}), "ann eve");
        check(
            &json!({"weddings": ["today"]}),
            &json!([{"roles": ["couple"]}, {"venues": ["barn"]}]),
            "ann",
        );
        check(&json!([{}]), &none, "");
        check(&json!({"weddings": []}), &none, "");
    }

    #[test]
    fn a_role_counts_where_the_clause_looks() {
        let none = Value::Null;
        check(&json!({"roles": ["guest"]}), &none, "ann");
        check(&json!({"weddings": ["later"], "roles": ["guest"]}), &none, "bob");
        check(&json!({"weddings": ["today"], "roles": ["guests"]}), &none, "ann");
        check(&json!({"weddings": ["later"], "roles": ["guests"]}), &none, "ann bob");
        check(&json!({"weddings": ["today"], "roles": ["staff"]}), &none, "bob");
        check(&json!({"roles": ["staff"]}), &none, "bob cat dan flo");
        check(
            &json!({"weddings": ["today"], "venues": ["barn"], "roles": ["security"]}),
            &none,
            "",
        );
        check(
            &json!({"weddings": ["today"], "venues": ["barn"], "roles": ["dj", "security"]}),
            &none,
            "bob",
        );
    }

    #[test]
    fn a_venue_is_its_own_members_and_a_site_is_also_the_open_weddings() {
        let none = Value::Null;
        check(&json!({"venues": ["barn"]}), &none, "bob dan");
        check(&json!({"on_site": ["barn"]}), &none, "ann bob dan eve");
        check(&json!({"on_site": ["barn"], "roles": ["staff"]}), &none, "bob dan");
    }

    #[test]
    fn a_role_is_held_at_any_place_that_is_named() {
        let oracle = small();
        let now = clock::parse_rfc3339("2027-06-19T16:00:00Z").unwrap();
        let check = |audiences: &[Value], role: &str, expected: &str| {
            let audiences: Vec<&Value> = audiences.iter().collect();
            let found = oracle.holders(&audiences, role, now).unwrap();
            let names: Vec<&str> = oracle
                .users()
                .zip(0..)
                .filter(|(_, n)| found.contains(n))
                .map(|(id, _)| id)
                .collect();
            assert_eq!(names.join(" "), expected, "{role} of {audiences:?}");
        };
        let both = json!({"weddings": ["today"], "venues": ["barn"], "roles": ["dj"]});
        check(std::slice::from_ref(&both), "security", "bob");
        check(&[both], "venue_ops", "dan");
        check(&[json!({"weddings": ["today"]})], "venue_ops", "");
        check(
            &[json!({"weddings": ["today"]}), json!([{"venues": ["barn"]}])],
            "venue_ops",
            "dan",
        );
        check(&[json!({"on_site": ["barn"]})], "guest", "ann");
        check(&[json!({"users": ["ann"]})], "dj", "bob");
        check(&[json!({"weddings": ["later"]})], "coordinator", "cat");
        check(&[json!({"weddings": ["today"]})], "coordinator", "");
    }

    #[test]
    fn the_script_and_the_oracle_agree() {
        let mut day = scenario::open("saturday").unwrap();
        let now = 1_800_000_000_000;
        day.move_to(now);
        let oracle = Oracle::new(&day.directory).unwrap();
        for scripted in &day.broadcasts {
            let found = oracle.recipients(&scripted.publish, now).unwrap().len() as u64;
            if let Expect::Accept { targeted } = scripted.expect {
                assert_eq!(found, targeted, "{}", scripted.reference);
            }
        }
    }

    #[test]
    fn an_audience_it_does_not_know_is_an_error_and_never_a_guess() {
        let error = small().recipients(&object(json!({"audience": {"moon": ["full"]}})), 0);
        assert!(error.is_err());
    }
}
