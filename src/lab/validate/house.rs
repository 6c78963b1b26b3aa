//! The house that audiences are tried on: a venue with a wedding that is on and one that is not, its people, and who is meant by what.

use super::listener::Listener;
use super::nouns::{draft, member, user, venue, wedding};
use super::stage::Stage;
use anyhow::Result;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Each person, their role at the wedding that is on, and at the venue.
pub const PEOPLE: [(&str, Option<&str>, Option<&str>); 7] = [
    ("ana", Some("guest"), None),
    ("ben", Some("guest"), None),
    ("cal", Some("family"), None),
    ("dan", Some("dj"), None),
    ("eve", Some("couple"), None),
    ("fay", None, Some("venue_ops")),
    ("gus", None, None),
];

/// An audience, and who is meant by it.
pub struct Case<'a> {
    pub what: &'static str,
    pub audience: Value,
    pub exclude: Option<Value>,
    pub meant: BTreeSet<&'a str>,
}

pub struct House {
    pub people: Vec<String>,
    pub wedding: String,
    later: String,
    barn: String,
}

impl House {
    pub async fn build(stage: &mut Stage) -> Result<Self> {
        let name = |word: &str| stage.name(&format!("audience-{word}"));
        let house = Self {
            people: PEOPLE.iter().map(|(word, ..)| name(word)).collect(),
            wedding: name("wedding"),
            later: name("later"),
            barn: name("barn"),
        };
        let mut lines = vec![
            venue(&house.barn),
            wedding(&house.wedding, &house.barn, -1, 4),
            wedding(&house.later, &house.barn, 72, 4),
        ];
        for ((_, at_wedding, at_venue), id) in PEOPLE.iter().zip(&house.people) {
            lines.push(user(id, "guest"));
            let (wedding, barn) = (json!({"wedding": house.wedding}), json!({"venue": house.barn}));
            lines.extend(at_wedding.map(|role| member(&wedding, id, role)));
            lines.extend(at_venue.map(|role| member(&barn, id, role)));
        }
        // Whoever is a member of a wedding that is not on is on no site.
        lines.extend(
            house
                .people
                .last()
                .map(|gus| member(&json!({"wedding": house.later}), gus, "guest")),
        );
        stage.import(&lines).await?;
        Ok(house)
    }

    pub fn everybody(&self, title: &str) -> Value {
        draft("high", &json!({"users": self.people}), title)
    }

    pub fn cases(&self) -> Vec<Case<'static>> {
        let case = |what, audience, exclude, meant: &[&'static str]| Case {
            what,
            audience,
            exclude,
            meant: meant.iter().copied().collect(),
        };
        let (wedding, barn) = (json!([self.wedding]), json!([self.barn]));
        let ben = self.people.get(1);
        vec![
            case(
                "all of a wedding",
                json!({"weddings": wedding}),
                None,
                &["ana", "ben", "cal", "dan", "eve"],
            ),
            case(
                "guests are family, too",
                json!({"weddings": wedding, "roles": ["guests"]}),
                None,
                &["ana", "ben", "cal"],
            ),
            case(
                "staff is neither guest nor couple",
                json!({"weddings": wedding, "roles": ["staff"]}),
                None,
                &["dan"],
            ),
            case(
                "without those who are excluded",
                json!({"weddings": wedding, "roles": ["guest"]}),
                Some(json!({"users": [ben]})),
                &["ana"],
            ),
            case("a venue's own people", json!({"venues": barn}), None, &["fay"]),
            case(
                "all who are on site now",
                json!({"on_site": barn}),
                None,
                &["ana", "ben", "cal", "dan", "eve", "fay"],
            ),
            case(
                "one clause or another",
                json!([{"venues": barn}, {"weddings": [self.later]}]),
                None,
                &["fay", "gus"],
            ),
        ]
    }

    /// Frames of a person in which another one is named.
    pub fn names_in(&self, listener: &Listener, own: &str) -> usize {
        listener.look(|heard| {
            let names_another = |frame: &Value| {
                let text = frame.to_string();
                let others = self.people.iter().filter(|person| *person != own);
                others.into_iter().any(|person| text.contains(person.as_str()))
            };
            heard.frames.iter().filter(|(frame, _)| names_another(frame)).count()
        })
    }
}
