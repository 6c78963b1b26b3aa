//! The dashboard's files as text: what they name is there, nothing comes from elsewhere, and nothing that people wrote becomes HTML.

use crate::api::dashboard::assets::{ASSETS, PAGE};
use std::collections::{BTreeMap, BTreeSet};

/// All of it together, as it goes over the wire.
const BYTES_MAX: usize = 150 << 10;
/// The only address that is not of a node: SVG's name, which nothing fetches.
const SVG: &str = "http://www.w3.org/2000/svg";
/// Ways from text to markup or code.
const FORBIDDEN: [&str; 8] = [
    "innerHTML",
    "outerHTML",
    "insertAdjacentHTML",
    "document.write",
    "DOMParser",
    "createContextualFragment",
    "eval(",
    "new Function",
];

fn scripts() -> BTreeMap<&'static str, &'static str> {
    let scripts = ASSETS
        .iter()
        .filter(|(_, media_type, _)| media_type.starts_with("text/javascript"));
    scripts.map(|(name, _, text)| (*name, *text)).collect()
}

/// What stands between each `start` and the next `end`.
fn between<'t>(text: &'t str, start: &'t str, end: &'t str) -> impl Iterator<Item = &'t str> {
    text.split(start)
        .skip(1)
        .filter_map(move |rest| Some(rest.split_once(end)?.0))
}

fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('\'').skip(1).step_by(2)
}

fn ids(page: &str) -> Vec<&str> {
    between(page, " id=\"", "\"").collect()
}

/// The ids that a script names: `by('...')`, and the quoted ones of `these(...)`.
fn named(script: &str) -> BTreeSet<&str> {
    let one = between(script, "by('", "'");
    one.chain(between(script, "these(", ")").flat_map(quoted)).collect()
}

/// Names that a script takes from another one, by that one's file.
fn imported(script: &str) -> Vec<(&str, Vec<&str>)> {
    let each = between(script, "import ", ";").filter_map(|import| {
        let (names, from) = import.split_once(" from ")?;
        let file = from.trim_matches('\'').strip_prefix("./")?;
        let names = names.strip_prefix('{').map_or(Vec::new(), |names| {
            names
                .trim_end_matches('}')
                .split(',')
                .map(str::trim)
                .filter(|name| !name.is_empty())
                .collect()
        });
        Some((file, names))
    });
    each.collect()
}

fn exported(script: &str) -> BTreeSet<&str> {
    let each = between(script, "export ", "\n").map(|line| {
        let line = line.trim_start_matches("async ").trim_start_matches("function ");
        let name = line.trim_start_matches("const ");
        let end = name.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
        &name[..end.unwrap_or(name.len())]
    });
    each.collect()
}

#[test]
fn every_id_that_a_script_names_is_on_the_page() {
    let there: BTreeSet<&str> = ids(PAGE).into_iter().collect();
    let mut count = 0;
    for (name, script) in scripts() {
        for id in named(script) {
            assert!(there.contains(id), "{name} names {id:?}");
            count += 1;
        }
    }
    assert!(count > 80, "only {count} names were found: the scan is blind");
    assert_eq!(
        named("by('a'); these('b', 'c').map(say)"),
        BTreeSet::from(["a", "b", "c"])
    );
}

#[test]
fn an_id_is_there_once_and_what_points_to_one_finds_it() {
    let all = ids(PAGE);
    let there: BTreeSet<&str> = all.iter().copied().collect();
    assert_eq!(all.len(), there.len(), "an id is there twice");
    for attribute in ["for", "list", "aria-labelledby", "aria-describedby", "href"] {
        for value in between(PAGE, &format!(" {attribute}=\""), "\"") {
            let id = value.strip_prefix('#');
            if let Some(id) = id.or(Some(value).filter(|_| attribute != "href")) {
                assert!(there.contains(id), "{attribute} points to {id:?}");
            }
        }
    }
}

#[test]
fn scripts_find_what_they_take_from_each_other() {
    let all = scripts();
    let mut count = 0;
    for (name, script) in &all {
        for (file, names) in imported(script) {
            let other = all.get(file).unwrap_or_else(|| panic!("{name} takes from {file}"));
            let there = exported(other);
            for wanted in names {
                assert!(there.contains(wanted), "{name} takes {wanted} from {file}");
                count += 1;
            }
        }
    }
    assert!(count > 40, "only {count} names were found: the scan is blind");
}

#[test]
fn nothing_comes_from_elsewhere_and_nothing_is_inline() {
    let files = ASSETS.iter().map(|(name, _, text)| (*name, *text));
    for (name, text) in files.chain([("index.html", PAGE)]) {
        let text = text.replace(SVG, "");
        for (at, _) in text.match_indices("//") {
            let before = text.get(..at).unwrap_or_default();
            let is_address = before.ends_with("http:") || before.ends_with("https:");
            assert!(!is_address, "{name} names an address: {:?}", text.get(at..at + 30));
        }
        for word in FORBIDDEN {
            assert!(!text.contains(word), "{name} has {word}");
        }
    }
    for script in between(PAGE, "<script", ">") {
        assert!(script.contains(" src=\"/dashboard/VERSION/"), "{script}");
    }
    for word in [" style=", " onclick=", " onload=", "<style", "javascript:"] {
        assert!(!PAGE.contains(word), "the page has {word}");
    }
}

#[test]
fn all_of_it_is_small() {
    let bytes = PAGE.len() + ASSETS.iter().map(|(_, _, text)| text.len()).sum::<usize>();
    assert!(bytes < BYTES_MAX, "{bytes} bytes");
}
