//! Two reports side by side, with ratios; and why they may not be comparable.

use super::page::{chart_card, framed};
use super::plot::escaped;
use super::{Better, Build, Chart, QUANTILES, Report, shown};
use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A ratio nearer to 1 than this is noise on a machine that is shared.
const NOISE: f64 = 0.15;
const DIM: Style = AnsiColor::BrightBlack.on_default();
const WARN: Style = AnsiColor::Yellow.on_default();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();

#[derive(Debug, PartialEq)]
pub struct Row {
    pub key: String,
    pub name: String,
    pub unit: String,
    pub values: [Option<f64>; 2],
    /// The second by the first.
    pub ratio: Option<f64>,
    pub change: Change,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Better,
    Worse,
    /// Within the noise, or nothing that is better or worse.
    Same,
    Unknown,
}

impl Change {
    const fn word(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Same => "",
            Self::Unknown => "not measured",
        }
    }
}

pub struct Comparison<'a> {
    pub first: &'a Report,
    pub second: &'a Report,
    pub rows: Vec<Row>,
    pub warnings: Vec<String>,
}

pub fn compare<'a>(first: &'a Report, second: &'a Report) -> Comparison<'a> {
    let mut rows = Vec::new();
    for figure in &first.figures {
        let other = second.figure(&figure.key).and_then(|other| other.value);
        let name = format!("{}: {}", figure.key.split('.').next().unwrap_or_default(), figure.name);
        rows.push(row(
            &figure.key,
            &name,
            &figure.unit,
            [figure.value, other],
            figure.better,
        ));
    }
    for distribution in &first.distributions {
        let other = second.distributions.iter().find(|other| other.key == distribution.key);
        let values = |quantiles: Vec<(&'static str, f64)>| quantiles.into_iter().collect::<BTreeMap<_, _>>();
        let own = values(distribution.quantiles());
        let other = values(other.map(super::Distribution::quantiles).unwrap_or_default());
        for (quantile, _) in QUANTILES {
            let pair = [own.get(quantile).copied(), other.get(quantile).copied()];
            if pair != [None, None] {
                let (key, name) = (
                    format!("{}.{quantile}", distribution.key),
                    format!("{}, {quantile}", distribution.whole_name()),
                );
                rows.push(row(&key, &name, "ms", pair, Better::Lower));
            }
        }
    }
    Comparison {
        first,
        second,
        rows,
        warnings: warnings(first, second),
    }
}

fn row(key: &str, name: &str, unit: &str, values: [Option<f64>; 2], better: Better) -> Row {
    let ratio = match values {
        [Some(first), Some(second)] if first != 0.0 => Some(second / first),
        [Some(_), Some(_)] | [None, _] | [_, None] => None,
    };
    Row {
        key: key.to_owned(),
        name: name.to_owned(),
        unit: unit.to_owned(),
        values,
        ratio,
        change: change(values, ratio, better),
    }
}

fn change(values: [Option<f64>; 2], ratio: Option<f64>, better: Better) -> Change {
    let [Some(first), Some(second)] = values else {
        return Change::Unknown;
    };
    let is_noise = ratio.map_or((first - second).abs() < f64::EPSILON, |ratio| {
        (ratio - 1.0).abs() < NOISE
    });
    match better {
        Better::Neither => Change::Same,
        Better::Lower | Better::Higher if is_noise => Change::Same,
        Better::Lower if second < first => Change::Better,
        Better::Higher if second > first => Change::Better,
        Better::Lower | Better::Higher => Change::Worse,
    }
}

fn warnings(first: &Report, second: &Report) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut differ = |what: &str, one: &dyn std::fmt::Display, other: &dyn std::fmt::Display| {
        let (one, other) = (one.to_string(), other.to_string());
        if one != other {
            warnings.push(format!("{what}: {one} and {other}"));
        }
    };
    differ("two kinds of run", &first.kind, &second.kind);
    differ("two scenarios", &first.name, &second.name);
    differ("two machines", &first.machine.words(), &second.machine.words());
    let commit = |report: &Report| {
        if report.commit.is_empty() {
            "unknown".to_owned()
        } else {
            report.commit.clone()
        }
    };
    differ("two commits", &commit(first), &commit(second));
    differ("two seeds", &first.seed, &second.seed);
    if first.settings != second.settings {
        warnings.push("what was set differs".to_owned());
    }
    if [first, second].iter().any(|report| report.build == Build::Debug) {
        warnings.push("a debug build: its figures say nothing about speed".to_owned());
    }
    warnings
}

