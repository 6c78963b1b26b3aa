//! Lines drawn as SVG: a hand's breadth of text that needs neither a script nor a library, and takes its colours from the page.

use super::{Chart, Distribution, Line, shown};
use std::fmt::Write as _;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 30.0;
/// Lines of a grid that are aimed at.
const TICKS: f64 = 5.0;
/// Points of a percentile's curve.
const CURVE: u32 = 120;
/// Nines on the axis of percentiles: 90, 99, 99.9, 99.99, 99.999.
const NINES: u32 = 5;
/// Axes that are longer count hours, or days.
const HOURS_FROM: f64 = 3.0 * 3_600.0;
const DAYS_FROM: f64 = 3.0 * 86_400.0;
/// Styles of lines; more lines take turns.
const STYLES: usize = 6;
/// Priorities have the colours that they have on the dashboard.
const NAMED: [(&str, usize); 4] = [("high", 1), ("normal", 2), ("critical", 3), ("low", 4)];

/// How values become heights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scale {
    Linear,
    Log,
}

/// The frame that lines are drawn in: what stands at its edges.
struct Frame {
    x_max: f64,
    y_min: f64,
    y_max: f64,
    scale: Scale,
}

impl Frame {
    fn x(&self, value: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * value / self.x_max
    }

    fn y(&self, value: f64) -> f64 {
        let share = match self.scale {
            Scale::Linear => (value - self.y_min) / (self.y_max - self.y_min),
            Scale::Log => (value.max(self.y_min) / self.y_min).log10() / (self.y_max / self.y_min).log10(),
        };
        TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - share)
    }
}

fn style(name: &str, number: usize) -> usize {
    let named = NAMED.into_iter().find(|(priority, _)| *priority == name);
    named.map_or(number % STYLES, |(_, style)| style)
}

/// A chart over time.
pub fn over_time(chart: &Chart) -> String {
    let points = || chart.lines.iter().flat_map(|line| &line.points);
    let y_most = points().map(|(_, y)| *y).fold(0.0, f64::max);
    let step = round_step(y_most);
    let frame = Frame {
        x_max: points().map(|(x, _)| *x).fold(1.0, f64::max),
        y_min: 0.0,
        y_max: (y_most / step).ceil().max(1.0) * step,
        scale: Scale::Linear,
    };
    let lines = (frame.y_max / step).round() as u32;
    let rows = (0..=lines).map(|row| f64::from(row) * step);
    let (seconds, unit) = axis(frame.x_max);
    let every = round_step(frame.x_max / seconds).max(1.0);
    let columns = (0..=(frame.x_max / seconds / every) as u32).map(|column| {
        let count = f64::from(column) * every;
        (count * seconds, format!("{} {unit}", shown(count)))
    });
    drawn(&frame, rows.collect(), columns.collect(), &chart.lines, &chart.title)
}

/// What an axis counts in that is so many seconds long: a season is counted in days.
fn axis(seconds: f64) -> (f64, &'static str) {
    match seconds {
        DAYS_FROM.. => (86_400.0, "d"),
        HOURS_FROM.. => (3_600.0, "h"),
        _ => (1.0, "s"),
    }
}

/// Latency by percentile: every nine takes the same width, since the tail is what matters.
pub fn percentiles(distributions: &[Distribution]) -> String {
    let lines: Vec<Line> = distributions.iter().filter_map(curve).collect();
    let values = || lines.iter().flat_map(|line| line.points.iter().map(|(_, y)| *y));
    let (least, most) = (values().fold(f64::MAX, f64::min), values().fold(0.1, f64::max));
    let decade = |value: f64, round: fn(f64) -> f64| 10_f64.powf(round(value.log10()));
    let y_min = decade(least.clamp(0.01, most / 10.0), f64::floor);
    let frame = Frame {
        x_max: f64::from(NINES),
        y_min,
        y_max: decade(most, f64::ceil).max(y_min * 10.0),
        scale: Scale::Log,
    };
    let decades = (frame.y_max / frame.y_min).log10().round() as i32;
    let rows = (0..=decades).map(|row| frame.y_min * 10_f64.powi(row));
    let columns = ["0", "90", "99", "99.9", "99.99", "99.999"].into_iter().zip(0..);
    let columns = columns.map(|(percent, at)| (f64::from(at), format!("{percent} %")));
    drawn(
        &frame,
        rows.collect(),
        columns.collect(),
        &lines,
        "Latency by percentile",
    )
}

fn curve(distribution: &Distribution) -> Option<Line> {
    let histogram = distribution.buckets.histogram();
    if histogram.is_empty() {
        return None;
    }
    // Beyond one in so many there is nothing to see but the largest.
    let most = (histogram.len() as f64).log10().min(f64::from(NINES));
    let point = |at: u32| {
        let nines = most * f64::from(at) / f64::from(CURVE);
        let micros = histogram.value_at_quantile(1.0 - 10_f64.powf(-nines));
        (nines, (micros as f64 / 1_000.0).max(0.001))
    };
    Some(Line {
        name: distribution.name.clone(),
        points: (0..=CURVE).map(point).collect(),
    })
}

