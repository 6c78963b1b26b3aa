//! `campanile top` and `campanile status --watch` in a terminal, as somebody sees and uses them.

use super::harness::cluster::binary;
use super::harness::directory::{import, member, user, venue};
use super::harness::stream::Connection;
use super::harness::terminal::Terminal;
use super::harness::{Cluster, Start, Transport, cluster, until};
use serde_json::{Value, json};
use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A debug build on a busy machine.
const SOON: Duration = Duration::from_secs(20);
const PEOPLE: [&str; 4] = ["top-ann", "top-bea", "top-cal", "top-dan"];

fn urls(cluster: &Cluster, first: usize) -> String {
    let all = cluster.addresses();
    let turned = all[first..].iter().chain(&all[..first]);
    let urls: Vec<String> = turned.map(|address| format!("http://{address}")).collect();
    urls.join(",")
}

fn furnish(cluster: &Cluster) {
    let mut lines = vec![venue("top")];
    for id in PEOPLE {
        lines.push(user(id, "guest", "starter"));
        lines.push(member("venue", "top", id, "bar"));
    }
    let answer = import(&mut cluster.client(0), &lines).expect(200);
    cluster.wait_applied(answer.header("campanile-applied").unwrap().parse().unwrap(), SOON);
}

fn publish(cluster: &Cluster, draft: &Value) -> String {
    let mut whole = json!({"audience": {"venues": ["top"]}, "body": "Go inside the barn."});
    whole
        .as_object_mut()
        .unwrap()
        .extend(draft.as_object().unwrap().clone());
    let answer = cluster.client(1).post("/v1/broadcasts", &whole).expect(201).json();
    cluster.wait_applied(answer["log_index"].as_u64().unwrap(), SOON);
    answer["id"].as_str().unwrap().to_owned()
}

fn confirm(cluster: &Cluster, id: &str, user: &str) {
    let path = format!("/v1/broadcasts/{id}/acknowledge?user={user}");
    let answer = cluster.client(2).post(&path, &json!({"answer": "ok"})).expect(200);
    cluster.wait_applied(answer.header("campanile-applied").unwrap().parse().unwrap(), SOON);
}

fn top(cluster: &Cluster) -> Command {
    let mut command = binary();
    command.args(["top", "--every", "250ms", "--url", &urls(cluster, 0)]);
    command
}

/// The line of the screen that has this.
fn line<'a>(text: &'a str, part: &str) -> &'a str {
    text.lines().find(|line| line.contains(part)).unwrap_or_default()
}

#[test]
fn top_shows_true_numbers_and_opens_a_broadcast() {
    let beside = cluster::beside(3);
    let cluster = &*beside.cluster;
    furnish(cluster);
    let mut there = Connection::open(cluster.addresses()[0], Transport::WebSocket, PEOPLE[0], &Start::Now).unwrap();
    assert_eq!(there.next(SOON).unwrap().unwrap()["event"], "hello");
    let storm = json!({"type": "weather.warning", "priority": "critical", "title": "Go inside now",
        "acknowledge": {"within": "1m", "answers": ["ok", "need_help"]}});
    let id = publish(cluster, &storm);
    publish(cluster, &json!({"type": "timeline.changed", "title": "Cake at nine"}));
    confirm(cluster, &id, PEOPLE[1]);

    let terminal = Terminal::start(top(cluster), 120, 40);
    let leader = cluster.nodes[cluster.leader()].id;
    terminal.until_has("Go inside now: 3 people have not confirmed.", SOON);
    terminal.until_has(&format!("node {leader} leads"), SOON);
    // a screen comes in pieces: its foot is the last of them
    let panes = [" queues ", " nodes ", " workers ", " alerts ", " broadcasts 2 "];
    let rows = ["1 of 4 connected", "weather.warning", "Cake at nine", "worker-0"];
    let text = terminal.until("the whole screen", SOON, |text| {
        panes.iter().chain(&rows).all(|part| text.contains(part))
    });
    assert!(terminal.is_raw() && terminal.look(vt100::Screen::alternate_screen));
    let words: Vec<&str> = line(&text, "weather.warning").split_whitespace().collect();
    // ... the title, status, meant, received, confirmed, missing, type
    let after = &words[words.iter().position(|word| *word == "now").unwrap() + 1..];
    assert_eq!(
        (after[0], after[1], after[3], after[4]),
        ("released", "4", "1", "3"),
        "{words:?}"
    );
    assert!(line(&text, "Cake at nine").contains("normal"), "{text}");

    terminal.press("/cake");
    terminal.until("only the cake is left", SOON, |text| {
        text.contains("broadcasts 1 /cake") && !text.contains("weather.warning")
    });
    terminal.press("\u{1b}");
    terminal.until_has("broadcasts 2", SOON);
    terminal.press("/weather\r\r");
    let text = terminal.until("the ladder", SOON, |text| {
        text.contains(&id) && text.contains("3 of 4 have not confirmed")
    });
    assert!(
        text.contains("Go inside the barn.") && text.contains("confirmed        1"),
        "{text}"
    );
    assert!(line(&text, PEOPLE[2]).contains("no session"), "{text}");
    assert!(!text.contains(PEOPLE[1]), "who has confirmed is not named: {text}");
    confirm(cluster, &id, PEOPLE[2]);
    terminal.until("it fills", SOON, |text| {
        text.contains("2 of 4 have not confirmed") && !text.contains(PEOPLE[2])
    });
    terminal.resize(60, 20);
    terminal.until("it fits a small terminal", SOON, |text| {
        text.contains("2 of 4 have not confirmed") && text.lines().last().is_some_and(|foot| foot.contains("Esc back"))
    });
    terminal.press("\u{1b}\u{1b}");
    terminal.until_has(" queues  nodes  workers  alerts  broadcasts", SOON);
    terminal.press("q");
    assert_eq!(terminal.ended(SOON), Some(0));

    let terminal = Terminal::start(top(cluster), 80, 24);
    terminal.until_has("Go inside now", SOON);
    terminal.signal(rustix::process::Signal::TERM);
    assert_eq!(terminal.ended(SOON), Some(0), "a signal gives the terminal back, too");
    let told = top(cluster).output().unwrap();
    let text = String::from_utf8(told.stderr).unwrap();
    assert!(
        told.status.code() == Some(2) && text.contains("draws on a terminal"),
        "{text}"
    );
}

