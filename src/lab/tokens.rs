//! The tokens of a rehearsal: one for each sender of the day, and one for each device.

use super::{
    door::Door,
    http::{self, Call},
    scenario::{Object, Scenario, Sender},
};
use anyhow::{Context, Result, bail};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

const MINT_MAX: Duration = Duration::from_secs(10);
/// Tokens that are asked for at one time.
const AT_ONCE: usize = 16;

/// What stands behind `Authorization:` in the requests of a rehearsal.
#[derive(Debug)]
pub struct Tokens {
    pub senders: BTreeMap<Sender, String>,
    /// By user.
    pub devices: BTreeMap<String, String>,
}

/// An `Authorization` header's value.
pub fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

impl Tokens {
    /// Makes them, as an administrator, on a cluster that has the scenario's directory.
    pub async fn mint(node: SocketAddr, admin: &str, scenario: &Scenario) -> Result<Self> {
        let senders = scenario.broadcasts.iter().map(|scripted| &scripted.sender);
        let senders: BTreeMap<&Sender, Value> = senders.map(|sender| (sender, of_sender(sender))).collect();
        let devices = scenario.directory.iter().filter_map(of_device).collect();
        let node = &Door::from(node);
        Ok(Self {
            senders: all(
                node,
                admin,
                senders
                    .into_iter()
                    .map(|(sender, wanted)| (sender.clone(), wanted))
                    .collect(),
            )
            .await?,
            devices: all(node, admin, devices).await?,
        })
    }
}

/// On somebody's nodes they are not there for longer than a load may take.
const SUBSCRIBED: &str = "2h";

/// A token for each of many users, who may listen; in their order.
pub async fn for_subscribers(node: &Door, admin: &str, users: impl Iterator<Item = String>) -> Result<Vec<String>> {
    let wanted = users.map(|user| json!({"user": user, "role": "guest", "scopes": ["subscribe"], "ttl": SUBSCRIBED}));
    let made = all(node, admin, wanted.enumerate().collect()).await?;
    Ok(made.into_values().collect())
}

async fn all<K: Ord>(node: &Door, admin: &str, wanted: Vec<(K, Value)>) -> Result<BTreeMap<K, String>> {
    let one = async |(key, wanted): (K, Value)| anyhow::Ok((key, bearer(&mint(node, admin, &wanted).await?)));
    stream::iter(wanted)
        .map(one)
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

/// A role where the day's script puts it; nobody in particular holds the token.
fn of_sender(Sender { role, wedding, venue }: &Sender) -> Value {
    let weddings: Vec<&String> = wedding.iter().collect();
    let venues: Vec<&String> = venue.iter().collect();
    json!({"role": role, "weddings": weddings, "venues": venues, "scopes": ["publish"]})
}

/// A line of the directory that is a user: their id, and a token that may listen and confirm.
fn of_device(line: &Object) -> Option<(String, Value)> {
    let text = |name: &str| line.get(name).and_then(Value::as_str);
    let id = text("id").filter(|_| text("kind") == Some("user"))?;
    let role = text("role").filter(|role| !role.is_empty()).unwrap_or("guest");
    Some((
        id.to_owned(),
        json!({"user": id, "role": role, "scopes": ["subscribe"]}),
    ))
}

async fn mint(node: &Door, admin: &str, wanted: &Value) -> Result<String> {
    let body = wanted.to_string();
    let call = Call {
        method: "POST",
        path: "/v1/tokens",
        headers: &[("Content-Type", "application/json"), ("Authorization", admin)],
        body: body.as_bytes(),
    };
    let answer = http::call(node.clone(), &call, MINT_MAX)
        .await
        .context("make a token")?;
    if answer.status != 201 {
        bail!("a token for {wanted} was answered {} {}", answer.status, answer.code());
    }
    let token = answer.json()?;
    Ok(token["token"].as_str().context("a token without its text")?.to_owned())
}
