//! What each metric is: for the page of the docs, and for whoever pushes them on.

use std::fmt::Write as _;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One name with all its series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family {
    /// With the prefix.
    pub name: String,
    pub kind: Kind,
    pub labels: Vec<String>,
    pub help: String,
}

impl Family {
    /// The base unit, as the name says it; `None` for counts.
    pub fn unit(&self) -> Option<&'static str> {
        let bare = self.name.strip_suffix("_total").unwrap_or(&self.name);
        ["seconds", "bytes", "ratio"]
            .into_iter()
            .find(|unit| bare.ends_with(&format!("_{unit}")))
    }
}

const HEAD: &str = "\
# Metrics

What a node says on `GET /metrics` in the Prometheus text format. This page is made from the program: a test compares the two.

- Units are base units and stand in the name: `_seconds`, `_bytes`, `_ratio` (0 to 1). A counter ends in `_total` and starts at 0 with
  the process. Everything else is a plain count.
- Labels have few values: a priority, a step, a code, a name from the settings. No user, broadcast, wedding or token is ever named.
  A series with a label whose values are not known beforehand appears with its first event.
- A figure is of the node that answers, unless it says \"of the whole cluster\": those are the same on every node, so take the maximum, not the sum.
- Histograms have buckets that double: of times from 50 µs to 26 s. There are no exemplars.

Ready-made: [a dashboard for Grafana, rules for alerts, and a scrape configuration](../data/observability/). The same metrics can be pushed
over OTLP: [settings](SETTINGS.md#otlp).

| metric | type | unit | labels | what |
|---|---|---|---|---|
";

/// `docs/METRICS.md`.
pub fn page(families: &[Family]) -> String {
    let mut page = HEAD.to_owned();
    for family in families {
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} | {} |",
            family.name,
            family.kind.name(),
            family.unit().unwrap_or_default(),
            labels.join(", "),
            family.help
        );
    }
    page
}

#[cfg(test)]
mod tests {
    use super::{Family, Kind, page};
    use crate::metrics::METRICS;
    use std::collections::BTreeSet;
    use std::path::Path;

    #[test]
    fn the_page_of_metrics_is_up_to_date() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/METRICS.md");
        let made = page(METRICS.families());
        #[allow(clippy::disallowed_methods)] // no setting: a word to this test
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, &made).unwrap();
        }
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            there == made,
            "docs/METRICS.md is old; write it with: BLESS=1 cargo test --lib metrics"
        );
    }

    /// Every name that begins like a metric in the files for others.
    #[test]
    fn files_for_others_name_metrics_that_exist() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/observability");
        for (file, least) in [("grafana.json", 50), ("alerts.yml", 20), ("alerts_test.yml", 8)] {
            let text = std::fs::read_to_string(folder.join(file)).unwrap();
            let is_name = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
            let named: BTreeSet<&str> = text
                .split(|letter| !is_name(letter))
                .filter(|word| word.starts_with("campanile_"))
                .collect();
            assert!(named.len() >= least, "{file} names only {}", named.len());
            for name in named {
                let is_it = |family: &&Family| {
                    let rest = name.strip_prefix(&family.name);
                    match family.kind {
                        Kind::Histogram => matches!(rest, Some("_bucket" | "_sum" | "_count")),
                        Kind::Counter | Kind::Gauge => rest == Some(""),
                    }
                };
                assert!(METRICS.families().iter().any(|family| is_it(&family)), "{file}: {name}");
            }
        }
    }

    #[test]
    fn names_keep_to_the_rules() {
        let mut names = BTreeSet::new();
        for family in METRICS.families() {
            let Family { name, kind, help, .. } = family;
            assert!(names.insert(name), "{name} stands there twice");
            assert!(name.starts_with("campanile_"), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            assert!(help.ends_with('.') && !help.contains('|'), "{name}: {help}");
        }
    }

    #[test]
    fn labels_name_nobody() {
        let known = [
            "code",
            "limit",
            "namespace",
            "node",
            "output",
            "priority",
            "reason",
            "result",
            "rule",
            "signal",
            "status",
            "step",
            "tier",
            "version",
            "within",
        ];
        for family in METRICS.families() {
            for label in &family.labels {
                assert!(known.contains(&label.as_str()), "{}: {label}", family.name);
            }
        }
    }

    #[test]
    fn units_stand_in_names() {
        let unit = |name: &str| {
            let family = Family {
                name: name.into(),
                kind: Kind::Gauge,
                labels: Vec::new(),
                help: String::new(),
            };
            family.unit()
        };
        assert_eq!(unit("a_seconds"), Some("seconds"));
        assert_eq!(unit("a_bytes_total"), Some("bytes"));
        assert_eq!(unit("a_total"), None);
    }
}
