//! The body of a webhook, as Standard Webhooks recommends: `type`, `timestamp` and `data`.

use super::message::Message;
use crate::base::clock::rfc3339;
use serde::Serialize;
use serde_json::Value;

#[derive(Serialize)]
struct Body<'a> {
    r#type: &'a str,
    timestamp: String,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    drill: bool,
    summary: &'a str,
    priority: &'static str,
    group: &'a str,
    details: &'a Value,
}

pub fn body(message: &Message) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&Body {
        r#type: &message.kind,
        timestamp: rfc3339(message.at),
        data: Data {
            drill: message.drill,
            summary: &message.headline(),
            priority: message.priority.name(),
            group: &message.group,
            details: &message.data,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::body;
    use crate::outputs::message::tests::{drill, escalated};

    #[test]
    fn golden() {
        let text = |message| String::from_utf8(body(&message).unwrap()).unwrap();
        let expected = concat!(
            r#"{"type":"broadcast.escalated","timestamp":"2027-06-19T20:42:00.250Z","data":{"drill":false,"#,
            r#""summary":"3 of <security> & venue_ops have not confirmed \"Go inside now\"","priority":"critical","#,
            r#""group":"01J8ZB","details":{"missing":["u-1","u-2","u-3"],"step":1}}}"#
        );
        assert_eq!(text(escalated()), expected);
        let expected = expected
            .replace("\"drill\":false", "\"drill\":true")
            .replace("\"3 of", "\"DRILL: 3 of")
            .replace("critical", "normal");
        assert_eq!(text(drill()), expected);
    }
}
