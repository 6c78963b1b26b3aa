//! The directory's nouns in JSON, both ways; `PUT` and import read them alike.

use super::draft::is_kind;
use super::fields::{Fields, ID_BYTES_MAX, Path, WORD_MAX, read_zone};
use super::json::Json;
use super::problem::Code;
use super::wire::At;
use crate::base::clock::Millis;
use crate::model::directory::{Preferences, QuietHours, Segment, TimeOfDay, User, Venue, Wedding, WeddingStatus};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

pub const NAME_MAX: usize = 200;
pub const ATTRIBUTES_MAX: usize = 32;
pub const ATTRIBUTE_VALUE_MAX: usize = 256;
pub const RULE_VALUES_MAX: usize = 100;
pub const CATEGORIES_MAX: usize = 100;
pub const GUESTS_MAX: i64 = 1_000_000;
/// Weddings outside of this are typing mistakes: 2000-01-01 to 2200-01-01.
const TIMES: std::ops::Range<Millis> = 946_684_800_000..7_258_118_400_000;
const TIERS: [(&str, &str); 4] = [
    ("starter", "starter"),
    ("professional", "professional"),
    ("scale", "scale"),
    ("enterprise", "enterprise"),
];
const STATUSES: [(&str, WeddingStatus); 4] = [
    ("planned", WeddingStatus::Planned),
    ("active", WeddingStatus::Active),
    ("completed", WeddingStatus::Completed),
    ("cancelled", WeddingStatus::Cancelled),
];

/// Fields of a line of an import; a `PUT` has them all but the first.
pub const USER: &[&str] = &["kind", "id", "role", "tier", "locale", "timezone", "attributes"];
pub const WEDDING: &[&str] = &[
    "kind",
    "id",
    "name",
    "venue",
    "timezone",
    "starts_at",
    "ends_at",
    "guests_expected",
    "status",
];
pub const VENUE: &[&str] = &["kind", "id", "name", "timezone", "latitude", "longitude"];
pub const SEGMENT: &[&str] = &[
    "kind",
    "name",
    "roles",
    "tiers",
    "attributes",
    "wedding_status",
    "wedding_within_days",
];
pub const PREFERENCES: &[&str] = &[
    "kind",
    "user",
    "muted_categories",
    "critical_only",
    "quiet_hours",
    "channels",
];

pub fn user(fields: &mut Fields<'_, '_, '_>, id: String) -> User {
    User {
        id,
        role: fields.word("role", WORD_MAX).unwrap_or_default(),
        tier: fields.choice("tier", &TIERS).unwrap_or_default().to_owned(),
        locale: fields.word("locale", WORD_MAX).unwrap_or_default(),
        timezone: zone(fields, "timezone").unwrap_or_default(),
        attributes: attributes(fields),
    }
}

/// Free words by name; numbers and switches are kept as their text.
fn attributes(fields: &mut Fields<'_, '_, '_>) -> Vec<(String, String)> {
    let path = fields.path.name("attributes");
    let given = fields.map("attributes", ATTRIBUTES_MAX).unwrap_or_default();
    let mut attributes = Vec::with_capacity(given.len());
    for (name, value) in given {
        let path = path.name(&name);
        let value = match value {
            Json::Text(text) => text.into_owned(),
            Json::Whole(number) => number.to_string(),
            Json::Number(number) => number.to_string(),
            Json::Bool(flag) => flag.to_string(),
            other => {
                fields
                    .faults
                    .add(&path, Code::WrongType, format!("must be a text, not {}", other.noun()));
                continue;
            }
        };
        if name.is_empty() || name.len() > WORD_MAX || value.len() > ATTRIBUTE_VALUE_MAX {
            let detail = format!("a name has 1 to {WORD_MAX} bytes, a value {ATTRIBUTE_VALUE_MAX} at most");
            fields.faults.add(&path, Code::TooLong, detail);
            continue;
        }
        attributes.push((name, value));
    }
    attributes
}

fn zone(fields: &mut Fields<'_, '_, '_>, name: &str) -> Option<String> {
    let zone = fields.raw_text(name)?;
    match read_zone(&zone) {
        Ok(zone) => Some(zone),
        Err((code, detail)) => {
            fields.fault(name, code, detail);
            None
        }
    }
}

