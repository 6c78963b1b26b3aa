//! Spans: what was done for a trace, from when to when. Recording one never waits.

use crate::base::clock;
use crate::metrics::METRICS;
use crate::model::Trace;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{Notify, mpsc};

/// What kind of span it is, as the protocol numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Internal = 1,
    Server = 2,
    Client = 3,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Well,
    /// A code or a short reason, never what somebody wrote.
    Failed(String),
}

/// One span that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Its trace, with its own id.
    pub trace: Trace,
    /// `None` for the first of a trace.
    pub parent: Option<u64>,
    pub name: &'static str,
    pub kind: Kind,
    /// Nanoseconds since 1970.
    pub start: u64,
    pub end: u64,
    pub attributes: Vec<(&'static str, String)>,
    pub outcome: Outcome,
}

/// One that has begun.
#[derive(Debug)]
pub struct Began {
    trace: Trace,
    parent: Option<u64>,
    name: &'static str,
    kind: Kind,
    start: u64,
    since: Instant,
}

impl Began {
    fn now(trace: Trace, parent: Option<u64>, name: &'static str, kind: Kind) -> Self {
        Self {
            trace,
            parent,
            name,
            kind,
            start: clock::wall_nanos(),
            since: clock::now(),
        }
    }

    /// What comes from it belongs here.
    pub fn trace(&self) -> Trace {
        self.trace
    }

    fn end(self, outcome: Outcome, attributes: Vec<(&'static str, String)>) -> Span {
        let took = u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Span {
            trace: self.trace,
            parent: self.parent,
            name: self.name,
            kind: self.kind,
            start: self.start,
            end: self.start.saturating_add(took),
            attributes,
            outcome,
        }
    }
}

/// Whether a publish is recorded, and as part of which trace. `dice`: a share from 0 to 1, an id, and a span's id.
fn sample(given: Option<Trace>, share: f64, dice: (f64, u128, u64)) -> Option<Trace> {
    let (drawn, id, span) = dice;
    match given {
        Some(trace) => trace.is_sampled().then(|| trace.within(span.max(1))),
        None => (drawn < share).then(|| Trace::begin(id, span)).flatten(),
    }
}

/// Takes spans; a clone takes them to the same queue.
#[derive(Clone)]
pub struct Tracer(Option<Inner>);

#[derive(Clone)]
struct Inner {
    queue: mpsc::Sender<Span>,
    share: f64,
    /// Told when the queue is half full.
    filling: Arc<Notify>,
}

impl Tracer {
    /// Records nothing.
    pub const fn off() -> Self {
        Self(None)
    }

    pub(super) fn new(queue: mpsc::Sender<Span>, share: f64, filling: Arc<Notify>) -> Self {
        Self(Some(Inner { queue, share, filling }))
    }

    /// The first span of this cluster in a trace; `None` where it is not recorded.
    pub fn begin(&self, given: Option<Trace>, name: &'static str) -> Option<Began> {
        let inner = self.0.as_ref()?;
        let dice = (rand::random(), rand::random(), rand::random());
        let trace = sample(given, inner.share, dice)?;
        Some(Began::now(trace, given.map(Trace::span), name, Kind::Server))
    }

    /// A span below the one that `parent` names, where that is recorded.
    pub fn within(&self, parent: Option<Trace>, name: &'static str, kind: Kind) -> Option<Began> {
        self.0.as_ref()?;
        let parent = parent.filter(|parent| parent.is_sampled())?;
        let own = parent.within(rand::random::<u64>().max(1));
        Some(Began::now(own, Some(parent.span()), name, kind))
    }

    /// What has begun has ended.
    pub fn end(&self, began: Option<Began>, outcome: Outcome, attributes: Vec<(&'static str, String)>) {
        let (Some(inner), Some(began)) = (&self.0, began) else {
            return;
        };
        if inner.queue.try_send(began.end(outcome, attributes)).is_err() {
            METRICS.spans_dropped.inc();
        }
        if inner.queue.capacity() < inner.queue.max_capacity() / 2 {
            inner.filling.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, Outcome, Tracer, sample};
    use crate::metrics::METRICS;
    use crate::model::Trace;
    use std::sync::Arc;
    use tokio::sync::{Notify, mpsc};

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn given(text: &str) -> Option<Trace> {
        Trace::parse(text)
    }

    #[test]
    fn whoever_sends_a_traceparent_decides_and_else_the_share_does() {
        let quiet = GIVEN.replace("-01", "-00");
        let check = |trace: Option<Trace>, share: f64, drawn: f64, expected: Option<&str>| {
            let found = sample(trace, share, (drawn, 7, 9)).map(|trace| trace.to_string());
            assert_eq!(found.as_deref(), expected, "{trace:?} {share} {drawn}");
        };
        let inner = "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000009-01";
        let own = "00-00000000000000000000000000000007-0000000000000009-01";
        check(given(GIVEN), 0.0, 0.5, Some(inner));
        check(given(&quiet), 1.0, 0.5, None);
        check(None, 0.0, 0.0, None);
        check(None, 1.0, 0.999, Some(own));
        check(None, 0.5, 0.5, None);
    }

    #[test]
    fn spans_form_a_tree_and_what_does_not_fit_is_counted() {
        let (queue, mut waiting) = mpsc::channel(2);
        let tracer = Tracer::new(queue, 0.0, Arc::new(Notify::new()));
        let outer = tracer.begin(given(GIVEN), "publish").unwrap();
        let inner = tracer.within(Some(outer.trace()), "propose", Kind::Internal).unwrap();
        let (parent, child) = (outer.trace(), inner.trace());
        tracer.end(Some(inner), Outcome::Well, Vec::new());
        tracer.end(
            Some(outer),
            Outcome::Failed("NO_LEADER".into()),
            vec![("a", "b".into())],
        );
        let dropped = METRICS.spans_dropped.get();
        tracer.end(tracer.begin(given(GIVEN), "publish"), Outcome::Well, Vec::new());
        assert!(METRICS.spans_dropped.get() > dropped);
        let (first, second) = (waiting.try_recv().unwrap(), waiting.try_recv().unwrap());
        assert_eq!((first.trace, first.parent), (child, Some(parent.span())));
        assert_eq!((second.trace, second.parent), (parent, Some(0x00f0_67aa_0ba9_02b7)));
        assert!(second.end >= second.start && first.start >= second.start);
        assert_eq!(second.outcome, Outcome::Failed("NO_LEADER".into()));
    }

    #[test]
    fn a_tracer_that_is_off_records_nothing() {
        let tracer = Tracer::off();
        assert!(tracer.begin(given(GIVEN), "publish").is_none());
        assert!(tracer.within(given(GIVEN), "propose", Kind::Internal).is_none());
    }
}
