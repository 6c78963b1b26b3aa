//! The house's rules about its own text: floors, homes of dependencies, purity, and what must not be there.
//! Every rule is also tried on a bad snippet: a rule that can't fail proves nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test says no by panicking

#[path = "tidy/benches.rs"]
mod benches;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// One file of the repository, as text.
struct Source {
    /// From the top of the repository, with `/`.
    path: String,
    text: String,
}

/// A part of the program by name, and the floor it stands on.
type Floors = BTreeMap<String, u32>;

/// Lines of a file; more is a centre that wants to be split by verb.
const LINES_MAX: usize = 600;
/// Files that are longer all the same. Shorten one and its entry has to go.
const LONG_FILES: [&str; 1] = ["src/state/tests.rs"];
/// What the user wants to see at the top; `docs`, the licence and names with a dot may stand beside it.
const TOP_LEVEL: [&str; 9] = [
    "Cargo.toml",
    "Cargo.lock",
    "LICENSE",
    "README.md",
    "benches",
    "data",
    "docs",
    "src",
    "tests",
];
/// A crate, and the only parts that may name it.
const HOMES: [(&str, &[&str]); 32] = [
    ("openraft", &["consensus"]),
    ("raft_log", &["consensus"]),
    ("codeq", &["consensus"]),
    ("sled", &["storage"]),
    ("zstd", &["storage"]),
    ("crc32fast", &["storage", "consensus"]),
    ("hyper", &["net", "api", "consensus"]),
    ("hyper_util", &["net", "api", "consensus"]),
    ("tokio_rustls", &["net"]),
    ("rustls_native_certs", &["net"]),
    ("rcgen", &["net"]),
    ("hmac", &["outputs", "lab"]),
    ("quick_cache", &["cache"]),
    ("axum", &["net", "api"]),
    ("tower_service", &["net", "api"]),
    ("httparse", &["net", "api", "lab"]),
    ("crossbeam_channel", &["workers", "gateway", "storage"]),
    ("mio", &["workers", "gateway", "lab"]), // lab: thousands of sockets in one thread, as a server has them
    ("socket2", &["net", "gateway"]),
    ("clap", &["cli"]),
    ("indicatif", &["cli", "lab"]),
    ("ratatui", &["cli"]),
    ("crossterm", &["cli"]),
    ("anstream", &["cli", "lab"]),
    ("anstyle", &["cli", "lab"]),
    ("jiff", &["base", "control"]),
    ("jsonwebtoken", &["security"]),
    ("prometheus", &["metrics"]),
    ("hdrhistogram", &["lab"]),
    ("toml", &["config", "cli", "lab"]),
    ("strsim", &["config", "api"]),
    ("tracing_subscriber", &["node", "cli"]),
];
/// Deciders are told the time and the dice; they open nothing.
const PURE: [&str; 5] = ["model", "state", "queue", "scaling", "alerting"];
const IMPURE_WORDS: [&str; 13] = [
    "Instant::now",
    "SystemTime",
    "clock::now",
    "clock::wall",
    "rand::",
    "std::env",
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "tokio::",
    "parking_lot::",
    "crossbeam_channel::",
];
/// Words that have no business in `src`. Split, or this file would find itself.
const LEFTOVERS: [&str; 6] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("unimpl", "emented!"),
    concat!("to", "do!("),
    concat!("unbounded", "_channel"),
    concat!("unbounded", "()"),
];
/// The one file of the tests that may pause: it waits for conditions, with a deadline.
const MAY_PAUSE: &str = "tests/harness/wait.rs";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(read(&path));
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn read(path: &PathBuf) -> Source {
    let name = path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
    let text = std::fs::read_to_string(path).unwrap();
    Source { path: name, text }
}

/// The folder under `src` that a file belongs to; `lib` and `main` are their own.
fn part(path: &str) -> &str {
    let inside = path.strip_prefix("src/").unwrap_or(path);
    let first = inside.split('/').next().unwrap_or(inside);
    first.strip_suffix(".rs").unwrap_or(first)
}

/// The code of a file by line, without comments and the insides of texts.
fn code(text: &str) -> Vec<String> {
    text.lines().map(bare).collect()
}

