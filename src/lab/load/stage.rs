//! What a load is played on: nodes of its own or somebody's, and people who are known there. Their names begin with `load-`, so that no
//! broadcast of a load ever reaches anybody else.

use super::scenario::Scenario;
use crate::base::clock;
use crate::lab::cluster::{Cluster, NODES, Settings};
use crate::lab::publisher;
use crate::lab::tokens::{self, bearer};
use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Lines of the directory in one request.
const IMPORT_LINES: usize = 2_000;
const HOUR_MS: i64 = 3_600_000;
const RATES_OFF: &str = "rates.enabled=false";

/// Where the load goes.
#[derive(Clone, Debug)]
pub enum Where {
    /// Three nodes of its own, with these settings.
    Own { set: Vec<String> },
    /// Nodes that run already, and the administrator's token where one is asked for.
    There { urls: Vec<String>, token: Option<String> },
}

pub struct Stage {
    pub nodes: Vec<SocketAddr>,
    /// The administrator's `Authorization`; empty where none is asked for.
    pub bearer: String,
    /// Each subscriber's; empty where none is asked for.
    pub bearers: Vec<String>,
    pub prefix: String,
    pub audiences: Vec<String>,
    pub everybody: String,
    /// Of nodes of its own.
    pub processes: Vec<u32>,
    /// With their data.
    pub folders: Vec<PathBuf>,
    cluster: Option<Cluster>,
}

impl Stage {
    /// Starts or finds the nodes, and tells them who there is.
    pub async fn set(scenario: &Scenario, place: &Where, bar: &ProgressBar) -> Result<Self> {
        let (cluster, nodes, bearer) = match place {
            Where::Own { set } => {
                bar.set_message("three nodes start");
                let mut cluster = start(set)?;
                cluster.ready().await?;
                let nodes = cluster.addresses();
                (Some(cluster), nodes, String::new())
            }
            Where::There { urls, token } => (
                None,
                addresses(urls).await?,
                token.as_deref().map(bearer).unwrap_or_default(),
            ),
        };
        let names = Names::of(scenario);
        let first = *nodes.first().context("no node")?;
        bar.set_message("people are imported");
        let lines = names.directory(scenario, clock::wall());
        bar.set_length(lines.len() as u64);
        for part in lines.chunks(IMPORT_LINES) {
            publisher::import(first, &bearer, part.concat().as_bytes()).await?;
            bar.inc(part.len() as u64);
        }
        let mut bearers = Vec::new();
        if !bearer.is_empty() && scenario.subscribers() > 0 {
            bar.set_message("everybody gets a token");
            bearers =
                tokens::for_subscribers(first, &bearer, (0..scenario.users()).map(|user| names.user(user))).await?;
        }
        let processes = cluster
            .iter()
            .flat_map(|cluster| (1..=NODES).filter_map(|node| cluster.pid(node)));
        let folders = cluster
            .iter()
            .flat_map(|cluster| (1..=NODES).map(|node| cluster.data(node)));
        Ok(Self {
            processes: processes.collect(),
            folders: folders.collect(),
            nodes: nodes.into_iter().take(scenario.nodes as usize).collect(),
            bearer,
            bearers,
            audiences: (0..scenario.groups).map(|group| names.audience(group)).collect(),
            everybody: names.everybody(),
            prefix: names.prefix,
            cluster,
        })
    }

    pub fn is_own(&self) -> bool {
        self.cluster.is_some()
    }

    /// A node of its own that has ended, with its last words.
    pub fn ended(&mut self) -> Option<String> {
        let cluster = self.cluster.as_mut()?;
        let (node, _, status) = *cluster.ended().first()?;
        Some(format!(
            "node {node} ended ({status}); its last words:\n{}",
            cluster.log_tail(node)
        ))
    }

    pub async fn end(self) -> Result<()> {
        match self.cluster {
            Some(cluster) => cluster.stop().await,
            None => Ok(()),
        }
    }
}

fn start(set: &[String]) -> Result<Cluster> {
    let all = [&[RATES_OFF.to_owned()], set].concat();
    Cluster::start(Settings {
        program: None,
        port: None,
        data: None,
        set: all,
        auth: false,
    })
}

/// Where nodes are that somebody named by their URLs.
pub async fn addresses(urls: &[String]) -> Result<Vec<SocketAddr>> {
    let mut nodes = Vec::new();
    for url in urls {
        let Some(place) = url.trim().strip_prefix("http://") else {
            bail!("{url}: a load speaks plain HTTP, like http://127.0.0.1:8205");
        };
        let place = place.trim_end_matches('/');
        let place = if place.rsplit(']').next().unwrap_or(place).contains(':') {
            place.to_owned()
        } else {
            format!("{place}:80")
        };
        let found = tokio::net::lookup_host(&place)
            .await
            .with_context(|| url.clone())?
            .next();
        nodes.push(found.with_context(|| format!("{url} has no address"))?);
    }
    Ok(nodes)
}

