//! What a rehearsal prints: a table for people, or one line of JSON.

use super::{
    alerts::Escalations,
    called::Calls,
    confirmed::Needs,
    ledger::{Deliveries, Judgement, Verdicts},
    machine::Machine,
    sequel::Sequel,
    uptime::Uptime,
};
use crate::model::{PerPriority, Priority};
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};
use std::time::Duration;

mod table;

type Quantile = (&'static str, f64);

const LATENCY: [Quantile; 4] = [("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0)];
/// Few confirm: more digits would say more than is known.
const CONFIRM: [Quantile; 3] = [("p50", 0.5), ("p95", 0.95), ("max", 1.0)];

#[derive(Debug)]
pub struct Report {
    pub scenario: String,
    pub speed: f64,
    pub took: Duration,
    pub judgement: Judgement,
    pub sequel: Sequel,
    /// What the sender waited for each answer, in µs.
    pub publish: Histogram<u64>,
    /// The longest of these: nothing was taken meanwhile.
    pub publish_gap_max: Duration,
    /// Of devices.
    pub reconnects: u64,
    /// `None` when nobody probed.
    pub uptime: Option<Uptime>,
    pub played: Vec<String>,
    pub not_played: Vec<String>,
    pub machine: Machine,
    /// Empty when the build does not know it.
    pub commit: String,
}

impl Report {
    pub fn is_good(&self) -> bool {
        self.judgement.is_good() && self.sequel.is_good()
    }

    /// What is wrong, in words.
    pub fn findings(&self) -> impl Iterator<Item = &String> {
        let (first, then) = (self.judgement.findings.words(), self.sequel.findings.words());
        first.iter().chain(then)
    }

    pub fn json(&self) -> Value {
        let Verdicts {
            expected,
            unexpected,
            not_enforced,
        } = self.judgement.verdicts;
        let confirmed = &self.sequel.confirmed;
        let Needs {
            expected: needed, met, ..
        } = confirmed.needs;
        let mut json = json!({
            "scenario": self.scenario,
            "speed": self.speed,
            "took_s": round(self.took.as_secs_f64()),
            "verdicts": {"expected": expected, "unexpected": unexpected, "not_enforced": not_enforced},
            "deliveries": deliveries(&self.judgement.deliveries),
            "latency_ms": by_priority(&self.judgement.latency, &LATENCY),
            "publish_ms": quantiles(&self.publish, &LATENCY),
            "publish_gap_max_ms": millis(self.publish_gap_max.as_micros() as u64),
            "acknowledgements": {"expected": confirmed.expected, "made": confirmed.made},
            "time_to_confirm_ms": by_priority(&confirmed.time, &CONFIRM),
            "needs": {"expected": needed, "met": met},
            "escalations": escalations(&self.sequel.escalations),
            "outputs": outputs(&self.sequel.calls),
            "retries": self.sequel.retries,
            "reconnects": self.reconnects,
            "faults": {"played": self.played, "not_played": self.not_played},
            "findings": self.findings().collect::<Vec<_>>(),
            "rate_caps": "off",
            "machine": self.machine,
            "commit": self.commit,
        });
        if let Some(letters) = self.sequel.dead_letters {
            json["dead_letters"] = json!({"expected": letters.expected, "found": letters.found});
        }
        json
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

fn escalations(escalations: &Escalations) -> Value {
    let Escalations {
        expected,
        taken,
        wrong,
        late_max,
        alerts,
    } = escalations;
    json!({
        "expected": expected, "taken": taken, "wrong": wrong, "late_max_ms": millis(late_max.as_micros() as u64),
        "alerts": {"expected": alerts.expected, "made": alerts.made, "missing": alerts.missing, "wrong": alerts.wrong},
    })
}

fn outputs(calls: &Calls) -> Value {
    let Calls {
        expected,
        delivered,
        repeated,
        unsigned,
        missing,
        wrong,
    } = calls;
    json!({
        "expected": expected, "delivered": delivered, "repeated": repeated, "unsigned": unsigned, "missing": missing,
        "wrong": wrong,
    })
}

/// Of those priorities that had any.
fn by_priority(histograms: &PerPriority<Histogram<u64>>, wanted: &[Quantile]) -> Map<String, Value> {
    let each = Priority::ALL
        .into_iter()
        .zip(histograms)
        .filter(|(_, histogram)| !histogram.is_empty());
    each.map(|(priority, histogram)| (priority.name().to_owned(), quantiles(histogram, wanted)))
        .collect()
}

fn quantiles(histogram: &Histogram<u64>, wanted: &[Quantile]) -> Value {
    let value = |(name, quantile): &Quantile| {
        (
            (*name).to_owned(),
            millis(histogram.value_at_quantile(*quantile)).into(),
        )
    };
    Value::Object(wanted.iter().map(value).collect())
}

/// Milliseconds at two digits.
fn millis(micros: u64) -> f64 {
    round(micros as f64 / 1000.0)
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::Report;
    use crate::lab::{
        afterwards::Afterwards,
        alerts::Evidence,
        confirmed::Confirmations,
        ledger, machine, scenario,
        sequel::{self, Conditions, Sequel},
    };
    use std::{collections::BTreeMap, time::Duration};

    fn nothing_followed() -> Sequel {
        let evidence = Evidence {
            users: &[],
            seen: &[],
            confirmations: &Confirmations::new(),
            shown: &BTreeMap::new(),
        };
        let afterwards = (&Afterwards::default(), crate::base::clock::now());
        sequel::judge(&[], &evidence, &[], afterwards, Conditions::Faults)
    }

    #[test]
    fn the_report_has_the_shape_that_others_read() {
        let mut judgement = ledger::judge(&[], &[], &[]);
        ledger::record(&mut judgement.latency[0], Duration::from_micros(1200));
        let mut sequel = nothing_followed();
        ledger::record(&mut sequel.confirmed.time[0], Duration::from_secs(30));
        sequel.escalations.late_max = Duration::from_millis(12);
        let report = Report {
            scenario: "saturday".into(),
            speed: 1200.0,
            took: Duration::from_secs(54),
            judgement,
            sequel,
            publish: ledger::histogram(),
            publish_gap_max: Duration::from_millis(900),
            reconnects: 0,
            uptime: None,
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
        for (member, expected) in [
            ("acknowledgements", r#"{"expected":0,"made":0}"#),
            ("needs", r#"{"expected":0,"met":0}"#),
            (
                "escalations",
                r#"{"alerts":{"expected":0,"made":0,"missing":0,"wrong":0},"expected":0,"late_max_ms":12.0,"taken":0,"wrong":0}"#,
            ),
            (
                "outputs",
                r#"{"delivered":0,"expected":0,"missing":0,"repeated":0,"unsigned":0,"wrong":0}"#,
            ),
            ("dead_letters", r#"{"expected":0,"found":0}"#),
            ("retries", "0"),
        ] {
            assert_eq!(json[member].to_string(), expected, "{member}");
        }
        let confirm = json["time_to_confirm_ms"]["critical"].as_object().unwrap();
        assert_eq!(confirm.keys().collect::<Vec<_>>(), ["max", "p50", "p95"]);
        let table = report.table(&scenario::open("saturday").unwrap());
        assert!(
            table.contains("leader_kill of leader") && table.contains("uplink_down"),
            "{table}"
        );
    }
}
