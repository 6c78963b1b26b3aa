//! How the page looks and how heavy it is: pictures in all sizes, what axe finds, bytes, and the time to the first paint.

use super::harness::until;
use super::scene::{HERE, SOON, Scene};
use super::tab::Tab;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

const BYTES_MAX: u64 = 150 << 10;
const PAINT_WITHIN_MS: f64 = 200.0;
/// Loads until one paints in time: this machine does other things, too.
const LOADS_MAX: usize = 5;
const HEIGHT: u32 = 900;
const SIZES: [u32; 4] = [1280, 768, 390, 360];

/// All of the page, or the open sheet as it is seen.
pub fn picture(scene: &Scene, name: &str) {
    let tab = &scene.tab;
    let is_sheet = tab.is_shown("dialog[open]");
    let size = tab.run(
        "return {x: 0, y: 0, width: innerWidth, height: document.documentElement.scrollHeight, scale: 1}",
        &[],
    );
    let wanted = if is_sheet {
        json!({"format": "png"})
    } else {
        json!({"format": "png", "captureBeyondViewport": true, "clip": size})
    };
    let taken = tab.chrome("Page.captureScreenshot", wanted);
    let bytes = STANDARD.decode(taken["data"].as_str().unwrap()).unwrap();
    std::fs::write(scene.tools.folder.join(name), bytes).unwrap();
}

pub fn budget(scene: &mut Scene) {
    let tab = &scene.tab;
    let mut paints = Vec::new();
    for _ in 0..LOADS_MAX {
        tab.chrome("Network.clearBrowserCache", json!({}));
        scene.open(HERE);
        let measured = tab.run(
            "const all = [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')];\
             const own = all.filter((one) => !one.name.includes('/v1/'));\
             const paint = performance.getEntriesByName('first-contentful-paint')[0];\
             return {bytes: own.reduce((sum, one) => sum + one.encodedBodySize, 0), files: own.length, paint: paint?.startTime ?? null,\
                     away: all.map((one) => one.name).filter((name) => !name.startsWith(location.origin + '/'))}",
            &[],
        );
        assert_eq!(measured["away"], json!([]), "something came from elsewhere");
        assert!(measured["files"].as_u64() > Some(10), "{measured}");
        let bytes = measured["bytes"].as_u64().unwrap();
        assert!(
            bytes > 50_000 && bytes < BYTES_MAX,
            "{bytes} bytes, {BYTES_MAX} are allowed"
        );
        let paint = measured["paint"].as_f64();
        paints.extend(paint);
        println!(
            "browser: {} files, {bytes} bytes, first paint after {paint:?} ms",
            measured["files"]
        );
        if paint.is_some_and(|paint| paint < PAINT_WITHIN_MS) {
            return;
        }
    }
    panic!("no load painted within {PAINT_WITHIN_MS} ms: {paints:?}");
}

/// Nothing is wider than the window, and nothing sticks out of it.
fn assert_fits(tab: &Tab, what: &str) {
    let wide = tab.run(
        "const room = document.documentElement.clientWidth;\
         const open = document.querySelector('dialog[open]');\
         const scrolls = document.documentElement.scrollWidth > room || (open && open.scrollWidth > open.clientWidth);\
         const out = [...document.querySelectorAll('main *, header *, dialog[open] *')]\
           .filter((it) => it.checkVisibility() && !it.closest('.unseen, .scroll, svg'))\
           .filter((it) => it.getBoundingClientRect().right > room + 1)\
           .map((it) => `${it.tagName}#${it.id}.${it.className}`);\
         return scrolls || out.length > 0 ? {room, width: document.documentElement.scrollWidth, out: out.slice(0, 5)} : null",
        &[],
    );
    assert_eq!(wide, Value::Null, "{what} is wider than its window");
}

