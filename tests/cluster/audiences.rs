//! Audiences against an oracle of their own: random directories that keep changing, random clauses, sets computed by hand.

use super::harness::directory::{import, member, user, venue, wedding};
use super::harness::{Client, Cluster, cluster};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

const ROLES: [&str; 9] = [
    "guest",
    "family",
    "wedding_party",
    "couple",
    "dj",
    "security",
    "coordinator",
    "first_aid",
    "caterer",
];
const TIERS: [&str; 4] = ["starter", "professional", "scale", "enterprise"];
const GUESTS: [&str; 3] = ["guest", "family", "wedding_party"];
const NOT_STAFF: [&str; 4] = ["guest", "family", "wedding_party", "couple"];

/// Small, seeded and of our own: a failing run can be repeated with `CAMPANILE_SEED`.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }

    fn one_in(&mut self, sides: usize) -> bool {
        self.roll(sides) == 0
    }

    fn pick(&mut self, from: &[&str]) -> String {
        from[self.roll(from.len())].to_owned()
    }

    /// One to three of `name-0` to `name-(count-1)`.
    fn ids(&mut self, name: &str, count: usize) -> Vec<String> {
        (0..=self.roll(3))
            .map(|_| format!("{name}-{}", self.roll(count)))
            .collect()
    }
}

#[derive(Clone, Default)]
struct Person {
    role: String,
    tier: String,
}

#[derive(Clone, Default)]
struct Rule {
    roles: Vec<String>,
    tiers: Vec<String>,
}

/// The directory as this test believes it to be.
#[derive(Default)]
struct World {
    people: BTreeMap<String, Person>,
    /// A wedding's venue, and whether its event window is open.
    weddings: BTreeMap<String, (String, bool)>,
    /// (place kind, place, user) to role.
    members: BTreeMap<(&'static str, String, String), String>,
    segments: BTreeMap<String, Rule>,
}

type Names = BTreeSet<String>;

const USERS: usize = 40;
const WEDDINGS: usize = 6;
const VENUES: usize = 3;
const SEGMENTS: usize = 3;

fn fits(role: &str, wanted: &[String]) -> bool {
    wanted.iter().any(|word| match word.as_str() {
        "guests" => GUESTS.contains(&role),
        "staff" => !NOT_STAFF.contains(&role),
        word => word == role,
    })
}

fn texts(clause: &Value, key: &str) -> Option<Vec<String>> {
    let values = clause.get(key)?.as_array()?;
    Some(values.iter().map(|value| value.as_str().unwrap().to_owned()).collect())
}

impl World {
    /// Members of a place, with the role asked for, if any.
    fn members_of(&self, kind: &str, id: &str, roles: Option<&Vec<String>>) -> Names {
        let inside = self
            .members
            .iter()
            .filter(|((k, place, _), _)| *k == kind && place == id);
        let fitting = inside.filter(|(_, role)| roles.is_none_or(|wanted| fits(role, wanted)));
        fitting.map(|((_, _, user), _)| user.clone()).collect()
    }

    fn on_site(&self, venue: &str, roles: Option<&Vec<String>>) -> Names {
        let mut found = self.members_of("venue", venue, roles);
        for (id, (at, open)) in &self.weddings {
            if at == venue && *open {
                found.extend(self.members_of("wedding", id, roles));
            }
        }
        found
    }

    fn people_where(&self, holds: impl Fn(&Person) -> bool) -> Names {
        let fitting = self.people.iter().filter(|(_, person)| holds(person));
        fitting.map(|(id, _)| id.clone()).collect()
    }

    fn segment(&self, name: &str) -> Names {
        let rule = &self.segments[name];
        self.people_where(|person| {
            (rule.roles.is_empty() || fits(&person.role, &rule.roles))
                && (rule.tiers.is_empty() || rule.tiers.contains(&person.tier))
        })
    }

