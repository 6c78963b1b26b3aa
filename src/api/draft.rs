//! From a request's JSON to a `Draft`: every limit that needs no state is checked here, and every fault is named.

use super::Config;
use super::audience::{audience, clauses};
use super::fields::{Faults, Fields, Path, WORD_MAX, check_text};
use super::json::{self, Json};
use super::problem::{Code, Problem};
use crate::base::clock::Millis;
use crate::model::broadcast::{Escalate, OnMissed};
use crate::model::{Acknowledge, Action, Audience, BroadcastId, Draft, LocalTime, Priority, Text};

pub const TITLE_MAX: usize = 200;
pub const BODY_MAX: usize = 1000;
/// The length of a phone alert.
pub const CRITICAL_BODY_MAX: usize = 360;
pub const LABEL_MAX: usize = 50;
pub const URL_MAX: usize = 2000;
pub const TYPE_MAX: usize = 64;
pub const DATA_BYTES_MAX: usize = 16 << 10;
pub const TEXTS_MAX: usize = 50;
pub const ANSWERS_MAX: usize = 20;
pub const NEEDS_MAX: usize = 50;
pub const ESCALATIONS_MAX: usize = 10;
pub const OUTPUTS_MAX: usize = 20;
/// Of one role.
pub const COUNT_MAX: i64 = 1_000_000;

const PRIORITIES: [(&str, Priority); 4] = [
    ("critical", Priority::Critical),
    ("high", Priority::High),
    ("normal", Priority::Normal),
    ("low", Priority::Low),
];
const FIELDS: [&str; 16] = [
    "type",
    "priority",
    "audience",
    "exclude",
    "title",
    "body",
    "texts",
    "data",
    "action",
    "deliver_at",
    "deliver_at_local",
    "on_missed",
    "expires_at",
    "supersedes",
    "drill",
    "acknowledge",
];

/// Reads a broadcast from the bytes of its sender. `now` is the cluster's log time.
pub fn read(body: &[u8], config: &Config, now: Millis) -> Result<Draft, Problem> {
    let body = json::parse(body, "data")?;
    let mut faults = Faults::default();
    let draft = draft(body, config, now, &mut faults);
    faults.or(draft)
}

fn draft(body: Json<'_>, config: &Config, now: Millis, faults: &mut Faults) -> Option<Draft> {
    let mut fields = Fields::open(body, &Path::ROOT, &FIELDS, faults)?;
    let priority = fields.choice("priority", &PRIORITIES).unwrap_or_default();
    let body_max = if priority == Priority::Critical {
        CRITICAL_BODY_MAX
    } else {
        BODY_MAX
    };
    let kind = required(&mut fields, "type", kind);
    let audience = audience(&mut fields);
    let title = required(&mut fields, "title", |fields| fields.text("title", TITLE_MAX));
    let body = required(&mut fields, "body", |fields| fields.text("body", body_max));
    let texts = texts(&mut fields, body_max);
    let data = data(&mut fields);
    let action = action(&mut fields);
    let deliver_at_local = deliver_at_local(&mut fields);
    let deliver_at = deliver_at(&mut fields, config, now);
    let on_missed = fields.choice("on_missed", &[("send", OnMissed::Send), ("skip", OnMissed::Skip)]);
    let expires_at = expires_at(&mut fields, config, now);
    let supersedes = supersedes(&mut fields);
    let drill = fields.flag("drill").unwrap_or_default();
    let acknowledge = fields
        .take("acknowledge")
        .and_then(|value| acknowledge(value, config, fields.faults));
    Some(Draft {
        kind: kind?,
        priority,
        audience: audience?,
        title: title?,
        body: body?,
        texts,
        data,
        action,
        deliver_at,
        deliver_at_local,
        expires_at,
        supersedes,
        drill,
        on_missed: on_missed.unwrap_or_default(),
        acknowledge,
        trace: None,
    })
}

/// Complains only when the field is not there at all; `read` complains about what is.
fn required<T>(
    fields: &mut Fields<'_, '_, '_>,
    name: &str,
    read: impl FnOnce(&mut Fields<'_, '_, '_>) -> Option<T>,
) -> Option<T> {
    if !fields.has(name) {
        fields.missing(name);
        return None;
    }
    read(fields)
}

/// Dotted lower-case words.
pub fn is_kind(kind: &str) -> bool {
    let is_word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_lowercase())
            && word
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'))
    };
    kind.len() <= TYPE_MAX && kind.split('.').all(is_word)
}

