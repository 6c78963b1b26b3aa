//! The figures and distributions of a report. Pure.

use super::run::Played;
use super::scenario::Scenario;
use super::sums::{Sums, mean, p95};
use super::watch::Mark;
use crate::lab::results::{Better, Buckets, Distribution, Figure, figure, millis};
use crate::model::Priority;
use hdrhistogram::Histogram;

pub const MIB: f64 = 1_048_576.0;
const KIB: f64 = 1_024.0;
const MILLION: f64 = 1e6;

const READ: &str = "accepted to read";
const DUE: &str = "due to read";

impl Sums<'_> {
    pub fn figures(&self, scenario: &Scenario) -> Vec<Figure> {
        use Better::{Higher, Lower, Neither};
        let count = |key: &str, name: &str, value: u64, better| figure(key, name, "", Some(value as f64), better);
        let mut all = Vec::new();
        if scenario.subscribers() > 0 {
            let counts = self.counts;
            let measured: u64 = self.accepted.iter().map(Histogram::len).sum();
            let per_second = self.window().map(|seconds| measured as f64 / seconds);
            let (whole, due) = (self.overall(), self.overall_due());
            all.extend([
                count("deliveries.expected", "expected", counts.expected, Neither),
                count("deliveries.made", "made", counts.made, Neither),
                count("deliveries.missing", "missing", counts.missing, Lower),
                count("deliveries.wrong", "to the wrong people", counts.wrong, Lower),
                count(
                    "deliveries.repeated",
                    "repeated on one connection",
                    counts.repeated,
                    Lower,
                ),
                count(
                    "deliveries.resent",
                    "sent again after a reconnect (allowed)",
                    counts.resent,
                    Neither,
                ),
                count("deliveries.disordered", "out of order", counts.disordered, Lower),
                count("deliveries.foreign", "broadcasts of others", self.foreign, Neither),
                figure("deliveries.per_second", "deliveries", "/s", per_second, Higher),
                figure(
                    "latency.mean",
                    "mean, accepted to read",
                    "ms",
                    mean(whole.as_ref()),
                    Lower,
                ),
                figure("latency.p95", "p95, accepted to read", "ms", p95(whole.as_ref()), Lower),
                figure("latency.due_mean", "mean, due to read", "ms", mean(due.as_ref()), Lower),
                figure("latency.due_p95", "p95, due to read", "ms", p95(due.as_ref()), Lower),
                count(
                    "latency.early",
                    "read before the publisher had its answer",
                    self.early,
                    Neither,
                ),
                count(
                    "connections.all",
                    "subscribers",
                    u64::from(scenario.subscribers()),
                    Neither,
                ),
                count("connections.lost", "connections lost", self.lost, Lower),
                count(
                    "connections.failed",
                    "attempts to connect that failed",
                    self.failed,
                    Lower,
                ),
                count("connections.gaps", "streams with a gap", self.gaps, Lower),
            ]);
        }
        all.extend(self.published());
        all.extend(self.machine(scenario));
        all.extend(self.growth());
        all
    }

    fn published(&self) -> Vec<Figure> {
        use Better::{Higher, Lower, Neither};
        let Some(step) = self.step else { return Vec::new() };
        let published = &step.published;
        let quantile = |quantile: f64| {
            (!published.from_due.is_empty()).then(|| millis(published.from_due.value_at_quantile(quantile)))
        };
        let count = |key: &str, name: &str, value: u64, better| figure(key, name, "", Some(value as f64), better);
        let mut all = vec![
            figure(
                "publish.per_second",
                "accepted",
                "/s",
                published.rate(step.measured_from),
                Higher,
            ),
            count(
                "publish.accepted",
                "accepted while measured",
                published.accepted,
                Neither,
            ),
            figure("publish.p50", "p50, due to accepted", "ms", quantile(0.5), Lower),
            figure("publish.p99", "p99, due to accepted", "ms", quantile(0.99), Lower),
            figure(
                "publish.errors",
                "attempts that failed",
                "%",
                published.errors_percent(),
                Lower,
            ),
            count("publish.refused", "refused", published.refused, Lower),
            count("publish.unknown", "of unknown outcome", published.unknown, Lower),
            count(
                "publish.queued",
                "due while no connection was free",
                published.queued,
                Lower,
            ),
            figure(
                "publish.gap_max",
                "longest time without an acceptance",
                "ms",
                Some(millis(published.gap_max)),
                Lower,
            ),
        ];
        for (code, times) in &published.errors {
            all.push(count(
                &format!("publish.error_{}", code.to_lowercase()),
                &format!("answered {code}"),
                *times,
                Lower,
            ));
        }
        all
    }

    /// What was more when it ended than when the warm-up was over, and how much there was then.
    fn growth(&self) -> Vec<Figure> {
        use Better::Lower;
        let mib = |bytes: Option<f64>| bytes.map(|bytes| bytes / MIB);
        let marks = self.step.map(|step| (&step.from, &step.until));
        let of = |value: fn(&Mark) -> Option<u64>| {
            let until = marks.and_then(|(_, until)| Some(value(until)? as f64));
            let from = marks.and_then(|(from, _)| Some(value(from)? as f64));
            (mib(until), mib(until.zip(from).map(|(until, from)| until - from)))
        };
        let (memory, memory_more) = of(|mark| mark.resident);
        let (disk, disk_more) = of(|mark| mark.disk);
        vec![
            figure("growth.memory", "memory, more than before", "MiB", memory_more, Lower),
            figure(
                "growth.memory_end",
                "memory of the nodes at the end",
                "MiB",
                memory,
                Lower,
            ),
            figure("growth.disk", "disk, more than before", "MiB", disk_more, Lower),
            figure("growth.disk_end", "disk of the nodes at the end", "MiB", disk, Lower),
        ]
    }

    fn machine(&self, scenario: &Scenario) -> Vec<Figure> {
        use Better::{Higher, Lower, Neither};
        let (cpu, delivered) = (self.server_cpu(), self.delivered());
        let accepted = self
            .step
            .map(|step| step.published.accepted as f64)
            .filter(|accepted| *accepted > 0.0);
        let step = self.step;
        let busy = step.and_then(|step| step.until.cores?.busy_since(step.from.cores?));
        let [before, after] = self.resident;
        let subscribers = f64::from(scenario.subscribers());
        let each = before.zip(after).filter(|_| subscribers > 0.0);
        let per_connection =
            each.and_then(|(before, after)| Some(after.checked_sub(before)? as f64 / KIB / subscribers));
        let seconds = self.marked();
        let mut all = Vec::new();
        if scenario.subscribers() > 0 {
            let per_million = cpu.zip(delivered).map(|(cpu, delivered)| cpu * MILLION / delivered);
            all.push(figure(
                "server.cpu_per_million",
                "CPU of the nodes per million deliveries",
                "s",
                per_million,
                Lower,
            ));
            all.push(figure(
                "server.memory_per_connection",
                "memory of the nodes per connection",
                "KiB",
                per_connection,
                Lower,
            ));
        } else {
            let per_thousand = cpu.zip(accepted).map(|(cpu, accepted)| cpu * 1_000.0 / accepted);
            all.push(figure(
                "server.cpu_per_thousand",
                "CPU of the nodes per thousand broadcasts",
                "s",
                per_thousand,
                Lower,
            ));
        }
        let cores = cpu.zip(seconds).map(|(cpu, seconds)| cpu / seconds.max(0.001));
        all.extend([
            figure("server.cores", "cores that the nodes used", "", cores, Lower),
            figure(
                "server.memory",
                "memory of the nodes",
                "MiB",
                after.map(|after| after as f64 / MIB),
                Lower,
            ),
            figure("server.hit_rate", "cache hit rate", "%", self.hit_rate(), Higher),
            figure(
                "generator.share",
                "of a core, by its busiest process",
                "%",
                self.generator_share().map(|share| share * 100.0),
                Neither,
            ),
            figure(
                "generator.late",
                "sent late although a connection was free, p99",
                "ms",
                self.lateness_ms(),
                Neither,
            ),
            figure(
                "generator.processes",
                "processes with subscribers",
                "",
                Some(self.crowds as f64),
                Neither,
            ),
            figure(
                "generator.machine",
                "of all cores of this machine in use",
                "%",
                busy.map(|busy| busy * 100.0),
                Neither,
            ),
        ]);
        all
    }

    pub fn distributions(&self, played: &Played) -> Vec<Distribution> {
        let mut all = Vec::new();
        for (priority, histogram) in Priority::ALL.into_iter().zip(&self.accepted) {
            all.push(one("latency", READ, priority.name(), histogram));
        }
        if let Some(whole) = self.overall() {
            all.push(one("latency", READ, "all", &whole));
        }
        for (priority, histogram) in Priority::ALL.into_iter().zip(&self.due) {
            all.push(one("due", DUE, priority.name(), histogram));
        }
        if let Some(whole) = self.overall_due() {
            all.push(one("due", DUE, "all", &whole));
        }
        all.push(one("warm_up", "accepted to read, warm-up", "all", &self.warm_up));
        for step in &played.steps {
            let (key, words) = if played.steps.len() > 1 {
                let publishers = step.publishers;
                (
                    format!("publish_{publishers}"),
                    format!(" with {publishers} publishers"),
                )
            } else {
                ("publish".to_owned(), String::new())
            };
            let published = &step.published;
            all.push(one(
                &key,
                "publish to accepted",
                &format!("due{words}"),
                &published.from_due,
            ));
            all.push(one(
                &key,
                "publish to accepted",
                &format!("sent{words}"),
                &published.from_sent,
            ));
        }
        all.retain(|one| !one.buckets.0.is_empty());
        all
    }
}

fn one(key: &str, group: &str, name: &str, histogram: &Histogram<u64>) -> Distribution {
    let short = name.split(' ').next().unwrap_or(name);
    Distribution {
        key: format!("{key}.{short}"),
        group: group.to_owned(),
        name: name.to_owned(),
        buckets: Buckets::of(histogram),
    }
}
