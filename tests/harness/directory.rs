//! Lines for `POST /v1/import`, and the import itself.

use super::http::{Answer, Client};
use serde_json::{Value, json};

pub fn user(id: &str, role: &str, tier: &str) -> Value {
    json!({"kind": "user", "id": id, "role": role, "tier": tier, "timezone": "UTC", "locale": "en"})
}

pub fn venue(id: &str) -> Value {
    json!({"kind": "venue", "id": id, "name": id, "timezone": "UTC", "latitude": 42.44, "longitude": -72.33})
}

pub fn wedding(id: &str, venue: &str, starts_at: &str, ends_at: &str) -> Value {
    json!({
        "kind": "wedding", "id": id, "name": id, "venue": venue, "timezone": "UTC", "guests_expected": 10,
        "starts_at": starts_at, "ends_at": ends_at, "status": "planned",
    })
}

/// `place` is `wedding` or `venue`.
pub fn member(place: &str, id: &str, user: &str, role: &str) -> Value {
    json!({"kind": "member", "of": {place: id}, "user": user, "role": role})
}

pub fn import(client: &mut Client, lines: &[Value]) -> Answer {
    let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let typed = [("Content-Type", "application/x-ndjson")];
    client.must("POST", "/v1/import", &typed, body.as_bytes())
}

/// Users that are nothing but recipients, addressed by id.
pub fn import_users(client: &mut Client, ids: &[String]) -> u64 {
    let lines: Vec<Value> = ids.iter().map(|id| user(id, "guest", "starter")).collect();
    let answer = import(client, &lines).expect(200);
    answer.header("campanile-applied").unwrap().parse().unwrap()
}
