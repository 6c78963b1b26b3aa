//! What a rehearsal prints: a table for people, or one line of JSON.

use super::{
    faults,
    ledger::{Deliveries, Judgement, Verdicts},
    machine::Machine,
    scenario::Scenario,
};
use crate::model::Priority;
use anstyle::{AnsiColor, Style};
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};
use std::{fmt::Write as _, time::Duration};

const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0)];

#[derive(Debug)]
pub struct Report {
    pub scenario: String,
    pub speed: f64,
    pub took: Duration,
    pub judgement: Judgement,
    /// What the sender waited for each answer, in µs.
    pub publish: Histogram<u64>,
    /// The longest of these: nothing was taken meanwhile.
    pub publish_gap_max: Duration,
    pub acknowledged: u64,
    pub to_acknowledge: u64,
    pub reconnects: u64,
    pub played: Vec<String>,
    pub not_played: Vec<String>,
    pub machine: Machine,
    /// Empty when the build does not know it.
    pub commit: String,
}

impl Report {
    pub fn is_good(&self) -> bool {
        self.judgement.is_good()
    }

    pub fn json(&self) -> Value {
        let Verdicts {
            expected,
            unexpected,
            not_enforced,
        } = self.judgement.verdicts;
        json!({
            "scenario": self.scenario,
            "speed": self.speed,
            "took_s": round(self.took.as_secs_f64()),
            "verdicts": {"expected": expected, "unexpected": unexpected, "not_enforced": not_enforced},
            "deliveries": deliveries(&self.judgement.deliveries),
            "latency_ms": self.latency(),
            "publish_ms": quantiles(&self.publish),
            "publish_gap_max_ms": millis(self.publish_gap_max.as_micros() as u64),
            "acknowledgements": {"expected": self.to_acknowledge, "made": self.acknowledged},
            "reconnects": self.reconnects,
            "faults": {"played": self.played, "not_played": self.not_played},
            "findings": self.judgement.findings,
            "rate_caps": "off",
            "machine": self.machine,
            "commit": self.commit,
        })
    }

    /// By priority, of those that had deliveries.
    fn latency(&self) -> Map<String, Value> {
        let had = Priority::ALL
            .into_iter()
            .filter(|priority| !self.judgement.latency[priority.index()].is_empty());
        had.map(|priority| {
            (
                priority.name().to_owned(),
                quantiles(&self.judgement.latency[priority.index()]),
            )
        })
        .collect()
    }

    pub fn table(&self, scenario: &Scenario) -> String {
        let mut text = String::new();
        self.write_counts(&mut text);
        self.write_latency(&mut text);
        self.write_faults(&mut text, scenario);
        let Machine {
            cores,
            processor,
            memory_mib,
            system,
        } = &self.machine;
        let _ = writeln!(
            text,
            "\n{cores} cores ({processor}), {memory_mib} MiB, {system}, commit {}",
            if self.commit.is_empty() {
                "unknown"
            } else {
                &self.commit
            }
        );
        for finding in &self.judgement.findings {
            let _ = writeln!(text, "{} {finding}", paint("✗", AnsiColor::Red));
        }
        text.push_str(&if self.is_good() {
            paint("✓ every broadcast reached exactly its recipients", AnsiColor::Green)
        } else {
            paint("✗ the day did not go as it must", AnsiColor::Red)
        });
        text
    }

    fn write_counts(&self, text: &mut String) {
        let Verdicts {
            expected,
            unexpected,
            not_enforced,
        } = self.judgement.verdicts;
        let Deliveries {
            expected: wanted,
            made,
            repeated,
            missing,
            wrong,
            disordered,
        } = self.judgement.deliveries;
        let _ = write!(
            text,
            "verdicts     {expected} as expected, {unexpected} not, {not_enforced} of these accepted against a rule\n\
             deliveries   {made} of {wanted} made, {missing} missing, {wrong} wrong, {repeated} repeated, {disordered} out of order\n\
             confirmed    {} of {} acknowledgements\n\
             sender       longest wait for an answer {} ms; {} reconnects of devices\n\
             rate caps    off for this cluster\n",
            self.acknowledged,
            self.to_acknowledge,
            millis(self.publish_gap_max.as_micros() as u64),
            self.reconnects,
        );
    }

