//! The folder of a run: everything in it can be read by a person or by any program.

use super::{Report, Verdict, page};
use crate::base::clock;
use anyhow::{Context, Result};
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Where reports go when nobody says so.
const REPORTS: &str = "campanile-reports";
const REPORT: &str = "report.json";
const PAGE: &str = "index.html";

/// A name that no other run has, such as `campanile-reports/load-standard-20261126T140301`.
pub fn usual(report: &Report) -> PathBuf {
    let at = clock::parse_rfc3339(&report.at).map_or_else(|| report.at.clone(), clock::rfc3339);
    let digits: String = at
        .chars()
        .take_while(|letter| *letter != '.')
        .filter(|letter| !"-:".contains(*letter))
        .collect();
    Path::new(REPORTS).join(format!("{}-{}-{digits}", report.kind, report.name))
}

/// What goes to standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    Text,
    Json,
}

/// Writes the folder, shows the report, and says how the command ends: what is lost, wrong or repeated fails it, a missed target does not.
pub fn hand_over(report: &Report, folder: Option<&Path>, shown: Shown) -> Result<ExitCode> {
    let place = folder.map_or_else(|| usual(report), Path::to_owned);
    let page = write(report, &place)?;
    match shown {
        Shown::Json => println!("{}", report.json()),
        Shown::Text => anstream::println!("{}\nreport: {}", report.text(), page.display()),
    }
    Ok(match report.verdict {
        Verdict::Good | Verdict::Missed => ExitCode::SUCCESS,
        Verdict::Bad | Verdict::NotRun => ExitCode::FAILURE,
    })
}

/// Writes the folder and names its page.
pub fn write(report: &Report, folder: &Path) -> Result<PathBuf> {
    write_with(report, &report.json(), folder)
}

/// The same, with more in its JSON than a report has of itself.
pub fn write_with(report: &Report, json: &Value, folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let put = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| path.display().to_string())
    };
    put(REPORT, &format!("{json:#}\n"))?;
    put("figures.csv", &figures(report))?;
    put("targets.csv", &targets(report))?;
    put("latency.csv", &latency(report))?;
    put("series.csv", &series(report))?;
    put(PAGE, &page::page(report))?;
    Ok(folder.join(PAGE))
}

/// A folder, or its `report.json`.
pub fn read(path: &Path) -> Result<Report> {
    let file = if path.is_dir() {
        path.join(REPORT)
    } else {
        path.to_owned()
    };
    let text = fs::read(&file).with_context(|| file.display().to_string())?;
    serde_json::from_slice(&text).with_context(|| format!("{} is no report", file.display()))
}

fn figures(report: &Report) -> String {
    let mut csv = "key,value,unit,name\n".to_owned();
    for figure in &report.figures {
        let value = figure.value.map(|value| value.to_string()).unwrap_or_default();
        let _ = writeln!(
            csv,
            "{},{value},{},{}",
            figure.key,
            cell(&figure.unit),
            cell(&figure.name)
        );
    }
    csv
}

fn targets(report: &Report) -> String {
    let mut csv = "name,bound,measured,unit,outcome\n".to_owned();
    for target in &report.targets {
        let measured = target.measured.map(|value| value.to_string()).unwrap_or_default();
        let bound = super::bound_words(target);
        let _ = writeln!(
            csv,
            "{},{},{measured},{},{}",
            cell(&target.name),
            cell(&bound),
            cell(&target.unit),
            target.outcome().words()
        );
    }
    csv
}

fn latency(report: &Report) -> String {
    let mut csv = "distribution,micros,count\n".to_owned();
    for distribution in &report.distributions {
        for (micros, count) in &distribution.buckets.0 {
            let _ = writeln!(csv, "{},{micros},{count}", cell(&distribution.key));
        }
    }
    csv
}

fn series(report: &Report) -> String {
    let mut csv = "chart,line,second,value\n".to_owned();
    for chart in &report.charts {
        for line in &chart.lines {
            for (second, value) in &line.points {
                let _ = writeln!(csv, "{},{},{second:.3},{value}", cell(&chart.key), cell(&line.name));
            }
        }
    }
    csv
}

fn cell(text: &str) -> String {
    if text.contains([',', '"', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::{cell, read, usual, write};
    use crate::lab::results::fixture;
    use std::fs;

    #[test]
    fn a_folder_holds_the_whole_and_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let report = fixture::report("standard", 1.0);
        let place = folder.path().join("a/b");
        let page = write(&report, &place).unwrap();
        assert!(page.ends_with("index.html") && page.exists());
        for path in [place.clone(), place.join("report.json")] {
            assert_eq!(read(&path).unwrap().json(), report.json());
        }
        let lines = |name: &str| {
            fs::read_to_string(place.join(name))
                .unwrap()
                .lines()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(lines("figures.csv")[1], "deliveries.missing,0,,missing");
        assert_eq!(lines("figures.csv")[3], "server.cpu,,s,CPU");
        assert_eq!(lines("latency.csv").len(), 4);
        assert_eq!(lines("series.csv")[1], "deliveries,delivered,0.000,20000");
        assert_eq!(lines("targets.csv")[2], "hit rate,above 90 ms,,ms,not measured");
        assert!(read(folder.path()).is_err());
        assert!(usual(&report).ends_with("load-standard-20261126T120000"));
        assert_eq!(cell("a \"b\", c"), "\"a \"\"b\"\", c\"");
    }
}
