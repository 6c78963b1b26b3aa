//! Times as the clocks at the venue show them: whoever runs there with a list looks at those.

use crate::base::clock::{self, Millis};
use crate::cli::nodes::{Nodes, encoded, read};
use serde_json::Value;

/// A zone, and its day.
#[derive(Debug)]
pub struct Clock {
    zone: String,
    /// The date there: what is of another day says so.
    today: String,
}

const UTC: &str = "UTC";

impl Clock {
    /// The clocks of the place that a broadcast is about, if the nodes tell its zone: nobody waits for that in vain.
    pub async fn of(nodes: &Nodes, broadcast: &Value, now: Millis) -> Self {
        Self::new(zone(nodes, broadcast).await.as_deref(), now)
    }

    /// The clocks of a zone; UTC where it is not known.
    pub fn new(zone: Option<&str>, now: Millis) -> Self {
        let known = zone.and_then(|zone| Some((zone, clock::shown_in(zone, now)?)));
        let (zone, shown) = known.unwrap_or((UTC, clock::shown_in(UTC, now).unwrap_or_default()));
        Self {
            zone: zone.to_owned(),
            today: shown.chars().take("2027-06-19".len()).collect(),
        }
    }

    pub fn zone(&self) -> &str {
        &self.zone
    }

    /// `16:42`; of another day `06-18 16:42`.
    pub fn minute(&self, at: Millis) -> String {
        self.shown(at, "16:42".len())
    }

    /// `16:42:07`; of another day `06-18 16:42:07`.
    pub fn second(&self, at: Millis) -> String {
        self.shown(at, "16:42:07".len())
    }

    fn shown(&self, at: Millis, letters: usize) -> String {
        let shown = clock::shown_in(&self.zone, at).unwrap_or_default();
        let (date, time) = shown.split_once(' ').unwrap_or_default();
        let time: String = time.chars().take(letters).collect();
        match date.split_once('-') {
            Some((_, day)) if date != self.today => format!("{day} {time}"),
            _ => time,
        }
    }
}

async fn zone(nodes: &Nodes, broadcast: &Value) -> Option<String> {
    let (kind, id) = place(broadcast)?;
    let answer = nodes.get(&format!("/v1/{kind}/{}", encoded(id))).await.ok()?;
    let place = read(&answer).ok()?;
    Some(place.get("timezone")?.as_str()?.to_owned())
}

/// The first place that an audience names, as the API's list and an id.
fn place(broadcast: &Value) -> Option<(&'static str, &str)> {
    let audience = broadcast.get("audience")?;
    let clauses = audience
        .as_array()
        .map_or(std::slice::from_ref(audience), Vec::as_slice);
    let first = |key: &str| clauses.iter().find_map(|clause| clause.get(key)?.get(0)?.as_str());
    let named = [("venues", "on_site"), ("venues", "venues"), ("weddings", "weddings")];
    let mut found = named.into_iter().filter_map(|(kind, key)| Some((kind, first(key)?)));
    found.next()
}

#[cfg(test)]
mod tests {
    use super::{Clock, place};
    use crate::base::clock::parse_rfc3339;
    use serde_json::{Value, json};

    #[track_caller]
    fn check(audience: Value, expected: Option<(&str, &str)>) {
        assert_eq!(place(&json!({"audience": audience})), expected);
    }

    #[test]
    fn the_place_is_the_first_that_is_named() {
        check(
            json!({"on_site": ["barn"], "weddings": ["w-1"]}),
            Some(("venues", "barn")),
        );
        check(
            json!([{"roles": ["dj"]}, {"weddings": ["w-1", "w-2"]}]),
            Some(("weddings", "w-1")),
        );
        check(json!([{"everyone": true}]), None);
        assert_eq!(place(&json!({})), None);
    }

    #[test]
    fn a_time_of_another_day_says_so() {
        let at = |text| parse_rfc3339(text).unwrap();
        let now = at("2027-06-19T20:42:00Z");
        let there = Clock::new(Some("America/New_York"), now);
        assert_eq!(there.minute(at("2027-06-19T18:05:59Z")), "14:05");
        assert_eq!(there.second(at("2027-06-19T18:05:59Z")), "14:05:59");
        assert_eq!(there.minute(at("2027-06-19T03:59:00Z")), "06-18 23:59");
        let unknown = Clock::new(Some("Nowhere"), now);
        assert_eq!((unknown.zone(), unknown.minute(now).as_str()), ("UTC", "20:42"));
    }
}
