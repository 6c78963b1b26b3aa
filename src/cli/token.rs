//! `campanile token`: make, list and revoke.

use super::arguments::{Scope, TokenCreate, TokenList, TokenRevoke, TokenVerb};
use super::failure::Failure;
use super::nodes::{Nodes, encoded, read};
use super::output::{self, DIM, GOOD, Table, plain};
use http::Method;
use serde_json::{Map, Value, json};

/// The most that a page of the list has.
const PAGE: usize = 100;

pub async fn run(verb: &TokenVerb, as_json: bool) -> Result<(), Failure> {
    match verb {
        TokenVerb::Create(options) => create(options, as_json).await,
        TokenVerb::List(options) => list(options, as_json).await,
        TokenVerb::Revoke(options) => revoke(options, as_json).await,
    }
}

async fn create(options: &TokenCreate, as_json: bool) -> Result<(), Failure> {
    let nodes = Nodes::new(&options.target)?;
    let body = wanted(options).to_string();
    let made = read(&nodes.change(Method::POST, "/v1/tokens", &body).await?)?;
    if as_json {
        return output::say(&made.to_string());
    }
    let text = |name: &str| made.get(name).and_then(Value::as_str).unwrap_or_default();
    output::complain(&format!(
        "{GOOD}made{GOOD:#} {} for {}, good until {}\n{DIM}it is shown once; revoke it with: campanile token revoke {}{DIM:#}",
        text("id"),
        options.user.as_deref().unwrap_or(&options.role),
        text("expires_at"),
        text("id")
    ));
    output::say(text("token"))
}

/// The request's body: only what was said.
fn wanted(options: &TokenCreate) -> Value {
    let scopes: Vec<&str> = options.scopes.iter().copied().map(name).collect();
    let mut body = Map::new();
    body.insert("role".into(), json!(options.role));
    body.insert("scopes".into(), json!(scopes));
    body.insert("weddings".into(), json!(options.weddings));
    body.insert("venues".into(), json!(options.venues));
    for (name, value) in [("user", &options.user), ("ttl", &options.ttl)] {
        if let Some(value) = value {
            body.insert(name.into(), json!(value));
        }
    }
    body.into()
}

const fn name(scope: Scope) -> &'static str {
    match scope {
        Scope::Publish => "publish",
        Scope::Subscribe => "subscribe",
        Scope::Read => "read",
        Scope::Admin => "admin",
    }
}

async fn list(options: &TokenList, as_json: bool) -> Result<(), Failure> {
    let nodes = Nodes::new(&options.target)?;
    let mut table = Table::new(&["id", "user", "role", "where", "scopes", "good until"]);
    let mut after: Option<String> = None;
    loop {
        let behind = after.as_deref().map(|after| format!("&after={}", encoded(after)));
        let path = format!("/v1/tokens?limit={PAGE}{}", behind.unwrap_or_default());
        let page = read(&nodes.get(&path).await?)?;
        for token in page.get("items").and_then(Value::as_array).into_iter().flatten() {
            if as_json {
                output::say(&token.to_string())?;
            } else {
                let cells = cells(token);
                table.row(&cells.each_ref().map(|cell| cell as &dyn std::fmt::Display));
            }
        }
        after = page.get("next").and_then(Value::as_str).map(str::to_owned);
        if after.is_none() {
            break;
        }
    }
    if !as_json {
        for line in table.lines() {
            output::say(&line)?;
        }
    }
    Ok(())
}

fn cells(token: &Value) -> [String; 6] {
    let text = |name: &str| plain(token.get(name).and_then(Value::as_str).unwrap_or("-"));
    let words = |name: &str| {
        let list = token.get(name).and_then(Value::as_array).into_iter().flatten();
        list.filter_map(Value::as_str).map(plain).collect::<Vec<_>>()
    };
    let places = [words("weddings"), words("venues")].concat();
    let until = if token.get("expired").and_then(Value::as_bool) == Some(true) {
        format!("{} (expired)", text("expires_at"))
    } else {
        text("expires_at")
    };
    let places = if places.is_empty() {
        "-".to_owned()
    } else {
        places.join(",")
    };
    [
        text("id"),
        text("user"),
        text("role"),
        places,
        words("scopes").join(","),
        until,
    ]
}

async fn revoke(options: &TokenRevoke, as_json: bool) -> Result<(), Failure> {
    let nodes = Nodes::new(&options.target)?;
    for id in &options.ids {
        let path = format!("/v1/tokens/{}", encoded(id));
        let answer = nodes.change(Method::DELETE, &path, "").await?;
        if !answer.is_success() {
            return Err(Failure::problem(answer.status, &answer.body));
        }
        output::say(&if as_json {
            json!({"id": id, "revoked": true}).to_string()
        } else {
            format!("{GOOD}revoked{GOOD:#} {}", plain(id))
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{TokenVerb, cells, wanted};
    use crate::cli::arguments::{Arguments, Command};
    use clap::Parser;
    use serde_json::json;

    #[test]
    fn only_what_was_said_is_asked_for() {
        let check = |words: &str, expected: serde_json::Value| {
            let words = ["campanile", "token", "create"].into_iter().chain(words.split(' '));
            let Command::Token(token) = Arguments::try_parse_from(words).unwrap().command else {
                panic!("another command");
            };
            let TokenVerb::Create(options) = token.verb else {
                panic!("another verb");
            };
            assert_eq!(wanted(&options), expected);
        };
        check(
            "--role dj --wedding w-1 --wedding w-2 --scope publish,subscribe --user u-1 --ttl 1h",
            json!({"user": "u-1", "role": "dj", "weddings": ["w-1", "w-2"], "venues": [],
                "scopes": ["publish", "subscribe"], "ttl": "1h"}),
        );
        check(
            "--role siren --venue v --scope read",
            json!({"role": "siren", "weddings": [], "venues": ["v"], "scopes": ["read"]}),
        );
        let without = ["campanile", "token", "create", "--role", "dj"];
        assert!(Arguments::try_parse_from(without).is_err(), "a token is for something");
    }

    #[test]
    fn a_token_is_one_row() {
        let token = json!({"id": "tok-1", "user": null, "role": "dj", "weddings": ["w-1"], "venues": ["v"],
            "scopes": ["publish"], "expires_at": "2027-06-19T20:42:00.000Z", "expired": true});
        let expected = [
            "tok-1",
            "-",
            "dj",
            "w-1,v",
            "publish",
            "2027-06-19T20:42:00.000Z (expired)",
        ];
        assert_eq!(cells(&token), expected);
    }
}
