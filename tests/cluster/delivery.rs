//! A publish on any node reaches exactly its audience, on every node and over every transport, and nobody learns who else got it.

use super::harness::load::{Fate, Publish, draft, publish};
use super::harness::oracle::{has_all, judge, on_every_node};
use super::harness::{Cluster, PRIORITIES, Start, Subscriber, Transport, cluster, directory, until};
use std::collections::BTreeSet;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);

/// The fields that API.md gives to a broadcast's frame, and `cursor`, which SSE may carry with it.
const FRAME_FIELDS: [&str; 18] = [
    "event",
    "id",
    "position",
    "priority",
    "type",
    "title",
    "body",
    "texts",
    "data",
    "action",
    "wedding",
    "venue",
    "expires_at",
    "acknowledge",
    "supersedes",
    "drill",
    "released_at",
    "cursor",
];

#[test]
fn a_publish_reaches_exactly_its_audience_everywhere() {
    check(&cluster::shared().cluster);
}

/// Of any cluster of three.
pub fn check(cluster: &Cluster) {
    let users: Vec<String> = (0..9).map(|n| format!("delivery-{n}")).collect();
    let applied = directory::import_users(&mut cluster.client(0), &users);
    cluster.wait_applied(applied, SOON);

    // Each user on one node and transport, and every third one at home twice.
    let nodes = cluster.addresses();
    let mut subscribers = Vec::new();
    for (n, user) in users.iter().enumerate() {
        let transport = Transport::ALL[n / 3];
        subscribers.push(Subscriber::start(&nodes, n % 3, transport, user, Start::Now).ready());
        if n % 3 == 0 {
            let other = Transport::ALL[(n / 3 + 1) % 3];
            subscribers.push(Subscriber::start(&nodes, n % 3 + 1, other, user, Start::Now).ready());
        }
    }

    let history = publish_to_subsets(cluster, &users);
    for subscriber in &subscribers {
        subscriber.until("all of its own", SOON, |seen| has_all(&history, &subscriber.user, seen));
    }
    counts_follow(cluster, &history);

    let seen: Vec<_> = subscribers
        .into_iter()
        .map(|subscriber| (subscriber.user.clone(), subscriber.stop()))
        .collect();
    for delivery in seen.iter().flat_map(|(_, seen)| &seen.deliveries) {
        for name in delivery.frame.as_object().unwrap().keys() {
            assert!(
                FRAME_FIELDS.contains(&name.as_str()),
                "a frame says {name}: {}",
                delivery.frame
            );
        }
    }
    let mut verdict = judge(&history, &seen);
    on_every_node(cluster, &history, &mut verdict);
    assert_eq!(verdict.repeated, 0, "nobody reconnected");
    verdict.assert("delivery");
}

/// Every priority from every node, to audiences of one, of some, and of all.
fn publish_to_subsets(cluster: &Cluster, users: &[String]) -> Vec<Publish> {
    let mut history = Vec::new();
    for round in 0..24 {
        let chosen: Vec<String> = match round % 4 {
            0 => users.to_vec(),
            1 => vec![users[round % users.len()].clone()],
            2 => users.iter().step_by(2).cloned().collect(),
            _ => users.iter().skip(round % 5).take(3).cloned().collect(),
        };
        let body = format!("delivery round {round}");
        let priority = PRIORITIES[round / 3 % 4];
        let mut client = cluster.client(round % 3);
        let (fate, answer) = publish(&mut client, &draft(priority, &body, &chosen), &body);
        let answer = answer.unwrap().expect(201);
        let said = answer.json();
        assert_eq!(said["targeted"], chosen.len(), "{said}");
        assert_eq!(said["status"], "released", "{said}");
        assert_eq!(
            answer.header("location").unwrap(),
            format!("/v1/broadcasts/{}", said["id"].as_str().unwrap())
        );
        assert!(answer.header("campanile-node").is_some() && answer.header("campanile-applied").is_some());
        history.push(Publish::done(body, priority, chosen, fate));
    }
    history
}

