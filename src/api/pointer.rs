//! Where a broadcast's body names what the state does not know. A draft has no places any more (one clause and a list of one
//! are the same to it, clauses that name nobody are gone), so the body is looked at once more when something is refused.

use super::json::{self, Json};
use crate::state::Refused;

/// The JSON pointer to the id that was refused.
pub fn to_unknown(refused: &Refused, body: &[u8]) -> Option<String> {
    let (id, keys): (&str, &[&str]) = match refused {
        Refused::UnknownWedding(id) => (id, &["weddings"]),
        Refused::UnknownVenue(id) => (id, &["venues", "on_site"]),
        Refused::UnknownSegment(id) => (id, &["segments"]),
        Refused::UnknownUser(_)
        | Refused::UnknownBroadcast
        | Refused::NotARecipient
        | Refused::UnknownAnswer(_)
        | Refused::KeyReused
        | Refused::KeysFull(_)
        | Refused::ExpiresBeforeRelease
        | Refused::ExpiresBeforeDelivery
        | Refused::ScheduleFull(_)
        | Refused::ScheduleTooFar(_)
        | Refused::Expired
        | Refused::LeftMemory
        | Refused::NotReleased
        | Refused::IsCancelled
        | Refused::RedeliveredTooOften(_)
        | Refused::UnknownToken(_)
        | Refused::TokenExists(_)
        | Refused::TokensFull(_)
        | Refused::FetchesFull(_)
        | Refused::RateLimited { .. }
        | Refused::NoSuchRole { .. }
        | Refused::VenueInUse(_)
        | Refused::Superseded => return None,
    };
    let body = json::parse(body, "data").ok()?;
    let wanted = Wanted { id, keys };
    let audience = || wanted.among(member(&body, "audience")?, "/audience");
    let exclude = || wanted.among(member(&body, "exclude")?, "/exclude");
    audience().or_else(exclude).or_else(|| {
        let Json::List(steps) = member(member(&body, "acknowledge")?, "escalate")? else {
            return None;
        };
        let mut each = steps.iter().enumerate();
        each.find_map(|(at, step)| wanted.among(member(step, "to")?, &format!("/acknowledge/escalate/{at}/to")))
    })
}

struct Wanted<'a> {
    id: &'a str,
    keys: &'a [&'a str],
}

impl Wanted<'_> {
    /// Among a clause, or a list of them.
    fn among(&self, clauses: &Json<'_>, path: &str) -> Option<String> {
        match clauses {
            Json::List(clauses) => {
                let mut each = clauses.iter().enumerate();
                each.find_map(|(at, clause)| self.within(clause, &format!("{path}/{at}")))
            }
            clause => self.within(clause, path),
        }
    }

    /// A clause that names nobody was never looked up.
    fn within(&self, clause: &Json<'_>, path: &str) -> Option<String> {
        let Json::Object(members) = clause else { return None };
        if members
            .iter()
            .any(|(_, value)| matches!(value, Json::List(values) if values.is_empty()))
        {
            return None;
        }
        self.keys.iter().find_map(|key| {
            let Json::List(values) = member(clause, key)? else {
                return None;
            };
            let at = values
                .iter()
                .position(|value| matches!(value, Json::Text(text) if text == self.id))?;
            Some(format!("{path}/{key}/{at}"))
        })
    }
}

fn member<'a, 'b>(value: &'b Json<'a>, name: &str) -> Option<&'b Json<'a>> {
    let Json::Object(members) = value else { return None };
    let (_, found) = members.iter().find(|(known, _)| known == name)?;
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::to_unknown;
    use crate::state::Refused;

    fn check(body: &str, refused: &Refused, expected: Option<&str>) {
        assert_eq!(to_unknown(refused, body.as_bytes()).as_deref(), expected, "{body}");
    }

    #[test]
    fn an_id_is_pointed_to_where_the_sender_wrote_it() {
        let venue = Refused::UnknownVenue("b".into());
        check(
            r#"{"audience": {"venues": ["a", "b"]}}"#,
            &venue,
            Some("/audience/venues/1"),
        );
        check(
            r#"{"audience": [{"venues": ["b"], "users": []}, {"weddings": ["b"]}, {"on_site": ["b"]}]}"#,
            &venue,
            Some("/audience/2/on_site/0"),
        );
        check(
            r#"{"audience": {"venues": ["a"]}, "exclude": [{"on_site": ["a", "b"]}]}"#,
            &venue,
            Some("/exclude/0/on_site/1"),
        );
        check(
            r#"{"exclude": {"segments": ["b"]}}"#,
            &Refused::UnknownSegment("b".into()),
            Some("/exclude/segments/0"),
        );
        check(r#"{"data": {"venues": ["b"]}}"#, &venue, None);
        check("{", &venue, None);
        check(r#"{"audience": {"venues": ["b"]}}"#, &Refused::KeyReused, None);
    }

    #[test]
    fn escalations_are_looked_through_behind_the_audience() {
        let wedding = Refused::UnknownWedding("b".into());
        let body = |to: &str| {
            format!(
                r#"{{"audience": {{"weddings": ["a"]}}, "acknowledge": {{"escalate": [{{"after": "1s"}}, {{"to": {to}}}]}}}}"#
            )
        };
        check(
            &body(r#"{"weddings": ["b"]}"#),
            &wedding,
            Some("/acknowledge/escalate/1/to/weddings/0"),
        );
        check(
            &body(r#"[{"roles": ["dj"]}, {"weddings": ["b"]}]"#),
            &wedding,
            Some("/acknowledge/escalate/1/to/1/weddings/0"),
        );
    }
}