fn bare(line: &str) -> String {
    let mut kept = String::new();
    let mut letters = line.chars().peekable();
    let mut in_text = false;
    while let Some(letter) = letters.next() {
        match letter {
            '\\' if in_text => {
                letters.next();
            }
            '"' => in_text = !in_text,
            '/' if !in_text && letters.peek() == Some(&'/') => break,
            other if !in_text => kept.push(other),
            _ => {}
        }
    }
    kept
}

/// Does `code` name `word` as a path's first segment (`word::` not preceded by a letter or `::`)?
fn names(code: &str, word: &str) -> bool {
    let path = format!("{word}::");
    let start = |at: usize| {
        let before = &code[..at];
        !before.ends_with("::")
            && !before
                .chars()
                .next_back()
                .is_some_and(|letter| letter.is_alphanumeric() || letter == '_')
    };
    code.match_indices(&path).any(|(at, _)| start(at))
}

/// Every part that a file reaches through `crate::` (or `campanile::` from `main`).
fn reached(source: &Source) -> BTreeSet<String> {
    let text = code(&source.text).join("\n");
    let mut parts = BTreeSet::new();
    for door in ["crate::", "campanile::"] {
        for (at, _) in text.match_indices(door) {
            parts.extend(first_names(&text[at + door.len()..]));
        }
    }
    parts
}

/// The names right behind `crate::`: one, or those of the outer braces.
fn first_names(rest: &str) -> Vec<String> {
    let word = |text: &str| -> String {
        text.trim_start()
            .chars()
            .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
            .collect()
    };
    let Some(inside) = rest.strip_prefix('{') else {
        return vec![word(rest)];
    };
    let mut depth = 0;
    let mut all = vec![word(inside)];
    for (at, letter) in inside.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => all.push(word(&inside[at + 1..])),
            _ => {}
        }
    }
    all.retain(|name| !name.is_empty());
    all
}

/// Reads the table of floors in the docs of `src/lib.rs`: the map is the rule.
fn floors(lib: &str) -> Floors {
    let mut floors = Floors::new();
    for line in lib.lines().filter_map(|line| line.strip_prefix("//! |")) {
        let mut cells = line.split('|').map(str::trim);
        let Some(Ok(floor)) = cells.next().map(str::parse::<u32>) else {
            continue;
        };
        let parts = cells.next().unwrap_or_default();
        for name in parts.split('`').skip(1).step_by(2) {
            floors.insert(name.into(), floor);
        }
    }
    floors
}

fn floor_faults(floors: &Floors, source: &Source) -> Vec<String> {
    let own = part(&source.path);
    if own == "lib" {
        return Vec::new();
    }
    let top = u32::MAX;
    let floor = |name: &str| if name == "main" { Some(&top) } else { floors.get(name) };
    let Some(own_floor) = floor(own) else {
        return vec![format!("{}: part {own} is not on the map in src/lib.rs", source.path)];
    };
    reached(source)
        .into_iter()
        .filter(|name| name != own)
        .filter_map(|name| {
            let other = floor(&name)?;
            (other >= own_floor).then(|| format!("{}: {own} reaches up or sideways to {name}", source.path))
        })
        .collect()
}

fn home_faults(source: &Source) -> Vec<String> {
    let own = part(&source.path);
    let lines = code(&source.text);
    HOMES
        .iter()
        .filter(|(_, homes)| !homes.contains(&own))
        .filter(|(name, _)| lines.iter().any(|line| names(line, name)))
        .map(|(name, homes)| format!("{}: {name} is at home in {homes:?} only", source.path))
        .collect()
}

fn purity_faults(source: &Source) -> Vec<String> {
    if !PURE.contains(&part(&source.path)) {
        return Vec::new();
    }
    word_faults(source, &IMPURE_WORDS, "belongs to a higher floor")
}

fn clock_faults(source: &Source) -> Vec<String> {
    if source.path == "src/base/clock.rs" {
        return Vec::new();
    }
    word_faults(
        source,
        &["Instant::now", "SystemTime::now"],
        "is read in base::clock only",
    )
}

fn leftover_faults(source: &Source) -> Vec<String> {
    word_faults(source, &LEFTOVERS, "must not stay")
}

