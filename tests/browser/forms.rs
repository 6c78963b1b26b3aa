//! Looking who would get it, publishing, and what a critical one asks for first.

use super::harness::until;
use super::live::{appears_without_reload, keep_page};
use super::scene::{HERE, MEMBERS, SOON, Scene, THERE, agree};
use super::tab::ENTER;
use serde_json::{Value, json};

pub fn found(scene: &Scene, title: &str) -> Vec<Value> {
    let list = scene.told(THERE, "/v1/broadcasts?limit=100");
    let rows = list["items"].as_array().unwrap().iter();
    rows.filter(|row| row["title"] == title).cloned().collect()
}

fn write(scene: &Scene, priority: &str, title: &str) {
    let tab = &scene.tab;
    tab.click("#new-broadcast");
    until("the form is open", SOON, || {
        tab.is_shown("#publish[open] #clauses input").then_some(())
    });
    tab.click(&format!("#priorities input[value={priority}]"));
    tab.fill("#type", "venue.notice");
    tab.fill("#title", title);
    tab.fill("#body", "Told with a mouse.");
    tab.fill("#clauses input[id$=-weddings]", &format!("today{ENTER}"));
}

pub fn publishes(scene: &mut Scene) {
    let tab = &scene.tab;
    keep_page(scene);
    write(scene, "high", "By the form");
    assert_eq!(tab.texts("#clauses [data-values=weddings] li span"), ["today"]);
    tab.click("#asks");
    tab.click("#look");
    let draft = json!({
        "type": "venue.notice", "priority": "high", "title": "By the form", "body": "Told with a mouse.",
        "audience": [{"weddings": ["today"]}], "acknowledge": {"within": "1m", "answers": ["ok", "need_help"]},
    });
    agree(
        "who would get it",
        || tab.text("#dry p"),
        || {
            let answer = scene.client(THERE).post("/v1/broadcasts?dry_run=true", &draft);
            let would = answer.expect(200).json();
            assert_eq!(would["targeted"], MEMBERS as u64, "{would}");
            let (targeted, connected) = (&would["targeted"], &would["connected"]);
            format!("{targeted} people would get it, {connected} of them are connected now.")
        },
    );
    super::looks::picture(scene, "publish-1280.png");
    assert_eq!(
        found(scene, "By the form"),
        Vec::<Value>::new(),
        "a look publishes nothing"
    );
    tab.click("#send");
    until("its sheet is open", SOON, || {
        (tab.text("#detail[open] #detail-title") == "By the form").then_some(())
    });
    let rows = found(scene, "By the form");
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(
        (&rows[0]["priority"], &rows[0]["type"]),
        (&json!("high"), &json!("venue.notice"))
    );
    assert_eq!(rows[0]["counts"]["targeted"], MEMBERS as u64, "{rows:?}");
    tab.click("#detail-close");
    appears_without_reload(scene, "By the form");
}

pub fn critical(scene: &mut Scene) {
    let tab = &scene.tab;
    write(scene, "critical", "Not meant");
    assert!(tab.run("return document.getElementById('asks').checked", &[]) == json!(true));
    tab.click("#send");
    agree(
        "what is missing",
        || tab.text("#publish-problem"),
        || "It is critical: type the word to send it.".into(),
    );
    assert_eq!(found(scene, "Not meant"), Vec::<Value>::new());
    // A fault of the draft is the node's to find, and is said where it is.
    tab.fill("#sure-word", "critical");
    tab.run("document.getElementById('type').value = 'Not A Type'", &[]);
    tab.click("#send");
    until("the node's refusal is shown", SOON, || {
        let said = tab.text("#publish-problem");
        (!said.is_empty() && !said.starts_with("It is critical")).then_some(())
    });
    assert_eq!(found(scene, "Not meant"), Vec::<Value>::new());
    scene.may_lose = true; // the console tells of the 4xx
    scene.tab.click("#publish-close");
    until("the form is closed", SOON, || {
        (!scene.tab.is_shown("#publish")).then_some(())
    });
    assert_eq!(scene.told(HERE, "/v1/dashboard")["urgent"]["emergencies"], 0);
}