impl Comparison<'_> {
    pub fn json(&self) -> Value {
        let row = |row: &Row| {
            json!({"key": row.key, "name": row.name, "unit": row.unit, "first": row.values[0], "second": row.values[1],
                "ratio": row.ratio, "change": row.change.word()})
        };
        json!({
            "first": {"name": self.first.name, "at": self.first.at, "commit": self.first.commit},
            "second": {"name": self.second.name, "at": self.second.at, "commit": self.second.commit},
            "warnings": self.warnings,
            "rows": self.rows.iter().map(row).collect::<Vec<_>>(),
        })
    }

    /// For a terminal.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for warning in &self.warnings {
            let _ = writeln!(text, "{WARN}! {warning}{WARN:#}");
        }
        let head = |report: &Report| format!("{} {}", report.name, report.at.get(..16).unwrap_or(&report.at));
        let (one, two) = (head(self.first), head(self.second));
        let _ = writeln!(text, "{DIM}{:<56} {one:>26} {two:>26} {:>8}{DIM:#}", "", "ratio");
        for row in &self.rows {
            let value = |value: Option<f64>| {
                value.map_or_else(
                    || "not measured".to_owned(),
                    |value| format!("{} {}", shown(value), row.unit).trim().to_owned(),
                )
            };
            let style = match row.change {
                Change::Better => GOOD,
                Change::Worse => BAD,
                Change::Same | Change::Unknown => Style::new(),
            };
            let ratio = row.ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
            let [one, two] = row.values.map(value);
            let _ = writeln!(
                text,
                "{:<56} {one:>26} {two:>26} {style}{ratio:>8} {}{style:#}",
                row.name,
                row.change.word()
            );
        }
        let _ = write!(
            text,
            "{DIM}ratio: the second by the first; within {NOISE} of 1 it may be noise{DIM:#}"
        );
        text
    }

    /// One page of HTML.
    pub fn page(&self) -> String {
        let (first, second) = (self.first, self.second);
        let mut body = format!(
            r#"<section class="card hero"><h1>{} {} beside {} {}</h1><p class="hint">{} and {}; the ratio is the second by the first, and within {NOISE} of 1 it may be noise</p></section>"#,
            escaped(&first.kind),
            escaped(&first.name),
            escaped(&second.kind),
            escaped(&second.name),
            escaped(&first.at),
            escaped(&second.at)
        );
        for warning in &self.warnings {
            let _ = write!(body, r#"<p class="card warning">{}</p>"#, escaped(warning));
        }
        body.push_str(&self.table());
        for chart in &first.charts {
            let other = second.charts.iter().find(|other| other.key == chart.key);
            let _ = write!(
                body,
                r#"<div class="two">{}{}</div>"#,
                chart_card(&named(chart, "first")),
                other
                    .map(|other| chart_card(&named(other, "second")))
                    .unwrap_or_default()
            );
        }
        framed(&format!("{} beside {}", first.name, second.name), &second.at, &body)
    }

    fn table(&self) -> String {
        let mut rows = String::new();
        for row in &self.rows {
            let value = |value: Option<f64>| {
                value.map_or_else(
                    || "not measured".to_owned(),
                    |value| format!("{} {}", shown(value), escaped(&row.unit)),
                )
            };
            let tag = match row.change {
                Change::Better | Change::Worse => format!(r#"<span class="tag {0}">{0}</span>"#, row.change.word()),
                Change::Same | Change::Unknown => String::new(),
            };
            let ratio = row.ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
            let [one, two] = row.values.map(value);
            let _ = write!(
                rows,
                "<tr><th>{}</th><td>{one}</td><td>{two}</td><td>{ratio}</td><td>{tag}</td></tr>",
                escaped(&row.name)
            );
        }
        format!(
            r#"<section class="card"><h2>Figures</h2><div class="scroll"><table><thead><tr><th></th><th>first</th><th>second</th><th>ratio</th><th></th></tr></thead><tbody>{rows}</tbody></table></div></section>"#
        )
    }
}

fn named(chart: &Chart, which: &str) -> Chart {
    Chart {
        title: format!("{}, {which}", chart.title),
        ..chart.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::{Change, compare};
    use crate::lab::results::fixture;

    #[test]
    fn twice_as_slow_is_worse_and_what_was_not_measured_has_no_ratio() {
        let (first, second) = (fixture::report("standard", 1.0), fixture::report("standard", 2.0));
        let comparison = compare(&first, &second);
        let find = |key: &str| comparison.rows.iter().find(|row| row.key == key).unwrap();
        let check = |key: &str, ratio: Option<f64>, change| {
            let row = find(key);
            let near = match (row.ratio, ratio) {
                (Some(found), Some(wanted)) => (found - wanted).abs() < 0.02,
                (found, wanted) => found == wanted,
            };
            assert!(near && row.change == change, "{key}: {row:?}");
        };
        check("latency.critical.p50", Some(2.0), Change::Worse);
        check("deliveries.rate", Some(0.5), Change::Worse);
        check("deliveries.missing", None, Change::Same);
        check("server.cpu", None, Change::Unknown);
        assert_eq!(comparison.warnings, Vec::<String>::new());
        let back = compare(&second, &first);
        assert!(back.rows.iter().filter(|row| row.change == Change::Better).count() >= 6);
        for told in [comparison.text(), comparison.page(), comparison.json().to_string()] {
            assert!(told.contains("2.00") || told.contains("2.0"), "{told}");
        }
    }

    #[test]
    fn it_warns_of_what_makes_them_differ() {
        let first = fixture::report("standard", 1.0);
        let mut second = fixture::report("weekend", 1.0);
        second.machine.cores += 1;
        second.commit = String::new();
        second.seed = 2;
        second.settings = serde_json::Value::Null;
        second.build = crate::lab::results::Build::Debug;
        let comparison = compare(&first, &second);
        assert_eq!(comparison.warnings.len(), 6, "{:?}", comparison.warnings);
        assert!(comparison.page().contains("abc and unknown"));
    }
}
