//! Every panel against what the API says: of the cluster through another node, of the node itself through its own.

use super::harness::until;
use super::scene::{HERE, LISTENING, MEMBERS, SOON, Scene, THERE, agree};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

const FORECAST_WITHIN: Duration = Duration::from_secs(30);

fn items<'v>(value: &'v Value, name: &str) -> Vec<&'v Value> {
    value[name].as_array().into_iter().flatten().collect()
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Shares as the page writes them: one decimal, where there is one.
fn percent(share: &Value) -> String {
    let Some(share) = share.as_f64() else {
        return "–".into();
    };
    let rounded = (share * 1_000.0).round() / 10.0;
    format!("{rounded} %")
}

pub fn cluster(scene: &mut Scene) {
    let tab = &scene.tab;
    agree(
        "nodes and their roles",
        || tab.texts("#nodes [data-part=name], #nodes [data-part=role]").join(" "),
        || {
            let told = scene.told(THERE, "/v1/cluster");
            let here = scene.cluster.nodes[HERE].id;
            let name = |node: &Value| {
                let this = if node["node"] == here { ", this one" } else { "" };
                format!("Node {}{this} {}", node["node"], text(&node["role"]))
            };
            let names: Vec<String> = items(&told, "nodes").into_iter().map(name).collect();
            names.join(" ")
        },
    );
    agree(
        "who leads",
        || tab.text("#nodes-note"),
        || {
            let told = scene.told(THERE, "/v1/cluster");
            format!("node {} leads, term {}", told["leader"], told["term"])
        },
    );
    agree(
        "broadcasts that are out",
        || tab.texts("#broadcasts [data-part=title], #urgent [data-part=title]"),
        || {
            let board = scene.told(THERE, "/v1/dashboard");
            items(&board, "broadcasts")
                .iter()
                .map(|row| text(&row["title"]))
                .collect()
        },
    );
    agree(
        "how far the newest is",
        || tab.text("#broadcasts [data-part=counts]"),
        || {
            let list = scene.told(THERE, "/v1/broadcasts?status=released&limit=1");
            let id = text(&list["items"][0]["id"]);
            let counts = scene.told(THERE, &format!("/v1/broadcasts/{id}"))["counts"].clone();
            let (targeted, sent, received) = (&counts["targeted"], &counts["sent"], &counts["received"]);
            format!("{targeted} meant · {sent} sent · {received} received")
        },
    );
    agree(
        "what is scheduled",
        || tab.texts("#scheduled [data-part=title]"),
        || {
            let list = scene.told(THERE, "/v1/broadcasts?status=scheduled");
            items(&list, "items").iter().map(|row| text(&row["title"])).collect()
        },
    );
    agree(
        "dead letters",
        || tab.text("#undelivered-note"),
        || match scene.told(THERE, "/v1/dead-letters")["total"].as_u64() {
            Some(0) => "no dead letters".into(),
            total => format!("{} dead letters", total.unwrap()),
        },
    );
    agree(
        "outputs",
        || tab.texts("#outputs [data-part=name]"),
        || {
            let told = scene.told(THERE, "/v1/outputs");
            let name = |output: &Value| format!("{} ({})", text(&output["name"]), text(&output["shape"]));
            items(&told, "items").into_iter().map(name).collect()
        },
    );
}

pub fn people(scene: &mut Scene) {
    let tab = &scene.tab;
    let connected = LISTENING as u64;
    agree(
        "who is connected anywhere",
        || vec![tab.text("#figure-connected"), tab.text("#figure-connected-more")],
        || {
            let capacity = &scene.told(THERE, "/v1/dashboard")["capacity"];
            assert_eq!(capacity["users"], MEMBERS as u64 + 1);
            vec![
                text(&capacity["connected"]),
                format!("of {} people, on all nodes", capacity["users"]),
            ]
        },
    );
    until("all who listen are counted", SOON, || {
        (tab.text("#figure-connected") == connected.to_string()).then_some(())
    });
    agree(
        "weddings",
        || tab.texts("#weddings [data-part=name], #weddings [data-part=there]"),
        || {
            let near = scene.told(THERE, "/v1/dashboard")["weddings"].clone();
            let shown = |wedding: &&Value| {
                let there = match wedding["members"].as_u64() {
                    Some(0) => "no members yet".into(),
                    _ => format!("{} of {} connected", wedding["connected"], wedding["members"]),
                };
                [text(&wedding["name"]), there]
            };
            items(&near, "items").iter().flat_map(shown).collect()
        },
    );
    assert_eq!(tab.text("#weddings-note"), "1 on now, 2 within 7 days");
    until("a wedding is on: the page opens on it", SOON, || {
        (tab.text("#board .wide h2") == "Weddings").then_some(())
    });
}