fn kind(fields: &mut Fields<'_, '_, '_>) -> Option<String> {
    let kind = fields.raw_text("type")?;
    if is_kind(&kind) {
        return Some(kind.into_owned());
    }
    if kind.len() > TYPE_MAX {
        fields.fault(
            "type",
            Code::TooLong,
            format!("has {} bytes; {TYPE_MAX} are allowed", kind.len()),
        );
    } else {
        fields.fault(
            "type",
            Code::InvalidValue,
            "must be lower-case words with dots between, like weather.warning",
        );
    }
    None
}

fn texts(fields: &mut Fields<'_, '_, '_>, body_max: usize) -> Vec<(String, Text)> {
    let path = fields.path.name("texts");
    let locales = fields.map("texts", TEXTS_MAX).unwrap_or_default();
    let mut texts = Vec::with_capacity(locales.len());
    for (locale, value) in locales {
        let path = path.name(&locale);
        let is_locale =
            (1..=35).contains(&locale.len()) && locale.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !is_locale {
            fields
                .faults
                .add(&path, Code::InvalidValue, "the name must be a locale like es or fr-CA");
            continue;
        }
        let Some(mut text) = Fields::open(value, &path, &["title", "body"], fields.faults) else {
            continue;
        };
        let title = required(&mut text, "title", |text| text.text("title", TITLE_MAX));
        let body = required(&mut text, "body", |text| text.text("body", body_max));
        if let (Some(title), Some(body)) = (title, body) {
            texts.push((locale, Text { title, body }));
        }
    }
    texts
}

/// Kept as it was written: it is the sender's business.
fn data(fields: &mut Fields<'_, '_, '_>) -> Option<String> {
    let Json::Raw(raw) = fields.take("data")? else {
        return None;
    };
    if raw.len() > DATA_BYTES_MAX {
        fields.fault(
            "data",
            Code::TooLong,
            format!("has {} bytes; {DATA_BYTES_MAX} are allowed", raw.len()),
        );
        return None;
    }
    // frames are lines, so line ends between the tokens go (inside texts they are escaped)
    Some(if raw.contains(['\n', '\r']) {
        raw.replace(['\n', '\r'], " ")
    } else {
        raw.to_owned()
    })
}

fn action(fields: &mut Fields<'_, '_, '_>) -> Option<Action> {
    let value = fields.take("action")?;
    let path = fields.path.name("action");
    let mut action = Fields::open(value, &path, &["label", "url"], fields.faults)?;
    let label = required(&mut action, "label", |action| action.text("label", LABEL_MAX));
    let url = required(&mut action, "url", |action| {
        let url = action.raw_text("url")?;
        match check_text(&url, URL_MAX) {
            Ok(()) if is_url(&url) => Some(url.into_owned()),
            Ok(()) => {
                action.fault(
                    "url",
                    Code::InvalidValue,
                    "must be a path of one slash, or begin with https://, http://, tel: or mailto:",
                );
                None
            }
            Err((code, detail)) => {
                action.fault("url", code, detail);
                None
            }
        }
    });
    Some(Action {
        label: label?,
        url: url?,
    })
}

/// Nothing that a client would run, and no path that leads to another host: browsers take two slashes for one, either way round.
fn is_url(url: &str) -> bool {
    let schemes = ["https://", "http://", "tel:", "mailto:"];
    let known = schemes.iter().any(|scheme| {
        url.get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    });
    let path = url.starts_with('/') && !url.starts_with("//") && !url.starts_with("/\\");
    (known || path) && !url.contains(char::is_whitespace)
}

/// A time that has come already means now: a sender who asks again under the same key must not be refused.
fn deliver_at(fields: &mut Fields<'_, '_, '_>, config: &Config, now: Millis) -> Option<Millis> {
    let at = fields.time("deliver_at")?;
    if at.saturating_sub(now) > config.schedule_max.0.as_millis() as Millis {
        fields.fault(
            "deliver_at",
            Code::ScheduleTooFar,
            format!("must be within {} of now", config.schedule_max),
        );
        return None;
    }
    Some(at)
}

