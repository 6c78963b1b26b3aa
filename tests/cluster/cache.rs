//! The cache over three nodes: nothing stale after a change, one question to the upstream, a day without it, and a wedding day
//! that finds everything there.

use super::checks;
use super::harness::directory::{import, member, user, venue, wedding};
use super::harness::upstream::Upstream;
use super::harness::{Answer, Client, cluster, until};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, SystemTime};

const SOON: Duration = Duration::from_secs(20);
const KEYS: usize = 4;
const READERS: usize = 3;
const LOOPBACK: &str = r#"cache.allow=["127.0.0.0/8"]"#;

fn tier(answer: &Answer) -> String {
    answer.header("campanile-cache").unwrap_or_default().to_owned()
}

/// One key's history: changes are numbered, each fifth one takes the value away.
#[derive(Default)]
struct History {
    begun: AtomicU64,
    /// The last change that was answered, and the log entry that holds it.
    done: AtomicU64,
    index: AtomicU64,
}

fn takes_away(change: u64) -> bool {
    change.is_multiple_of(5)
}

/// What a read that began after `from` and ended before `to` may have found.
fn may_be(found: Option<u64>, from: u64, to: u64) -> bool {
    match found {
        Some(change) => (from..=to).contains(&change) && !takes_away(change),
        None => from == 0 || (from..=to).any(takes_away),
    }
}

fn read(client: &mut Client, key: usize, at_least: u64) -> Option<u64> {
    let answer = client.get(&format!("/v1/cache/teams/{key}?at_least={at_least}"));
    match answer.status {
        404 => None,
        _ => Some(answer.expect(200).text().parse().unwrap()),
    }
}

/// Changes a key through one node after the other; after each answer, that node must not know the value before.
fn write(addresses: &[SocketAddr], key: usize, history: &History, changes: u64) {
    let mut clients: Vec<Client> = addresses.iter().map(|address| Client::new(*address)).collect();
    for change in 1..=changes {
        let at = (change as usize).wrapping_mul(7).wrapping_add(key) % clients.len();
        history.begun.store(change, SeqCst);
        let path = format!("/v1/cache/teams/{key}");
        let answer = if takes_away(change) {
            clients[at].delete(&path)
        } else {
            clients[at].must("PUT", &path, &[], change.to_string().as_bytes())
        };
        let answer = answer.expect(204);
        let index: u64 = answer.header("campanile-applied").unwrap().parse().unwrap();
        let found = read(&mut clients[at], key, 0);
        assert!(
            may_be(found, change, change),
            "key {key}: {found:?} right after {change}"
        );
        history.index.store(index, SeqCst);
        history.done.store(change, SeqCst);
    }
}

fn read_on(address: SocketAddr, histories: &[History], is_over: &AtomicBool) -> u64 {
    let mut client = Client::new(address);
    let mut reads = 0;
    while !is_over.load(SeqCst) {
        for (key, history) in histories.iter().enumerate() {
            let from = history.done.load(SeqCst);
            let found = read(&mut client, key, history.index.load(SeqCst));
            let to = history.begun.load(SeqCst);
            assert!(
                may_be(found, from, to),
                "key {key}: {found:?}, not within {from} to {to}"
            );
            reads += 1;
        }
    }
    reads
}

#[test]
fn no_node_serves_what_it_knows_to_be_replaced() {
    let shared = cluster::beside(3);
    let addresses = shared.cluster.addresses();
    let histories: Vec<History> = (0..KEYS).map(|_| History::default()).collect();
    let is_over = AtomicBool::new(false);
    let changes = checks(60) as u64;
    let reads: u64 = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS)
            .map(|at| {
                let (address, histories, is_over) = (addresses[at % addresses.len()], &histories, &is_over);
                scope.spawn(move || read_on(address, histories, is_over))
            })
            .collect();
        let writers: Vec<_> = histories
            .iter()
            .enumerate()
            .map(|(key, history)| {
                let addresses = &addresses;
                scope.spawn(move || write(addresses, key, history, changes))
            })
            .collect();
        let written: Vec<bool> = writers.into_iter().map(|writer| writer.join().is_ok()).collect();
        is_over.store(true, SeqCst);
        assert!(written.into_iter().all(|well| well));
        readers.into_iter().map(|reader| reader.join().unwrap()).sum()
    });
    println!("{} changes, {reads} reads, none of them stale", changes * KEYS as u64);
    assert!(reads > changes);
    let local = |at: usize| {
        shared.cluster.client(at).get("/v1/cache").json()["reads"]["local"]
            .as_u64()
            .unwrap()
    };
    assert!((0..3).map(local).sum::<u64>() > 0, "the local tier was never asked");
}