/// 1, 2 or 5 and noughts, so that about five of them make the whole.
fn round_step(most: f64) -> f64 {
    let rough = (most / TICKS).max(f64::MIN_POSITIVE);
    if most <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|factor| factor * power >= rough * 0.999);
    factor.unwrap_or(10.0) * power
}

fn drawn(frame: &Frame, rows: Vec<f64>, columns: Vec<(f64, String)>, lines: &[Line], title: &str) -> String {
    let mut svg = format!(
        r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{}">"#,
        escaped(title)
    );
    for row in rows {
        let (y, end) = (frame.y(row), WIDTH - RIGHT);
        let _ = write!(svg, r#"<path class="grid" d="M{LEFT} {y:.1}H{end}"/>"#);
        let _ = write!(
            svg,
            r#"<text class="tick" x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
            LEFT - 8.0,
            y + 4.0,
            shown(row)
        );
    }
    for (column, name) in columns {
        let (x, y) = (frame.x(column), HEIGHT - 8.0);
        let anchor = if x > WIDTH - RIGHT - 24.0 { "end" } else { "middle" };
        let _ = write!(
            svg,
            r#"<text class="tick" x="{x:.1}" y="{y}" text-anchor="{anchor}">{name}</text>"#
        );
    }
    for (number, line) in lines.iter().enumerate().filter(|(_, line)| !line.points.is_empty()) {
        let _ = write!(
            svg,
            r#"<path class="trace line-{}" d="{}"/>"#,
            style(&line.name, number),
            path(frame, &line.points)
        );
    }
    svg.push_str("</svg>");
    svg
}

fn path(frame: &Frame, points: &[(f64, f64)]) -> String {
    let mut path = String::new();
    for (number, (x, y)) in points.iter().enumerate() {
        let letter = if number == 0 { 'M' } else { 'L' };
        let _ = write!(path, "{letter}{:.1} {:.1}", frame.x(*x), frame.y(*y));
    }
    path
}

/// What the lines are, in their styles.
pub fn legend<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let keys = names.enumerate().map(|(number, name)| {
        format!(
            r#"<span class="line-{}"><svg class="key" viewBox="0 0 20 8"><path d="M0 4H20"/></svg>{}</span>"#,
            style(name, number),
            escaped(name)
        )
    });
    format!(r#"<p class="legend">{}</p>"#, keys.collect::<String>())
}

/// What is drawn of each, one behind the other.
pub fn each<T>(all: impl IntoIterator<Item = T>, draw: impl Fn(T) -> String) -> String {
    let mut text = String::new();
    for one in all {
        text.push_str(&draw(one));
    }
    text
}

/// Text as text.
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::{axis, escaped, legend, over_time, percentiles, round_step};
    use crate::lab::results::{Buckets, Chart, Distribution, Line, fixture};

    #[test]
    fn long_axes_count_hours_and_days() {
        let units = [600.0, 10_799.0, 10_800.0, 259_199.0, 259_200.0, 3e7].map(|seconds| axis(seconds).1);
        assert_eq!(units, ["s", "s", "h", "h", "d", "d"]);
    }

    #[test]
    fn grids_stand_at_round_numbers() {
        for (most, step) in [
            (0.0, 1.0),
            (1.0, 0.2),
            (7.0, 2.0),
            (20_000.0, 5_000.0),
            (0.03, 0.01),
            (100.0, 20.0),
        ] {
            let found = round_step(most);
            assert!((found - step).abs() < step / 1e6, "{most}: {found}");
        }
    }

    /// Every coordinate of every path lies inside the frame.
    fn check(svg: &str) {
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        for path in svg.split(" d=\"").skip(1) {
            let path = path.split('"').next().unwrap();
            for pair in path
                .split(['M', 'L'])
                .filter(|pair| pair.contains(' ') && !pair.contains('H'))
            {
                let (x, y) = pair.split_once(' ').unwrap();
                let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
                assert!(
                    (0.0..=640.0).contains(&x) && (0.0..=240.0).contains(&y),
                    "{pair}: {svg}"
                );
            }
        }
    }

    #[test]
    fn all_that_is_drawn_stays_in_its_frame() {
        let report = fixture::report("standard", 1.0);
        check(&over_time(&report.charts[0]));
        check(&percentiles(&report.distributions));
        for points in [vec![], vec![(0.0, 0.0)], vec![(0.0, 1e9), (600.0, 0.001)]] {
            check(&over_time(&Chart {
                key: "x".into(),
                title: "x".into(),
                unit: String::new(),
                lines: vec![Line {
                    name: "x".into(),
                    points,
                }],
            }));
        }
        for buckets in [
            vec![],
            vec![(0, 1)],
            vec![(300_000_000, 1_000_000)],
            vec![(7, 5), (7_000, 1)],
        ] {
            check(&percentiles(&[Distribution {
                key: "x".into(),
                group: "x".into(),
                name: "x".into(),
                buckets: Buckets(buckets),
            }]));
        }
        assert_eq!(escaped("<a & \"b\">"), "&lt;a &amp; &quot;b&quot;&gt;");
        assert!(legend(["a<b"].into_iter()).contains("a&lt;b"));
    }
}
