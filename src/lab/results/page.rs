//! A report as one page of HTML that needs nothing beside it: no script, no font, no address. It looks like the dashboard.

use super::plot::{self, each, escaped};
use super::{
    Build, Chart, Distribution, Figure, Outcome, QUANTILES, Report, Table, Target, Verdict, bound_words, shown,
};
use std::fmt::Write as _;

/// The dashboard's own; its palette is ours.
const DASHBOARD: &str = include_str!("../../api/dashboard/style.css");
/// Where the dashboard's palette ends.
const PALETTE_END: &str = "\n* {";
const STYLE: &str = include_str!("style.css");
const BELL: &str = r#"<svg class="bell" viewBox="0 0 32 32" aria-hidden="true"><path d="M16 3.5a2.2 2.2 0 0 1 2.2 2.2v.5c3.7 1 5.9 4.2 5.9 8.2 0 4.5 1.2 6.3 2.5 7.4.6.6.2 1.6-.7 1.6H6.1c-.9 0-1.3-1-.7-1.6 1.3-1.1 2.5-2.9 2.5-7.4 0-4 2.2-7.2 5.9-8.2v-.5A2.2 2.2 0 0 1 16 3.5zM12.7 25.6h6.6a3.3 3.3 0 0 1-6.6 0z" fill="currentColor"/></svg>"#;

/// The whole page.
pub fn page(report: &Report) -> String {
    let title = format!("{} {}", report.kind, report.name);
    let mut body = hero(report);
    body.push_str(&latency(&report.distributions));
    body.push_str(&targets(&report.targets));
    body.push_str(r#"<div class="two">"#);
    for chart in &report.charts {
        body.push_str(&chart_card(chart));
    }
    body.push_str("</div>");
    body.push_str(&figures(&report.figures));
    for table in &report.tables {
        body.push_str(&words_table(table));
    }
    body.push_str(&facts(report));
    framed(&title, &report.at, &body)
}

/// The frame that all pages share.
pub fn framed(title: &str, at: &str, body: &str) -> String {
    let palette = DASHBOARD.split(PALETTE_END).next().unwrap_or_default();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{} · Campanile</title>\n<style>\n{palette}\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <p class=\"brand\">{BELL}<span>Campanile</span><small>{}</small></p>\n{body}\n</main>\n</body>\n</html>\n",
        escaped(title),
        escaped(at)
    )
}

