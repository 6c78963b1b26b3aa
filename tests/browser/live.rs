//! What happens while somebody looks: a broadcast appears, its ladder fills, who is missing is named, and steps are taken.

use super::harness::until;
use super::scene::{HERE, LISTENING, MEMBERS, SOON, Scene, THERE, agree, person};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Waits until a row of the list names this broadcast, on a page that was not loaded anew.
pub fn appears_without_reload(scene: &Scene, title: &str) {
    until(&format!("{title:?} is on the list"), SOON, || {
        let titles = scene
            .tab
            .texts("#broadcasts [data-part=title], #urgent [data-part=title]");
        titles.iter().any(|shown| shown == title).then_some(())
    });
    assert_eq!(
        scene.tab.run("return window.kept", &[]),
        json!(true),
        "the page was loaded anew"
    );
}

pub fn keep_page(scene: &Scene) {
    scene.tab.run("window.kept = true", &[]);
}

fn confirm(scene: &Scene, id: &str, user: &str) {
    let path = format!("/v1/broadcasts/{id}/acknowledge?user={user}");
    let answer = scene.client(THERE).post(&path, &json!({"answer": "ok"}));
    answer.expect(200);
}

/// Those who have not confirmed, as the recipients of the other node have it.
fn missing(scene: &Scene, id: &str) -> BTreeSet<String> {
    let told = scene.told(THERE, &format!("/v1/broadcasts/{id}/recipients?limit=100"));
    let people = told["items"].as_array().unwrap().iter();
    let open = people.filter(|person| person["state"] != "acknowledged");
    open.map(|person| person["user"].as_str().unwrap().to_owned()).collect()
}

fn ladder(scene: &Scene, step: &str) -> String {
    scene.tab.text(&format!("#ladder [data-key={step}] [data-part=count]"))
}

pub fn appears(scene: &mut Scene) {
    let tab = &scene.tab;
    keep_page(scene);
    let asks = json!({"within": "15m", "answers": ["ok", "need_help"]});
    let id = scene.publish(&json!({"title": "Rain at six", "priority": "high", "acknowledge": asks}));
    appears_without_reload(scene, "Rain at six");
    let row = format!("[data-key='{id}']");
    agree(
        "how many have not confirmed",
        || tab.text(&format!("{row} [data-part=missing]")),
        || format!("{MEMBERS} not confirmed"),
    );

    tab.click(&format!("{row} [data-part=title]"));
    until("its sheet is open", SOON, || {
        tab.is_shown("#detail[open] #ladder").then_some(())
    });
    agree("sent", || ladder(scene, "sent"), || LISTENING.to_string());
    assert_eq!(
        (ladder(scene, "targeted"), ladder(scene, "acknowledged")),
        (MEMBERS.to_string(), "0".into())
    );
    let people = || {
        tab.texts("#people [data-part=user]")
            .into_iter()
            .collect::<BTreeSet<_>>()
    };
    agree("who has not confirmed", people, || missing(scene, &id));

    for user in [person(0), person(5)] {
        confirm(scene, &id, &user);
    }
    agree("confirmed", || ladder(scene, "acknowledged"), || "2".into());
    agree("who is left", people, || missing(scene, &id));
    assert!(!people().contains(&person(5)));
    let filled = tab.run(
        "return parseFloat(document.querySelector('#ladder [data-key=acknowledged] .acknowledged').style.width)",
        &[],
    );
    let wanted = 200.0 / MEMBERS as f64;
    assert!(
        (filled.as_f64().unwrap() - wanted).abs() < 0.1,
        "{filled} of 100, not {wanted}"
    );
    let groups = tab.texts("#people [data-group] [data-part=title]");
    assert!(groups.contains(&"Not connected".to_owned()), "{groups:?}");
    let why = tab.texts("#people [data-group=not_connected] [data-part=why]");
    assert!(
        !why.is_empty() && why.iter().all(|why| why.starts_with("no session")),
        "{why:?}"
    );
    super::looks::picture(scene, "broadcast-1280.png");
    tab.click("#detail-close");
    until("the sheet is closed", SOON, || (!tab.is_shown("#detail")).then_some(()));
    assert_eq!(tab.run("return location.hash", &[]), json!(""));
}

pub fn escalates(scene: &mut Scene) {
    let tab = &scene.tab;
    keep_page(scene);
    let steps = json!([{"after": "2s", "outputs": ["siren"]}, {"after": "1h", "to": {"users": ["elsewhere"]}}]);
    let asks = json!({"within": "1m", "answers": ["ok"], "escalate": steps});
    let id = scene.publish(&json!({
        "type": "medical.assist", "title": "Doctor to the barn", "priority": "critical", "acknowledge": asks,
    }));
    appears_without_reload(scene, "Doctor to the barn");
    let row = format!("#urgent [data-key='{id}']");
    let step = || tab.text(&format!("{row} [data-part=step]"));
    until("the first step is to come", SOON, || {
        step().starts_with("no step taken, the next at ").then_some(())
    });
    until("the first step is taken", SOON, || {
        step().starts_with("1 of 2 steps taken, the next at ").then_some(())
    });
    until("the siren was called", SOON, || {
        let calls = scene.sink.taken();
        calls
            .iter()
            .any(|call| call.is_signed && call.body.contains(&id))
            .then_some(())
    });
    let pips = tab.run(
        "return [...document.querySelectorAll(arguments[0])].map((pip) => pip.dataset.state)",
        &[json!(format!("{row} i"))],
    );
    assert_eq!(pips, json!(["taken", "open"]));
    until("the headline names it", SOON, || {
        let headline = tab.text("#headline");
        headline
            .starts_with(&format!("Doctor to the barn: {MEMBERS} people"))
            .then_some(())
    });
    assert_eq!(
        tab.run("return document.getElementById('overview').dataset.state", &[]),
        json!("trouble")
    );

    tab.click(&format!("{row} [data-part=title]"));
    agree(
        "the steps of its sheet",
        || tab.texts("#steps [data-part=calls]"),
        || {
            let told = scene.told(THERE, &format!("/v1/broadcasts/{id}"));
            let taken = told["escalations"][0]["outputs"][0]["state"]
                .as_str()
                .unwrap_or_default()
                .replace('_', " ");
            vec![format!("siren {taken}"), String::new()]
        },
    );
    tab.click("#detail-close");
    for number in 0..MEMBERS {
        confirm(scene, &id, &person(number));
    }
    let ended = || -> Option<()> {
        let told: Value = scene.told(HERE, "/v1/dashboard");
        let is_calm = told["urgent"]["emergencies"] == 0 && !tab.is_shown("#urgent-card");
        (is_calm && tab.text("#headline") == "All is well.").then_some(())
    };
    until("all is well again", SOON, ended);
}
