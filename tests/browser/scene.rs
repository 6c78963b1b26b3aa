//! What the browser looks at: three nodes with people, weddings, a cache and an output, and a page on one of them.

use super::harness::sink::Sink;
use super::harness::stream::{Start, Transport};
use super::harness::wait::maybe;
use super::harness::{Client, Cluster, Subscriber, directory, until};
use super::tab::Tab;
use super::tools::Tools;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::time::Duration;

/// What the page shows is as old as this at most, on a machine that does other things, too.
pub const SOON: Duration = Duration::from_secs(15);
/// Members of the wedding that is on.
pub const MEMBERS: usize = 12;
/// Those of them who listen.
pub const LISTENING: usize = 3;
/// Where the page is from, and where its numbers are compared.
pub const HERE: usize = 0;
pub const THERE: usize = 1;

pub struct Scene {
    pub cluster: Cluster,
    pub tab: Tab,
    pub tools: Tools,
    pub sink: Sink,
    /// The console may say that a node did not answer, or refused.
    pub may_lose: bool,
    listeners: Vec<Subscriber>,
    skipped: Option<String>,
}

pub fn person(number: usize) -> String {
    format!("person-{number:02}")
}

fn hours(from_now: i64) -> String {
    (Timestamp::now() + SignedDuration::from_hours(from_now)).to_string()
}

impl Scene {
    pub fn start(tools: Tools) -> Self {
        let sink = Sink::start();
        let mut settings = sink.settings(&["siren"]);
        settings.push("dashboard.sample_every=500ms".into());
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let cluster = Cluster::start_with(3, &settings);
        let mut scene = Self {
            tab: Tab::open(&tools),
            cluster,
            tools,
            sink,
            may_lose: false,
            listeners: Vec::new(),
            skipped: None,
        };
        scene.furnish();
        scene
    }

    fn furnish(&mut self) {
        let mut lines = vec![
            directory::venue("old-mill"),
            directory::wedding("today", "old-mill", &hours(1), &hours(6)),
            directory::wedding("soon", "old-mill", &hours(70), &hours(76)),
        ];
        for number in 0..MEMBERS {
            let role = if number < 4 { "florist" } else { "guest" };
            lines.push(directory::user(&person(number), role, "starter"));
            lines.push(directory::member("wedding", "today", &person(number), role));
        }
        lines.push(directory::user("elsewhere", "guest", "starter"));
        let answer = directory::import(&mut self.cluster.client(HERE), &lines).expect(200);
        let applied = answer.header("campanile-applied").unwrap().parse().unwrap();
        self.cluster.wait_applied(applied, SOON);
        let transports = Transport::ALL.iter().cycle();
        let addresses = self.cluster.addresses();
        self.listeners = (0..LISTENING)
            .zip(transports)
            .map(|(at, transport)| Subscriber::start(&addresses, at, *transport, &person(at), Start::Owed).ready())
            .collect();
        let mut client = self.cluster.client(HERE);
        let typed = [("Content-Type", "text/plain")];
        client
            .must("PUT", "/v1/cache/teams/today", &typed, b"four florists")
            .expect(204);
        for key in ["today", "today", "today", "nothing"] {
            client.get(&format!("/v1/cache/teams/{key}"));
        }
        self.publish(&json!({"title": "Doors at five", "priority": "normal"}));
        self.publish(&json!({"title": "Later today", "deliver_at": hours(2)}));
    }

    /// Publishes through the other node; its id.
    pub fn publish(&self, with: &Value) -> String {
        let mut draft = json!({
            "type": "venue.notice", "priority": "normal", "title": "A notice", "body": "Nothing to do.",
            "audience": [{"weddings": ["today"]}],
        });
        for (name, value) in with.as_object().unwrap() {
            draft[name] = value.clone();
        }
        let answer = self.client(THERE).post("/v1/broadcasts", &draft).expect(201).json();
        answer["id"].as_str().unwrap().to_owned()
    }

    pub fn client(&self, at: usize) -> Client {
        self.cluster.client(at)
    }

    pub fn url(&self, at: usize) -> String {
        format!("http://{}", self.cluster.nodes[at].address)
    }

    /// What a node answers.
    pub fn told(&self, at: usize, path: &str) -> Value {
        self.client(at).get(path).expect(200).json()
    }

    /// Opens the page of a node, and waits until it shows that node's figures.
    pub fn open(&self, at: usize) {
        self.tab.goto(&format!("{}/", self.url(at)));
        let live = format!("Live, node {}", self.cluster.nodes[at].id);
        until("the page is live", SOON, || {
            (self.tab.text("#link-text") == live && self.tab.is_shown("#board")).then_some(())
        });
    }

    /// Each case begins with a large light window, on a page that is open, and with nothing in the console.
    pub fn begin(&mut self) {
        self.may_lose = false;
        self.skipped = None;
        self.tab.resize(1280, 900);
        self.tab.prefer("light");
        self.open(HERE);
        self.tab.complaints();
    }

    /// Each case ends with a console that has no complaint but those it brought about.
    pub fn end(&self) {
        let mut complaints = self.tab.complaints();
        complaints.retain(|(source, _)| !(self.may_lose && source == "network"));
        assert!(complaints.is_empty(), "the console says {complaints:?}");
    }

    pub fn skip(&mut self, why: &str) {
        self.skipped = Some(why.to_owned());
    }

    pub fn take_skipped(&mut self) -> Option<String> {
        self.skipped.take()
    }

    /// What the page looked like when a case failed.
    pub fn keep_evidence(&mut self, name: &str) {
        let file = format!("failed-{}.png", name.replace("::", "-"));
        let taken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| super::looks::picture(self, &file)));
        if taken.is_err() {
            println!("browser {name}: no picture could be taken");
        }
        for at in 0..self.cluster.nodes.len() {
            println!(
                "== log of node {}\n{}",
                self.cluster.nodes[at].id,
                self.cluster.log_tail(at)
            );
        }
    }
}

/// Waits until the page and the truth are the same.
pub fn agree<T: PartialEq + std::fmt::Debug>(what: &str, mut page: impl FnMut() -> T, mut truth: impl FnMut() -> T) {
    let mut last = None;
    let agreed = maybe(SOON, || {
        let both = (page(), truth());
        let is_same = both.0 == both.1;
        last = Some(both);
        is_same.then_some(())
    });
    let (page, truth) = last.unwrap();
    assert!(agreed.is_some(), "{what}: the page has\n{page:?}, and it is\n{truth:?}");
}