pub fn wedding(fields: &mut Fields<'_, '_, '_>, id: String) -> Wedding {
    let starts_at = event_time(fields, "starts_at");
    let ends_at = event_time(fields, "ends_at");
    if let (Some(starts_at), Some(ends_at)) = (starts_at, ends_at)
        && ends_at <= starts_at
    {
        fields.fault("ends_at", Code::OutOfRange, "must be later than starts_at");
    }
    Wedding {
        name: fields.text("name", NAME_MAX).unwrap_or_else(|| id.clone()),
        id,
        venue: fields.word("venue", ID_BYTES_MAX),
        timezone: zone(fields, "timezone").unwrap_or_else(|| "UTC".to_owned()),
        starts_at: starts_at.unwrap_or_default(),
        ends_at: ends_at.unwrap_or_default(),
        guests_expected: fields.whole("guests_expected", 0, GUESTS_MAX).unwrap_or_default() as u32,
        status: fields.choice("status", &STATUSES).unwrap_or(WeddingStatus::Planned),
    }
}

fn event_time(fields: &mut Fields<'_, '_, '_>, name: &str) -> Option<Millis> {
    if !fields.has(name) {
        fields.missing(name);
        return None;
    }
    let at = fields.time(name)?;
    if !TIMES.contains(&at) {
        fields.fault(name, Code::OutOfRange, "must be between the years 2000 and 2200");
        return None;
    }
    Some(at)
}

pub fn venue(fields: &mut Fields<'_, '_, '_>, id: String) -> Venue {
    let micro = |degrees: f64| (degrees * 1e6).round() as i32;
    Venue {
        name: fields.text("name", NAME_MAX).unwrap_or_else(|| id.clone()),
        id,
        timezone: zone(fields, "timezone").unwrap_or_else(|| "UTC".to_owned()),
        latitude_micro: fields.number("latitude", -90.0, 90.0).map(micro),
        longitude_micro: fields.number("longitude", -180.0, 180.0).map(micro),
    }
}

pub fn segment(fields: &mut Fields<'_, '_, '_>, name: String) -> Segment {
    let mut words = |name: &str| fields.words(name, RULE_VALUES_MAX, WORD_MAX).unwrap_or_default();
    let (roles, tiers) = (words("roles"), words("tiers"));
    let path = fields.path.name("attributes");
    let mut attributes = Vec::new();
    for (name, value) in fields.map("attributes", ATTRIBUTES_MAX).unwrap_or_default() {
        let path = path.name(&name);
        if let Some(values) = attribute_values(value, &path, fields.faults) {
            attributes.push((name, values));
        }
    }
    let status = |value, path: &Path<'_>, faults: &mut super::fields::Faults| {
        let word = super::fields::word(value, path, WORD_MAX, faults)?;
        let found = STATUSES
            .iter()
            .find(|(name, _)| *name == word)
            .map(|(_, status)| *status);
        if found.is_none() {
            faults.add(
                path,
                Code::InvalidValue,
                "must be one of planned, active, completed, cancelled",
            );
        }
        found
    };
    Segment {
        name,
        roles,
        tiers,
        attributes,
        wedding_status: fields
            .list("wedding_status", STATUSES.len(), status)
            .unwrap_or_default(),
        wedding_within_days: fields.whole("wedding_within_days", 0, 36_500).map(|days| days as u32),
    }
}

/// One value or a list of them.
fn attribute_values(value: Json<'_>, path: &Path<'_>, faults: &mut super::fields::Faults) -> Option<Vec<String>> {
    match value {
        Json::List(values) if values.len() > RULE_VALUES_MAX => {
            faults.add(path, Code::TooLong, format!("{RULE_VALUES_MAX} values are allowed"));
            None
        }
        Json::List(values) => {
            let each = |(index, value)| super::fields::word(value, &path.index(index), ATTRIBUTE_VALUE_MAX, faults);
            Some(values.into_iter().enumerate().filter_map(each).collect())
        }
        one => super::fields::word(one, path, ATTRIBUTE_VALUE_MAX, faults).map(|value| vec![value]),
    }
}

pub fn preferences(fields: &mut Fields<'_, '_, '_>) -> Preferences {
    Preferences {
        muted_categories: fields
            .list("muted_categories", CATEGORIES_MAX, category)
            .unwrap_or_default(),
        critical_only: fields.flag("critical_only").unwrap_or_default(),
        quiet_hours: quiet_hours(fields),
        channels: fields.words("channels", CATEGORIES_MAX, WORD_MAX).unwrap_or_default(),
    }
}

/// The first word of types: anything else would mute nothing, and nobody would notice.
fn category(value: Json<'_>, path: &Path<'_>, faults: &mut super::fields::Faults) -> Option<String> {
    let word = super::fields::word(value, path, WORD_MAX, faults)?;
    if !is_kind(&word) || word.contains('.') {
        let detail = "must be the part of a type before its first dot, like weather";
        faults.add(path, Code::InvalidValue, detail);
        return None;
    }
    Some(word)
}

