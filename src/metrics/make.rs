//! Makes metrics, and remembers of each what it is: whatever is registered is on the page of the docs.

use super::sheet::{Family, Kind};
use prometheus::core::Collector;
use prometheus::{
    Counter, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry,
};
use std::cell::RefCell;

/// What all names begin with.
pub const PREFIX: &str = "campanile";

pub struct Maker {
    registry: Registry,
    families: RefCell<Vec<Family>>,
}

/// From 50 µs to 26 s in doubling steps.
pub fn seconds(name: &str, help: &str) -> HistogramOpts {
    let buckets = (0..20).map(|step| 0.000_05 * f64::from(1u32 << step)).collect();
    HistogramOpts::new(name, help).buckets(buckets)
}

#[allow(clippy::expect_used)] // names are constants: a test makes them all
impl Maker {
    pub fn new() -> Self {
        Self {
            registry: Registry::new_custom(Some(PREFIX.into()), None).expect("a valid prefix"),
            families: RefCell::default(),
        }
    }

    pub fn registry(&self) -> Registry {
        self.registry.clone()
    }

    /// What is in it, by name.
    pub fn families(&self) -> Vec<Family> {
        let mut families = self.families.borrow().clone();
        families.sort_by(|a, b| a.name.cmp(&b.name));
        families
    }

    fn add<M: Collector + Clone + 'static>(&self, kind: Kind, metric: M) -> M {
        let described = metric.desc().into_iter().map(|desc| Family {
            name: format!("{PREFIX}_{}", desc.fq_name),
            kind,
            labels: desc.variable_labels.clone(),
            help: desc.help.clone(),
        });
        self.families.borrow_mut().extend(described);
        self.registry.register(Box::new(metric.clone())).expect("a new name");
        metric
    }

    pub fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.add(Kind::Counter, IntCounter::new(name, help).expect("a valid name"))
    }

    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        let made = IntCounterVec::new(Opts::new(name, help), labels);
        self.add(Kind::Counter, made.expect("a valid name"))
    }

    /// A counter of what has no whole numbers.
    pub fn sum(&self, name: &str, help: &str) -> Counter {
        self.add(Kind::Counter, Counter::new(name, help).expect("a valid name"))
    }

    pub fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.add(Kind::Gauge, IntGauge::new(name, help).expect("a valid name"))
    }

    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        let made = IntGaugeVec::new(Opts::new(name, help), labels);
        self.add(Kind::Gauge, made.expect("a valid name"))
    }

    /// A gauge of what has no whole numbers.
    pub fn level(&self, name: &str, help: &str) -> Gauge {
        self.add(Kind::Gauge, Gauge::new(name, help).expect("a valid name"))
    }

    pub fn levels(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        let made = GaugeVec::new(Opts::new(name, help), labels);
        self.add(Kind::Gauge, made.expect("a valid name"))
    }

    pub fn histogram(&self, opts: HistogramOpts) -> Histogram {
        self.add(Kind::Histogram, Histogram::with_opts(opts).expect("valid buckets"))
    }

    pub fn histograms(&self, opts: HistogramOpts, labels: &[&str]) -> HistogramVec {
        self.add(Kind::Histogram, HistogramVec::new(opts, labels).expect("valid buckets"))
    }
}
