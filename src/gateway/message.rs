//! What a client may say on its WebSocket: a promise of receipts, receipts, an acknowledgement.

use crate::model::BroadcastId;
use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// This client will confirm what it gets.
    pub promises_receipts: Option<bool>,
    pub received: Vec<BroadcastId>,
    pub read: Vec<BroadcastId>,
    pub acknowledge: Vec<(BroadcastId, String)>,
    /// A string or a number; the client wants an answer.
    pub reference: Option<Value>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Refused {
    pub detail: String,
    pub reference: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    #[serde(default)]
    hello: Option<Hello>,
    #[serde(default)]
    receipt: Option<Receipt>,
    #[serde(default)]
    acknowledge: Option<Acknowledge>,
    #[serde(default)]
    r#ref: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Hello {
    receipts: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Receipt {
    #[serde(default)]
    received: Vec<String>,
    #[serde(default)]
    read: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Acknowledge {
    id: String,
    answer: String,
}

/// The length of a `ref` that is echoed.
const REFERENCE_MAX: usize = 128;
/// The length of an answer to an acknowledgement; longer ones are none that a broadcast asked for.
const ANSWER_MAX: usize = 64;

pub fn parse(text: &str) -> Result<Message, Refused> {
    let wire: Wire = serde_json::from_str(text).map_err(|error| Refused {
        detail: format!("the message was not understood: {error}"),
        reference: reference_of(text),
    })?;
    let reference = wire.r#ref;
    let refused = |detail: String| Refused {
        detail,
        reference: reference.clone().filter(is_reference),
    };
    if reference.as_ref().is_some_and(|reference| !is_reference(reference)) {
        return Err(refused(format!(
            "ref is a number, or a string of at most {REFERENCE_MAX} bytes"
        )));
    }
    if wire.hello.is_none() && wire.receipt.is_none() && wire.acknowledge.is_none() {
        return Err(refused("the message has none of hello, receipt and acknowledge".into()));
    }
    let receipt = wire.receipt.unwrap_or(Receipt {
        received: Vec::new(),
        read: Vec::new(),
    });
    let acknowledge = wire.acknowledge.into_iter().map(|one| {
        if one.answer.len() > ANSWER_MAX {
            return Err(format!("answer has more than {ANSWER_MAX} bytes"));
        }
        Ok((id(&one.id)?, one.answer))
    });
    Ok(Message {
        promises_receipts: wire.hello.map(|hello| hello.receipts),
        received: ids(&receipt.received).map_err(refused)?,
        read: ids(&receipt.read).map_err(refused)?,
        acknowledge: acknowledge.collect::<Result<_, _>>().map_err(refused)?,
        reference: reference.clone(),
    })
}

/// What the client calls its message, where it is an object at least.
fn reference_of(text: &str) -> Option<Value> {
    #[derive(Deserialize)]
    struct Only {
        r#ref: Option<Value>,
    }
    let only: Only = serde_json::from_str(text).ok()?;
    only.r#ref.filter(is_reference)
}

fn is_reference(reference: &Value) -> bool {
    reference.is_number() || reference.as_str().is_some_and(|text| text.len() <= REFERENCE_MAX)
}

fn id(text: &str) -> Result<BroadcastId, String> {
    BroadcastId::parse(text).ok_or_else(|| "an id is not the 26 characters of a broadcast's id".to_owned())
}

fn ids(texts: &[String]) -> Result<Vec<BroadcastId>, String> {
    texts.iter().map(|text| id(text)).collect()
}

#[cfg(test)]
mod tests {
    use super::{Message, parse};
    use crate::model::BroadcastId;

    #[test]
    fn messages_are_read() {
        let id = BroadcastId::new(1, 2, 3);
        assert_eq!(
            parse(r#"{"hello":{"receipts":true}}"#),
            Ok(Message {
                promises_receipts: Some(true),
                ..Message::default()
            })
        );
        assert_eq!(
            parse(&format!(r#"{{"receipt":{{"received":["{id}"]}},"ref":7}}"#)),
            Ok(Message {
                received: vec![id],
                reference: Some(7.into()),
                ..Message::default()
            })
        );
        assert_eq!(
            parse(&format!(r#"{{"acknowledge":{{"id":"{id}","answer":"ok"}},"ref":"a"}}"#)),
            Ok(Message {
                acknowledge: vec![(id, "ok".into())],
                reference: Some("a".into()),
                ..Message::default()
            })
        );
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_reference() {
        for (text, reference) in [
            ("", None),
            ("[]", None),
            ("{}", None),
            (r#"{"ref":"a"}"#, Some("a".into())),
            (r#"{"ref":{},"hello":{"receipts":true}}"#, None),
            (r#"{"receipt":{"received":["x"]},"ref":1}"#, Some(1.into())),
            (r#"{"receipt":{"recieved":[]}}"#, None),
            (r#"{"receipt":{"recieved":[]},"ref":"b"}"#, Some("b".into())),
            (r#"{"what":1,"ref":9}"#, Some(9.into())),
            (r#"{"ref":9,"hello":{"receipts":"yes"}}"#, Some(9.into())),
            (r#"{"ref":{},"hello":1}"#, None),
            (r#"{"ref":9,"receipt":"#, None),
        ] {
            assert_eq!(parse(text).unwrap_err().reference, reference, "{text}");
        }
        assert!(parse(&"[".repeat(10_000)).is_err());
    }
}
