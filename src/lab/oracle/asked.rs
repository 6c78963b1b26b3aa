//! What a scripted broadcast asks for: how many of whom must confirm, and what follows when they do not.

use crate::{base::size::Span, lab::scenario::Object, model::Priority};
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Asked {
    /// Empty: everybody must confirm.
    pub needs: Vec<Need>,
    /// In the order in which they are due.
    pub steps: Vec<Step>,
}

/// So many of a role.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Need {
    pub role: String,
    pub count: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Its place in the script's list.
    pub index: u64,
    /// Counted from when the broadcast went out.
    pub after: Duration,
    /// A clause or a list of clauses.
    pub to: Option<Value>,
    pub priority: Option<Priority>,
    pub outputs: Vec<String>,
}

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    need: Vec<Need>,
    #[serde(default)]
    escalate: Vec<StepLine>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StepLine {
    after: Span,
    to: Option<Value>,
    priority: Option<String>,
    #[serde(default)]
    outputs: Vec<String>,
}

/// `None` for a broadcast that nobody has to confirm.
pub fn asked(publish: &Object) -> Result<Option<Asked>> {
    let Some(value) = publish.get("acknowledge").filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let line: Line =
        serde_json::from_value(value.clone()).context("an acknowledgement that the oracle does not know")?;
    let steps = line.escalate.into_iter().zip(0..).map(step);
    let mut steps: Vec<Step> = steps.collect::<Result<_>>()?;
    steps.sort_by_key(|step| step.after);
    Ok(Some(Asked {
        needs: line.need,
        steps,
    }))
}

fn step((line, index): (StepLine, u64)) -> Result<Step> {
    if let Some(name) = line.outputs.iter().find(|name| !is_output(name)) {
        bail!("{name:?} is no name of an output: it must be of a-z, 0-9, _ and -");
    }
    let priority = line.priority.as_deref().map(|name| {
        let known = Priority::parse(name);
        known.with_context(|| format!("a step's priority {name:?} is not known"))
    });
    Ok(Step {
        index,
        after: line.after.0,
        to: line.to,
        priority: priority.transpose()?,
        outputs: line.outputs,
    })
}

/// Names go into settings and addresses as they are.
fn is_output(name: &str) -> bool {
    let is_letter = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
    !name.is_empty() && name.bytes().all(is_letter)
}

#[cfg(test)]
mod tests {
    use super::{Asked, asked};
    use serde_json::{Value, json};
    use std::time::Duration;

    fn read(acknowledge: &Value) -> anyhow::Result<Option<Asked>> {
        let publish = json!({"acknowledge": acknowledge});
        asked(publish.as_object().unwrap())
    }

    #[test]
    fn steps_stand_in_the_order_in_which_they_are_due() {
        let found = read(
            &json!({"within": "15s", "need": [{"role": "dj", "count": 2}], "escalate": [
            {"after": "1m"}, {"after": "30s", "to": {"everyone": true}, "priority": "high", "outputs": ["siren_2"]}]}),
        );
        let found = found.unwrap().unwrap();
        let steps: Vec<_> = found.steps.iter().map(|step| (step.index, step.after)).collect();
        assert_eq!(steps, [(1, Duration::from_secs(30)), (0, Duration::from_secs(60))]);
        assert_eq!((found.needs[0].role.as_str(), found.needs[0].count), ("dj", 2));
        assert_eq!(found.steps[0].outputs, ["siren_2"]);
    }

    #[test]
    fn nothing_asked_is_nothing_and_what_is_not_understood_is_an_error() {
        assert_eq!(read(&Value::Null).unwrap(), None);
        assert_eq!(read(&json!({"within": "1m"})).unwrap(), Some(Asked::default()));
        for (wrong, word) in [
            (json!({"escalate": [{"after": "soon"}]}), "acknowledgement"),
            (json!({"escalate": [{"after": "1s", "moon": 1}]}), "acknowledgement"),
            (json!({"escalate": [{"after": "1s", "outputs": ["a\"b"]}]}), "output"),
            (json!({"escalate": [{"after": "1s", "priority": "urgent"}]}), "urgent"),
        ] {
            let error = read(&wrong).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