fn hero(report: &Report) -> String {
    let state = match report.verdict {
        Verdict::Good => "good",
        Verdict::Missed | Verdict::NotRun => "missed",
        Verdict::Bad => "bad",
    };
    let mut text = format!(
        r#"<section class="card hero" data-state="{state}"><h1>{}</h1><p class="hint">{} {}: {}</p>"#,
        escaped(&sentence(&report.headline)),
        escaped(&report.kind),
        escaped(&report.name),
        escaped(&report.about)
    );
    if report.build == Build::Debug {
        text.push_str(r#"<p><span class="tag unmeasured">debug build</span> <small>its figures say nothing about speed</small></p>"#);
    }
    text.push_str(&list("findings", &report.findings));
    text.push_str(r#"<dl class="figures">"#);
    for figure in report.highlights.iter().filter_map(|key| report.figure(key)) {
        let _ = write!(
            text,
            "<div><dt>{}</dt><dd>{}</dd></div>",
            escaped(&figure.name),
            value(figure)
        );
    }
    text.push_str("</dl></section>");
    text
}

/// With its unit, or that it was not measured.
fn value(figure: &Figure) -> String {
    match figure.value {
        Some(value) => format!("{} <small>{}</small>", shown(value), escaped(&figure.unit)),
        None => r#"<span class="tag unmeasured">not measured</span>"#.to_owned(),
    }
}

fn list(class: &str, lines: &[String]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let items = each(lines, |line| format!("<li>{}</li>", escaped(line)));
    format!(r#"<ul class="{class}">{items}</ul>"#)
}

fn latency(distributions: &[Distribution]) -> String {
    let all: Vec<&Distribution> = distributions.iter().filter(|one| !one.buckets.0.is_empty()).collect();
    if all.is_empty() {
        return String::new();
    }
    let mut groups: Vec<&str> = Vec::new();
    let mut rows = String::new();
    for distribution in &all {
        if !groups.contains(&distribution.group.as_str()) {
            groups.push(&distribution.group);
        }
        let count: u64 = distribution.buckets.0.iter().map(|(_, count)| count).sum();
        let (name, count) = (escaped(&distribution.whole_name()), shown(count as f64));
        let _ = write!(rows, "<tr><th>{name}</th><td>{count}</td>");
        for (_, value) in distribution.quantiles() {
            let _ = write!(rows, "<td>{value:.2}</td>");
        }
        rows.push_str("</tr>");
    }
    let heads = each(QUANTILES, |(name, _)| format!("<th>{name}</th>"));
    let plots = each(groups, |group| percentiles(group, &all));
    format!(
        r#"<div class="two">{plots}</div><section class="card"><h2>Latency <small>ms</small></h2><div class="scroll"><table><thead><tr><th></th><th>count</th>{heads}</tr></thead><tbody>{rows}</tbody></table></div></section>"#
    )
}

/// What was measured from the same to the same, in one plot.
fn percentiles(group: &str, all: &[&Distribution]) -> String {
    let own: Vec<Distribution> = all
        .iter()
        .filter(|one| one.group == group)
        .map(|one| (*one).clone())
        .collect();
    format!(
        r#"<section class="card chart"><h2>{} <small>ms by percentile</small></h2>{}{}</section>"#,
        escaped(&sentence(group)),
        plot::legend(own.iter().map(|one| one.name.as_str())),
        plot::percentiles(&own)
    )
}

fn targets(targets: &[Target]) -> String {
    if targets.is_empty() {
        return String::new();
    }
    let mut rows = String::new();
    for target in targets {
        let outcome = target.outcome();
        let class = match outcome {
            Outcome::Passed => "passed",
            Outcome::Missed => "missed",
            Outcome::NotMeasured => "unmeasured",
        };
        let measured = target.measured.map(|value| format!("{} {}", shown(value), target.unit));
        let _ = write!(
            rows,
            r#"<tr><th>{}</th><td>{}</td><td>{}</td><td><span class="tag {class}">{}</span></td></tr>"#,
            escaped(&target.name),
            escaped(&bound_words(target)),
            escaped(&measured.unwrap_or_default()),
            outcome.words()
        );
    }
    format!(
        r#"<section class="card"><h2>Targets</h2><div class="scroll"><table><thead><tr><th></th><th>must be</th><th>measured</th><th></th></tr></thead><tbody>{rows}</tbody></table></div></section>"#
    )
}

pub fn chart_card(chart: &Chart) -> String {
    let unit = if chart.unit.is_empty() {
        String::new()
    } else {
        format!(" <small>{}</small>", escaped(&chart.unit))
    };
    let names = chart.lines.iter().map(|line| line.name.as_str());
    let drawn = if chart.lines.iter().all(|line| line.points.is_empty()) {
        r#"<p class="hint">not measured</p>"#.to_owned()
    } else {
        plot::legend(names) + &plot::over_time(chart)
    };
    format!(
        r#"<section class="card chart"><h2>{}{unit}</h2>{drawn}</section>"#,
        escaped(&chart.title)
    )
}

fn figures(figures: &[Figure]) -> String {
    let mut sections: Vec<(&str, String)> = Vec::new();
    for figure in figures {
        let own = figure.key.split('.').next().unwrap_or_default();
        let row = format!("<tr><th>{}</th><td>{}</td></tr>", escaped(&figure.name), value(figure));
        match sections.last_mut() {
            Some((name, rows)) if *name == own => rows.push_str(&row),
            Some(_) | None => sections.push((own, row)),
        }
    }
    let cards = sections.into_iter().map(|(name, rows)| {
        format!(
            r#"<section class="card"><h2>{}</h2><table><tbody>{rows}</tbody></table></section>"#,
            escaped(&sentence(name))
        )
    });
    format!(r#"<div class="two">{}</div>"#, cards.collect::<String>())
}

fn words_table(table: &Table) -> String {
    let heads = each(&table.heading, |cell| format!("<th>{}</th>", escaped(cell)));
    let row = |row: &Vec<String>| {
        let cells = each(row, |cell| format!("<td>{}</td>", escaped(cell)));
        format!("<tr>{cells}</tr>")
    };
    let rows = each(&table.rows, row);
    format!(
        r#"<section class="card"><h2>{}</h2><div class="scroll"><table class="words"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div></section>"#,
        escaped(&table.title)
    )
}

fn facts(report: &Report) -> String {
    let machine = &report.machine;
    let commit = if report.commit.is_empty() {
        "unknown"
    } else {
        &report.commit
    };
    let build = match report.build {
        Build::Release => "release",
        Build::Debug => "debug",
    };
    let all = [
        ("Command", report.command.clone()),
        ("Seed", report.seed.to_string()),
        ("Took", format!("{} s", shown(report.took_s))),
        (
            "Machine",
            format!(
                "{} cores ({}), {} MiB",
                machine.cores, machine.processor, machine.memory_mib
            ),
        ),
        ("System", machine.system.clone()),
        ("Commit", format!("{commit}, {build} build")),
        ("Clock", report.clock.clone()),
    ];
    let rows = each(&all, |(name, value)| {
        format!("<dt>{name}</dt><dd>{}</dd>", escaped(value))
    });
    let settings = serde_json::to_string_pretty(&report.settings).unwrap_or_default();
    format!(
        r#"<section class="card"><h2>How it was measured</h2><dl class="facts">{rows}</dl>{}<details><summary>Everything that was set</summary><pre>{}</pre></details></section>"#,
        list("notes", &report.notes),
        escaped(&settings)
    )
}

/// With a capital letter.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::{PALETTE_END, page};
    use crate::lab::results::{Verdict, fixture};

    #[test]
    fn the_page_shows_all_and_needs_nothing_beside_it() {
        let page = page(&fixture::report("standard", 1.0));
        for part in [
            "Nothing lost; 1 of 2 targets missed",
            r#"data-state="missed""#,
            "user 3 never got number 7 (low)",
            "20,000",
            "not measured",
            "below 1.50 ms",
            "1.00",
            "busy &amp; &lt;hot&gt;",
            "&lt;to&gt;",
            "--accent: #",
            "prefers-color-scheme: dark",
        ] {
            assert!(page.contains(part), "{part}");
        }
        for never in [
            "<script",
            "http://",
            "https://",
            "url(",
            "@import",
            "<to>",
            PALETTE_END.trim_start_matches('\n').repeat(2).as_str(),
        ] {
            assert!(!page.contains(never), "{never}");
        }
    }

    #[test]
    fn what_is_bad_looks_bad() {
        let mut report = fixture::report("standard", 1.0);
        report.verdict = Verdict::Bad;
        report.distributions.clear();
        report.charts[0].lines.iter_mut().for_each(|line| line.points.clear());
        let page = page(&report);
        assert!(page.contains(r#"data-state="bad""#) && page.contains(r#"<p class="hint">not measured</p>"#));
    }
}