    /// Keys are AND, values OR.
    fn clause(&self, clause: &Value) -> Names {
        let roles = texts(clause, "roles");
        let mut keys: Vec<Names> = Vec::new();
        let mut any = |key: &str, of: &dyn Fn(&str) -> Names| {
            if let Some(values) = texts(clause, key) {
                keys.push(values.iter().flat_map(|value| of(value)).collect());
            }
        };
        any("users", &|id| {
            self.people
                .contains_key(id)
                .then(|| id.to_owned())
                .into_iter()
                .collect()
        });
        any("weddings", &|id| self.members_of("wedding", id, roles.as_ref()));
        any("venues", &|id| self.members_of("venue", id, roles.as_ref()));
        any("on_site", &|id| self.on_site(id, roles.as_ref()));
        any("tiers", &|tier| self.people_where(|person| person.tier == tier));
        any("segments", &|name| self.segment(name));
        if clause.get("everyone").is_some() {
            keys.push(self.people.keys().cloned().collect());
        }
        let at_a_place = ["weddings", "venues", "on_site"]
            .iter()
            .any(|key| clause.get(key).is_some());
        if let (Some(wanted), false) = (&roles, at_a_place) {
            keys.push(self.people_where(|person| fits(&person.role, wanted)));
        }
        let mut keys = keys.into_iter();
        let first = keys.next().unwrap();
        keys.fold(first, |left, right| left.intersection(&right).cloned().collect())
    }

    /// Clauses are OR; what is excluded goes.
    fn audience(&self, audience: &Value, exclude: Option<&Value>) -> Names {
        let all = |value: &Value| -> Names {
            match value.as_array() {
                Some(list) => list.iter().flat_map(|clause| self.clause(clause)).collect(),
                None => self.clause(value),
            }
        };
        let gone = exclude.map(&all).unwrap_or_default();
        all(audience).difference(&gone).cloned().collect()
    }

    /// The first directory, as lines to import.
    fn fill(&mut self, dice: &mut Dice) -> Vec<Value> {
        let mut lines = Vec::new();
        for n in 0..USERS {
            lines.push(self.put_user(dice, format!("u-{n}")));
        }
        lines.extend((0..VENUES).map(|n| venue(&format!("v-{n}"))));
        for n in 0..WEDDINGS {
            lines.push(self.put_wedding(dice, format!("w-{n}"), n % 2 == 0));
        }
        for _ in 0..120 {
            lines.extend(self.put_member(dice));
        }
        lines
    }

    fn put_user(&mut self, dice: &mut Dice, id: String) -> Value {
        let person = Person {
            role: dice.pick(&ROLES),
            tier: dice.pick(&TIERS),
        };
        let line = user(&id, &person.role, &person.tier);
        self.people.insert(id, person);
        line
    }

    /// A window that is far open, or far from open: the test never stands at its edge.
    fn put_wedding(&mut self, dice: &mut Dice, id: String, open: bool) -> Value {
        let at = format!("v-{}", dice.roll(VENUES));
        let (starts_at, ends_at) = match (open, dice.one_in(2)) {
            (true, _) => ("2020-01-01T12:00:00Z", "2090-01-01T12:00:00Z"),
            (false, true) => ("2020-01-01T12:00:00Z", "2020-01-01T20:00:00Z"),
            (false, false) => ("2090-01-01T12:00:00Z", "2090-01-01T20:00:00Z"),
        };
        let line = wedding(&id, &at, starts_at, ends_at);
        self.weddings.insert(id, (at, open));
        line
    }

    fn put_member(&mut self, dice: &mut Dice) -> Option<Value> {
        let id = format!("u-{}", dice.roll(USERS));
        let (kind, place) = if dice.one_in(3) {
            ("venue", format!("v-{}", dice.roll(VENUES)))
        } else {
            ("wedding", format!("w-{}", dice.roll(WEDDINGS)))
        };
        let known = self.people.contains_key(&id);
        known.then(|| {
            let role = dice.pick(&ROLES);
            let line = member(kind, &place, &id, &role);
            self.members.insert((kind, place, id), role);
            line
        })
    }

