//! Each step of the two roads has a bench of its name, and the page of the architecture says against which floor.

use super::{check, root};
use std::collections::BTreeSet;

/// The steps, in the order of the roads; then what stands beside them.
const STEPS: [&str; 15] = [
    "publish",
    "propose",
    "append",
    "apply",
    "write_behind",
    "encode",
    "resolve",
    "turns",
    "fan_out",
    "receipts",
    "catch_up",
    "cache",
    "snapshot",
    "scaling",
    "directory",
];
/// The heading of the table that names them.
const HEADING: &str = "## What each step costs";

/// The second and third cell of each row of the table: the benches and their floors.
fn table(page: &str) -> Vec<(String, String)> {
    let chapter = page.split(HEADING).nth(1).unwrap_or_default();
    let chapter = chapter.split("\n## ").next().unwrap_or_default();
    let rows = chapter.lines().filter(|line| line.starts_with("| "));
    let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    let named = cells.filter_map(|cells| {
        let bench = cells.get(2)?.strip_prefix('`')?.strip_suffix('`')?;
        Some((bench.to_owned(), (*cells.get(3)?).to_owned()))
    });
    named.collect()
}

/// The benches that the manifest names, each with a `main` of its own.
fn registered(manifest: &str) -> BTreeSet<&str> {
    let sections = manifest
        .split("[[")
        .filter_map(|section| section.strip_prefix("bench]]"));
    let own = sections.filter(|section| section.contains("harness = false"));
    own.filter_map(|section| section.split('"').nth(1)).collect()
}

fn faults(files: &BTreeSet<String>, manifest: &str, page: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let (registered, table) = (registered(manifest), table(page));
    for step in STEPS {
        if !files.contains(step) {
            faults.push(format!("benches/{step}.rs: the step has no bench"));
        }
        if !registered.contains(step) {
            faults.push(format!("Cargo.toml: {step} is no bench with harness = false"));
        }
        let rows: Vec<_> = table.iter().filter(|(bench, _)| bench == step).collect();
        if rows.len() != 1 || rows.iter().any(|(_, floor)| floor.is_empty()) {
            faults.push(format!(
                "docs/ARCHITECTURE.md: {step} is not named once, with its floor"
            ));
        }
    }
    let is_step = |name: &str| STEPS.contains(&name);
    let strays = files.iter().map(String::as_str).chain(registered);
    let strays = strays.chain(table.iter().map(|(bench, _)| bench.as_str()));
    let strays: BTreeSet<&str> = strays.filter(|name| !is_step(name)).collect();
    faults.extend(
        strays
            .into_iter()
            .map(|name| format!("{name}: a bench that is no step")),
    );
    faults
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

#[test]
fn every_step_has_its_bench() {
    let entries = std::fs::read_dir(root().join("benches")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    let files = names
        .filter_map(|name| name.strip_suffix(".rs").map(str::to_owned))
        .collect();
    check(faults(&files, &read("Cargo.toml"), &read("docs/ARCHITECTURE.md")));
}

#[test]
fn a_step_without_bench_row_or_entry_is_found() {
    let files: BTreeSet<String> = STEPS.map(str::to_owned).into();
    let entry = |name: &str| format!("[[bench]]\nname = \"{name}\"\nharness = false\n\n");
    let row = |name: &str| format!("| what it is | `{name}` | a floor |\n");
    let manifest: String = STEPS.map(entry).concat();
    let page = format!("{HEADING}\n\n{}\n## Next\n", STEPS.map(row).concat());
    let count = |files: &BTreeSet<String>, manifest: &str, page: &str| faults(files, manifest, page).len();
    assert_eq!(count(&files, &manifest, &page), 0);
    let fewer: BTreeSet<String> = files.iter().skip(1).cloned().collect();
    assert_eq!(count(&fewer, &manifest, &page), 1, "a step without a file");
    let more: BTreeSet<String> = files.iter().cloned().chain(["attic".to_owned()]).collect();
    assert_eq!(count(&more, &manifest, &page), 1, "a file without a step");
    let harnessed = manifest.replacen("harness = false", "", 1);
    assert_eq!(count(&files, &harnessed, &page), 1, "a bench of the harness");
    assert_eq!(count(&files, &manifest, &page.replace(&row("apply"), "")), 1, "no row");
    assert_eq!(
        count(&files, &manifest, &page.replacen("a floor", "", 1)),
        1,
        "no floor"
    );
    assert_eq!(
        count(&files, &manifest, &page.replace("## Next", &row("attic"))),
        1,
        "a stray row"
    );
}
