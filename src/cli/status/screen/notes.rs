//! What the node that tells has to say of itself: threads and what was decided of them, the cache, how long deliveries take.

use crate::cli::sight::Sight;
use crate::cli::sight::line::{Line, Tone};
use crate::cli::sight::words;

pub fn notes(sight: &Sight) -> Vec<Line> {
    let mut lines = Vec::new();
    lines.extend(threads(sight));
    if let Some(reads) = sight.cache.as_ref().map(|cache| &cache.reads) {
        let mut line = Line::new().with(Tone::Strong, "cache");
        if reads.all() == 0 {
            line.push(Tone::Dim, "  nobody has read from it");
        } else {
            line.push(
                Tone::Plain,
                format!(
                    "  {} of {} hit",
                    words::percent(reads.hit_rate),
                    words::many(reads.all(), "read")
                ),
            );
            line.push(
                Tone::Dim,
                format!(", {} in memory", words::percent(reads.local_hit_rate)),
            );
        }
        lines.push(line);
    }
    if let Some(lately) = &sight.board.performance {
        let delivery = &lately.latency.delivery;
        let mut line = Line::new().with(Tone::Strong, "delivery");
        if delivery.count == 0 {
            line.push(
                Tone::Dim,
                format!("  nothing in the last {}", words::span(lately.over_seconds)),
            );
        } else {
            line.push(Tone::Plain, format!("  {} mean", words::millis(delivery.mean_ms)));
            let most = words::millis(delivery.p95_at_most_ms);
            let publish = words::millis(lately.latency.publish.mean_ms);
            line.push(
                Tone::Dim,
                format!(", 95 of 100 within {most}; a publish takes {publish}"),
            );
        }
        lines.push(line);
    }
    let letters = sight.board.dead_letters.total;
    if letters > 0 {
        let line = Line::new().with(Tone::Strong, "undelivered");
        lines.push(line.with(Tone::Plain, format!("  {}", words::many(letters, "dead letter"))));
    }
    lines
}

/// How many threads the node that answered has, what was decided last and why, and whether the coming days need more.
fn threads(sight: &Sight) -> Vec<Line> {
    let Some(scaling) = &sight.scaling else {
        return Vec::new();
    };
    let bounds = if scaling.fixed {
        "fixed".to_owned()
    } else {
        format!(
            "{} to {}, {}",
            scaling.threads_min, scaling.threads_max, scaling.profile
        )
    };
    let line = Line::new().with(Tone::Strong, words::many(scaling.threads, "thread"));
    let mut line = line.with(Tone::Dim, format!(" ({bounds})  "));
    if let Some(last) = scaling.decisions.first() {
        if last.threads != last.threads_before {
            line.push(Tone::Plain, format!("{} to {}: ", last.threads_before, last.threads));
        }
        line.push(Tone::Plain, format!("{}, {}", last.rule, last.reason));
    }
    let mut lines = vec![line];
    let warning = scaling.forecast.as_ref().and_then(|forecast| forecast.warning.as_ref());
    lines.extend(warning.map(|warning| {
        let line = Line::new().with(Tone::Bad, "the coming days");
        line.with(Tone::Plain, format!("  {warning}"))
    }));
    lines
}