/// How far ahead it may be is asked by the log, which knows the zones and looks for the key first.
fn deliver_at_local(fields: &mut Fields<'_, '_, '_>) -> Option<LocalTime> {
    if fields.has("deliver_at") && fields.has("deliver_at_local") {
        let detail = "must not stand beside deliver_at: that is one instant for all, this one for each zone";
        fields.fault("deliver_at_local", Code::InvalidValue, detail);
    }
    fields.local_time("deliver_at_local")
}

fn expires_at(fields: &mut Fields<'_, '_, '_>, config: &Config, now: Millis) -> Option<Millis> {
    let at = fields.time("expires_at")?;
    if at.saturating_sub(now) > config.expires_max.0.as_millis() as Millis {
        fields.fault(
            "expires_at",
            Code::OutOfRange,
            format!("must be within {} of now", config.expires_max),
        );
        return None;
    }
    Some(at)
}

fn supersedes(fields: &mut Fields<'_, '_, '_>) -> Option<BroadcastId> {
    let text = fields.raw_text("supersedes")?;
    let id = BroadcastId::parse(&text);
    if id.is_none() {
        fields.fault("supersedes", Code::UnknownBroadcast, "is no id of a broadcast");
    }
    id
}

fn acknowledge(value: Json<'_>, config: &Config, faults: &mut Faults) -> Option<Acknowledge> {
    let path = Path::ROOT;
    let path = path.name("acknowledge");
    let mut fields = Fields::open(value, &path, &["within", "answers", "need", "escalate"], faults)?;
    let within_ms = required(&mut fields, "within", |fields| {
        fields.span("within", config.expires_max)
    });
    let answers = fields.words("answers", ANSWERS_MAX, LABEL_MAX).unwrap_or_default();
    let need = fields.list("need", NEEDS_MAX, need).unwrap_or_default();
    let escalate = |value, path: &Path<'_>, faults: &mut Faults| escalate(value, path, config, faults);
    let escalate = fields.list("escalate", ESCALATIONS_MAX, escalate).unwrap_or_default();
    Some(Acknowledge {
        within_ms: within_ms?,
        answers,
        need,
        escalate,
    })
}

fn need(value: Json<'_>, path: &Path<'_>, faults: &mut Faults) -> Option<(String, u32)> {
    let mut fields = Fields::open(value, path, &["role", "count"], faults)?;
    let role = required(&mut fields, "role", |fields| fields.word("role", WORD_MAX));
    let count = required(&mut fields, "count", |fields| fields.whole("count", 1, COUNT_MAX));
    Some((role?, u32::try_from(count?).ok()?))
}

fn escalate(value: Json<'_>, path: &Path<'_>, config: &Config, faults: &mut Faults) -> Option<Escalate> {
    let mut fields = Fields::open(value, path, &["after", "to", "priority", "outputs"], faults)?;
    let after_ms = required(&mut fields, "after", |fields| fields.span("after", config.expires_max));
    let to = fields.path.name("to");
    let clauses = match fields.take("to") {
        Some(value) => clauses(value, &to, fields.faults).unwrap_or_default(),
        None => Vec::new(),
    };
    let priority = fields.choice("priority", &PRIORITIES);
    let outputs = fields.words("outputs", OUTPUTS_MAX, WORD_MAX).unwrap_or_default();
    Some(Escalate {
        after_ms: after_ms?,
        to: Audience {
            clauses,
            exclude: Vec::new(),
        },
        priority,
        outputs,
    })
}

#[cfg(test)]
mod tests {
    use super::{is_kind, is_url, read};
    use crate::api::Config;
    use crate::model::{BroadcastId, Draft, Priority};

    const NOW: i64 = 1_800_000_000_000;

    /// A good broadcast, with `with` in place of or beside its own members (a `null` takes one out).
    fn body(with: &serde_json::Value) -> String {
        let mut body = serde_json::json!({"type": "weather.warning", "audience": {"weddings": ["w-1"]}, "title": "T", "body": "B"});
        for (name, value) in with.as_object().unwrap() {
            body[name] = value.clone();
        }
        body.to_string()
    }

