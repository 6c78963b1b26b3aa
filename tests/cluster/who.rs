//! `campanile who` against real nodes: the groups, the exit codes, the paper, and the watch that ends by itself.

use super::harness::cluster::binary;
use super::harness::directory::{import, member, user, venue};
use super::harness::stream::Connection;
use super::harness::{Cluster, Start, Transport, cluster, until};
use serde_json::{Value, json};
use std::process::{Output, Stdio};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

fn who(cluster: &Cluster, words: &[&str]) -> Output {
    let urls: Vec<String> = cluster
        .addresses()
        .iter()
        .map(|address| format!("http://{address}"))
        .collect();
    let mut command = binary();
    command.arg("who").args(words).args(["--url", &urls.join(",")]);
    command.output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The users of each group, as programs read them.
fn groups(cluster: &Cluster, words: &[&str]) -> (Vec<(String, Vec<String>)>, Option<i32>) {
    let output = who(cluster, &[words, &["--json"]].concat());
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let users = |group: &Value| {
        let people = group["people"].as_array().unwrap();
        people
            .iter()
            .map(|person| person["user"].as_str().unwrap().to_owned())
            .collect()
    };
    let groups = shown["groups"].as_array().unwrap();
    let each = groups
        .iter()
        .map(|group| (group["group"].as_str().unwrap().to_owned(), users(group)));
    (each.collect(), output.status.code())
}

/// A venue with four people there, of whom nobody else has heard.
fn furnish(cluster: &Cluster, name: &str) -> Vec<String> {
    let people: Vec<String> = ["ann", "bea", "cal", "dan"]
        .iter()
        .map(|who| format!("{name}-{who}"))
        .collect();
    let mut lines = vec![venue(name)];
    for (id, role) in people.iter().zip(["dj", "bar", "bar", "security"]) {
        lines.push(user(id, "guest", "starter"));
        lines.push(member("venue", name, id, role));
    }
    let applied = import(&mut cluster.client(0), &lines).expect(200);
    cluster.wait_applied(applied.header("campanile-applied").unwrap().parse().unwrap(), SOON);
    people
}

fn publish(cluster: &Cluster, at: &str) -> String {
    let draft = json!({
        "type": "weather.warning", "priority": "critical", "title": "Go inside now", "body": "Go inside the barn.",
        "audience": {"venues": [at]}, "acknowledge": {"within": "1m", "answers": ["ok", "need_help"]},
    });
    let answer = cluster.client(1).post("/v1/broadcasts", &draft).expect(201).json();
    cluster.wait_applied(answer["log_index"].as_u64().unwrap(), SOON);
    answer["id"].as_str().unwrap().to_owned()
}

fn confirm(cluster: &Cluster, id: &str, user: &str, answer: &str) {
    let path = format!("/v1/broadcasts/{id}/acknowledge?user={user}");
    let answer = cluster.client(2).post(&path, &json!({"answer": answer})).expect(200);
    cluster.wait_applied(answer.header("campanile-applied").unwrap().parse().unwrap(), SOON);
}

/// A WebSocket that promises receipts, up to the first broadcast.
fn listening(cluster: &Cluster, user: &str) -> Connection {
    let mut there = Connection::open(cluster.addresses()[0], Transport::WebSocket, user, &Start::Now).unwrap();
    assert_eq!(there.next(SOON).unwrap().unwrap()["event"], "hello");
    there
}

#[test]
fn it_names_who_is_missing_until_nobody_is() {
    let shared = cluster::shared();
    let cluster = &*shared.cluster;
    let people = furnish(cluster, "who");
    let [ann, bea, cal, dan] = &people[..] else {
        panic!("{people:?}")
    };
    let mut has_it = listening(cluster, bea);
    let mut gets_it = listening(cluster, cal);
    let left = listening(cluster, dan);
    let connected = |count: u64| {
        until("sessions are known", SOON, || {
            let body = json!({"type": "venue.notice", "title": "T", "body": "B", "audience": {"venues": ["who"]}});
            let answer = cluster
                .client(1)
                .post("/v1/broadcasts?dry_run=true", &body)
                .expect(200)
                .json();
            (answer["connected"] == count).then_some(())
        });
    };
    connected(3);
    drop(left);
    connected(2);
    let id = publish(cluster, "who");
    for connection in [&mut has_it, &mut gets_it] {
        assert_eq!(connection.next(SOON).unwrap().unwrap()["id"], id.as_str());
    }
    has_it.say(&json!({"receipt": {"received": [id]}})).unwrap();
    let named = |name: &str, users: &[&String]| (name.to_owned(), users.iter().map(ToString::to_string).collect());
    let expected = vec![
        named("not_connected", &[ann, dan]),
        named("not_received", &[cal]),
        named("not_confirmed", &[bea]),
    ];
    until("receipts are known", SOON, || {
        (groups(cluster, &[&id]) == (expected.clone(), Some(3))).then_some(())
    });
    let some = groups(cluster, &[&id, "--state", "received,held"]);
    assert_eq!(some, (vec![named("not_confirmed", &[bea])], Some(3)));

    let text = out(&who(cluster, &[&id]));
    assert!(
        text.contains("Go inside now: Go inside the barn.") && text.contains("times of UTC"),
        "{text}"
    );
    assert!(
        text.contains(&format!("  security  {dan}  no session since ")),
        "{text}"
    );
    assert!(
        text.trim_end()
            .lines()
            .last()
            .unwrap()
            .starts_with("4 of 4 have not confirmed ("),
        "{text}"
    );
    let paper = out(&who(cluster, &[&id, "--print"]));
    assert!(
        paper.starts_with("Go inside now ") && paper.contains("page 1 of 1"),
        "{paper}"
    );
    assert!(
        paper.contains(&format!("[ ] {ann}  dj        no session so far")),
        "{paper}"
    );

    confirm(cluster, &id, bea, "need_help");
    confirm(cluster, &id, cal, "ok");
    let now = vec![named("answered", &[bea]), named("not_connected", &[ann, dan])];
    assert_eq!(groups(cluster, &[&id]), (now, Some(3)));

    let mut watch = binary();
    let url = format!("http://{}", cluster.addresses()[0]);
    watch
        .args(["who", &id, "--watch", "--url", &url])
        .stdout(Stdio::piped());
    let watch = watch.spawn().unwrap();
    confirm(cluster, &id, ann, "ok");
    confirm(cluster, &id, dan, "ok");
    let seen = watch.wait_with_output().unwrap();
    assert_eq!(seen.status.code(), Some(3), "somebody still needs help: {}", out(&seen));
    let last = out(&seen).trim_end().lines().last().unwrap().to_owned();
    assert_eq!(last, "all 4 have confirmed; 1 said something other than ok");
    let done = vec![named("done", &[cal, ann, dan])];
    let all = groups(cluster, &[&id, "--all"]);
    assert_eq!((all.0[1..].to_vec(), all.1), (done, Some(3)));
}

#[test]
fn it_ends_with_nothing_to_do_or_with_the_reason() {
    let shared = cluster::shared();
    let cluster = &*shared.cluster;
    let people = furnish(cluster, "who-all");
    let id = publish(cluster, "who-all");
    people.iter().for_each(|user| confirm(cluster, &id, user, "ok"));
    assert_eq!(groups(cluster, &[&id]), (Vec::new(), Some(0)));
    let output = who(cluster, &[&id, "--watch"]);
    assert_eq!(
        (output.status.code(), out(&output).contains("all 4 have confirmed")),
        (Some(0), true)
    );
    assert_eq!(who(cluster, &["01ARZ3NDEKTSV4RRFFQ69G5FAV"]).status.code(), Some(1));
    assert_eq!(who(cluster, &[&id, "--print", "--json"]).status.code(), Some(2));
}
