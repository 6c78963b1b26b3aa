//! A drawn day as a scenario that can be rehearsed: its weddings as a directory, what is said as a script, its power cuts as faults. Pure.

use super::draw::Wedding;
use super::incidents::{Audience, Incident};
use super::model::Season;
use crate::base::clock;
use crate::lab::scenario::{Expect, Fault, Object, Scenario, Scripted, Sender};
use crate::model::Priority;
use serde_json::{Value, json};
use std::time::Duration;

/// People of one day.
pub const PEOPLE_MAX: usize = 3_000;
/// Broadcasts of one day.
pub const BROADCASTS_MAX: usize = 20_000;
/// Who else works there, besides the coordinator and her assistants.
const ROLES: [&str; 10] = [
    "caterer",
    "bar",
    "dj",
    "photographer",
    "florist",
    "hair_makeup",
    "venue_ops",
    "security",
    "first_aid",
    "transport",
];
/// Everybody's phone is out of reach and comes back within this.
const BACK: Duration = Duration::from_secs(60);
const CONFIRM_WITHIN: &str = "600s";

#[derive(Debug, thiserror::Error)]
pub enum NotPlayed {
    #[error("there is no wedding on {0}")]
    Nobody(String),
    #[error("{people} people are more than {PEOPLE_MAX}; play a part of them with --replay-scale {fits:.2}")]
    People { people: usize, fits: f64 },
    #[error("{0} broadcasts are more than {BROADCASTS_MAX}; ask for less --traffic or fewer --weddings")]
    Broadcasts(usize),
}

/// One wedding's people, in the order of their numbers.
struct Crew {
    few: u32,
    staff: u32,
    guests: u32,
}

impl Crew {
    /// `scale` of those who would be there, and at least one of each.
    fn of(wedding: &Wedding, season: &Season, scale: f64) -> Self {
        let part = |count: u32| ((f64::from(count) * scale).round() as u32).max(1);
        let staff = part(wedding.staff_devices);
        Self {
            few: season.audiences.few_people.min(staff),
            staff,
            guests: part(wedding.guest_devices),
        }
    }

    fn reached(&self, audience: Audience) -> u32 {
        match audience {
            Audience::Few => self.few,
            Audience::Staff => self.staff,
            Audience::Guests => self.guests,
            Audience::Everybody => self.staff + self.guests,
        }
    }
}

/// The day of these weddings, with so many of its people.
pub fn script(date: &str, weddings: &[&Wedding], season: &Season, scale: f64) -> Result<Scenario, NotPlayed> {
    if weddings.is_empty() {
        return Err(NotPlayed::Nobody(date.to_owned()));
    }
    let crews: Vec<Crew> = weddings
        .iter()
        .map(|wedding| Crew::of(wedding, season, scale))
        .collect();
    let people: usize = crews.iter().map(|crew| (crew.staff + crew.guests) as usize).sum();
    if people > PEOPLE_MAX {
        let fits = scale * PEOPLE_MAX as f64 / people as f64;
        return Err(NotPlayed::People { people, fits });
    }
    let said: usize = weddings.iter().map(|wedding| wedding.said.len()).sum();
    if said > BROADCASTS_MAX {
        return Err(NotPlayed::Broadcasts(said));
    }
    let with = || weddings.iter().zip(&crews);
    let mut broadcasts: Vec<Scripted> = with().flat_map(|(wedding, crew)| scripted(wedding, crew)).collect();
    broadcasts.sort_by(|one, other| (one.at, &one.reference).cmp(&(other.at, &other.reference)));
    let mut faults: Vec<Fault> = weddings.iter().flat_map(|wedding| faults(wedding)).collect();
    faults.sort_by(|one, other| (one.at, &one.id).cmp(&(other.at, &other.id)));
    Ok(Scenario {
        name: format!("season-{date}"),
        directory: with()
            .flat_map(|(wedding, crew)| directory(wedding, crew, season))
            .collect(),
        broadcasts,
        faults,
    })
}

fn wedding_id(wedding: &Wedding) -> String {
    format!("season-{}", wedding.number)
}

fn object(value: Value) -> Object {
    match value {
        Value::Object(object) => object,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Object::new(),
    }
}

fn directory(wedding: &Wedding, crew: &Crew, season: &Season) -> Vec<Object> {
    let (id, venue) = (wedding_id(wedding), format!("season-venue-{}", wedding.number));
    let zone = season.zones.get(wedding.zone).map_or("UTC", |(name, _)| name.as_str());
    let mut lines = vec![
        json!({"kind": "venue", "id": venue, "name": venue, "timezone": zone}),
        json!({"kind": "wedding", "id": id, "name": id, "venue": venue, "timezone": zone, "status": "planned",
            "starts_at": clock::rfc3339(wedding.starts_at), "ends_at": clock::rfc3339(wedding.ends_at),
            "guests_expected": crew.guests}),
    ];
    let staff = (0..crew.staff).map(|number| (format!("{id}-staff-{number}"), role(number, crew)));
    let guests = (0..crew.guests).map(|number| (format!("{id}-guest-{number}"), "guest"));
    for (user, role) in staff.chain(guests) {
        lines.push(json!({"kind": "user", "id": user, "role": role, "timezone": zone, "locale": "en"}));
        lines.push(json!({"kind": "member", "of": {"wedding": id}, "user": user, "role": role}));
    }
    lines.into_iter().map(object).collect()
}