fn quiet_hours(fields: &mut Fields<'_, '_, '_>) -> Option<QuietHours> {
    let value = fields.take("quiet_hours")?;
    let path = fields.path.name("quiet_hours");
    let mut hours = Fields::open(value, &path, &["start", "end", "timezone"], fields.faults)?;
    let (start, end) = (time_of_day(&mut hours, "start"), time_of_day(&mut hours, "end"));
    let timezone = if hours.has("timezone") {
        zone(&mut hours, "timezone")
    } else {
        hours.missing("timezone");
        None
    };
    if start.is_some() && start == end {
        hours.fault("end", Code::InvalidValue, "must be another time than start");
    }
    Some(QuietHours {
        start: start?,
        end: end?,
        timezone: timezone?,
    })
}

fn time_of_day(fields: &mut Fields<'_, '_, '_>, name: &str) -> Option<TimeOfDay> {
    if !fields.has(name) {
        fields.missing(name);
        return None;
    }
    let text = fields.raw_text(name)?;
    let time = TimeOfDay::parse(&text);
    if time.is_none() {
        fields.fault(name, Code::InvalidValue, "must be a time of day like 22:30");
    }
    time
}

struct Pairs<'a, V>(&'a [(String, V)]);

impl<V: Serialize> Serialize for Pairs<'_, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// A noun as clients see it.
pub struct View<'a, T>(pub &'a T);

impl Serialize for View<'_, User> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let User {
            id,
            role,
            tier,
            locale,
            timezone,
            attributes,
        } = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", id)?;
        for (name, value) in [
            ("role", role),
            ("tier", tier),
            ("locale", locale),
            ("timezone", timezone),
        ] {
            if !value.is_empty() {
                map.serialize_entry(name, value)?;
            }
        }
        map.serialize_entry("attributes", &Pairs(attributes))?;
        map.end()
    }
}

impl Serialize for View<'_, Wedding> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let wedding = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &wedding.id)?;
        map.serialize_entry("name", &wedding.name)?;
        map.serialize_entry("venue", &wedding.venue)?;
        map.serialize_entry("timezone", &wedding.timezone)?;
        map.serialize_entry("starts_at", &At(wedding.starts_at))?;
        map.serialize_entry("ends_at", &At(wedding.ends_at))?;
        map.serialize_entry("guests_expected", &wedding.guests_expected)?;
        map.serialize_entry("status", &wedding.status)?;
        map.end()
    }
}

impl Serialize for View<'_, Venue> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let venue = self.0;
        let degrees = |micro: Option<i32>| micro.map(|micro| f64::from(micro) / 1e6);
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &venue.id)?;
        map.serialize_entry("name", &venue.name)?;
        map.serialize_entry("timezone", &venue.timezone)?;
        map.serialize_entry("latitude", &degrees(venue.latitude_micro))?;
        map.serialize_entry("longitude", &degrees(venue.longitude_micro))?;
        map.end()
    }
}

impl Serialize for View<'_, Segment> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let segment = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", &segment.name)?;
        map.serialize_entry("roles", &segment.roles)?;
        map.serialize_entry("tiers", &segment.tiers)?;
        map.serialize_entry("attributes", &Pairs(&segment.attributes))?;
        map.serialize_entry("wedding_status", &segment.wedding_status)?;
        map.serialize_entry("wedding_within_days", &segment.wedding_within_days)?;
        map.end()
    }
}

