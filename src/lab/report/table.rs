//! The table for people.

use super::{CONFIRM, LATENCY, Quantile, Report, millis};
use crate::{
    lab::{
        faults,
        ledger::{Deliveries, Verdicts},
        machine::Machine,
        scenario::Scenario,
        sequel::Sequel,
    },
    model::Priority,
};
use anstyle::{AnsiColor, Style};
use hdrhistogram::Histogram;
use std::fmt::Write as _;

impl Report {
    pub fn table(&self, scenario: &Scenario) -> String {
        let mut text = String::new();
        self.write_counts(&mut text);
        write_sequel(&mut text, &self.sequel);
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
        for finding in self.findings() {
            let _ = writeln!(text, "{} {finding}", paint("✗", AnsiColor::Red));
        }
        text.push_str(&if self.is_good() {
            paint(
                "✓ every broadcast reached exactly its recipients, and what was not confirmed went its way",
                AnsiColor::Green,
            )
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
             sender       longest wait for an answer {} ms; {} reconnects of devices\n\
             rate caps    off for this cluster\n",
            millis(self.publish_gap_max.as_micros() as u64),
            self.reconnects,
        );
    }

    fn write_latency(&self, text: &mut String) {
        write_head(text, "ms", &LATENCY);
        for (priority, histogram) in Priority::ALL.into_iter().zip(&self.judgement.latency) {
            write_row(text, priority.name(), histogram, &LATENCY);
        }
        write_row(text, "publish", &self.publish, &LATENCY);
        text.push_str("priorities: publish accepted to bytes read by the device; publish: sent to accepted\n");
        write_head(text, "to confirm", &CONFIRM);
        for (priority, histogram) in Priority::ALL.into_iter().zip(&self.sequel.confirmed.time) {
            if !histogram.is_empty() {
                write_row(text, priority.name(), histogram, &CONFIRM);
            }
        }
        text.push_str("ms from publish accepted to the answer to the acknowledgement; who is needed waits for a step where there is one\n");
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

/// What followed from the broadcasts.
fn write_sequel(text: &mut String, sequel: &Sequel) {
    let Sequel {
        confirmed,
        escalations,
        calls,
        retries,
        dead_letters,
        ..
    } = sequel;
    let (needs, alerts) = (confirmed.needs, escalations.alerts);
    let _ = writeln!(
        text,
        "confirmed    {} of {} acknowledgements; {} of {} needs met",
        confirmed.made, confirmed.expected, needs.met, needs.expected
    );
    let _ = writeln!(
        text,
        "escalated    {} of {} steps, {} wrong, at most {} ms late; {} of {} alerts made, {} missing, {} wrong",
        escalations.taken,
        escalations.expected,
        escalations.wrong,
        millis(escalations.late_max.as_micros() as u64),
        alerts.made,
        alerts.expected,
        alerts.missing,
        alerts.wrong
    );
    let _ = writeln!(
        text,
        "outputs      {} of {} calls delivered, {} missing, {} wrong, {} repeated, {} unsigned",
        calls.delivered, calls.expected, calls.missing, calls.wrong, calls.repeated, calls.unsigned
    );
    let letters = dead_letters.map_or_else(
        || "something has expired: dead letters are not counted".to_owned(),
        |letters| format!("{} dead letters, {} expected", letters.found, letters.expected),
    );
    let _ = writeln!(text, "retries      {retries} people written to again; {letters}");
}

fn write_head(text: &mut String, name: &str, wanted: &[Quantile]) {
    let _ = write!(text, "\n{name:<12} {:>9}", "count");
    for (quantile, _) in wanted {
        let _ = write!(text, " {quantile:>9}");
    }
    text.push('\n');
}

fn write_row(text: &mut String, name: &str, histogram: &Histogram<u64>, wanted: &[Quantile]) {
    let _ = write!(text, "{name:<12} {:>9}", histogram.len());
    for (_, quantile) in wanted {
        let _ = write!(text, " {:>9.2}", millis(histogram.value_at_quantile(*quantile)));
    }
    text.push('\n');
}

fn paint(text: &str, color: AnsiColor) -> String {
    let style = Style::new().fg_color(Some(color.into()));
    format!("{style}{text}{style:#}")
}
