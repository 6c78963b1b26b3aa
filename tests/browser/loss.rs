//! A killed leader: seen from another node's page, and from its own.

use super::harness::cluster::START_WITHIN;
use super::harness::load::draft;
use super::harness::{Client, until};
use super::scene::{SOON, Scene, person};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// From the kill until the page says so.
const SHOWN_WITHIN: Duration = Duration::from_secs(2);

fn roles(scene: &Scene) -> Vec<Value> {
    let script = "return [...document.querySelectorAll('#nodes li')].map((node) => [Number(node.dataset.key), node.dataset.role])";
    scene.tab.run(script, &[]).as_array().unwrap().clone()
}

pub fn leader(scene: &mut Scene) {
    scene.may_lose = true;
    let leader = scene.cluster.leader();
    let id = scene.cluster.nodes[leader].id;
    let other = scene.cluster.follower();
    scene.open(other);
    until("the page knows who leads", SOON, || {
        roles(scene).contains(&json!([id, "leader"])).then_some(())
    });
    scene.cluster.kill(leader);
    let killed = Instant::now();
    until("the page no longer says that the killed one leads", SOON, || {
        let note = scene.tab.text("#nodes-note");
        (!roles(scene).contains(&json!([id, "leader"])) && !note.starts_with(&format!("node {id} leads"))).then_some(())
    });
    let shown = killed.elapsed();
    println!("browser: a killed leader is shown after {} ms", shown.as_millis());
    assert!(shown < SHOWN_WITHIN, "shown after {shown:?}");
    super::looks::picture(scene, "no-leader-1280.png");
    until("another one leads, and the killed one is missed", SOON, || {
        let now = roles(scene);
        let has_leader = now.iter().any(|node| node[1] == "leader");
        (has_leader && now.contains(&json!([id, "unreachable"]))).then_some(())
    });
    let headline = scene.tab.text("#headline");
    assert!(headline.contains(&format!("ode {id} does not answer")), "{headline}");
    scene.cluster.launch(leader);
    scene.cluster.wait_writable(START_WITHIN);
    until("all is well again", SOON, || {
        let lost = roles(scene)
            .iter()
            .any(|node| node[1] == "unreachable" || node[1] == "unknown");
        (!lost).then_some(())
    });
    own(scene);
}

/// The page of the node that dies goes on with another one, and says so.
fn own(scene: &mut Scene) {
    let leader = scene.cluster.leader();
    scene.open(leader);
    scene.tab.run("window.kept = true", &[]);
    scene.cluster.kill(leader);
    let killed = Instant::now();
    until("the page says that its node is lost", SOON, || {
        scene.tab.is_shown("#lost").then_some(())
    });
    let shown = killed.elapsed();
    println!(
        "browser: a page's own lost node is shown after {} ms",
        shown.as_millis()
    );
    assert!(shown < SHOWN_WITHIN, "shown after {shown:?}");
    until("it goes on with another node", SOON, || {
        let now = scene.tab.text("#lost-text");
        (now.starts_with("This page goes on with node ") && scene.tab.text("#link-text").starts_with("Live, node "))
            .then_some(())
    });
    super::looks::picture(scene, "own-node-lost-1280.png");
    let others = (0..scene.cluster.nodes.len()).filter(|at| *at != leader);
    let mut clients: Vec<Client> = others.map(|at| scene.client(at)).collect();
    let draft = draft("normal", "Still here.", &[person(1)]);
    until("another node takes writes", SOON, || {
        clients
            .iter_mut()
            .any(|client| client.post("/v1/broadcasts", &draft).status == 201)
            .then_some(())
    });
    super::live::appears_without_reload(scene, "Load");
    scene.cluster.launch(leader);
    scene.cluster.wait_writable(START_WITHIN);
    scene.cluster.assert_sound();
}
