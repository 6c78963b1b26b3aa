//! `campanile cancel`: call a broadcast off, and say who had it.

use super::arguments::Cancel;
use super::failure::Failure;
use super::nodes::{Nodes, encoded, read};
use super::output::{self, GOOD, STRONG, count, plain};
use http::Method;
use serde_json::Value;

pub async fn run(options: &Cancel, as_json: bool) -> Result<(), Failure> {
    let nodes = Nodes::new(&options.target)?;
    let path = format!("/v1/broadcasts/{}/cancel", encoded(&options.id));
    let answer = nodes.change(Method::POST, &path, "{}").await?;
    let shown = read(&answer)?;
    if as_json {
        return output::say(&shown.to_string());
    }
    output::say(&line(&shown))
}

fn line(shown: &Value) -> String {
    let text = |name: &str| plain(shown.get(name).and_then(Value::as_str).unwrap_or_default());
    let number = |name: &str| shown.get(name).and_then(Value::as_u64).unwrap_or_default();
    let sent = match number("sent") {
        0 => "nobody had it".to_owned(),
        sent => format!("{} of {} had it and are told", count(sent), count(number("targeted"))),
    };
    format!(
        "{GOOD}{}{GOOD:#} {STRONG}{}{STRONG:#} ({}): {sent}",
        text("status"),
        text("id"),
        text("title")
    )
}

#[cfg(test)]
mod tests {
    use super::line;
    use serde_json::json;

    #[test]
    fn it_says_who_had_it() {
        let shown =
            |sent| json!({"id": "01J", "status": "cancelled", "title": "Gates", "sent": sent, "targeted": 1200});
        let told = |sent| anstream::adapter::strip_str(&line(&shown(sent))).to_string();
        assert_eq!(told(0), "cancelled 01J (Gates): nobody had it");
        assert_eq!(told(1100), "cancelled 01J (Gates): 1,100 of 1,200 had it and are told");
    }
}
