//! What checks tell the nodes: people, places, and broadcasts that are drills. Pure but for the time of day.

use crate::base::clock;
use serde_json::{Value, json};

/// A broadcast of a check is worth nothing after it.
const EXPIRES_AFTER_MS: i64 = 3_600_000;
const HOUR_MS: i64 = 3_600_000;

/// Where what a line makes can be removed again.
pub fn address(line: &Value) -> Option<String> {
    let (plural, name) = match line["kind"].as_str()? {
        "user" => ("users", "id"),
        "wedding" => ("weddings", "id"),
        "venue" => ("venues", "id"),
        "segment" => ("segments", "name"),
        _ => return None,
    };
    Some(format!("/v1/{plural}/{}", line[name].as_str()?))
}

/// A drill to an audience.
pub fn draft(priority: &str, audience: &Value, title: &str) -> Value {
    let kind = if priority == "critical" {
        "weather.warning"
    } else {
        "venue.notice"
    };
    json!({"type": kind, "priority": priority, "audience": audience, "title": title, "drill": true,
        "body": "A drill of `campanile validate`; nothing has to be done.",
        "expires_at": clock::rfc3339(clock::wall() + EXPIRES_AFTER_MS)})
}

pub fn user(id: &str, role: &str) -> Value {
    json!({"kind": "user", "id": id, "role": role, "timezone": "UTC"})
}

pub fn venue(id: &str) -> Value {
    json!({"kind": "venue", "id": id, "name": id, "timezone": "UTC"})
}

/// One that began an hour ago, or begins in so many hours.
pub fn wedding(id: &str, venue: &str, begins_in_hours: i64, guests: u64) -> Value {
    let begins = clock::wall() + begins_in_hours * HOUR_MS;
    json!({"kind": "wedding", "id": id, "name": id, "venue": venue, "timezone": "UTC", "status": "active",
        "starts_at": clock::rfc3339(begins), "ends_at": clock::rfc3339(begins + 5 * HOUR_MS), "guests_expected": guests})
}

pub fn member(of: &Value, user: &str, role: &str) -> Value {
    json!({"kind": "member", "of": of, "user": user, "role": role})
}

#[cfg(test)]
mod tests {
    use super::{address, draft, member, user, venue, wedding};
    use serde_json::json;

    #[test]
    fn what_is_made_is_known_by_where_it_can_be_removed() {
        assert_eq!(address(&user("v-ana", "guest")).as_deref(), Some("/v1/users/v-ana"));
        assert_eq!(address(&venue("v-barn")).as_deref(), Some("/v1/venues/v-barn"));
        assert_eq!(
            address(&wedding("v-w", "v-barn", -1, 2)).as_deref(),
            Some("/v1/weddings/v-w")
        );
        assert_eq!(address(&member(&json!({"venue": "v-barn"}), "v-ana", "dj")), None);
    }

    #[test]
    fn every_broadcast_is_a_drill() {
        assert_eq!(draft("low", &json!({"users": ["v-ana"]}), "T")["drill"], true);
    }
}
