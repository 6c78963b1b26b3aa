//! What is shown of a kept file: its figures, what they were to reach, what it said, and where it comes from.

use crate::base::version::DIRTY;
use crate::lab::results::grid::grid;
use crate::lab::results::kept::{Aim, Kept, Latency, Series, Spread};
use crate::lab::results::{Build, Outcome, QUANTILES, Verdict, bound_words};
use serde_json::Value;
use std::fmt::Write as _;

/// Whether it has a figure, a latency or a table whose name begins so.
pub fn has(kept: &Kept, begin: &str) -> bool {
    let figures = kept.figures.iter().map(|figure| figure.key.as_str());
    let latencies = kept.latencies.iter().map(|latency| latency.key.as_str());
    let tables = kept
        .runs
        .iter()
        .flat_map(|run| &run.tables)
        .map(|table| table.title.as_str());
    figures
        .chain(latencies)
        .chain(tables)
        .any(|name| name.starts_with(begin))
}

/// How many times what it is about a load was, where that is not once.
fn scale(kept: &Kept) -> Option<&str> {
    let mut words = kept.command.split_whitespace().skip_while(|word| *word != "--scale");
    let scale = words.nth(1).filter(|scale| *scale != "1");
    scale.filter(|_| kept.kind == "load")
}

/// `told`: what stands above already.
pub fn write_kept(page: &mut String, (name, kept): (&str, &Kept), show: &[String], told: &[&str]) {
    let is_shown = |key: &str| show.is_empty() || show.iter().any(|begin| key.starts_with(begin.as_str()));
    match (kept.about.as_str(), scale(kept)) {
        ("", _) => {}
        (about, None) => drop(writeln!(page, "\n{about}")),
        (about, Some(scale)) => drop(writeln!(page, "\n{about}; here {scale} times that.")),
    }
    let bad = kept.runs.iter().filter(|run| run.verdict == Verdict::Bad).count();
    if bad > 0 {
        let all = kept.runs.len();
        let _ = writeln!(
            page,
            "\n**Something was lost, wrong or repeated in {bad} of {all} runs.**"
        );
    }
    let figures: Vec<_> = kept
        .figures
        .iter()
        .filter(|figure| is_shown(&figure.key))
        .map(figure_cells)
        .collect();
    let latencies: Vec<_> = kept
        .latencies
        .iter()
        .filter(|latency| is_shown(&latency.key))
        .map(latency_cells)
        .collect();
    let aims: Vec<_> = kept.targets.iter().map(aim_cells).collect();
    let heading = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let quantiles: Vec<&str> = ["ms", "count"]
        .into_iter()
        .chain(QUANTILES.map(|(name, _)| name))
        .collect();
    let grids = [
        (heading(&["", "measured"]), figures),
        (heading(&quantiles), latencies),
        (heading(&["target", "measured", "bound", ""]), aims),
    ];
    for (heading, rows) in grids.into_iter().filter(|(_, rows)| !rows.is_empty()) {
        let _ = write!(page, "\n{}", grid(&heading, &rows));
    }
    for table in kept.tables().into_iter().filter(|table| is_shown(&table.title)) {
        if !table.title.is_empty() {
            let _ = writeln!(page, "\n{}:", table.title);
        }
        let _ = write!(page, "\n{}", grid(&table.heading, &table.rows));
    }
    for text in kept.said().into_iter().filter(|text| !told.contains(text)) {
        let _ = writeln!(page, "\n{text}");
    }
    let _ = writeln!(page, "\n*{}*", foot(name, kept));
}

fn figure_cells(figure: &Series) -> Vec<String> {
    vec![figure.name.clone(), with_unit(&figure.values, &figure.unit)]
}

fn with_unit(values: &[Option<f64>], unit: &str) -> String {
    Spread::of(values).map_or_else(
        || "not measured".into(),
        |spread| format!("{} {unit}", spread.text()).trim_end().to_owned(),
    )
}

/// A target that only some runs missed says so, whatever their median is.
pub fn aim_cells(aim: &Aim) -> Vec<String> {
    let (missed, runs) = (aim.runs_missed(), aim.values.len());
    let outcome = match aim.outcome() {
        Outcome::Passed if missed > 0 => format!("passed, **missed** in {missed} of {runs} runs"),
        Outcome::Missed => "**missed**".into(),
        outcome @ (Outcome::Passed | Outcome::NotMeasured) => outcome.words().into(),
    };
    vec![
        aim.name.clone(),
        with_unit(&aim.values, &aim.unit),
        bound_words(&aim.with(None)).trim_end().to_owned(),
        outcome,
    ]
}

fn latency_cells(latency: &Latency) -> Vec<String> {
    let counts: Vec<_> = latency.counts.iter().map(|count| Some(*count as f64)).collect();
    let quantile = |(name, _)| latency.quantiles.get(name).map_or(&[][..], Vec::as_slice);
    let mut cells = vec![format!("{}, {}", latency.name, latency.group), with_unit(&counts, "")];
    cells.extend(QUANTILES.map(|pair| with_unit(quantile(pair), "")));
    cells
}

/// From where the figures above it come.
fn foot(name: &str, kept: &Kept) -> String {
    let day = |at: &str| at.get(..10).unwrap_or(at).to_owned();
    let days: Vec<String> = kept.runs.iter().map(|run| day(&run.at)).collect();
    let days = match (days.iter().min(), days.iter().max()) {
        (Some(first), Some(last)) if first != last => format!("{first} to {last}"),
        (first, _) => first.cloned().unwrap_or_default(),
    };
    let command = format!("`{}`", kept.command);
    let taken = match kept.runs.len() {
        1 => format!("Taken over by hand from the run of {days}"),
        _ => format!("Taken over by hand from the runs of {days}"),
    };
    let source = match (kept.kept_by_hand, kept.command.is_empty()) {
        (false, _) => format!("{command}, {days}"),
        (true, false) => format!("{taken}; again with {command}"),
        (true, true) => format!("{taken}: the generator is not in this repository"),
    };
    let mut parts = vec![source];
    parts.extend(settings(&kept.settings));
    parts.push(kept.machine.short());
    parts.push(commit(&kept.commit));
    if kept.build == Build::Debug {
        parts.push("**a debug build: it says nothing about speed**".into());
    }
    parts.extend(match (kept.runs.len(), kept.kept_by_hand) {
        (1, true) => None, // one was told of; there may have been more
        (1, false) => Some("1 run".into()),
        (count, true) => Some(format!("{count} runs")),
        (count, false) => Some(format!("{count} runs, median [lowest to highest]")),
    });
    format!("{}; [{name}](../data/measured/{name}).", parts.join("; "))
}

/// What was typed by hand may name several.
fn commit(commit: &str) -> String {
    if commit.is_empty() {
        "**commit not known**".into()
    } else if commit.ends_with(DIRTY) {
        format!("commit `{commit}`, **with changes that are in no commit**")
    } else if commit.contains('`') {
        format!("commit {commit}")
    } else {
        format!("commit `{commit}`")
    }
}

/// Those of a bench, which has nothing else to say what was run; a scenario has parts of its own, and the command names it.
fn settings(settings: &Value) -> Option<String> {
    let single = |(name, value): (&String, &Value)| match value {
        Value::String(text) => Some(format!("{name} {text}")),
        Value::Number(number) => Some(format!("{name} {number}")),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    let all: Option<Vec<String>> = settings.as_object()?.iter().map(single).collect();
    all.filter(|all| !all.is_empty()).map(|all| all.join(", "))
}
