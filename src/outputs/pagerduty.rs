//! The body of a trigger, or of what resolves it, of `PagerDuty`'s Events API, version 2.

use super::message::{Message, Turn, cut};
use crate::base::clock::rfc3339;
use crate::model::Priority;
use serde::Serialize;
use serde_json::Value;

/// Letters that a summary may have.
const SUMMARY_LETTERS_MAX: usize = 1024;
/// Letters that the key may have that incidents are told apart by.
const KEY_LETTERS_MAX: usize = 255;

#[derive(Serialize)]
struct Body<'a> {
    routing_key: &'a str,
    event_action: &'static str,
    dedup_key: &'a str,
    payload: Payload<'a>,
}

#[derive(Serialize)]
struct Payload<'a> {
    summary: &'a str,
    source: &'static str,
    severity: &'static str,
    timestamp: String,
    class: &'a str,
    custom_details: Details<'a>,
}

#[derive(Serialize)]
struct Details<'a> {
    drill: bool,
    priority: &'static str,
    details: &'a Value,
}

/// What belongs together is one incident, however often it is triggered.
pub fn body(message: &Message, routing_key: &str) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&Body {
        routing_key,
        event_action: action(message.turn),
        dedup_key: &cut(&message.group, KEY_LETTERS_MAX),
        payload: Payload {
            summary: &cut(&message.headline(), SUMMARY_LETTERS_MAX),
            source: "campanile",
            severity: severity(message.priority),
            timestamp: rfc3339(message.at),
            class: &message.kind,
            custom_details: Details {
                drill: message.drill,
                priority: message.priority.name(),
                details: &message.data,
            },
        },
    })
}

const fn action(turn: Turn) -> &'static str {
    match turn {
        Turn::Begins => "trigger",
        Turn::Ends => "resolve",
    }
}

const fn severity(priority: Priority) -> &'static str {
    match priority {
        Priority::Critical => "critical",
        Priority::High => "error",
        Priority::Normal => "warning",
        Priority::Low => "info",
    }
}

#[cfg(test)]
mod tests {
    use super::{KEY_LETTERS_MAX, SUMMARY_LETTERS_MAX, body};
    use crate::outputs::message::tests::{drill, escalated};
    use crate::outputs::message::{Message, Turn};
    use serde_json::Value;

    #[test]
    fn golden() {
        let text = |message| String::from_utf8(body(&message, "R0UTINGKEY").unwrap()).unwrap();
        let expected = concat!(
            r#"{"routing_key":"R0UTINGKEY","event_action":"trigger","dedup_key":"01J8ZB","payload":{"#,
            r#""summary":"3 of <security> & venue_ops have not confirmed \"Go inside now\"","source":"campanile","#,
            r#""severity":"critical","timestamp":"2027-06-19T20:42:00.250Z","class":"broadcast.escalated","#,
            r#""custom_details":{"drill":false,"priority":"critical","#,
            r#""details":{"missing":["u-1","u-2","u-3"],"step":1}}}}"#
        );
        assert_eq!(text(escalated()), expected);
        let expected = expected
            .replace("\"drill\":false", "\"drill\":true")
            .replace("\"3 of", "\"DRILL: 3 of")
            .replace("\"severity\":\"critical\"", "\"severity\":\"warning\"")
            .replace("\"priority\":\"critical\"", "\"priority\":\"normal\"");
        assert_eq!(text(drill()), expected);
    }

    #[test]
    fn what_is_over_resolves_what_it_triggered() {
        let read = |turn| {
            let message = Message { turn, ..escalated() };
            let read: Value = serde_json::from_slice(&body(&message, "R").unwrap()).unwrap();
            (read["event_action"].clone(), read["dedup_key"].clone())
        };
        let (begins, ends) = (read(Turn::Begins), read(Turn::Ends));
        assert_eq!((begins.0, ends.0), ("trigger".into(), "resolve".into()));
        assert_eq!(begins.1, ends.1);
    }

    #[test]
    fn long_texts_fit() {
        let long = Message {
            summary: "s".repeat(5000),
            group: "g".repeat(5000),
            ..drill()
        };
        let read: Value = serde_json::from_slice(&body(&long, "R").unwrap()).unwrap();
        let letters = |at: &str| read.pointer(at).unwrap().as_str().unwrap().chars().count();
        assert_eq!(letters("/payload/summary"), SUMMARY_LETTERS_MAX);
        assert_eq!(letters("/dedup_key"), KEY_LETTERS_MAX);
    }
}