#[test]
fn a_watch_goes_on_with_another_node() {
    let mut own = cluster::own(3);
    let cluster = &mut own.cluster;
    let leader = cluster.leader();
    let id = cluster.nodes[leader].id;
    let all = urls(cluster, leader);
    let status = |more: &[&str]| {
        let mut command = binary();
        command.args(["status", "--watch", "--url", &all]).args(more);
        command
    };
    let mut plain = status(&[]);
    plain.env("NO_COLOR", "1");
    let terminal = Terminal::start(plain, 80, 24);
    let folder = tempfile::tempdir().unwrap();
    let [lines, notices] = ["lines", "notices"].map(|name| folder.path().join(name));
    let programs = status(&["--json"])
        .stdin(Stdio::null())
        .stdout(File::create(&lines).unwrap())
        .stderr(File::create(&notices).unwrap())
        .spawn()
        .unwrap();
    let programs = Ended(programs);
    let watched = Terminal::start(top(cluster), 80, 24);
    terminal.until("all three are ready", SOON, |text| {
        text.starts_with("All is well.")
            && text.contains(&format!("node {id} leads"))
            && text.matches(" ready ").count() == 3
    });
    watched.until_has(&format!("node {id} leads"), SOON);
    until("programs see it, too", SOON, || {
        std::fs::read_to_string(&lines)
            .unwrap()
            .contains("\"score\":100")
            .then_some(())
    });

    cluster.kill(leader);
    let text = terminal.until("another one leads, as another one tells", SOON, |text| {
        let is_new = text.contains(" leads, term ") && !text.contains(&format!("node {id} leads"));
        is_new && text.contains(" is lost; going on with http://")
    });
    let gone = terminal.until("the dead one gives no answer", SOON, |text| text.contains("no answer"));
    assert!(!gone.starts_with("All is well."), "{gone}");
    assert!(text.lines().count() <= 24, "{text}");
    watched.until("top goes on, too", SOON, |text| {
        text.contains(" leads, term ") && !text.contains(&format!("node {id} leads")) && text.contains("no answer")
    });
    watched.press("q");
    assert_eq!(watched.ended(SOON), Some(0));
    let is_coloured = terminal.look(|screen| {
        let cells = (0..24).flat_map(|row| (0..80).map(move |column| (row, column)));
        cells
            .filter_map(|(row, column)| screen.cell(row, column))
            .any(|cell| cell.fgcolor() != vt100::Color::Default)
    });
    assert!(!is_coloured, "NO_COLOR is obeyed");
    // Ctrl-C
    terminal.press("\u{3}");
    assert_eq!(terminal.ended(SOON), Some(0));

    until("programs are told, too", SOON, || {
        let text = std::fs::read_to_string(&notices).unwrap();
        text.contains("going on with").then_some(())
    });
    let leader_of = |line: &str| {
        let told: Option<Value> = serde_json::from_str(line).ok();
        told.and_then(|told| told["cluster"]["leader"].as_u64())
    };
    until("programs see the new leader", SOON, || {
        let text = std::fs::read_to_string(&lines).unwrap();
        text.lines()
            .any(|line| leader_of(line).is_some_and(|now| now != id))
            .then_some(())
    });
    drop(programs);
}

/// A program that does not outlive its test, however that ends.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