    /// One change through the ordinary doors; an erased user comes back as a stranger to every place.
    fn change(&mut self, dice: &mut Dice, client: &mut Client) {
        let id = format!("u-{}", dice.roll(USERS));
        match dice.roll(6) {
            0 => {
                let answer = client.delete(&format!("/v1/users/{id}"));
                assert!(matches!(answer.status, 200 | 204 | 404), "{}", answer.text());
                self.people.remove(&id);
                self.members.retain(|(_, _, user), _| *user != id);
            }
            1 => {
                let line = self.put_user(dice, id);
                import(client, &[line]).expect(200);
            }
            2 => {
                let open = dice.one_in(2);
                let wedding = format!("w-{}", dice.roll(WEDDINGS));
                let line = self.put_wedding(dice, wedding, open);
                import(client, &[line]).expect(200);
            }
            3 => {
                let chosen = dice.roll(self.members.len());
                let Some(key) = self.members.keys().nth(chosen).cloned() else {
                    return;
                };
                let (kind, place, user) = &key;
                let answer = client.delete(&format!("/v1/{kind}s/{place}/members/{user}"));
                assert!(matches!(answer.status, 200 | 204), "{}", answer.text());
                self.members.remove(&key);
            }
            _ => {
                if let Some(line) = self.put_member(dice) {
                    import(client, &[line]).expect(200);
                }
            }
        }
    }

