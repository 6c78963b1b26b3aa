//! All metrics as they stand now, for whoever brings them elsewhere.

use super::Metrics;
use super::history::Spread;
use super::sheet::Kind;
use prometheus::proto::{Metric, MetricFamily};
use std::collections::BTreeMap;

/// One name with the series that it has by now.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    pub name: String,
    pub help: String,
    pub unit: Option<&'static str>,
    pub kind: Kind,
    pub series: Vec<Series>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    pub labels: Vec<(String, String)>,
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Number(f64),
    Spread(Spread),
}

impl Metrics {
    pub fn snapshot(&self) -> Vec<Measured> {
        let known: BTreeMap<&str, _> = self.families().iter().map(|family| (&*family.name, family)).collect();
        let gathered = self.registry.gather();
        let each = gathered.iter().filter_map(|family| {
            let known = known.get(family.name())?;
            Some(Measured {
                name: known.name.clone(),
                help: known.help.clone(),
                unit: known.unit(),
                kind: known.kind,
                series: series(family, known.kind),
            })
        });
        each.collect()
    }
}

fn series(family: &MetricFamily, kind: Kind) -> Vec<Series> {
    let each = family.get_metric().iter().map(|metric| Series {
        labels: metric
            .get_label()
            .iter()
            .map(|label| (label.name().to_owned(), label.value().to_owned()))
            .collect(),
        value: value(metric, kind),
    });
    each.collect()
}

fn value(metric: &Metric, kind: Kind) -> Value {
    match kind {
        Kind::Counter => Value::Number(metric.get_counter().get_value()),
        Kind::Gauge => Value::Number(metric.get_gauge().get_value()),
        Kind::Histogram => Value::Spread(Spread::of_metric(metric)),
    }
}

#[cfg(test)]
mod tests {
    use super::Value;
    use crate::metrics::METRICS;
    use crate::metrics::sheet::Kind;

    #[test]
    fn every_kind_has_its_value() {
        METRICS.published.with_label_values(&["low"]).inc();
        METRICS.publish_seconds.observe(0.001);
        METRICS.applied_index.set(7);
        let all = METRICS.snapshot();
        let find = |name: &str| all.iter().find(|one| one.name == name).unwrap();
        let published = find("campanile_published_total");
        let low = published
            .series
            .iter()
            .find(|one| one.labels == [("priority".to_owned(), "low".to_owned())]);
        assert!(matches!(low.unwrap().value, Value::Number(count) if count >= 1.0));
        let seconds = find("campanile_publish_seconds");
        assert_eq!((seconds.kind, seconds.unit), (Kind::Histogram, Some("seconds")));
        let Value::Spread(spread) = &seconds.series[0].value else {
            panic!("{seconds:?}");
        };
        assert!(spread.count >= 1 && spread.buckets.len() == 20);
        assert!(matches!(
            find("campanile_applied_index").series[0].value,
            Value::Number(_)
        ));
    }
}
