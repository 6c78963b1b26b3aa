//! C1, C4 and what surrounds them: followers, the leader and all three are killed under load, and nothing acknowledged is lost.

use super::harness::cluster::{SERVING_WITHIN, START_WITHIN};
use super::harness::load::{Load, Plan, Publish, draft, longest_gap};
use super::harness::oracle::{has_all, judge, on_every_node};
use super::harness::wait::maybe;
use super::harness::{Client, Cluster, Start, Subscriber, Transport, cluster, directory, until};
use super::keys::{assert_refused, assert_replayed, post};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(30);
/// C1: after a leader's death publishes go on within this.
const GAP_MAX: Duration = Duration::from_secs(3);
const LEADER_KILLS: usize = 3;

/// The cluster, those who listen through everything, and all that was ever published.
struct Story {
    cluster: Cluster,
    users: Vec<String>,
    subscribers: Vec<Subscriber>,
    history: Vec<Publish>,
}

#[test]
fn nothing_acknowledged_is_lost_whoever_is_killed() {
    let own = cluster::own(3);
    let mut story = Story::begin(own.cluster);
    let users = story.users.clone();
    let keyed = draft("high", "keyed", &users);
    let first = post(&mut story.cluster.client(0), "kept-key", &keyed)
        .expect(201)
        .json();

    let gap = story.under_load("follower", |cluster| {
        let follower = cluster.follower();
        cluster.kill(follower);
        follower
    });
    println!("follower killed: longest publish gap {gap:?}");
    for kill in 0..LEADER_KILLS {
        let gap = story.under_load(&format!("leader-{kill}"), |cluster| {
            let leader = cluster.leader();
            cluster.kill(leader);
            leader
        });
        println!("leader killed: longest publish gap {gap:?}");
        assert!(gap <= GAP_MAX, "the gap after a leader's death was {gap:?}");
        let mut client = story.cluster.client(kill % 3);
        assert_replayed(&mut client, "kept-key", &keyed, &first);
        assert_refused(&mut client, "kept-key", &draft("high", "other", &users));
    }
    story.all_three_under_load();
    for at in 0..3 {
        assert_replayed(&mut story.cluster.client(at), "kept-key", &keyed, &first);
    }
    story.without_a_leader();
    story.end();
}

/// A leader whose peer is gone asks for it now and then; it does not spin.
#[test]
fn a_dead_peer_costs_the_leader_nothing() {
    let mut own = cluster::own(3);
    let cluster = &mut own.cluster;
    let users = vec!["calm".to_owned()];
    directory::import_users(&mut cluster.client(0), &users);
    let follower = cluster.follower();
    cluster.kill(follower);
    let leader = cluster.leader();
    // What it would have been sent waits from here on.
    cluster
        .client(leader)
        .post("/v1/broadcasts", &draft("low", "calm", &users))
        .expect(201);
    maybe(Duration::from_secs(8), || None::<()>);
    let before = processor_time(cluster.pid(leader));
    maybe(Duration::from_secs(3), || None::<()>);
    let took = processor_time(cluster.pid(leader)).saturating_sub(before);
    assert!(took < Duration::from_secs(1), "{took:?} of processor time in 3 s");
}

/// It says why, and what to do, to whoever asks; a good folder makes it good again.
#[test]
fn a_wiped_node_says_why_it_is_not_ready() {
    let mut own = cluster::own(3);
    let cluster = &mut own.cluster;
    let follower = cluster.follower();
    cluster.kill(follower);
    let (data, aside) = (cluster.nodes[follower].data.clone(), cluster.folder().join("aside"));
    std::fs::rename(&data, &aside).unwrap();
    cluster.launch(follower);
    let answer = until("it knows that it is left out", SOON, || {
        let answer = Client::new(cluster.nodes[follower].address).send("GET", "/readyz", &[], b"");
        let answer = answer.ok()?;
        (answer.status == 503 && answer.json()["code"] == "NO_DATA").then_some(answer)
    });
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(
        detail.contains("node.data") && detail.contains("start it again"),
        "{detail}"
    );
    cluster.kill(follower);
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(&aside, &data).unwrap();
    cluster.launch(follower);
    cluster.wait_writable(START_WITHIN);
}

/// Of a process: in user space and in the kernel.
fn processor_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10) // a hundred ticks a second, on every Linux in use
}

impl Story {
    fn begin(cluster: Cluster) -> Self {
        let users: Vec<String> = (0..6).map(|n| format!("kills-{n}")).collect();
        let applied = directory::import_users(&mut cluster.client(0), &users);
        cluster.wait_applied(applied, SOON);
        let nodes = cluster.addresses();
        let start =
            |(n, user): (usize, &String)| Subscriber::start(&nodes, n, Transport::ALL[n % 3], user, Start::Now).ready();
        let subscribers = users.iter().enumerate().map(start).collect();
        Self {
            cluster,
            users,
            subscribers,
            history: Vec::new(),
        }
    }

