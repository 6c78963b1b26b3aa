//! The page without a mouse: everything is reached in the order in which it stands, seen when it has the focus, and can be used.

use super::forms::found;
use super::harness::until;
use super::scene::{MEMBERS, SOON, Scene};
use super::tab::{ENTER, ESCAPE, LEFT, TAB};
use serde_json::{Value, json};

/// More than there are to be reached.
const PRESSES_MAX: usize = 120;
/// What stands in one row may be a little higher than what comes before it.
const ROW: f64 = 10.0;

/// What has the focus: what it is, whether it looks like it, and whether it is in sight.
fn focused(scene: &Scene) -> Value {
    scene.tab.run(
        "const it = document.activeElement;\
         const outlined = (style) => style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;\
         const box = it.getBoundingClientRect();\
         const bar = document.querySelector('.bar').getBoundingClientRect();\
         const covered = !it.closest('.bar, dialog, .skip') && box.bottom <= bar.bottom;\
         it.dataset.reached ??= String(document.querySelectorAll('[data-reached]').length);\
         return {\
           id: it.id, part: it.dataset.part ?? '', tag: it.tagName, number: Number(it.dataset.reached),\
           top: box.top + scrollY, column: it.closest('.side') ? 1 : 0, section: it.closest('section')?.getAttribute('aria-labelledby') ?? '',\
           marked: outlined(getComputedStyle(it)) || outlined(getComputedStyle(it, '::after')),\
           seen: box.bottom > 0 && box.top < innerHeight && !covered,\
         }",
        &[],
    )
}

pub fn walk(scene: &mut Scene) {
    let tab = &scene.tab;
    tab.press(TAB);
    assert_eq!(tab.text(":focus"), "Skip to the overview");
    tab.press(ENTER);
    assert_eq!(tab.run("return document.activeElement.id", &[]), json!("main"));
    tab.run("document.activeElement.blur(); scrollTo(0, 0)", &[]);
    scene.open(super::scene::HERE);
    until("charts are there", SOON, || {
        tab.is_shown("#series summary").then_some(())
    });
    let mut reached = Vec::new();
    for _ in 0..PRESSES_MAX {
        tab.press(TAB);
        let now = focused(scene);
        if now["tag"] == "BODY" || now["number"].as_u64().unwrap() < reached.len() as u64 {
            break;
        }
        reached.push(now);
    }
    assert!(reached.len() < PRESSES_MAX, "the focus never comes to an end");
    for thing in &reached {
        assert_eq!(
            thing["marked"], true,
            "has the focus and does not look like it: {thing}"
        );
        assert_eq!(thing["seen"], true, "has the focus out of sight: {thing}");
    }
    let ids: Vec<&str> = reached.iter().map(|thing| thing["id"].as_str().unwrap()).collect();
    let buttons: Vec<&&str> = ids
        .iter()
        .filter(|id| ["new-broadcast", "theme"].contains(*id))
        .collect();
    assert_eq!(buttons, [&"new-broadcast", &"theme"], "{ids:?}");
    let parts: Vec<&str> = reached.iter().map(|thing| thing["part"].as_str().unwrap()).collect();
    let titles = tab.texts("#broadcasts [data-part=title], #urgent [data-part=title], #scheduled [data-part=title]");
    assert_eq!(parts.iter().filter(|part| **part == "title").count(), titles.len());
    assert_eq!(
        parts.iter().filter(|part| **part == "link").count(),
        2,
        "the other nodes"
    );
    // In the order in which it stands: down each column.
    for pair in reached.windows(2) {
        let (one, next) = (&pair[0], &pair[1]);
        if one["column"] == next["column"] && one["section"] == next["section"] && one["section"] != "" {
            let down = next["top"].as_f64().unwrap() - one["top"].as_f64().unwrap();
            assert!(down > -ROW, "{one} before {next}");
        }
    }
}

/// Presses Tab until this has the focus.
fn tab_to(scene: &Scene, selector: &str) {
    let script = "return document.activeElement.matches(arguments[0])";
    let is_there = || scene.tab.run(script, &[json!(selector)]) == json!(true);
    for _ in 0..PRESSES_MAX {
        if is_there() {
            return;
        }
        scene.tab.press(TAB);
    }
    panic!("{selector} cannot be reached");
}

pub fn publishes(scene: &mut Scene) {
    let tab = &scene.tab;
    tab_to(scene, "#new-broadcast");
    tab.press(ENTER);
    until("the form is open", SOON, || {
        tab.is_shown("#publish[open] #clauses input").then_some(())
    });
    assert_eq!(tab.text(":focus"), "New broadcast", "the form's title is read first");
    tab_to(scene, "#priorities input:checked");
    tab.press(LEFT); // from normal to high
    tab_to(scene, "#type");
    tab.press("venue.notice");
    tab_to(scene, "#title");
    tab.press("Without a mouse");
    tab_to(scene, "#body");
    tab.press("Typed.");
    tab_to(scene, "#clauses input[id$=-weddings]");
    tab.press(&format!("today{ENTER}"));
    tab_to(scene, "#asks");
    tab.press(" ");
    tab_to(scene, "#look");
    tab.press(ENTER);
    until("who would get it is said", SOON, || {
        tab.text("#dry p")
            .starts_with(&format!("{MEMBERS} people would get it"))
            .then_some(())
    });
    tab_to(scene, "#send");
    tab.press(ENTER);
    until("its sheet is open", SOON, || {
        (tab.text("#detail[open] #detail-title") == "Without a mouse").then_some(())
    });
    let rows = found(scene, "Without a mouse");
    assert_eq!((rows.len(), &rows[0]["priority"]), (1, &json!("high")), "{rows:?}");
    // Inside a sheet the focus stays inside; Escape leaves it.
    for _ in 0..12 {
        tab.press(TAB);
        let inside = tab.run(
            "const it = document.activeElement; return it === document.body || Boolean(it.closest('#detail'))",
            &[],
        );
        assert_eq!(inside, json!(true), "the focus has left the open sheet");
    }
    tab_to(scene, "#detail-close");
    tab.press(ESCAPE);
    until("the sheet is closed", SOON, || (!tab.is_shown("#detail")).then_some(()));
}