/// Later than the others: a forecast is made every ten seconds.
pub fn days(scene: &mut Scene) {
    let tab = &scene.tab;
    until("the forecast knows of the weddings", FORECAST_WITHIN, || {
        let told = scene.told(HERE, "/v1/scaling");
        (told["forecast"]["peak"]["weddings"].as_u64() > Some(0)).then_some(())
    });
    agree(
        "what the coming days need",
        || {
            tab.texts("#days [data-part=value]")
                .iter()
                .filter(|day| *day != "–")
                .count()
        },
        || {
            // The days on which something is expected.
            let told = scene.told(HERE, "/v1/scaling");
            let steps = items(&told["forecast"], "steps");
            let days = |at: usize| {
                let moment = |at: usize| -> Option<Timestamp> { text(&steps.get(at)?["at"]).parse().ok() };
                let from = moment(at).unwrap().to_zoned(TimeZone::UTC).date();
                let last = moment(at + 1).map(|end| end - SignedDuration::from_millis(1));
                let last = last.map_or(from, |last| last.to_zoned(TimeZone::UTC).date());
                from.series(1.days())
                    .take_while(move |day| *day <= last)
                    .collect::<Vec<_>>()
            };
            let busy = (0..steps.len()).filter(|at| steps[*at]["weddings"].as_u64() > Some(0));
            busy.flat_map(days).collect::<BTreeSet<_>>().len()
        },
    );
    assert_eq!(tab.text("#days-note"), "What this machine can do was not measured.");
}

pub fn node(scene: &mut Scene) {
    let tab = &scene.tab;
    agree(
        "score and headline",
        || vec![tab.text("#score"), tab.text("#headline")],
        || {
            let health = scene.told(HERE, "/v1/dashboard")["health"].clone();
            assert_eq!(health["concerns"], json!([]), "{health}");
            vec![text(&health["score"]), "All is well.".into()]
        },
    );
    agree(
        "queues",
        || tab.texts("#queues th, #queues td:nth-child(2)"),
        || {
            let queues = scene.told(HERE, "/v1/queues");
            let waits = |name: &str| [name.to_owned(), text(&queues[name]["waiting"])];
            ["critical", "high", "normal", "low"]
                .into_iter()
                .flat_map(waits)
                .collect()
        },
    );
    agree(
        "sessions, of those there may be",
        || tab.text("#room li:first-child [data-part=value]").replace(',', ""),
        || {
            let capacity = &scene.told(HERE, "/v1/dashboard")["capacity"];
            format!("{} of {}", capacity["sessions"], capacity["sessions_max"])
        },
    );
    agree(
        "what was not measured is said to be so",
        || tab.texts("#room [data-part=value]").last().cloned(),
        || {
            let told = scene.told(HERE, "/v1/scaling");
            assert_eq!(told["forecast"]["share"], Value::Null, "{told}");
            Some("not measured".into())
        },
    );
    agree(
        "threads",
        || tab.text("#threads-note"),
        || {
            let told = scene.told(HERE, "/v1/scaling");
            let (least, most) = (&told["threads_min"], &told["threads_max"]);
            if least == most {
                return text(&told["threads"]);
            }
            format!("{}, of {least} to {most}", told["threads"])
        },
    );
    agree(
        "decisions and their reasons",
        || tab.texts("#decisions [data-part=why]"),
        || {
            let told = scene.told(HERE, "/v1/scaling");
            let newest = items(&told, "decisions").into_iter().take(5);
            newest.map(|decision| text(&decision["reason"])).collect()
        },
    );
    agree(
        "how often the cache has it",
        || tab.text("#cache-note"),
        || {
            let told = scene.told(HERE, "/v1/cache");
            assert_eq!(told["reads"]["hit_rate"], 0.75, "{told}");
            format!("{} found", percent(&told["reads"]["hit_rate"]))
        },
    );
    tab.click("section[aria-labelledby=cache-title] summary");
    agree(
        "the cache by namespace",
        || tab.texts("#namespaces tr"),
        || {
            let told = scene.told(HERE, "/v1/cache");
            let row = |space: &Value| {
                let rate = percent(&space["reads"]["hit_rate"]);
                format!("{} {} {rate} none", text(&space["name"]), space["entries"])
            };
            items(&told, "namespaces").into_iter().map(row).collect()
        },
    );
}