/// Names that depend on the shape of the scenario alone: playing it again changes nothing in the directory.
struct Names {
    prefix: String,
}

/// A group is a wedding, a venue or a segment, in turn.
enum Kind {
    Wedding,
    Venue,
    Segment,
}

fn kind(group: u32) -> Kind {
    match group % 3 {
        0 => Kind::Wedding,
        1 => Kind::Venue,
        _ => Kind::Segment,
    }
}

impl Names {
    fn of(scenario: &Scenario) -> Self {
        let Scenario {
            groups,
            recipients,
            bystanders,
            ..
        } = scenario;
        Self {
            prefix: format!("load-{groups}x{recipients}p{bystanders}-"),
        }
    }

    fn user(&self, user: u32) -> String {
        format!("{}{user}", self.prefix)
    }

    fn group(&self, group: u32) -> String {
        format!("{}group-{group}", self.prefix)
    }

    fn audience(&self, group: u32) -> String {
        let key = match kind(group) {
            Kind::Wedding => "weddings",
            Kind::Venue => "venues",
            Kind::Segment => "segments",
        };
        format!(r#"{{"{key}":["{}"]}}"#, self.group(group))
    }

    fn everybody(&self) -> String {
        format!(r#"{{"segments":["{}everybody"]}}"#, self.prefix)
    }

    /// Lines for the import.
    fn directory(&self, scenario: &Scenario, now: i64) -> Vec<String> {
        let line = |value: Value| {
            let mut line = value.to_string();
            let _ = writeln!(line);
            line
        };
        let mut lines = vec![line(
            json!({"kind": "segment", "name": format!("{}everybody", self.prefix),
            "attributes": {"load": self.prefix}}),
        )];
        let (starts, ends) = (clock::rfc3339(now - HOUR_MS), clock::rfc3339(now + 5 * HOUR_MS));
        for group in 0..scenario.groups {
            let id = self.group(group);
            lines.push(line(match kind(group) {
                Kind::Wedding => {
                    json!({"kind": "wedding", "id": id, "name": id, "timezone": "UTC", "starts_at": starts,
                    "ends_at": ends, "guests_expected": scenario.recipients, "status": "active"})
                }
                Kind::Venue => json!({"kind": "venue", "id": id, "name": id, "timezone": "UTC"}),
                Kind::Segment => json!({"kind": "segment", "name": id, "attributes": {"load_group": id}}),
            }));
        }
        for user in 0..scenario.users() {
            let (id, group) = (self.user(user), scenario.group_of(user).map(u32::from));
            let name = group.map(|group| self.group(group)).unwrap_or_default();
            lines.push(line(
                json!({"kind": "user", "id": id, "role": "guest", "timezone": "UTC", "locale": "en",
                "attributes": {"load": self.prefix, "load_group": name}}),
            ));
            let of = match group.map(kind) {
                Some(Kind::Wedding) => json!({"wedding": name}),
                Some(Kind::Venue) => json!({"venue": name}),
                Some(Kind::Segment) | None => continue,
            };
            lines.push(line(json!({"kind": "member", "of": of, "user": id, "role": "guest"})));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::{Names, addresses};
    use crate::lab::load::scenario;
    use serde_json::Value;

    #[test]
    fn everybody_is_in_the_directory_once_and_members_where_their_group_is() {
        let scenario = scenario::open("emergency").unwrap().scaled(0.16);
        let names = Names::of(&scenario);
        let lines = names.directory(&scenario, 1_800_000_000_000);
        let lines: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        let of = |kind: &'static str| lines.iter().filter(move |line| line["kind"] == kind);
        // weddings 0 and 3, venue 1, segment 2, and the one of all
        assert_eq!(
            (of("wedding").count(), of("venue").count(), of("segment").count()),
            (2, 1, 2)
        );
        assert_eq!((of("user").count(), of("member").count()), (4 * 200 + 1_600, 600));
        assert_eq!(names.audience(2), r#"{"segments":["load-4x200p1600-group-2"]}"#);
        let in_segment = of("user").filter(|user| user["attributes"]["load_group"] == "load-4x200p1600-group-2");
        assert_eq!(in_segment.count(), 200);
        assert!(lines.iter().all(|line| line.to_string().contains("load-")));
    }

    #[tokio::test]
    async fn addresses_are_plain_http() {
        let all = ["http://127.0.0.1:8205/", "http://127.0.0.1", "http://[::1]:9"].map(String::from);
        let found: Vec<String> = addresses(&all).await.unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(found, ["127.0.0.1:8205", "127.0.0.1:80", "[::1]:9"]);
        for wrong in ["https://127.0.0.1:1", "127.0.0.1:1"] {
            assert!(addresses(&[wrong.to_owned()]).await.is_err(), "{wrong}");
        }
    }
}
