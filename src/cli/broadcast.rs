//! A broadcast's JSON from options and a file; what is typed goes over what the file says.

use super::arguments::{Priority, Publish};
use super::audience;
use super::failure::Failure;
use crate::base::clock::{self, Millis};
use crate::base::size::Span;
use crate::model::LocalTime;
use clap::ValueEnum;
use serde_json::{Map, Value, json};
use std::io::Read;
use std::path::Path;

/// What the server takes at most is smaller; this only keeps a wrong file out of memory.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// The request's body.
pub fn body(options: &Publish) -> Result<Value, Failure> {
    let mut body = match &options.file {
        Some(path) => object(path)?,
        None => Map::new(),
    };
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(key.to_owned(), value);
        }
    };
    put("type", options.kind.as_ref().map(|kind| json!(kind)));
    put("priority", options.priority.and_then(name).map(|name| json!(name)));
    put("title", options.title.as_ref().map(|title| json!(title)));
    put("body", options.body.as_ref().map(|body| json!(body)));
    put("supersedes", options.supersedes.as_ref().map(|id| json!(id)));
    put("drill", options.drill.then_some(json!(true)));
    if !options.to.is_empty() {
        put("audience", Some(json!(audience::clauses(&options.to)?)));
    }
    if !options.except.is_empty() {
        put("exclude", Some(json!(audience::clauses(&options.except)?)));
    }
    if let Some(when) = &options.expires {
        put("expires_at", Some(json!(time("--expires", when, clock::wall())?)));
    }
    if let Some(when) = &options.at {
        put("deliver_at", Some(json!(time("--at", when, clock::wall())?)));
        put("deliver_at_local", Some(Value::Null));
    }
    if let Some(when) = &options.at_local {
        put("deliver_at_local", Some(json!(local_time("--at-local", when)?)));
        put("deliver_at", Some(Value::Null));
    }
    if let Some(text) = &options.data {
        let data = serde_json::from_str::<Value>(text);
        put(
            "data",
            Some(data.map_err(|error| Failure::usage(format!("--data is not JSON: {error}")))?),
        );
    }
    put("acknowledge", acknowledge(options)?);
    missing(&body)?;
    Ok(Value::Object(body))
}

fn name(priority: Priority) -> Option<String> {
    Some(priority.to_possible_value()?.get_name().to_owned())
}

fn acknowledge(options: &Publish) -> Result<Option<Value>, Failure> {
    let Some(within) = &options.ack_within else {
        if options.answers.is_empty() {
            return Ok(None);
        }
        return Err(Failure::usage(
            "--answers needs --ack-within, the time people have to confirm",
        ));
    };
    span("--ack-within", within)?;
    let mut asked = json!({"within": within});
    if !options.answers.is_empty() {
        asked["answers"] = json!(options.answers);
    }
    Ok(Some(asked))
}

pub fn span(option: &str, text: &str) -> Result<Span, Failure> {
    text.parse()
        .map_err(|error: String| Failure::usage(format!("{option}: {error}")))
}

/// A time with a zone as it is, or so long from now.
fn time(option: &str, text: &str, now: Millis) -> Result<String, Failure> {
    if clock::parse_rfc3339(text).is_some() {
        return Ok(text.to_owned());
    }
    let span: Span = text.parse().map_err(|_| {
        Failure::usage(format!(
            "{option} {text:?} is neither a time with a zone, like 2027-06-19T16:42:00-04:00, nor a duration, like 2h"
        ))
    })?;
    let millis = i64::try_from(span.0.as_millis()).unwrap_or(i64::MAX);
    Ok(clock::rfc3339(now.saturating_add(millis)))
}

/// A date and a time without a zone.
fn local_time(option: &str, text: &str) -> Result<String, Failure> {
    let local = LocalTime::parse(text);
    local
        .map(|local| local.to_string())
        .map_err(|not_local| Failure::usage(format!("{option} {text:?} {not_local}")))
}

fn object(path: &Path) -> Result<Map<String, Value>, Failure> {
    let name = if path == Path::new("-") {
        "stdin".to_owned()
    } else {
        path.display().to_string()
    };
    let reader: Box<dyn Read> = if path == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        let file = std::fs::File::open(path);
        Box::new(file.map_err(|error| Failure::usage(format!("{name} cannot be read: {error}")))?)
    };
    let mut text = String::new();
    let read = reader.take(FILE_BYTES_MAX + 1).read_to_string(&mut text);
    read.map_err(|error| Failure::usage(format!("{name} cannot be read: {error}")))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(Failure::usage(format!("{name} is larger than {FILE_BYTES_MAX} bytes")));
    }
    serde_json::from_str(&text).map_err(|error| Failure::usage(format!("{name} is not one JSON object: {error}")))
}