    fn good(with: &serde_json::Value) -> Draft {
        let body = body(with);
        read(body.as_bytes(), &Config::default(), NOW).unwrap_or_else(|problem| panic!("{body}: {problem:?}"))
    }

    fn check(with: &serde_json::Value, expected: &[(&str, &str)]) {
        let body = body(with);
        let problem = read(body.as_bytes(), &Config::default(), NOW).unwrap_err();
        let found: Vec<(&str, &str)> = problem
            .errors()
            .iter()
            .map(|f| (f.pointer.as_str(), f.code.text()))
            .collect();
        assert_eq!(found, expected, "{body}");
        assert_eq!(problem.status().as_u16(), 422);
    }

    #[test]
    fn bad_bodies_are_named_by_code_and_pointer() {
        use serde_json::json;
        check(&json!({"titel": 1}), &[("/titel", "UNKNOWN_FIELD")]);
        check(&json!({"title": null}), &[("/title", "MISSING_FIELD")]);
        check(&json!({"title": 7}), &[("/title", "WRONG_TYPE")]);
        check(&json!({"title": " "}), &[("/title", "INVALID_VALUE")]);
        check(&json!({"title": "é".repeat(201)}), &[("/title", "TOO_LONG")]);
        check(&json!({"title": "a\u{1b}[31m"}), &[("/title", "INVALID_VALUE")]);
        check(&json!({"body": "x".repeat(1001)}), &[("/body", "TOO_LONG")]);
        check(
            &json!({"body": "x".repeat(361), "priority": "critical"}),
            &[("/body", "TOO_LONG")],
        );
        check(&json!({"priority": "urgent"}), &[("/priority", "INVALID_VALUE")]);
        check(
            &json!({"priority": 1, "type": "Weather"}),
            &[("/priority", "WRONG_TYPE"), ("/type", "INVALID_VALUE")],
        );
        check(&json!({"data": "x".repeat(16 << 10)}), &[("/data", "TOO_LONG")]);
        check(
            &json!({"action": {"label": "x".repeat(51), "url": "/"}}),
            &[("/action/label", "TOO_LONG")],
        );
        check(
            &json!({"action": {"label": "x", "url": "javascript:alert(1)"}}),
            &[("/action/url", "INVALID_VALUE")],
        );
        check(&json!({"action": {"label": "x"}}), &[("/action/url", "MISSING_FIELD")]);
        check(
            &json!({"texts": {"es": {"title": "t"}}}),
            &[("/texts/es/body", "MISSING_FIELD")],
        );
        check(
            &json!({"texts": {"e/s": {"title": "t", "body": "b"}}}),
            &[("/texts/e~1s", "INVALID_VALUE")],
        );
        check(
            &json!({"deliver_at": "2027-06-19T16:42:00-04:00"}),
            &[("/deliver_at", "SCHEDULE_TOO_FAR")],
        );
        for local in [
            "2027-01-15T09:00:00Z",
            "2027-01-15T09:00-05:00",
            "2027-02-29T09:00",
            "tomorrow",
        ] {
            check(
                &json!({"deliver_at_local": local}),
                &[("/deliver_at_local", "INVALID_VALUE")],
            );
        }
        check(&json!({"deliver_at_local": 9}), &[("/deliver_at_local", "WRONG_TYPE")]);
        check(
            &json!({"deliver_at_local": "2027-01-15T09:00", "deliver_at": "2027-01-15T09:00:00Z"}),
            &[("/deliver_at_local", "INVALID_VALUE")],
        );
        check(
            &json!({"expires_at": "2027-13-19"}),
            &[("/expires_at", "INVALID_VALUE")],
        );
        check(
            &json!({"expires_at": "9999-12-30T00:00:00Z"}),
            &[("/expires_at", "OUT_OF_RANGE")],
        );
        check(&json!({"supersedes": "x"}), &[("/supersedes", "UNKNOWN_BROADCAST")]);
        check(&json!({"drill": "yes"}), &[("/drill", "WRONG_TYPE")]);
        check(&json!({"acknowledge": {}}), &[("/acknowledge/within", "MISSING_FIELD")]);
        check(
            &json!({"acknowledge": {"within": "15s", "need": [{"role": "dj", "count": 0}], "escalate": [{"after": 3, "to": {}}]}}),
            &[
                ("/acknowledge/need/0/count", "OUT_OF_RANGE"),
                ("/acknowledge/escalate/0/after", "WRONG_TYPE"),
                ("/acknowledge/escalate/0/to", "EMPTY_AUDIENCE"),
            ],
        );
    }