fn pause_faults(source: &Source) -> Vec<String> {
    let ignored = concat!("#[ig", "nore");
    let slept = concat!("sle", "ep(");
    let mut words = vec![ignored];
    if source.path != MAY_PAUSE {
        words.push(slept);
    }
    word_faults(source, &words, "has no place in a test")
}

/// Unit tests stand at the end of their file, behind `#[cfg(test)]`.
fn test_half(source: &Source) -> Source {
    let at = source.text.find("#[cfg(test)]").unwrap_or(source.text.len());
    Source {
        path: source.path.clone(),
        text: source.text[at..].into(),
    }
}

fn word_faults(source: &Source, words: &[&str], why: &str) -> Vec<String> {
    let marks = [LEFTOVERS[0], LEFTOVERS[1]];
    let mut faults = Vec::new();
    for (number, line) in source.text.lines().enumerate() {
        let bare = bare(line);
        for word in words {
            let place = if marks.contains(word) { line } else { bare.as_str() };
            if place.contains(word) {
                faults.push(format!("{}:{}: {word} {why}", source.path, number + 1));
            }
        }
    }
    faults
}

fn opening_faults(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    if !source.text.starts_with("//!") {
        faults.push(format!("{}: does not open by saying what it is for", source.path));
    }
    let depth = source.path.matches('/').count();
    if depth == 2 && source.path.ends_with("/mod.rs") && source.path.starts_with("src/") {
        for word in ["What:", "Why:", "Never:", "Start:"] {
            if !source.text.contains(word) {
                faults.push(format!("{}: the table of contents has no {word:?}", source.path));
            }
        }
    }
    faults
}

fn length_faults(source: &Source) -> Vec<String> {
    let lines = source.text.lines().count();
    let excused = LONG_FILES.contains(&source.path.as_str());
    match (lines > LINES_MAX, excused) {
        (true, false) => vec![format!("{}: {lines} lines, at most {LINES_MAX}", source.path)],
        (false, true) => vec![format!("{}: is short again, take it off the list", source.path)],
        _ => Vec::new(),
    }
}

/// The names at the top of the repository: what git tracks, or else what is there.
fn top_level() -> BTreeSet<String> {
    let listed = Command::new("git").arg("-C").arg(root()).args(["ls-files"]).output();
    let tracked = listed.ok().filter(|out| out.status.success() && !out.stdout.is_empty());
    let names: Vec<String> = match tracked {
        Some(out) => String::from_utf8_lossy(&out.stdout).lines().map(Into::into).collect(),
        None => std::fs::read_dir(root())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|name| name != "target")
            .collect(),
    };
    names
        .iter()
        .filter_map(|path| path.split('/').next())
        .map(Into::into)
        .collect()
}

fn top_level_faults(names: &BTreeSet<String>) -> Vec<String> {
    names
        .iter()
        .filter(|name| !name.starts_with('.') && !name.starts_with("LICENSE-"))
        .filter(|name| !TOP_LEVEL.contains(&name.as_str()))
        .map(|name| format!("{name}: does not belong at the top"))
        .collect()
}