/// The first is the coordinator, and those with her are her assistants: together they are the handful.
fn role(number: u32, crew: &Crew) -> &'static str {
    match number {
        0 => "coordinator",
        number if number < crew.few => "assistant_coordinator",
        number => ROLES[(number as usize) % ROLES.len()],
    }
}

fn audience(wedding: &str, audience: Audience) -> Value {
    match audience {
        Audience::Few => json!([{"weddings": [wedding], "roles": ["coordinator", "assistant_coordinator"]}]),
        Audience::Staff => json!([{"weddings": [wedding], "roles": ["staff"]}]),
        Audience::Guests => json!([{"weddings": [wedding], "roles": ["guests"]}]),
        Audience::Everybody => json!([{"weddings": [wedding]}]),
    }
}

fn scripted(wedding: &Wedding, crew: &Crew) -> Vec<Scripted> {
    let id = wedding_id(wedding);
    let one = |(number, said): (usize, &super::happens::Said)| {
        let mut publish = object(
            json!({"type": said.kind, "priority": said.priority.name(), "title": said.title,
            "body": format!("Wedding {}, number {number} of its day.", wedding.number),
            "audience": audience(&id, said.audience)}),
        );
        if said.priority == Priority::Critical {
            publish.insert("acknowledge".to_owned(), json!({"within": CONFIRM_WITHIN}));
        }
        Scripted {
            reference: format!("{id}-{number:04}"),
            at: said.at,
            priority: said.priority,
            sender: Sender {
                role: "coordinator".to_owned(),
                wedding: Some(id.clone()),
                venue: None,
            },
            publish,
            expect: Expect::Accept {
                targeted: u64::from(crew.reached(said.audience)),
            },
        }
    };
    wedding.said.iter().enumerate().map(one).collect()
}

/// A venue without power: its devices drop and come back. In a rehearsal it is everybody, since all venues share its nodes.
fn faults(wedding: &Wedding) -> Vec<Fault> {
    let cuts = wedding
        .incidents
        .iter()
        .filter(|happened| happened.incident == Incident::PowerCut);
    let fault = |happened: &super::happens::Happened| Fault {
        id: format!("{}-power", wedding_id(wedding)),
        at: happened.at,
        kind: "client_surge".to_owned(),
        target: "all".to_owned(),
        length: BACK,
        note: "power cut: all devices drop and come back".to_owned(),
    };
    cuts.map(fault).collect()
}

#[cfg(test)]
mod tests {
    use super::{NotPlayed, PEOPLE_MAX, script};
    use crate::lab::oracle::Oracle;
    use crate::lab::scenario::Expect;
    use crate::lab::season::calendar::Calendar;
    use crate::lab::season::draw::{Order, Wedding, draw};
    use crate::lab::season::figures::{Profile, open};
    use crate::lab::season::incidents::{Audience, Incident};

    /// The oracle of rehearsals finds as many for each broadcast as the script says.
    #[test]
    fn a_day_is_a_scenario_whose_counts_the_oracle_finds_too() {
        let season = open(Profile::Published).unwrap();
        let calendar = Calendar::new(&season, &[]);
        let order = Order {
            weddings: 400,
            traffic: 1.0,
            seed: 9,
        };
        let all = draw(&season, &calendar, order, || ());
        let some: Vec<&Wedding> = all.iter().take(3).collect();
        let scenario = script("2027-06-19", &some, &season, 0.2).unwrap();
        let said: usize = some.iter().map(|wedding| wedding.said.len()).sum();
        assert_eq!(scenario.broadcasts.len(), said);
        assert!(scenario.broadcasts.is_sorted_by_key(|scripted| scripted.at));
        let oracle = Oracle::new(&scenario.directory).unwrap();
        for scripted in &scenario.broadcasts {
            let found = oracle.recipients(&scripted.publish, scripted.at).unwrap().len() as u64;
            assert_eq!(scripted.expect_targeted(), Some(found), "{}", scripted.reference);
            assert!(found > 0);
        }
        let cut = all.iter().find(|wedding| {
            wedding
                .incidents
                .iter()
                .any(|happened| happened.incident == Incident::PowerCut)
        });
        let faults = script("x", &[cut.unwrap()], &season, 0.1).unwrap().faults;
        assert_eq!(faults.len(), 1);
        let whole: Vec<&Wedding> = all.iter().collect();
        match script("x", &whole, &season, 1.0) {
            Err(NotPlayed::People { people, fits }) => assert!(people > PEOPLE_MAX && fits < 1.0),
            other => panic!("{other:?}"),
        }
        assert!(matches!(script("x", &[], &season, 1.0), Err(NotPlayed::Nobody(_))));
        assert!(
            some.iter()
                .flat_map(|wedding| &wedding.said)
                .any(|said| said.audience == Audience::Few)
        );
    }

    impl crate::lab::scenario::Scripted {
        fn expect_targeted(&self) -> Option<u64> {
            match self.expect {
                Expect::Accept { targeted } => Some(targeted),
                Expect::Refuse { .. } => None,
            }
        }
    }
}