    #[test]
    fn an_audience_must_be_stated_and_never_widens() {
        use serde_json::json;
        for nobody in [
            json!(null),
            json!([]),
            json!({"weddings": []}),
            json!([{"users": [], "roles": ["guest"]}]),
        ] {
            check(&json!({"audience": nobody}), &[("/audience", "EMPTY_AUDIENCE")]);
        }
        check(
            &json!({"audience": [{"users": ["a"]}, {}]}),
            &[("/audience/1", "EMPTY_AUDIENCE")],
        );
        check(
            &json!({"audience": {"everyone": false}}),
            &[("/audience", "EMPTY_AUDIENCE")],
        );
        check(&json!({"audience": "everyone"}), &[("/audience", "WRONG_TYPE")]);
        check(
            &json!({"audience": {"wedding": ["w"]}}),
            &[("/audience/wedding", "UNKNOWN_FIELD")],
        );
        check(
            &json!({"audience": [{"users": ["a", 7]}]}),
            &[("/audience/0/users/1", "WRONG_TYPE")],
        );
        let draft = good(&json!({"audience": [{"users": []}, {"roles": ["guest"]}], "exclude": {"users": []}}));
        assert_eq!((draft.audience.clauses.len(), draft.audience.exclude.len()), (1, 0));
    }

    #[test]
    fn a_full_broadcast_is_read_as_it_is_meant() {
        let draft = good(&serde_json::json!({
            "priority": "critical", "data": {"any": [1, "json"]}, "action": {"label": "Map", "url": "/map"},
            "texts": {"es": {"title": "t", "body": "b"}}, "expires_at": "2027-01-15T16:00:00Z", "drill": true,
            "deliver_at": null, "supersedes": BroadcastId::new(NOW, 1, 2).to_string(),
            "acknowledge": {"within": "15s", "answers": ["ok", "need_help"], "need": [{"role": "security", "count": 2}],
                "escalate": [{"after": "30s", "to": [{"venues": ["larkfield"], "roles": ["venue_ops"]}], "outputs": ["siren"]}]},
        }));
        assert_eq!((draft.priority, draft.drill), (Priority::Critical, true));
        assert_eq!(draft.data.as_deref(), Some(r#"{"any":[1,"json"]}"#));
        let acknowledge = draft.acknowledge.unwrap();
        assert_eq!(
            (acknowledge.within_ms, acknowledge.need, acknowledge.escalate.len()),
            (15_000, vec![("security".into(), 2)], 1)
        );
    }

    #[test]
    fn a_local_time_is_read_to_the_second() {
        let local = |text| good(&serde_json::json!({"deliver_at_local": text, "deliver_at": null})).deliver_at_local;
        for text in ["2027-01-16T09:00", "2027-01-16T09:00:00"] {
            assert_eq!(local(text).unwrap().to_string(), "2027-01-16T09:00:00");
        }
    }

    #[test]
    fn types_are_dotted_lower_case_words() {
        for kind in ["weather.warning", "cue.call", "announcement", "a.b-c.d_2"] {
            assert!(is_kind(kind), "{kind}");
        }
        for kind in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "Weather.warning",
            "a b",
            "2.a",
            "é",
            &"a".repeat(65),
        ] {
            assert!(!is_kind(kind), "{kind}");
        }
    }

    #[test]
    fn a_url_leads_to_a_known_kind_of_place() {
        for url in [
            "HTTPS://x.example/a",
            "http://x.example",
            "/",
            "/map",
            "/a//b",
            "tel:+1",
        ] {
            assert!(is_url(url), "{url}");
        }
        for url in [
            "data:text/html,x",
            "javascript:x",
            "/a b",
            "map",
            "//evil.example",
            "/\\evil.example",
            "\\\\evil.example",
        ] {
            assert!(!is_url(url), "{url}");
        }
    }
}