#[test]
fn an_upstream_is_asked_once_by_the_whole_cluster_and_a_day_without_it_goes_on() {
    let upstream = Upstream::start();
    let namespaces = upstream.namespace("teams", r#", ttl = "2s", stale_if_error = "1d""#);
    let shared = cluster::beside_with(
        3,
        &[
            &format!("cache.namespaces=[{namespaces}]"),
            LOOPBACK,
            "cache.upstream_rest=300ms",
        ],
    );
    let addresses = shared.cluster.addresses();
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let asks: Vec<_> = (0..18)
            .map(|number| {
                let address = addresses[number % 3];
                scope.spawn(move || Client::new(address).get("/v1/cache/teams/cold").expect(200))
            })
            .collect();
        asks.into_iter().map(|ask| ask.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|answer| answer.text() == "this is /teams/cold"));
    assert_eq!(
        upstream.asked()["/teams/cold"],
        1,
        "{:?}",
        answers.iter().map(tier).collect::<Vec<_>>()
    );

    upstream.set_away(true);
    for at in 0..3 {
        let mut client = shared.cluster.client(at);
        let stale = until("the value is past its time", SOON, || {
            let answer = client.get("/v1/cache/teams/cold").expect(200);
            (tier(&answer) == "stale").then_some(answer)
        });
        assert_eq!(stale.text(), "this is /teams/cold");
        let cold = client.get(&format!("/v1/cache/teams/unknown-{at}"));
        assert_eq!(cold.expect(502).json()["code"], "UPSTREAM_FAILED");
        let rests = until("it is left alone", SOON, || {
            let teams = upstream_of_teams(&mut client);
            (teams["state"] == "resting").then_some(teams)
        });
        assert!(
            rests["left_seconds"].as_f64() > Some(0.0) && rests["why"].is_string(),
            "{rests}"
        );
    }
    upstream.set_away(false);
    let mut client = shared.cluster.client(0);
    until("the upstream is back", SOON, || {
        (tier(&client.get("/v1/cache/teams/cold").expect(200)) != "stale").then_some(())
    });
    until("it is left alone no more", SOON, || {
        (upstream_of_teams(&mut client)["state"] == "ready").then_some(())
    });
}

/// How a node finds the upstream of `teams`.
fn upstream_of_teams(client: &mut Client) -> Value {
    let status = client.get("/v1/cache").expect(200).json();
    let mut all = status["namespaces"].as_array().unwrap().iter();
    all.find(|namespace| namespace["name"] == "teams").unwrap()["upstream"].clone()
}

/// A time so many seconds from now, as RFC 3339. Days since 1970 become a date as in H. Hinnant's `civil_from_days`.
pub fn after(seconds: u64) -> String {
    let at = SystemTime::now() + Duration::from_secs(seconds);
    let at = at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let shifted = at / 86_400 + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (at / 3_600 % 24, at / 60 % 60, at % 60);
    format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[test]
fn the_first_broadcast_of_a_wedding_day_finds_everything_there() {
    let upstream = Upstream::start();
    let namespaces = [
        upstream.namespace("teams", r#", preload = "weddings""#),
        upstream.namespace("segments", r#", preload = "segments""#),
        upstream.namespace("preferences", r#", preload = "members""#),
    ];
    let shared = cluster::beside_with(3, &[&format!("cache.namespaces=[{}]", namespaces.join(", ")), LOOPBACK]);
    let at = |id: &str, starts_in: u64| wedding(id, "v", &after(starts_in), &after(starts_in + 20_000));
    let mut lines = vec![venue("v"), at("today", 7_000), at("later", 9_000)];
    lines.push(json!({"kind": "segment", "name": "vip", "roles": ["guest"]}));
    for name in ["ann", "bob", "far"] {
        lines.push(user(name, "guest", "starter"));
    }
    lines.extend(
        [("today", "ann"), ("today", "bob"), ("later", "far")].map(|(id, name)| member("wedding", id, name, "guest")),
    );
    let report = import(&mut shared.cluster.client(0), &lines).expect(200).json();
    assert_eq!(report["faults"], json!([]));
    let warm = ["/teams/today", "/segments/vip", "/preferences/ann", "/preferences/bob"];
    until("the leader has fetched what is needed", SOON, || {
        let asked = upstream.asked();
        warm.iter().all(|path| asked.contains_key(*path)).then_some(())
    });
    let body = json!({"type": "guest.guidance", "title": "T", "body": "B", "audience": {"weddings": ["today"]}});
    let published = shared
        .cluster
        .client(1)
        .post("/v1/broadcasts", &body)
        .expect(201)
        .json();
    assert_eq!(published["targeted"], 2);
    let index = published["log_index"].as_u64().unwrap();
    for at in 0..3 {
        let mut client = shared.cluster.client(at);
        for path in warm {
            let found = until("what was fetched is in the log", SOON, || {
                let stands = client.get(&format!("/v1/cache?at_least={index}")).json();
                (stands["replicated"]["entries"] == 4).then(|| client.get(&format!("/v1/cache{path}")))
            });
            let found = found.expect(200);
            assert_eq!(
                (found.text(), tier(&found).as_str()),
                (format!("this is {path}"), "local"),
                "node {at}"
            );
        }
        let status = client.get("/v1/cache").json();
        assert_eq!(
            (&status["reads"]["miss"], &status["reads"]["local"]),
            (&json!(0), &json!(4)),
            "node {at}"
        );
    }
    let asked = upstream.asked();
    assert_eq!(asked.len(), 4, "nobody asks for a wedding that is far off: {asked:?}");
    assert!(asked.values().all(|times| *times == 1), "{asked:?}");
}