/// Says what is missing in words of this command, before the server says it in words of JSON.
fn missing(body: &Map<String, Value>) -> Result<(), Failure> {
    let needed = [
        ("type", "--type"),
        ("audience", "--to"),
        ("title", "--title"),
        ("body", "--body"),
    ];
    let missing: Vec<&str> = needed
        .iter()
        .filter(|(key, _)| !body.contains_key(*key))
        .map(|(_, option)| *option)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "a broadcast needs {} (or --file with them)",
        missing.join(", ")
    ))
    .hint("campanile publish --to everyone --type venue.notice --title Hello --body World"))
}

#[cfg(test)]
mod tests {
    use super::{body, time};
    use crate::cli::arguments::{Arguments, Command};
    use crate::cli::failure::Failure;
    use clap::Parser;
    use serde_json::{Value, json};

    fn publish(line: &[&str]) -> Result<Value, Failure> {
        let words = ["campanile", "publish"].iter().chain(line);
        match Arguments::try_parse_from(words).unwrap().command {
            Command::Publish(options) => body(&options),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn options_become_the_body() {
        let made = publish(&[
            "--to",
            "wedding:w-1/guests",
            "user:u-9",
            "--except",
            "user:u-3",
            "--type",
            "weather.warning",
            "--priority",
            "critical",
            "--title",
            "Go inside",
            "--body",
            "Now.",
            "--ack-within",
            "15s",
            "--answers",
            "ok,need_help",
            "--data",
            "[1]",
            "--drill",
        ]);
        let expected = json!({
            "type": "weather.warning", "priority": "critical", "title": "Go inside", "body": "Now.",
            "audience": [{"weddings": ["w-1"], "roles": ["guests"]}, {"users": ["u-9"]}],
            "exclude": [{"users": ["u-3"]}], "data": [1], "drill": true,
            "acknowledge": {"within": "15s", "answers": ["ok", "need_help"]},
        });
        assert_eq!(made.unwrap(), expected);
    }

    #[test]
    fn a_file_is_the_ground_and_options_go_over_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.json");
        std::fs::write(
            &path,
            r#"{"type": "a.b", "title": "T", "body": "B", "audience": {"everyone": true}, "priority": "low"}"#,
        )
        .unwrap();
        let made = publish(&["--file", path.to_str().unwrap(), "--priority", "high"]).unwrap();
        assert_eq!((&made["priority"], &made["type"]), (&json!("high"), &json!("a.b")));
        std::fs::write(&path, "[1]").unwrap();
        assert!(
            publish(&["--file", path.to_str().unwrap()])
                .unwrap_err()
                .what
                .contains("not one JSON object")
        );
    }

    #[test]
    fn what_is_missing_is_named_at_once() {
        let failure = publish(&["--title", "T"]).unwrap_err();
        assert_eq!(
            failure.what,
            "a broadcast needs --type, --to, --body (or --file with them)"
        );
        let failure = publish(&["--answers", "ok"]).unwrap_err();
        assert!(failure.what.contains("--ack-within"), "{}", failure.what);
    }

    #[test]
    fn a_time_that_is_typed_takes_the_place_of_the_file_s() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.json");
        let file = r#"{"type": "a.b", "title": "T", "body": "B", "audience": {"everyone": true}, "deliver_at": "2027-06-19T09:00:00Z"}"#;
        std::fs::write(&path, file).unwrap();
        let typed = |line: &[&str]| publish(&[&["--file", path.to_str().unwrap()], line].concat());
        let times = |made: &Value| (made["deliver_at"].clone(), made["deliver_at_local"].clone());
        let local = typed(&["--at-local", "2027-06-19T09:00"]).unwrap();
        assert_eq!(times(&local), (Value::Null, json!("2027-06-19T09:00:00")));
        let zoned = typed(&["--at", "2027-06-19T10:00:00Z"]).unwrap();
        assert_eq!(times(&zoned), (json!("2027-06-19T10:00:00Z"), Value::Null));
        for wrong in ["2027-06-19T09:00Z", "2027-06-31T09:00", "2h"] {
            let failure = typed(&["--at-local", wrong]).unwrap_err();
            assert!(failure.what.starts_with("--at-local"), "{}", failure.what);
        }
    }

    #[test]
    fn expiry_is_a_time_or_a_duration() {
        let now = 1_800_000_000_000;
        assert_eq!(
            time("--at", "2027-06-19T16:42:00-04:00", now).unwrap(),
            "2027-06-19T16:42:00-04:00"
        );
        assert_eq!(time("--at", "2h", now).unwrap(), "2027-01-15T10:00:00.000Z");
        assert!(time("--at", "tomorrow", now).is_err());
    }
}
