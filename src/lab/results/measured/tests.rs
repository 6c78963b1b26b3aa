//! The page and its folder, and that the page of this repository is the one that its runs make.

use super::{INDEX, Measured, anchor, spoken};
use crate::lab::results::kept::Kept;
use crate::lab::results::{Build, Verdict, fixture};
use std::fs;
use std::path::Path;

#[test]
fn the_page_of_what_was_measured_is_made_of_the_runs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let made = Measured::read(&root.join("data/measured")).unwrap().page();
    let path = root.join("docs/PERFORMANCE.md");
    #[allow(clippy::disallowed_methods)] // no setting: a word to this test
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &made).unwrap();
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == made,
        "docs/PERFORMANCE.md is old; write it with: BLESS=1 cargo test --lib measured"
    );
}

/// A folder with one file and an index of one chapter whose prose is `about`.
fn folder(kept: &Kept, about: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    kept.write(&folder.path().join("load.json")).unwrap();
    let index = format!(
        "title = 'All'\nabout = 'Of runs.'\n[[chapter]]\ntitle = 'A load'\nabout = '{about}'\nfiles = ['load.json']\n"
    );
    fs::write(folder.path().join(INDEX), index).unwrap();
    folder
}

fn kept() -> Kept {
    let (first, mut second) = (fixture::report("standard", 1.0), fixture::report("standard", 2.0));
    second.at = "2026-11-27T12:00:00.000Z".into();
    Kept::of(&first).joined(Kept::of(&second)).unwrap()
}

#[test]
fn a_chapter_says_what_came_of_it_and_where_from() {
    let page = Measured::read(folder(&kept(), "").path()).unwrap().page();
    for part in [
        "# All\n\nOf runs.\n",
        "| [A load](#a-load) | mean | 1 to 2 ms | below 1.50 ms | **missed** |",
        "| [A load](#a-load) | hit rate | not measured | above 90 ms | not measured |",
        "## A load\n\n100 broadcasts a second <to> 25 groups\n",
        "| deliveries | 10,000 to 20,000 /s |",
        "| CPU | not measured |",
        "| critical, accepted to read | 1,000 | 1 to 2 | 5 to 10.0 | 5 to 10.0 | 20.0 to 40.0 | 20.0 to 40.0 |",
        "Decisions:\n\n| rule | threads |\n|---|---|\n| busy & <hot> | 1 to 2 |\n",
        "user 3 never got number 7 (low)\n\na note\n\n*`campanile load --scenario standard`, 2026-11-26 to 2026-11-27; groups 25; ",
        "; commit `abc`; 2 runs, median [lowest to highest]; [load.json](../data/measured/load.json).*\n",
    ] {
        assert!(page.contains(part), "{part}\nis not in\n{page}");
    }
}

/// A chapter with a section, and a file in each.
fn two_files(one: &Kept, other: &Kept, show: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    one.write(&folder.path().join("one.json")).unwrap();
    other.write(&folder.path().join("other.json")).unwrap();
    let index = format!(
        "title = 'All'\nabout = ''\n[[chapter]]\ntitle = 'Loads'\nfiles = ['one.json']\nshow = ['{show}']\n\
         [[chapter.section]]\ntitle = 'More'\nfiles = ['other.json']\n"
    );
    fs::write(folder.path().join(INDEX), index).unwrap();
    folder
}

#[test]
fn what_all_runs_of_a_chapter_say_stands_once_at_its_top() {
    let (one, mut other) = (kept(), kept());
    for run in &mut other.runs {
        run.notes.push("its own".into());
    }
    other.command = "campanile load --scale 0.25 --seed 1".into();
    let page = |one: &Kept, other: &Kept| Measured::read(two_files(one, other, "").path()).unwrap().page();
    let whole = page(&one, &other);
    assert!(
        whole.contains("## Loads\n\nOf all that follows here:\n\n- a note\n"),
        "{whole}"
    );
    for text in ["a note\n", "its own\n"] {
        assert_eq!(whole.matches(text).count(), 1, "{text}\n{whole}");
    }
    let scaled = format!("### More\n\n{}; here 0.25 times that.\n", one.about);
    assert!(whole.contains(&scaled), "{whole}");
    assert_eq!(whole.matches("times that").count(), 1, "{whole}");
    let found = "user 3 never got number 7 (low)\n";
    assert_eq!(whole.matches(found).count(), 2, "what went wrong stays where it did");
    // what only one of its runs says is not said by the file
    other.runs[0].notes.clear();
    let whole = page(&one, &other);
    assert_eq!(whole.matches("a note\n").count(), 2, "{whole}");
}

#[test]
fn what_is_to_be_shown_must_be_there() {
    let kept = kept();
    for there in ["deliveries.", "latency.critical", "Decisions"] {
        Measured::read(two_files(&kept, &kept, there).path()).unwrap();
    }
    let fault = Measured::read(two_files(&kept, &kept, "delivery.").path()).map(|_| ());
    let fault = fault.unwrap_err().to_string();
    assert!(
        fault.contains("\"delivery.\"") && fault.contains("\"Loads\""),
        "{fault}"
    );
}

#[test]
fn what_is_wrong_with_a_run_is_said_below_it() {
    let mut kept = kept();
    kept.build = Build::Debug;
    kept.commit = String::new();
    kept.targets[0].values = vec![Some(1.0), Some(1.0), Some(2.0)];
    kept.kept_by_hand = true;
    kept.runs[1].verdict = Verdict::Bad;
    kept.latencies[0].quantiles.clear();
    let said = |kept: &Kept| Measured::read(folder(kept, "").path()).unwrap().page();
    let page = said(&kept);
    for part in [
        "passed, **missed** in 1 of 3 runs",
        "**commit not known**",
        "**Something was lost, wrong or repeated in 1 of 2 runs.**",
        "| critical, accepted to read | 1,000 | not measured |",
        "**a debug build",
        "Taken over by hand from the runs of",
    ] {
        assert!(page.contains(part), "{part}\nis not in\n{page}");
    }
    assert!(!page.contains("the generator is not"), "{page}");
    kept.commit = "abc-dirty".into();
    assert!(said(&kept).contains("commit `abc-dirty`, **with changes that are in no commit**"));
    assert!(page.contains("; groups 25; "), "{page}");
    kept.command = String::new();
    kept.settings = serde_json::json!({"groups": 25, "mix": {"low": 20}});
    assert!(!said(&kept).contains("groups 25;"));
    assert!(said(&kept).contains("the generator is not in this repository"));
}

#[test]
fn prose_has_no_figures_and_every_file_is_named_once() {
    let kept = kept();
    let fault = |folder: &tempfile::TempDir| format!("{:#}", Measured::read(folder.path()).map(|_| ()).unwrap_err());
    assert!(fault(&folder(&kept, "It takes 5 ms.")).contains("\"5\""));
    Measured::read(folder(&kept, "With `--seed 1`, see [why](adr/0017-x.md).").path()).unwrap();
    let stray = folder(&kept, "");
    kept.write(&stray.path().join("stray.json")).unwrap();
    assert!(fault(&stray).contains("does not name stray.json"));
    let gone = folder(&kept, "");
    fs::remove_file(gone.path().join("load.json")).unwrap();
    assert!(fault(&gone).contains("load.json"));
    assert_eq!(
        spoken("a `1` b [c](2) d").split_whitespace().collect::<Vec<_>>(),
        ["a", "b", "[c", "d"]
    );
    assert_eq!(anchor("The log alone, the state's"), "the-log-alone-the-states");
}
