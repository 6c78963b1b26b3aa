//! A drill's graded sheet in words.

use crate::cli::output::{count, plain};
use serde_json::Value;

/// Lines of plain text: the grade first, then what it stands on.
pub fn lines(sheet: &Value) -> Vec<String> {
    let number = |value: &Value, name: &str| value.get(name).and_then(Value::as_u64).unwrap_or_default();
    let targeted = number(sheet, "targeted");
    let mut lines = vec![grade(sheet)];
    for (name, words) in [("within_15s", "within 15 s"), ("within_60s", "within 60 s")] {
        let within = sheet.get(name).unwrap_or(&Value::Null);
        let share = within.get("share").and_then(Value::as_f64);
        let share = share
            .map(|share| format!(", {:.1} %", share * 100.0))
            .unwrap_or_default();
        let confirmed = number(within, "count");
        lines.push(format!("  {words}: {} of {}{share}", count(confirmed), count(targeted)));
    }
    if let Some(times) = times(sheet) {
        lines.push(times);
    }
    let listed = |name: &str| number(sheet.get(name).unwrap_or(&Value::Null), "count");
    lines.push(format!(
        "  not confirmed: {}, of whom {} were never sent it",
        count(listed("not_confirmed")),
        count(listed("unreachable"))
    ));
    if sheet.get("measured").and_then(Value::as_str) == Some("received") {
        lines.push("  nobody was asked to confirm: a phone that received it counts".into());
    }
    lines
}

/// `drill: grade B` or, while it may change, `drill: grade B so far`
fn grade(sheet: &Value) -> String {
    let so_far = if sheet.get("final") == Some(&Value::Bool(true)) {
        ""
    } else {
        " so far"
    };
    match sheet.get("grade").and_then(Value::as_str) {
        Some(grade) => format!("drill: grade {}{so_far}", plain(grade)),
        None => format!("drill: no grade{so_far}, it is for nobody"),
    }
}

/// `  to confirm: median 8.2 s, p95 31.0 s, slowest 41.0 s (ah-dj-01, dj)`; `None` while nobody has.
fn times(sheet: &Value) -> Option<String> {
    let seconds = |name: &str| Some(sheet.get(name)?.as_u64()? as f64 / 1_000.0);
    let (median, p95, slowest) = (seconds("median_ms")?, seconds("p95_ms")?, seconds("slowest_ms")?);
    let who = sheet.get("slowest").and_then(|who| {
        let roles = who.get("roles").and_then(Value::as_array).into_iter().flatten();
        let roles = roles.filter_map(Value::as_str);
        let words: Vec<&str> = std::iter::once(who.get("user")?.as_str()?).chain(roles).collect();
        Some(format!(" ({})", plain(&words.join(", "))))
    });
    let who = who.unwrap_or_default();
    Some(format!(
        "  to confirm: median {median:.1} s, p95 {p95:.1} s, slowest {slowest:.1} s{who}"
    ))
}

#[cfg(test)]
mod tests {
    use super::lines;
    use serde_json::json;

    #[test]
    fn a_sheet_is_read_from_the_grade_down() {
        let sheet = json!({
            "measured": "acknowledged", "final": true, "grade": "B", "targeted": 1240,
            "within_15s": {"count": 961, "share": 0.775}, "within_60s": {"count": 1209, "share": 0.975},
            "median_ms": 8_249, "p95_ms": 31_000, "slowest_ms": 41_250, "slowest": {"user": "ah-dj-01", "roles": ["dj", "mc"]},
            "not_confirmed": {"count": 31, "people": []}, "unreachable": {"count": 2, "people": []},
        });
        let expected = "\
drill: grade B
  within 15 s: 961 of 1,240, 77.5 %
  within 60 s: 1,209 of 1,240, 97.5 %
  to confirm: median 8.2 s, p95 31.0 s, slowest 41.2 s (ah-dj-01, dj, mc)
  not confirmed: 31, of whom 2 were never sent it";
        assert_eq!(lines(&sheet).join("\n"), expected);
    }

    #[test]
    fn a_sheet_of_nobody_or_without_a_question_says_so() {
        let sheet = json!({
            "measured": "received", "final": false, "grade": null, "targeted": 0, "within_15s": {"count": 0, "share": null},
            "within_60s": {"count": 0, "share": null}, "median_ms": null, "p95_ms": null, "slowest_ms": null, "slowest": null,
            "not_confirmed": {"count": 0, "people": []}, "unreachable": {"count": 0, "people": []},
        });
        let expected = "\
drill: no grade so far, it is for nobody
  within 15 s: 0 of 0
  within 60 s: 0 of 0
  not confirmed: 0, of whom 0 were never sent it
  nobody was asked to confirm: a phone that received it counts";
        assert_eq!(lines(&sheet).join("\n"), expected);
    }
}
