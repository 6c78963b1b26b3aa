//! The body of an incoming webhook of Slack: `text` for notifications, `blocks` for the channel.

use super::message::{Message, cut};
use crate::base::clock::rfc3339;
use serde_json::{Value, json};

/// Letters that one block's text may have, as Slack counts them: escaped.
const TEXT_LETTERS_MAX: usize = 3000;

pub fn body(message: &Message) -> serde_json::Result<Vec<u8>> {
    let headline = fitted(&message.headline());
    let context = format!(
        "{} · {} · {} · {}",
        message.priority,
        message.kind,
        message.group,
        rfc3339(message.at)
    );
    serde_json::to_vec(&json!({
        "text": headline,
        "blocks": [
            {"type": "section", "text": markdown(&headline)},
            {"type": "context", "elements": [markdown(&fitted(&context))]},
        ],
    }))
}

/// Shown as it stands: Slack looks for no names and links in it.
fn markdown(text: &str) -> Value {
    json!({"type": "mrkdwn", "text": text, "verbatim": true})
}

/// The text with `&`, `<` and `>` escaped, so that it can neither link nor call a whole channel; as much of it as fits.
fn fitted(text: &str) -> String {
    let whole = escaped(text);
    if whole.chars().count() <= TEXT_LETTERS_MAX {
        return whole;
    }
    // Cut before it is escaped, or a cut could go through an escape.
    let mut letters = 0;
    let fits = text.chars().take_while(|letter| {
        letters += escape(*letter).map_or(1, str::len);
        letters < TEXT_LETTERS_MAX
    });
    escaped(&cut(text, fits.count() + 1))
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match escape(letter) {
            Some(escape) => out.push_str(escape),
            None => out.push(letter),
        }
    }
    out
}

const fn escape(letter: char) -> Option<&'static str> {
    match letter {
        '&' => Some("&amp;"),
        '<' => Some("&lt;"),
        '>' => Some("&gt;"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{TEXT_LETTERS_MAX, body, fitted};
    use crate::outputs::message::tests::{drill, escalated};
    use serde_json::{Value, json};

    #[test]
    fn golden() {
        let read = |message| serde_json::from_slice::<Value>(&body(&message).unwrap()).unwrap();
        let expected = |headline: &str, priority: &str| {
            let context = format!("{priority} · broadcast.escalated · 01J8ZB · 2027-06-19T20:42:00.250Z");
            json!({
                "text": headline,
                "blocks": [
                    {"type": "section", "text": {"type": "mrkdwn", "text": headline, "verbatim": true}},
                    {"type": "context", "elements": [{"type": "mrkdwn", "text": context, "verbatim": true}]},
                ],
            })
        };
        let headline = "3 of &lt;security&gt; &amp; venue_ops have not confirmed \"Go inside now\"";
        assert_eq!(read(escalated()), expected(headline, "critical"));
        assert_eq!(read(drill()), expected(&format!("DRILL: {headline}"), "normal"));
    }

    #[test]
    fn nobody_can_be_called_by_a_text() {
        assert_eq!(
            fitted("<!channel> <https://x|y>"),
            "&lt;!channel&gt; &lt;https://x|y&gt;"
        );
    }

    #[test]
    fn a_long_text_is_cut_between_escapes() {
        for (letter, escaped, kept) in [("a", "a", 2999), ("<", "&lt;", 749), ("&", "&amp;", 599)] {
            let text = fitted(&letter.repeat(4000));
            assert_eq!(text, format!("{}…", escaped.repeat(kept)));
            assert!(text.chars().count() <= TEXT_LETTERS_MAX);
        }
        let exact = "é".repeat(TEXT_LETTERS_MAX);
        assert_eq!(fitted(&exact), exact);
    }
}