pub fn pictures(scene: &mut Scene) {
    for scheme in ["light", "dark"] {
        scene.tab.prefer(scheme);
        for width in SIZES {
            scene.tab.resize(width, HEIGHT);
            scene.open(HERE);
            until("charts are there", SOON, || {
                scene.tab.is_shown("#series figure").then_some(())
            });
            assert_fits(&scene.tab, &format!("the overview at {width}"));
            picture(scene, &format!("overview-{width}-{scheme}.png"));
        }
        // The narrowest window is open now.
        scene.tab.click("#broadcasts [data-part=title]");
        until("who is missing is named", SOON, || {
            scene.tab.is_shown("#detail[open] #people-title").then_some(())
        });
        assert_fits(&scene.tab, "a broadcast's sheet");
        picture(scene, &format!("broadcast-360-{scheme}.png"));
        scene.tab.click("#detail-close");
        scene.tab.click("#new-broadcast");
        assert_fits(&scene.tab, "the form");
        picture(scene, &format!("publish-360-{scheme}.png"));
        scene.tab.click("#publish-close");
    }
    let dark = scene
        .tab
        .run("return getComputedStyle(document.body).backgroundColor", &[]);
    assert_eq!(dark, json!("rgb(16, 21, 24)"), "the page follows the wish for the dark");
}

/// Serious and critical violations of WCAG 2.1 A and AA on what is shown.
pub fn violations(scene: &Scene, axe: &str, what: &str) -> Vec<String> {
    let tab = &scene.tab;
    tab.run(
        "if (!window.axe) { const load = new Function(arguments[0]); load.call(window); }",
        &[json!(axe)],
    );
    let found = tab.run_until_called(
        "const done = arguments[0];\
         axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa'], resultTypes: ['violations']})\
           .then(({violations, passes}) => done({passes: passes.length, violations: violations.map((one) =>\
             ({id: one.id, impact: one.impact, help: one.help, nodes: one.nodes.slice(0, 3).map((node) => node.html + ' ' + node.failureSummary)}))}),\
             (error) => done({failed: String(error)}))",
        &[],
    );
    assert!(
        found["passes"].as_u64() > Some(5),
        "axe looked at nothing on {what}: {found}"
    );
    let all = found["violations"].as_array().unwrap().iter();
    for mild in all.clone().filter(|one| !is_grave(one)) {
        println!("browser: axe on {what}: {mild}");
    }
    all.filter(|one| is_grave(one))
        .map(|one| format!("{what}: {one}"))
        .collect()
}

fn is_grave(violation: &Value) -> bool {
    matches!(violation["impact"].as_str(), Some("serious" | "critical"))
}

pub fn axe(scene: &mut Scene) {
    let axe = match scene.tools.axe.clone() {
        Ok(axe) => axe,
        Err(why) => return scene.skip(&why),
    };
    let mut found = Vec::new();
    for scheme in ["light", "dark"] {
        scene.tab.prefer(scheme);
        for width in [1280, 390] {
            scene.tab.resize(width, HEIGHT);
            scene.open(HERE);
            until("charts are there", SOON, || {
                scene.tab.is_shown("#series figure").then_some(())
            });
            scene.tab.run(
                "document.querySelectorAll('details').forEach((one) => (one.open = true))",
                &[],
            );
            found.extend(violations(scene, &axe, &format!("the overview, {scheme}, {width}")));
        }
        scene.tab.click("#broadcasts [data-part=title]");
        until("the sheet is open", SOON, || {
            scene.tab.is_shown("#detail[open] #people-title").then_some(())
        });
        found.extend(violations(scene, &axe, &format!("a broadcast, {scheme}")));
        scene.tab.click("#detail-close");
        scene.tab.click("#new-broadcast");
        until("the form is open", SOON, || {
            scene.tab.is_shown("#publish[open] #clauses input").then_some(())
        });
        scene.tab.run(
            "document.querySelector('#priorities input[value=critical]').click()",
            &[],
        );
        found.extend(violations(scene, &axe, &format!("the form, {scheme}")));
        scene.tab.click("#publish-close");
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