/// Every node soon knows that all were connected and written to, and names them.
fn counts_follow(cluster: &Cluster, history: &[Publish]) {
    let publish = history.last().unwrap();
    let Fate::Ok { id, .. } = &publish.fate else {
        panic!("{publish:?}")
    };
    for at in 0..3 {
        let mut client = cluster.client(at);
        let count = publish.users.len() as u64;
        until("the ladder counts them as sent", SOON, || {
            let found = client.get(&format!("/v1/broadcasts/{id}")).expect(200).json();
            (found["ladder"]["sent"].as_u64().or(found["sent"].as_u64()) == Some(count)).then_some(())
        });
        let answer = client
            .get(&format!("/v1/broadcasts/{id}/recipients"))
            .expect(200)
            .json();
        let items = answer["items"].as_array().unwrap();
        let named: BTreeSet<&str> = items.iter().map(|item| item["user"].as_str().unwrap()).collect();
        assert_eq!(named, publish.users.iter().map(String::as_str).collect());
        assert!(items.iter().all(|item| item["state"] == "sent"), "{answer}");
    }
}

#[test]
fn a_long_poll_answers_at_once_with_what_there_is() {
    check_long_poll(&cluster::shared().cluster);
}

/// Of any cluster of three.
pub fn check_long_poll(cluster: &Cluster) {
    let users = ["long-poll".to_owned()];
    directory::import_users(&mut cluster.client(0), &users);
    let (fate, _) = publish(
        &mut cluster.client(0),
        &draft("high", "for the poll", &users),
        "long-poll-1",
    );
    let Fate::Ok { id, log_index, .. } = fate else {
        panic!("{fate:?}")
    };
    cluster.wait_applied(log_index, SOON);

    let first = cluster
        .client(1)
        .get("/v1/subscribe?user=long-poll&wait=10s")
        .expect(200)
        .json();
    assert_eq!(first["items"][0]["id"], id.as_str(), "{first}");
    let cursor = first["cursor"].as_str().unwrap();
    let path = format!("/v1/subscribe?user=long-poll&wait=200ms&cursor={cursor}");
    let second = cluster.client(2).get(&path).expect(200).json();
    assert_eq!(second["items"].as_array().map(Vec::len), Some(0), "{second}");
    assert!(second["cursor"].is_string());
}

#[test]
fn a_stream_without_a_cursor_starts_with_what_is_owed() {
    let shared = cluster::shared();
    let cluster = &*shared.cluster;
    let users = ["owed".to_owned()];
    directory::import_users(&mut cluster.client(0), &users);
    let mut owed = Vec::new();
    for (n, priority) in PRIORITIES.iter().enumerate() {
        let body = format!("owed {n}");
        let (fate, _) = publish(&mut cluster.client(n % 3), &draft(priority, &body, &users), &body);
        let Fate::Ok { id, log_index, .. } = fate else {
            panic!("{fate:?}")
        };
        cluster.wait_applied(log_index, SOON);
        owed.push(id);
    }
    for (at, transport) in Transport::ALL.into_iter().enumerate() {
        let stream = Subscriber::start(&cluster.addresses(), at, transport, "owed", Start::Owed);
        stream.until("all that is owed", SOON, |seen| owed.iter().all(|id| seen.has(id)));
        let now = Subscriber::start(&cluster.addresses(), at, transport, "owed", Start::Now).ready();
        let body = format!("live over {transport:?}");
        let (fate, _) = publish(&mut cluster.client(at), &draft("low", &body, &users), &body);
        let Fate::Ok { id, .. } = fate else { panic!("{fate:?}") };
        owed.push(id.clone());
        now.until("what is live", SOON, |seen| seen.has(&id));
        stream.until("what is live", SOON, |seen| seen.has(&id));
        assert_eq!(now.stop().ids(), [id], "from=now skips what is owed");
    }
}
