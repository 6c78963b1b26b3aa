//! The text of `/metrics`, read by code of the lab's own, against the page of the docs. Pure.

use std::collections::{BTreeMap, BTreeSet};

const PAGE: &str = include_str!("../../../docs/METRICS.md");
/// What a histogram's samples are called besides its name.
const PARTS: [&str; 3] = ["_bucket", "_sum", "_count"];
/// What cannot stand still on a node that answers requests while the cluster takes broadcasts.
const MOVES: [&str; 6] = [
    "campanile_api_requests_total",
    "campanile_applied_index",
    "campanile_apply_seconds_count",
    "campanile_http_request_seconds_count",
    "campanile_log_last_index",
    "campanile_log_sync_seconds_count",
];

/// A documented metric, and whether it is there from the start.
pub struct Documented {
    pub kind: String,
    pub has_labels: bool,
}

/// By name.
pub fn documented() -> BTreeMap<String, Documented> {
    let rows = PAGE.lines().filter(|line| line.starts_with("| `"));
    let row = |line: &str| {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        let name = cells.next()?.trim_matches('`').to_owned();
        let kind = cells.next()?.to_owned();
        let has_labels = !cells.nth(1)?.is_empty();
        Some((name, Documented { kind, has_labels }))
    };
    rows.filter_map(row).collect()
}

/// What one node says.
#[derive(Debug, Default, PartialEq)]
pub struct Told {
    /// Kinds by name.
    pub kinds: BTreeMap<String, String>,
    /// Values by series, as it is written.
    pub values: BTreeMap<String, f64>,
    /// Lines that cannot be read, or that belong to no kind.
    pub unreadable: Vec<String>,
}

pub fn read(text: &str) -> Told {
    let mut told = Told::default();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            if let Some((name, kind)) = rest.split_once(' ') {
                told.kinds.insert(name.to_owned(), kind.to_owned());
            }
        } else if !line.starts_with('#') && told.sample(line).is_none() {
            told.unreadable.push(line.to_owned());
        }
    }
    told
}

impl Told {
    fn sample(&mut self, line: &str) -> Option<()> {
        let (series, value) = line.rsplit_once(' ')?;
        let value: f64 = value.parse().ok()?;
        let name = series.split('{').next()?;
        let whole = PARTS.iter().find_map(|part| name.strip_suffix(part));
        let is_known = |name: &str| self.kinds.contains_key(name);
        let has_end = !series.contains('{') || series.ends_with('}');
        if !has_end || !(is_known(name) || whole.is_some_and(is_known)) {
            return None;
        }
        self.values.insert(series.to_owned(), value);
        Some(())
    }

    /// Metrics that are named, and of which no value is told: of a histogram each part has one.
    pub fn silent(&self) -> Vec<String> {
        let is_number = |name: &str| {
            let mut own = self
                .values
                .iter()
                .filter(|(series, _)| series.split('{').next() == Some(name));
            own.any(|(_, value)| value.is_finite())
        };
        let is_silent = |(name, kind): &(&String, &String)| match kind.as_str() {
            "histogram" => !PARTS.iter().all(|part| is_number(&format!("{name}{part}"))),
            _ => !is_number(name),
        };
        let silent = self.kinds.iter().filter(is_silent);
        silent.map(|(name, _)| name.clone()).collect()
    }

    /// Of what must move, what has not, or is not told.
    pub fn still(&self, before: &Self) -> Vec<&'static str> {
        let has_moved = |name: &str| {
            let (before, now) = (before.values.get(name), self.values.get(name));
            before.zip(now).is_some_and(|(before, now)| now > before)
        };
        MOVES.into_iter().filter(|name| !has_moved(name)).collect()
    }

    /// Documented ones without labels that are not told, or told as another kind.
    pub fn missing(&self, documented: &BTreeMap<String, Documented>) -> Vec<String> {
        let is_missing = |(name, page): &(&String, &Documented)| match self.kinds.get(*name) {
            Some(kind) => *kind != page.kind,
            None => !page.has_labels,
        };
        documented
            .iter()
            .filter(is_missing)
            .map(|(name, _)| name.clone())
            .collect()
    }

    pub fn undocumented(&self, documented: &BTreeMap<String, Documented>) -> BTreeSet<String> {
        let others = self.kinds.keys().filter(|name| !documented.contains_key(*name));
        others.cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{MOVES, documented, read};

    #[test]
    fn the_page_lists_many_and_says_which_have_labels() {
        let all = documented();
        assert!(all.len() > 60, "{}", all.len());
        assert!(!all["campanile_applied_index"].has_labels && all["campanile_alert_firing"].has_labels);
        assert_eq!(all["campanile_apply_seconds"].kind, "histogram");
    }

    #[test]
    fn what_is_missing_or_no_metric_is_found() {
        let told = read("# HELP a x\n# TYPE a counter\na 1\n# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_sum 0.5\n");
        assert_eq!((told.unreadable.len(), told.values["h_bucket{le=\"1\"}"]), (0, 2.0));
        let told = read("a 1\n# TYPE a counter\na\na x\na{b=\"c\" 1\na 2\n");
        assert_eq!(told.unreadable, ["a 1", "a", "a x", "a{b=\"c\" 1"]);
        assert!(
            told.missing(&documented())
                .contains(&"campanile_applied_index".to_owned())
        );
        assert!(told.undocumented(&documented()).contains("a"));
    }

    #[test]
    fn a_name_without_a_value_is_silent() {
        let check = |text: &str, expected: &[&str]| assert_eq!(read(text).silent(), expected, "{text}");
        check("# TYPE a counter\na 0\n# TYPE b gauge\nb{c=\"d\"} 1\n", &[]);
        check("# TYPE a counter\n# TYPE ab counter\nab 1\n", &["a"]);
        check("# TYPE a gauge\na NaN\n", &["a"]);
        let whole = "# TYPE h histogram\nh_bucket{le=\"+Inf\"} 0\nh_sum 0\nh_count 0\n";
        check(whole, &[]);
        check(&whole.replace("h_sum 0\n", ""), &["h"]);
    }

    #[test]
    fn what_must_move_is_documented_and_is_found_when_it_does_not() {
        let page = documented();
        let told = |value: u64| {
            let line = |name: &&str| {
                let whole = name.strip_suffix("_count").unwrap_or(name);
                format!("# TYPE {whole} {}\n{name} {value}\n", page[whole].kind)
            };
            read(&MOVES.iter().map(line).collect::<String>())
        };
        assert_eq!(told(2).still(&told(1)), [""; 0]);
        assert_eq!(told(1).still(&told(1)), MOVES);
        assert_eq!(told(2).still(&read("")), MOVES);
    }
}