impl Serialize for View<'_, Preferences> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Hours<'a> {
            start: String,
            end: String,
            timezone: &'a str,
        }
        let Preferences {
            muted_categories,
            critical_only,
            quiet_hours,
            channels,
        } = self.0;
        let hours = quiet_hours.as_ref().map(|QuietHours { start, end, timezone }| Hours {
            start: start.to_string(),
            end: end.to_string(),
            timezone,
        });
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("muted_categories", muted_categories)?;
        map.serialize_entry("critical_only", critical_only)?;
        map.serialize_entry("quiet_hours", &hours)?;
        map.serialize_entry("channels", channels)?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::{PREFERENCES, SEGMENT, USER, VENUE, View, WEDDING, preferences, segment, user, venue, wedding};
    use crate::api::fields::{Faults, Fields, Path};
    use crate::api::json;

    /// Reads a noun, and shows it again or its faults.
    fn read(kind: &str, body: &str) -> Result<serde_json::Value, Vec<(String, &'static str)>> {
        let mut faults = Faults::default();
        let json = json::parse(body.as_bytes(), "").unwrap();
        let known = match kind {
            "user" => USER,
            "wedding" => WEDDING,
            "venue" => VENUE,
            "segment" => SEGMENT,
            _ => PREFERENCES,
        };
        let mut fields = Fields::open(json, &Path::ROOT, known, &mut faults).unwrap();
        let shown = match kind {
            "user" => serde_json::to_value(View(&user(&mut fields, "x".into()))),
            "wedding" => serde_json::to_value(View(&wedding(&mut fields, "x".into()))),
            "venue" => serde_json::to_value(View(&venue(&mut fields, "x".into()))),
            "segment" => serde_json::to_value(View(&segment(&mut fields, "x".into()))),
            _ => serde_json::to_value(View(&preferences(&mut fields))),
        };
        if faults.count() == 0 {
            return Ok(shown.unwrap());
        }
        Err(faults
            .into_list()
            .into_iter()
            .map(|fault| (fault.pointer, fault.code.text()))
            .collect())
    }

    #[test]
    fn nouns_come_out_as_they_went_in() {
        let check = |kind: &str, body: &str| {
            let shown = read(kind, body).unwrap_or_else(|faults| panic!("{kind}: {faults:?}"));
            let given: serde_json::Value = serde_json::from_str(body).unwrap();
            for (name, value) in given.as_object().unwrap() {
                assert_eq!(&shown[name], value, "{kind}/{name}");
            }
        };
        check(
            "user",
            r#"{"role": "dj", "tier": "scale", "locale": "en", "timezone": "America/New_York", "attributes": {"a": "b"}}"#,
        );
        check(
            "wedding",
            r#"{"name": "A / B", "venue": "v", "timezone": "UTC", "starts_at": "2027-06-19T19:30:00.000Z", "ends_at": "2027-06-20T03:00:00.000Z", "guests_expected": 132, "status": "planned"}"#,
        );
        check(
            "venue",
            r#"{"name": "V", "timezone": "UTC", "latitude": 42.44, "longitude": -72.33}"#,
        );
        check(
            "segment",
            r#"{"roles": ["guest"], "tiers": ["scale"], "attributes": {"a": ["b", "c"]}, "wedding_status": ["planned"], "wedding_within_days": 365}"#,
        );
        check(
            "preferences",
            r#"{"muted_categories": ["tier"], "critical_only": true, "quiet_hours": {"start": "22:00", "end": "07:30", "timezone": "Etc/GMT+5"}, "channels": ["app"]}"#,
        );
    }

    #[test]
    fn faulty_nouns_are_named() {
        let check = |kind: &str, body: &str, expected: &[(&str, &str)]| {
            let found = read(kind, body).unwrap_err();
            let found: Vec<(&str, &str)> = found.iter().map(|(pointer, code)| (pointer.as_str(), *code)).collect();
            assert_eq!(found, expected, "{kind} {body}");
        };
        check(
            "user",
            r#"{"tier": "gold", "timezone": "Mars/Olympus"}"#,
            &[("/tier", "INVALID_VALUE"), ("/timezone", "INVALID_VALUE")],
        );
        check(
            "user",
            r#"{"attributes": {"a": [1]}}"#,
            &[("/attributes/a", "WRONG_TYPE")],
        );
        check(
            "wedding",
            "{}",
            &[("/starts_at", "MISSING_FIELD"), ("/ends_at", "MISSING_FIELD")],
        );
        check(
            "wedding",
            r#"{"starts_at": "0001-01-01T00:00:00Z", "ends_at": "9999-01-01T00:00:00Z"}"#,
            &[("/starts_at", "OUT_OF_RANGE"), ("/ends_at", "OUT_OF_RANGE")],
        );
        check(
            "wedding",
            r#"{"starts_at": "2027-01-02T00:00:00Z", "ends_at": "2027-01-01T00:00:00Z", "guests_expected": -1}"#,
            &[("/ends_at", "OUT_OF_RANGE"), ("/guests_expected", "OUT_OF_RANGE")],
        );
        check("venue", r#"{"latitude": 91}"#, &[("/latitude", "OUT_OF_RANGE")]);
        check(
            "segment",
            r#"{"wedding_status": ["over"]}"#,
            &[("/wedding_status/0", "INVALID_VALUE")],
        );
        check(
            "preferences",
            r#"{"muted_categories": ["tier", "Weather", "venue.notice", "tier.*"]}"#,
            &[
                ("/muted_categories/1", "INVALID_VALUE"),
                ("/muted_categories/2", "INVALID_VALUE"),
                ("/muted_categories/3", "INVALID_VALUE"),
            ],
        );
        check(
            "preferences",
            r#"{"quiet_hours": {"start": "22:00", "end": "22:00", "timezone": "Etc/Unknown"}}"#,
            &[
                ("/quiet_hours/timezone", "INVALID_VALUE"),
                ("/quiet_hours/end", "INVALID_VALUE"),
            ],
        );
        check(
            "preferences",
            r#"{"quiet_hours": {"start": "24:00", "end": "+7:30"}}"#,
            &[
                ("/quiet_hours/start", "INVALID_VALUE"),
                ("/quiet_hours/end", "INVALID_VALUE"),
                ("/quiet_hours/timezone", "MISSING_FIELD"),
            ],
        );
    }
}