    fn load(&self, name: &str) -> Load {
        let alone = self.users.iter().map(|user| vec![user.clone()]);
        let audiences: Vec<Vec<String>> = std::iter::once(self.users.clone()).chain(alone).collect();
        let plan = |n: usize| Plan {
            name: format!("{name}-{n}"),
            audiences: audiences.clone(),
            every: Duration::from_millis(25),
        };
        Load::start(&self.cluster.addresses(), (0..4).map(plan).collect())
    }

    /// Kills one node in the middle of a load, starts it again, and gives the longest time without an acknowledgement.
    fn under_load(&mut self, name: &str, kill: impl FnOnce(&mut Cluster) -> usize) -> Duration {
        let load = self.load(name);
        self.pass_some();
        let killed = kill(&mut self.cluster);
        self.pass_some();
        self.cluster.launch(killed);
        self.cluster.wait_writable(START_WITHIN);
        self.pass_some();
        self.settle(load)
    }

    /// C4: all at once, started again in another order.
    fn all_three_under_load(&mut self) {
        let load = self.load("all");
        self.pass_some();
        self.cluster.kill_all();
        let down = Instant::now();
        for at in [2, 0, 1] {
            self.cluster.launch(at);
        }
        self.cluster.wait_writable(SERVING_WITHIN);
        println!("all killed: serving again after {:?}", down.elapsed());
        self.pass_some();
        self.settle(load);
    }

    /// Waits until the subscribers have taken in a few more broadcasts: the load really flows.
    fn pass_some(&self) {
        for subscriber in &self.subscribers {
            let before = subscriber.look(|seen| seen.deliveries.len());
            subscriber.until("twenty more", SOON, |seen| seen.deliveries.len() >= before + 20);
        }
    }

    fn settle(&mut self, load: Load) -> Duration {
        let history = load.stop();
        let gap = longest_gap(&history);
        self.history.extend(history);
        for subscriber in &self.subscribers {
            subscriber.until("all of its own", SOON, |seen| {
                has_all(&self.history, &subscriber.user, seen)
            });
        }
        gap
    }

    /// One node of three: it refuses within the deadline, says when to come back, keeps its streams and tells them.
    fn without_a_leader(&mut self) {
        let alone = self.cluster.follower();
        let others: Vec<usize> = (0..3).filter(|at| *at != alone).collect();
        let address = self.cluster.nodes[alone].address;
        let stays = Subscriber::start(&[address], 0, Transport::WebSocket, &self.users[0], Start::Now).ready();
        for at in &others {
            self.cluster.kill(*at);
        }
        let refused = Instant::now();
        let answer = post(
            &mut Client::new(address),
            "nobody-leads",
            &draft("high", "nobody leads", &self.users),
        );
        let took = refused.elapsed();
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(
            took < Duration::from_secs(7),
            "a 503 took {took:?}, its deadline is 5 s"
        );
        assert!(answer.header("retry-after").is_some(), "{:?}", answer.headers);
        let outcome = answer.json()["outcome"].clone();
        assert!(outcome == "unknown" || outcome == "not_published", "{outcome}");
        until("it knows that nobody leads", SOON, || {
            let read = Client::new(address).get("/v1/cluster").expect(200);
            read.json()["leader"].is_null().then_some(())
        });
        Client::new(address).get("/livez").expect(200);
        stays.until("degraded", SOON, |seen| !seen.events("degraded").is_empty());

        for at in others {
            self.cluster.launch(at);
        }
        self.cluster.wait_writable(START_WITHIN);
        stays.until("restored", SOON, |seen| !seen.events("restored").is_empty());
        assert_eq!(stays.stop().connections.len(), 1, "the stream stayed open");
        // What was refused without a leader is decided now, one way or the other, and only once.
        until("the refused publish is taken", SOON, || {
            let draft = draft("high", "nobody leads", &self.users);
            let answer = post(&mut self.cluster.client(alone), "nobody-leads", &draft);
            (answer.status == 201).then_some(())
        });
    }

    fn end(mut self) {
        let seen: Vec<_> = self
            .subscribers
            .drain(..)
            .map(|subscriber| (subscriber.user.clone(), subscriber.stop()))
            .map(|(user, seen)| (user, without_keyed(seen)))
            .collect();
        let mut verdict = judge(&self.history, &seen);
        on_every_node(&self.cluster, &self.history, &mut verdict);
        verdict.assert("kills");
        assert_eq!(
            verdict.unknown + verdict.failed,
            0,
            "every publish was decided in the end"
        );
        self.cluster.assert_sound();
    }
}

/// The two broadcasts beside the load are not part of its history.
fn without_keyed(mut seen: super::harness::stream::Seen) -> super::harness::stream::Seen {
    let beside = ["keyed", "nobody leads"];
    for body in beside {
        let ids: Vec<String> = seen
            .deliveries
            .iter()
            .filter(|delivery| delivery.body == body)
            .map(|delivery| delivery.id.clone())
            .collect();
        assert!(
            ids.windows(2).all(|pair| pair[0] == pair[1]),
            "{body} is one broadcast: {ids:?}"
        );
    }
    seen.deliveries
        .retain(|delivery| !beside.contains(&delivery.body.as_str()));
    seen
}