    fn write_latency(&self, text: &mut String) {
        let _ = writeln!(
            text,
            "\n{:<12} {:>9} {:>9} {:>9} {:>9} {:>9}",
            "ms", "count", "p50", "p95", "p99", "max"
        );
        let mut row = |name: &str, histogram: &Histogram<u64>| {
            let _ = write!(text, "{name:<12} {:>9}", histogram.len());
            for (_, quantile) in QUANTILES {
                let _ = write!(text, " {:>9.2}", millis(histogram.value_at_quantile(quantile)));
            }
            text.push('\n');
        };
        for priority in Priority::ALL {
            row(priority.name(), &self.judgement.latency[priority.index()]);
        }
        row("publish", &self.publish);
        text.push_str("priorities: publish accepted to bytes read by the device; publish: sent to accepted\n");
    }

    fn write_faults(&self, text: &mut String, scenario: &Scenario) {
        let kinds = [("played", &self.played), ("not played", &self.not_played)];
        for (kind, ids) in kinds.into_iter().filter(|(_, ids)| !ids.is_empty()) {
            let _ = writeln!(text, "\nfaults {kind}");
            for id in ids {
                let _ = writeln!(text, "  {}", faults::describe(scenario, id));
            }
        }
    }
}

fn deliveries(deliveries: &Deliveries) -> Value {
    let Deliveries {
        expected,
        made,
        repeated,
        missing,
        wrong,
        disordered,
    } = deliveries;
    json!({
        "expected": expected, "made": made, "repeated": repeated, "missing": missing, "wrong": wrong,
        "disordered": disordered,
    })
}

fn quantiles(histogram: &Histogram<u64>) -> Value {
    let value = |(name, quantile): (&str, f64)| (name.to_owned(), millis(histogram.value_at_quantile(quantile)).into());
    Value::Object(QUANTILES.into_iter().map(value).collect())
}

/// Milliseconds at two digits.
fn millis(micros: u64) -> f64 {
    round(micros as f64 / 1000.0)
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn paint(text: &str, color: AnsiColor) -> String {
    let style = Style::new().fg_color(Some(color.into()));
    format!("{style}{text}{style:#}")
}

#[cfg(test)]
mod tests {
    use super::Report;
    use crate::lab::{ledger, machine, scenario};
    use std::time::Duration;

    #[test]
    fn the_report_has_the_shape_that_others_read() {
        let mut judgement = ledger::judge(&[], &[], &[]);
        ledger::record(&mut judgement.latency[0], Duration::from_micros(1200));
        let report = Report {
            scenario: "saturday".into(),
            speed: 1200.0,
            took: Duration::from_secs(54),
            judgement,
            publish: ledger::histogram(),
            publish_gap_max: Duration::from_millis(900),
            acknowledged: 0,
            to_acknowledge: 0,
            reconnects: 0,
            played: vec!["flt-06".into()],
            not_played: vec!["flt-03".into()],
            machine: machine::machine(),
            commit: "abc".into(),
        };
        let json = report.json();
        assert_eq!(json["verdicts"]["not_enforced"], 0);
        assert_eq!(json["deliveries"]["missing"], 0);
        assert_eq!(json["latency_ms"]["critical"]["p50"], 1.2);
        assert!(json["latency_ms"].get("low").is_none());
        assert_eq!(json["publish_gap_max_ms"], 900.0);
        assert_eq!(json["faults"]["played"][0], "flt-06");
        let table = report.table(&scenario::open("saturday").unwrap());
        assert!(
            table.contains("leader_kill of leader") && table.contains("uplink_down"),
            "{table}"
        );
    }
}
