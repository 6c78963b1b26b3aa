//! # Browser
//!
//! What: the dashboard in a real browser, Debian's Chromium driven by its chromedriver, over three nodes with people.
//! Why: what a node answers says little about what a person sees, hears, and reaches with a keyboard.
//! Never: a pass where there is no browser: such a run says `NOT RUN` and why, and counts nothing. A product type.
//! Start: [`CASES`], then [`scene`]; the wire to the browser is [`tab`].
//!
//! `CAMPANILE_BROWSER`: `auto` (the default) runs where there are `chromium` and `chromedriver`; `require` fails where there are
//! not, and where axe-core is not; `off` does not run. axe-core is `CAMPANILE_AXE`, or `browser/package/axe.min.js` in the target
//! folder. Pictures for people to look at go to `browser/` there, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test says no by panicking
#![allow(clippy::disallowed_methods)] // deadlines and switches of the tests; the product's clock and settings are not theirs

#[path = "../harness/mod.rs"]
mod harness;

mod access;
mod forms;
mod keyboard;
mod live;
mod looks;
mod loss;
mod panels;
mod scene;
mod tab;
mod tools;

use scene::Scene;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;
use tools::Tools;

type Case = (&'static str, fn(&mut Scene));

/// In this order, on one cluster and in one browser; the last ones kill nodes.
const CASES: [Case; 17] = [
    ("budget::the_page_is_small_and_paints_at_once", looks::budget),
    ("panels::the_cluster_is_as_another_node_says", panels::cluster),
    ("panels::people_and_weddings_are_as_another_node_says", panels::people),
    ("panels::the_node_is_as_it_says_itself", panels::node),
    ("panels::alerts_are_calm_or_named", panels::alerts),
    ("panels::series_are_shown_and_saved", panels::series),
    ("live::what_is_published_appears_and_fills", live::appears),
    ("live::escalation_is_shown_step_by_step", live::escalates),
    ("forms::a_look_and_a_publish", forms::publishes),
    ("forms::a_critical_has_to_be_meant", forms::critical),
    ("keyboard::everything_is_reached_and_seen", keyboard::walk),
    ("keyboard::a_broadcast_goes_out_without_a_mouse", keyboard::publishes),
    ("panels::the_coming_days_are_as_the_node_expects_them", panels::days),
    ("looks::pictures_in_all_sizes", looks::pictures),
    ("looks::axe_finds_nothing_serious", looks::axe),
    ("access::a_token_is_asked_for", access::token),
    ("loss::a_killed_leader_is_shown", loss::leader),
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let is_listed = words.iter().any(|word| word == "--list");
    let wanted = |name: &str| {
        let mut filters = words.iter().filter(|word| !word.starts_with('-')).peekable();
        filters.peek().is_none() || filters.any(|filter| name.contains(filter.as_str()))
    };
    let cases: Vec<&Case> = CASES.iter().filter(|(name, _)| wanted(name)).collect();
    if is_listed {
        for (name, _) in &cases {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    if cases.is_empty() {
        return ExitCode::SUCCESS;
    }
    match Tools::find() {
        Ok(tools) => run(&cases, tools),
        Err(tools::Missing::Asked(why)) => {
            eprintln!("browser: {} cases NOT RUN: {why}", cases.len());
            ExitCode::SUCCESS
        }
        Err(tools::Missing::Needed(why)) => {
            eprintln!("browser: FAILED, not run: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(cases: &[&Case], tools: Tools) -> ExitCode {
    let begun = Instant::now();
    let mut failed = Vec::new();
    let mut not_run = 0;
    let mut scene = Scene::start(tools);
    for (name, case) in cases {
        let started = Instant::now();
        let ended = catch_unwind(AssertUnwindSafe(|| {
            scene.begin();
            case(&mut scene);
            scene.end();
        }));
        let took = started.elapsed().as_secs_f32();
        let word = match (ended, scene.take_skipped()) {
            (Err(_), _) => {
                scene.keep_evidence(name);
                failed.push(*name);
                "FAILED".to_owned()
            }
            (Ok(()), Some(why)) => {
                not_run += 1;
                format!("NOT RUN: {why}")
            }
            (Ok(()), None) => "ok".to_owned(),
        };
        println!("browser {name} ... {word} ({took:.1} s)");
    }
    drop(scene);
    let passed = cases.len() - failed.len() - not_run;
    println!(
        "browser: {passed} passed, {} failed, {not_run} not run; {:.1} s",
        failed.len(),
        begun.elapsed().as_secs_f32()
    );
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        println!("failed: {}", failed.join(", "));
        ExitCode::FAILURE
    }
}