    fn put_segments(&mut self, dice: &mut Dice, client: &mut Client) {
        for n in 0..SEGMENTS {
            let rule = Rule {
                roles: (0..dice.roll(3)).map(|_| dice.pick(&ROLES)).collect(),
                tiers: (0..=dice.roll(2)).map(|_| dice.pick(&TIERS)).collect(),
            };
            let mut body = Map::new();
            if !rule.roles.is_empty() {
                body.insert("roles".into(), json!(rule.roles));
            }
            body.insert("tiers".into(), json!(rule.tiers));
            let answer = client.put(&format!("/v1/segments/s-{n}"), &Value::Object(body));
            assert!(matches!(answer.status, 200 | 201 | 204), "{}", answer.text());
            self.segments.insert(format!("s-{n}"), rule);
        }
    }
}

/// A clause with one to three keys.
fn random_clause(dice: &mut Dice) -> Value {
    let mut clause = Map::new();
    for _ in 0..=dice.roll(3) {
        match dice.roll(8) {
            0 => clause.insert("users".into(), json!(dice.ids("u", USERS + 3))),
            1 | 2 => clause.insert("weddings".into(), json!(dice.ids("w", WEDDINGS))),
            3 => clause.insert("venues".into(), json!(dice.ids("v", VENUES))),
            4 => clause.insert("on_site".into(), json!(dice.ids("v", VENUES))),
            5 => clause.insert("tiers".into(), json!([dice.pick(&TIERS), dice.pick(&TIERS)])),
            6 => clause.insert("segments".into(), json!(dice.ids("s", SEGMENTS))),
            _ if dice.one_in(4) => clause.insert("everyone".into(), json!(true)),
            _ => clause.insert("roles".into(), random_roles(dice)),
        };
    }
    if dice.one_in(2) {
        clause.insert("roles".into(), random_roles(dice));
    }
    Value::Object(clause)
}

fn random_roles(dice: &mut Dice) -> Value {
    let word = match dice.roll(4) {
        0 => "guests".to_owned(),
        1 => "staff".to_owned(),
        _ => dice.pick(&ROLES),
    };
    json!([word, dice.pick(&ROLES)])
}

/// One clause, or a list of up to three.
fn random_clauses(dice: &mut Dice) -> Value {
    match dice.roll(3) {
        0 => random_clause(dice),
        count => Value::Array((0..=count).map(|_| random_clause(dice)).collect()),
    }
}

fn recipients(client: &mut Client, id: &str) -> Names {
    let mut found = Names::new();
    let mut after = String::new();
    loop {
        let path = format!("/v1/broadcasts/{id}/recipients?limit=100{after}");
        let page = client.get(&path).expect(200).json();
        let items = page["items"].as_array().unwrap();
        found.extend(items.iter().map(|item| item["user"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return found,
        }
    }
}

#[test]
fn every_audience_is_what_the_oracle_says() {
    let seed = std::env::var("CAMPANILE_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or(20_270_619);
    println!("CAMPANILE_SEED={seed}");
    let mut dice = Dice(seed);
    // A directory of its own: `everyone` must mean those of this test.
    let shared = cluster::beside(1);
    let cluster: &Cluster = &shared.cluster;
    let mut client = cluster.client(0);
    let mut world = World::default();
    let lines = world.fill(&mut dice);
    import(&mut client, &lines).expect(200);
    world.put_segments(&mut dice, &mut client);

    let (mut nobody, mut many) = (0, 0);
    for round in 0..super::checks(300) {
        if round % 3 == 2 {
            world.change(&mut dice, &mut client);
        }
        if round % 50 == 49 {
            world.put_segments(&mut dice, &mut client);
        }
        let audience = random_clauses(&mut dice);
        let exclude = dice.one_in(3).then(|| random_clauses(&mut dice));
        let mut draft = json!({
            "type": "timeline.changed", "title": "Who", "body": format!("round {round}"), "audience": audience,
        });
        if let Some(exclude) = &exclude {
            draft["exclude"] = exclude.clone();
        }
        let wanted = world.audience(&audience, exclude.as_ref());
        let dry = client.post("/v1/broadcasts?dry_run=true", &draft).expect(200).json();
        let said = client.post("/v1/broadcasts", &draft).expect(201).json();
        let got = recipients(&mut client, said["id"].as_str().unwrap());
        assert_eq!(got, wanted, "round {round}: {draft}");
        assert_eq!(said["targeted"], wanted.len(), "round {round}: {draft}");
        assert_eq!(dry["targeted"], said["targeted"], "round {round}: {draft}");
        let warned = said["warnings"]
            .as_array()
            .is_some_and(|list| list.contains(&json!("NO_RECIPIENTS")));
        assert_eq!(warned, wanted.is_empty(), "round {round}: {said}");
        nobody += usize::from(wanted.is_empty());
        many += usize::from(wanted.len() > 5);
    }
    assert!(
        nobody > 0 && many > 0,
        "{nobody} empty and {many} large audiences: not a test"
    );
}

#[test]
fn an_audience_must_be_stated_and_its_places_known() {
    let shared = cluster::shared();
    let mut client = shared.cluster.client(0);
    let mut check = |audience: Value, code: &str| {
        let draft = json!({"type": "timeline.changed", "title": "Who", "body": "x", "audience": audience});
        let answer = client.post("/v1/broadcasts", &draft).expect(422);
        assert!(answer.text().contains(code), "{draft}: {}", answer.text());
    };
    check(json!([]), "EMPTY_AUDIENCE");
    check(json!({}), "EMPTY_AUDIENCE");
    check(json!([{}]), "EMPTY_AUDIENCE");
    check(json!({"weddings": ["nowhere"]}), "UNKNOWN_");
    check(json!({"venues": ["nowhere"]}), "UNKNOWN_");
    check(json!({"on_site": ["nowhere"]}), "UNKNOWN_");
    check(json!({"segments": ["nobody"]}), "UNKNOWN_");
    let unknown = json!({"type": "timeline.changed", "title": "Who", "body": "x", "audience": {"users": ["stranger"]}});
    let answer = client.post("/v1/broadcasts", &unknown).expect(201).json();
    assert_eq!(
        (&answer["targeted"], &answer["unknown"]),
        (&json!(0), &json!(1)),
        "{answer}"
    );
}