pub fn alerts(scene: &mut Scene) {
    let tab = &scene.tab;
    let board = scene.told(HERE, "/v1/dashboard");
    if board["alerts"].is_null() {
        assert!(!tab.is_shown("#alerts-card"), "a card without rules");
        assert!(!tab.is_shown("#uptime") || !board["uptime"].is_null());
        return;
    }
    agree(
        "what is wrong, and why",
        || tab.texts("#alerts [data-part=rule], #alerts [data-part=reason]"),
        || {
            let told = scene.told(HERE, "/v1/alerts");
            let shown = |alert: &Value| [text(&alert["rule"]).replace('_', " "), text(&alert["reason"])];
            items(&told, "items").into_iter().flat_map(shown).collect()
        },
    );
    agree(
        "how many fire",
        || tab.text("#alerts-note"),
        || {
            let told = scene.told(HERE, "/v1/alerts");
            match items(&told, "items")
                .iter()
                .filter(|alert| alert["state"] == "firing")
                .count()
            {
                0 => "nothing is firing".into(),
                count => format!("{count} firing"),
            }
        },
    );
}

pub fn series(scene: &mut Scene) {
    let tab = &scene.tab;
    until("a chart has points", SOON, || {
        let drawn = tab.run("return document.querySelectorAll('#series path.trace').length", &[]);
        (drawn.as_u64() > Some(0)).then_some(())
    });
    let titles = tab.texts("#series h3");
    assert_eq!(titles, ["Latency", "Throughput", "Connections", "Errors", "Cache"]);
    tab.click("#series [data-key=connections] summary");
    until("rows that the node has, too, are as it has them", SOON, || {
        let told = scene.told(HERE, "/v1/dashboard/series/connections");
        let clock = |point: &Value| text(&point["at"]).get(11..19).unwrap_or_default().to_owned();
        let points = items(&told, "points");
        let known: BTreeSet<String> = points.iter().map(|point| clock(point)).collect();
        let all = points
            .iter()
            .map(|point| format!("{} {:.0}", clock(point), point["sessions"].as_f64().unwrap()));
        let all: BTreeSet<String> = all.collect();
        let rows = tab.texts("#series [data-key=connections] tbody tr");
        let mut both = rows
            .iter()
            .filter(|row| known.contains(row.get(..8).unwrap_or_default()))
            .peekable();
        (both.peek().is_some() && both.all(|row| all.contains(row))).then_some(())
    });
    for (format, begins) in [("csv", "at,sessions_sessions\n"), ("json", "{\"name\":\"connections\"")] {
        // The file that a click saves, read before it reaches the disk.
        let saved = tab.run_until_called(
            "const [format, done] = arguments;\
             const make = URL.createObjectURL;\
             URL.createObjectURL = (blob) => (blob.text().then((text) => done([blob.type, text])), make.call(URL, blob));\
             document.querySelector(`#series [data-key=connections] [data-save=${format}]`).click();",
            &[json!(format)],
        );
        let file = saved[1].as_str().unwrap();
        assert!(file.starts_with(begins), "{format}: {saved}");
        let rows = file.matches('T').count();
        assert!(rows > 2, "{format}: {rows} points in {file}");
        tab.run("location.reload()", &[]);
        scene.open(HERE);
        tab.click("#series [data-key=connections] summary");
    }
}
