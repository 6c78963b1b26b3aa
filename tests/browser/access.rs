//! Where tokens are asked for: the page asks, says when one is no good, shows what it is good for, and forgets it.

use super::harness::{Cluster, directory, until};
use super::scene::{SOON, Scene};
use super::tab::ENTER;
use serde_json::json;

/// `cmp_` and 43 letters.
const ADMIN: &str = "cmp_0123456789abcdefghijklmnopqrstuvwxyz-ADMIN_";
const WRONG: &str = "cmp_0123456789abcdefghijklmnopqrstuvwxyz-WRONG_";

pub fn token(scene: &mut Scene) {
    scene.may_lose = true; // the console tells of every 401
    let guarded = Cluster::start_guarded(1, ADMIN);
    directory::import_users(&mut guarded.client(0), &["reader".to_owned()]);
    let wanted = json!({"user": "reader", "role": "guest", "scopes": ["read"]});
    let made = guarded.client(0).post("/v1/tokens", &wanted).expect(201).json();
    let reads = made["token"].as_str().unwrap();
    let tab = &scene.tab;
    tab.goto(&format!("http://{}/", guarded.nodes[0].address));
    let asked = || until("a token is asked for", SOON, || tab.is_shown("#sign-in").then_some(()));
    let shown = || until("the board is shown", SOON, || tab.is_shown("#board").then_some(()));
    asked();
    assert!(!tab.is_shown("#board") && !tab.is_shown("#new-broadcast"));
    assert_eq!(tab.text("#link-text"), "A token is asked for");
    assert_eq!(tab.run("return document.activeElement.id", &[]), json!("token"));
    super::looks::picture(scene, "token-1280.png");
    if let Ok(axe) = &scene.tools.axe {
        let found = super::looks::violations(scene, axe, "the question for a token");
        assert!(found.is_empty(), "{}", found.join("\n"));
    }

    tab.press(&format!("{WRONG}{ENTER}"));
    until("it is no good", SOON, || {
        (!tab.text("#sign-in-problem").is_empty()).then_some(())
    });
    assert!(!tab.is_shown("#board"));

    tab.press(&format!("{reads}{ENTER}"));
    shown();
    assert!(
        !tab.is_shown("#new-broadcast"),
        "who may only read is offered nothing else"
    );
    assert!(tab.is_shown("#sign-out"));
    let kept = tab.run(
        "return [sessionStorage.length > 0, JSON.stringify(localStorage).includes('cmp_')]",
        &[],
    );
    assert_eq!(kept, json!([true, false]), "a token stays in its tab");
    tab.run("location.reload()", &[]);
    shown();

    tab.click("#sign-out");
    asked();
    assert!(
        !tab.run("return JSON.stringify(sessionStorage)", &[])
            .to_string()
            .contains(reads)
    );
    tab.press(&format!("{ADMIN}{ENTER}"));
    shown();
    until("an administrator may publish", SOON, || {
        tab.is_shown("#new-broadcast").then_some(())
    });
    tab.run("sessionStorage.clear()", &[]);
}
