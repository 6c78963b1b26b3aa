//! Figures and times in words, as the dashboard has them. Ages stand in place of times of day: they need no zone.

use crate::base::clock::Millis;
use crate::cli::output;

/// What stands where there is nothing to say.
pub const NONE: &str = "-";

/// `250 ms`, `12 s`, `3 min`, `5 h`, `4 d`.
pub fn span(seconds: f64) -> String {
    match seconds {
        short if short < 1.0 => millis(Some(short.max(0.0) * 1e3)),
        short if short < 120.0 => format!("{short:.0} s"),
        minutes if minutes < 7_200.0 => format!("{:.0} min", minutes / 60.0),
        hours if hours < 172_800.0 => format!("{:.0} h", hours / 3_600.0),
        days => format!("{:.0} d", days / 86_400.0),
    }
}

pub fn millis(millis: Option<f64>) -> String {
    match millis {
        None => NONE.into(),
        Some(long) if long >= 10_000.0 => format!("{} s", output::count((long / 1e3).round() as u64)),
        Some(long) if long >= 1_000.0 => format!("{:.1} s", long / 1e3),
        Some(short) if short >= 10.0 => format!("{short:.0} ms"),
        Some(0.0) => "0 ms".into(),
        Some(short) => format!("{short:.1} ms"),
    }
}

/// How often a second: `0`, `0.4`, `1,250`.
pub fn rate(rate: f64) -> String {
    if rate > 0.0 && rate < 9.95 {
        format!("{rate:.1}")
    } else {
        output::count(rate.max(0.0).round() as u64)
    }
}

pub fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| NONE.into(), |share| format!("{:.1} %", share * 100.0))
}

/// How long ago something was; `-` where that is not known. Clocks of nodes differ a little: nothing is in the future.
pub fn age(now: Millis, then: Option<Millis>) -> String {
    then.map_or_else(|| NONE.into(), |then| span((now - then).max(0) as f64 / 1e3))
}

/// A number, or `-`.
pub fn number(number: Option<u64>) -> String {
    number.map_or_else(|| NONE.into(), output::count)
}

/// A name of the API as words.
pub fn spaced(name: &str) -> String {
    output::plain(name).replace('_', " ")
}

/// `1 node`, `3 nodes`.
pub fn many(count: u64, noun: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{} {noun}{ending}", output::count(count))
}

/// Starts with a capital and ends with a full stop.
pub fn sentence(text: &str) -> String {
    let text = output::plain(text);
    let mut letters = text.trim_end_matches('.').chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string());
    format!("{}{}.", first.unwrap_or_default(), letters.as_str())
}

#[cfg(test)]
mod tests {
    use super::{age, many, millis, percent, rate, sentence, span};

    #[test]
    fn figures_are_short() {
        for (seconds, text) in [
            (-1.0, "0 ms"),
            (0.25, "250 ms"),
            (12.4, "12 s"),
            (119.0, "119 s"),
            (180.0, "3 min"),
            (7_200.0, "2 h"),
            (400_000.0, "5 d"),
        ] {
            assert_eq!(span(seconds), text);
        }
        for (number, text) in [
            (None, "-"),
            (Some(0.0), "0 ms"),
            (Some(0.42), "0.4 ms"),
            (Some(12.2), "12 ms"),
            (Some(1_250.0), "1.2 s"),
            (Some(12_000.0), "12 s"),
        ] {
            assert_eq!(millis(number), text);
        }
        for (number, text) in [(0.0, "0"), (0.42, "0.4"), (9.96, "10"), (1_250.4, "1,250")] {
            assert_eq!(rate(number), text);
        }
        assert_eq!((percent(None), percent(Some(0.9634))), ("-".into(), "96.3 %".into()));
    }

    #[test]
    fn words_fit_their_numbers() {
        assert_eq!(
            (many(1, "alert"), many(1_200, "alert")),
            ("1 alert".into(), "1,200 alerts".into())
        );
        assert_eq!(
            (age(90_000, Some(30_000)), age(0, Some(5)), age(0, None)),
            ("60 s".into(), "0 ms".into(), "-".into())
        );
        assert_eq!(
            (sentence("no node leads"), sentence("")),
            ("No node leads.".into(), ".".into())
        );
    }
}
