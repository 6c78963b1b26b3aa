//! A directory as large as all weddings of the system before together, on three nodes as three processes: import, memory, a broadcast
//! to everyone, a start on what is there.
//!
//! `cargo bench --bench directory`. Floor: the same lines read as JSON, which whoever takes them has to do.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a bench that cannot run says so

use anyhow::{Context, Result, ensure};
use campanile::base::clock;
use campanile::lab::cluster::{Cluster, NODES, Settings};
use campanile::lab::http::{self, Call};
use campanile::lab::load::process::resident_bytes;
use campanile::lab::publisher;
use campanile::lab::results::bench::Bench;
use campanile::lab::results::{Better, Bound};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

const USERS: u32 = 400_000;
const WEDDINGS: u32 = 2_000;
/// Of one request: a client sends a large file in parts, too.
const LINES_AT_ONCE: usize = 20_000;
const PUBLISHES: usize = 40;
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// What an import has used goes back to the system after about this, and not all at once.
const RESTS: Duration = Duration::from_secs(2);
const LOOKS: usize = 6;
const MIB: f64 = 1_048_576.0;
/// Of the whole import: once a season, and nobody waits at the door.
const IMPORT_MAX_S: f64 = 60.0;
/// Of the node that has most; each may have 4 GB in all.
const MEMORY_MAX_MIB: f64 = 300.0;
/// As any other broadcast.
const PUBLISH_MAX_MS: f64 = 100.0;
/// "Serving again", as after a power cut.
const RESTART_MAX_S: f64 = 15.0;

