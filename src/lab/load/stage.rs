//! What a load is played on: nodes of its own or somebody's, and people who are known there. Their names begin with `load-`, so that no
//! broadcast of a load ever reaches anybody else.

use super::scenario::Scenario;
use crate::base::clock;
use crate::config::effective::masked_pair;
use crate::lab::cluster::{Cluster, NODES, Settings};
use crate::lab::door::{Door, Way};
use crate::lab::publisher;
use crate::lab::tokens::{self, bearer};
use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::PathBuf;

/// Lines of the directory in one request.
const IMPORT_LINES: usize = 2_000;
const HOUR_MS: i64 = 3_600_000;
const RATES_OFF: &str = "rates.enabled=false";

/// Where the load goes.
#[derive(Clone, Debug)]
pub enum Where {
    /// Three nodes of its own, with these settings; with TLS or in the clear.
    Own { set: Vec<String>, tls: bool },
    /// Nodes that run already, and the administrator's token where one is asked for. The authority in PEM whom to believe; empty:
    /// whom this machine believes.
    There {
        urls: Vec<String>,
        token: Option<String>,
        authority: String,
    },
}

impl Where {
    /// What a report says of it: runs on other nodes, or with other settings, are not of one thing.
    pub fn settings(&self) -> Value {
        match self {
            Self::Own { set, tls } => {
                let set: Vec<String> = set.iter().map(|set| masked_pair(set)).collect();
                json!({"set": set, "tls": tls})
            }
            Self::There { urls, .. } => json!({"urls": urls}),
        }
    }
}

pub struct Stage {
    pub nodes: Vec<Door>,
    /// The same for another process.
    pub way: Way,
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
        let (cluster, mut way, bearer) = match place {
            Where::Own { set, tls } => {
                bar.set_message("three nodes start");
                let mut cluster = start(set, *tls)?;
                cluster.ready().await?;
                let way = cluster.way()?;
                (Some(cluster), way, String::new())
            }
            Where::There { urls, token, authority } => (
                None,
                Way {
                    authority: authority.clone(),
                    ..way(urls).await?
                },
                token.as_deref().map(bearer).unwrap_or_default(),
            ),
        };
        let names = Names::of(scenario);
        way.nodes.truncate(scenario.nodes as usize);
        let nodes = way.doors()?;
        let first = nodes.first().context("no node")?;
        bar.set_message("people are imported");
        let lines = names.directory(scenario, clock::wall());
        bar.set_length(lines.len() as u64);
        for part in lines.chunks(IMPORT_LINES) {
            publisher::import(first.clone(), &bearer, part.concat().as_bytes()).await?;
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
            nodes,
            way,
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

fn start(set: &[String], tls: bool) -> Result<Cluster> {
    let all = [&[RATES_OFF.to_owned()], set].concat();
    Cluster::start(Settings {
        program: None,
        port: None,
        data: None,
        set: all,
        auth: false,
        tls,
    })
}

/// Where the nodes are, and what their certificates must be for.
pub async fn way(urls: &[String]) -> Result<Way> {
    let mut way = Way::default();
    for url in urls {
        let (place, port) = match url.trim().split_once("://") {
            Some(("http", place)) => (place, 80),
            Some(("https", place)) => (place, 443),
            _ => bail!("{url}: write it like http://127.0.0.1:8205 or https://127.0.0.1:8205"),
        };
        let place = place.trim_end_matches('/');
        let has_port = place.rsplit(']').next().unwrap_or(place).contains(':');
        let whole = if has_port {
            place.to_owned()
        } else {
            format!("{place}:{port}")
        };
        let found = tokio::net::lookup_host(&whole)
            .await
            .with_context(|| url.clone())?
            .next();
        way.nodes.push(found.with_context(|| format!("{url} has no address"))?);
        let host = whole.rsplit_once(':').map(|(host, _)| host.to_owned());
        way.hosts.push(host.filter(|_| port == 443));
    }
    Ok(way)
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
    use super::{Names, way};
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
    async fn addresses_say_whether_tls_is_spoken() {
        let all = [
            "http://127.0.0.1:8205/",
            "http://127.0.0.1",
            "https://[::1]:9",
            "https://127.0.0.1",
        ];
        let found = way(&all.map(String::from)).await.unwrap();
        let nodes: Vec<String> = found.nodes.iter().map(ToString::to_string).collect();
        assert_eq!(nodes, ["127.0.0.1:8205", "127.0.0.1:80", "[::1]:9", "127.0.0.1:443"]);
        let hosts: Vec<Option<&str>> = found.hosts.iter().map(Option::as_deref).collect();
        assert_eq!(hosts, [None, None, Some("[::1]"), Some("127.0.0.1")]);
        for wrong in ["ftp://127.0.0.1:1", "127.0.0.1:1"] {
            assert!(way(&[wrong.to_owned()]).await.is_err(), "{wrong}");
        }
    }
}