fn check(faults: impl IntoIterator<Item = String>) {
    let faults: Vec<String> = faults.into_iter().collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn imports_go_down_only() {
    let all = sources("src");
    let lib = all.iter().find(|source| source.path == "src/lib.rs").unwrap();
    let floors = floors(&lib.text);
    assert!(floors.len() >= 10, "the map in src/lib.rs has only {floors:?}");
    check(all.iter().flat_map(|source| floor_faults(&floors, source)));
}

#[test]
fn every_dependency_stays_at_home() {
    check(sources("src").iter().flat_map(home_faults));
}

#[test]
fn deciders_are_pure_and_one_file_reads_the_clock() {
    let all = sources("src");
    check(
        all.iter()
            .flat_map(purity_faults)
            .chain(all.iter().flat_map(clock_faults)),
    );
}

#[test]
fn nothing_is_left_for_later() {
    check(sources("src").iter().flat_map(leftover_faults));
}

#[test]
fn tests_neither_pause_nor_hide() {
    let unit = sources("src").iter().map(test_half).collect::<Vec<_>>();
    let outer = sources("tests");
    check(unit.iter().chain(&outer).flat_map(pause_faults));
}

#[test]
fn every_file_says_what_it_is_for_and_is_short() {
    let mut all = sources("src");
    all.extend(sources("tests"));
    all.extend(sources("benches"));
    check(
        all.iter()
            .flat_map(opening_faults)
            .chain(all.iter().flat_map(length_faults)),
    );
}

#[test]
fn the_top_is_as_the_user_wants_it() {
    check(top_level_faults(&top_level()));
}

/// Each rule on a snippet that breaks it, and on one that does not.
#[test]
fn the_rules_can_fail() {
    let source = |path: &str, text: &str| Source {
        path: path.into(),
        text: text.into(),
    };
    let floors = floors("//! | 3 | [`storage`], [`net`] |\n//! | 2 | [`state`] |\n//! | 0 | [`base`] |");
    let finds = |faults: Vec<String>, count: usize, what: &str| assert_eq!(faults.len(), count, "{what}: {faults:?}");

    let up = source("src/state/apply.rs", "use crate::storage::Store;");
    finds(floor_faults(&floors, &up), 1, "up");
    let sideways = source("src/net/tls.rs", "fn f() { crate::storage::open() }");
    finds(floor_faults(&floors, &sideways), 1, "sideways");
    let braces = source(
        "src/state/rows.rs",
        "use crate::{base::{clock, size}, state::Row,\n  net::tls};",
    );
    finds(floor_faults(&floors, &braces), 1, "in braces");
    let unknown = source("src/attic/mod.rs", "");
    finds(floor_faults(&floors, &unknown), 1, "not on the map");
    let down = source(
        "src/storage/store.rs",
        "// crate::net\nuse crate::state::Row; // crate::net::x",
    );
    finds(floor_faults(&floors, &down), 0, "down, and in comments");

    finds(
        home_faults(&source("src/api/mod.rs", "use sled::Tree;")),
        1,
        "sled away",
    );
    finds(
        home_faults(&source("src/api/mod.rs", "let t: sled::Tree = x;")),
        1,
        "sled in a path",
    );
    finds(
        home_faults(&source("src/storage/mod.rs", "use sled::Tree;")),
        0,
        "sled at home",
    );
    finds(
        home_faults(&source("src/api/mod.rs", "use crate::toml::x; fn bobsled() {}")),
        0,
        "other words",
    );

    finds(
        purity_faults(&source("src/state/a.rs", "let n = rand::random();")),
        1,
        "dice",
    );
    finds(
        purity_faults(&source("src/queue/a.rs", "use std::fs::File;")),
        1,
        "files",
    );
    finds(
        purity_faults(&source("src/net/a.rs", "use std::fs::File;")),
        0,
        "files higher up",
    );
    finds(
        clock_faults(&source("src/lab/a.rs", "let n = Instant::now();")),
        1,
        "clock",
    );

    for word in LEFTOVERS {
        finds(
            leftover_faults(&source("src/lab/a.rs", &format!("x({word});"))),
            1,
            word,
        );
    }
    let comment = format!("// {}: later", LEFTOVERS[0]);
    finds(leftover_faults(&source("src/lab/a.rs", &comment)), 1, "in a comment");

    let pause = source("tests/a.rs", concat!("thread::sle", "ep(x);\n#[ig", "nore]"));
    finds(pause_faults(&pause), 2, "pause and hide");
    let late = source(
        "src/lab/a.rs",
        concat!("sle", "ep(1);\n#[cfg(test)]\nmod t { sle", "ep(2); }"),
    );
    finds(pause_faults(&test_half(&late)), 1, "a pause in a unit test");

    finds(opening_faults(&source("src/lab/a.rs", "use x;")), 1, "no opening");
    finds(
        opening_faults(&source("src/lab/mod.rs", "//! # Lab\n//! What: x\n//! Why: y")),
        2,
        "no Never, no Start",
    );
    finds(
        length_faults(&source("src/lab/a.rs", &"\n".repeat(LINES_MAX + 1))),
        1,
        "long",
    );
    finds(
        length_faults(&source("src/lab/a.rs", &"\n".repeat(LINES_MAX))),
        0,
        "just short enough",
    );
    let names = ["src", "notes", ".ci", "LICENSE-MIT"].map(String::from);
    finds(top_level_faults(&BTreeSet::from(names)), 1, "a folder too many");
}