fn main() -> ExitCode {
    let mut bench = Bench::new(
        "directory",
        "400,000 users of 2,000 weddings, each a member of one, on three nodes",
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(run(&mut bench)).expect("the nodes and their answers");
    bench.end()
}

async fn run(bench: &mut Bench) -> Result<()> {
    bench.setting("users", USERS).setting("weddings", WEDDINGS);
    let lines = lines();
    let floor = read_bare(&lines);
    let mut cluster = Cluster::start(Settings {
        program: Some(env!("CARGO_BIN_EXE_campanile").into()),
        port: None,
        data: None,
        set: Vec::new(),
        auth: false,
        tls: false,
    })?;
    cluster.ready().await?;
    let empty = each_resident(&cluster).await?;
    let begun = clock::now();
    let node = cluster.addresses()[0];
    for part in lines.chunks(LINES_AT_ONCE) {
        publisher::import(node, "", part.concat().as_bytes()).await?;
    }
    let import = begun.elapsed().as_secs_f64();
    // the other nodes have it, too
    cluster.ready().await?;
    for api in cluster.addresses() {
        let users = ask(api, "GET", "/v1/users/user-399999", &Value::Null).await?;
        ensure!(
            users["id"] == "user-399999",
            "a node does not know the last user: {users}"
        );
    }
    let more = most(
        each_resident(&cluster)
            .await?
            .into_iter()
            .zip(empty)
            .map(|(full, empty)| full - empty),
    );
    bench
        .figure("import.seconds", "import", "s", import, Better::Lower)
        .figure(
            "import.lines",
            "lines",
            "/s",
            lines.len() as f64 / import,
            Better::Higher,
        )
        .figure(
            "import.floor",
            "the same lines read as JSON",
            "s",
            floor,
            Better::Neither,
        )
        .figure(
            "import.ratio",
            "import, of that",
            "times",
            import / floor,
            Better::Lower,
        )
        .figure(
            "memory.more",
            "memory of the node with most, more than empty",
            "MiB",
            more,
            Better::Lower,
        )
        .target("import", Bound::Below(IMPORT_MAX_S), "s", import)
        .target(
            "memory of the node with most, more than empty",
            Bound::Below(MEMORY_MAX_MIB),
            "MiB",
            more,
        );
    to_everyone(bench, &cluster).await?;
    restarts(bench, &mut cluster).await?;
    cluster.stop().await
}

/// Weddings, users, and each user's membership.
fn lines() -> Vec<String> {
    let line = |value: Value| {
        let mut line = value.to_string();
        let _ = writeln!(line);
        line
    };
    let weddings = (0..WEDDINGS).map(|wedding| {
        json!({
            "kind": "wedding", "id": format!("wedding-{wedding}"), "name": format!("Wedding {wedding}"), "timezone": "Europe/London",
            "starts_at": "2030-06-15T12:00:00Z", "ends_at": "2030-06-15T23:00:00Z",
        })
    });
    let people = (0..USERS).flat_map(|user| {
        let (id, of) = (format!("user-{user}"), format!("wedding-{}", user % WEDDINGS));
        let role = if user / WEDDINGS < 12 { "dj" } else { "guest" };
        [
            json!({"kind": "user", "id": id, "role": role, "timezone": "Europe/London", "locale": "en"}),
            json!({"kind": "member", "of": {"wedding": of}, "user": id, "role": role}),
        ]
    });
    weddings.chain(people).map(line).collect()
}

fn read_bare(lines: &[String]) -> f64 {
    let begun = clock::now();
    for line in lines {
        let value: Value = serde_json::from_str(line).unwrap();
        std::hint::black_box(&value);
    }
    begun.elapsed().as_secs_f64()
}

/// MiB of each node, once it falls no more.
async fn each_resident(cluster: &Cluster) -> Result<Vec<f64>> {
    let mut least = vec![f64::INFINITY; NODES as usize];
    for _ in 0..LOOKS {
        tokio::time::sleep(RESTS).await;
        for (least, node) in least.iter_mut().zip(1..=NODES) {
            let bytes = cluster.pid(node).and_then(resident_bytes);
            *least = least.min(bytes.context("a node's memory cannot be seen")? as f64 / MIB);
        }
    }
    Ok(least)
}

/// Of the node that has most: what a machine must have is no mean of three.
fn most(each: impl IntoIterator<Item = f64>) -> f64 {
    each.into_iter().fold(f64::NEG_INFINITY, f64::max)
}

async fn ask(node: std::net::SocketAddr, method: &str, path: &str, body: &Value) -> Result<Value> {
    let headers = [("Content-Type", "application/json")];
    let body = if body.is_null() {
        Vec::new()
    } else {
        serde_json::to_vec(body)?
    };
    let call = Call {
        method,
        path,
        headers: &headers,
        body: &body,
    };
    let answer = http::call(node, &call, ANSWER_MAX).await?;
    ensure!(
        (200..300).contains(&answer.status),
        "{method} {path}: {} {}",
        answer.status,
        answer.code()
    );
    answer.json()
}

/// Nobody is connected: what is measured is who it is for, and the log.
async fn to_everyone(bench: &mut Bench, cluster: &Cluster) -> Result<()> {
    let node = cluster.addresses()[0];
    let draft = json!({"type": "venue.notice", "priority": "high", "audience": {"everyone": true}, "title": "All", "body": "All of you"});
    let dry = timed(async || ask(node, "POST", "/v1/broadcasts?dry_run=true", &draft).await).await?;
    ensure!(dry.0["targeted"] == USERS, "a dry run reaches {}", dry.0["targeted"]);
    let mut each = Vec::new();
    let mut last = Value::Null;
    for _ in 0..PUBLISHES {
        let (answer, ms) = timed(async || ask(node, "POST", "/v1/broadcasts", &draft).await).await?;
        ensure!(answer["targeted"] == USERS, "it reached {}", answer["targeted"]);
        each.push(ms);
        last = answer;
    }
    each.sort_by(f64::total_cmp);
    let (median, longest) = (each[each.len() / 2], each[each.len() - 1]);
    let path = format!("/v1/broadcasts/{}/recipients", last["id"].as_str().context("no id")?);
    let (_, who) = timed(async || ask(node, "GET", &path, &Value::Null).await).await?;
    bench
        .figure(
            "everyone.p50",
            "publish to everyone, median",
            "ms",
            median,
            Better::Lower,
        )
        .figure(
            "everyone.max",
            "publish to everyone, longest",
            "ms",
            longest,
            Better::Lower,
        )
        .figure("everyone.dry_run", "dry run to everyone", "ms", dry.1, Better::Lower)
        .figure(
            "everyone.recipients",
            "first page of who has it",
            "ms",
            who,
            Better::Lower,
        )
        .target(
            "publish to everyone, longest",
            Bound::Below(PUBLISH_MAX_MS),
            "ms",
            longest,
        );
    Ok(())
}

async fn timed(road: impl AsyncFnOnce() -> Result<Value>) -> Result<(Value, f64)> {
    let begun = clock::now();
    let answer = road().await?;
    Ok((answer, begun.elapsed().as_secs_f64() * 1_000.0))
}

/// One node killed and started again; then all of them, as after a power cut.
async fn restarts(bench: &mut Bench, cluster: &mut Cluster) -> Result<()> {
    let leader = cluster.leader().await;
    let follower = (1..=NODES).find(|node| Some(*node) != leader).unwrap_or(NODES);
    let begun = clock::now();
    cluster.restart(follower)?;
    cluster.ready_node(follower).await?;
    let one = begun.elapsed().as_secs_f64();
    for node in 1..=NODES {
        cluster.kill(node)?;
    }
    let begun = clock::now();
    for node in 1..=NODES {
        cluster.restart(node)?;
    }
    cluster.ready().await?;
    let all = begun.elapsed().as_secs_f64();
    let again = most(each_resident(cluster).await?);
    bench
        .figure(
            "restart.one",
            "a node killed, until it takes writes again",
            "s",
            one,
            Better::Lower,
        )
        .figure(
            "restart.all",
            "all three killed, until all take writes",
            "s",
            all,
            Better::Lower,
        )
        .figure(
            "memory.restarted",
            "memory of the node with most after that",
            "MiB",
            again,
            Better::Lower,
        )
        .target(
            "all three killed, until all take writes",
            Bound::Below(RESTART_MAX_S),
            "s",
            all,
        );
    Ok(())
}
