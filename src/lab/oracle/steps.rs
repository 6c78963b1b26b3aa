//! What must follow when people do not confirm, worked out a second time: who keeps silent at first so that something has to follow,
//! whom each step must alert, and what it must call.
//!
//! The people who are needed say nothing until a step alerts them; everybody else confirms what they read. Of a broadcast that
//! another one replaces nobody keeps silent: nothing may follow from it.

use super::{
    Oracle, Recipients,
    asked::{Asked, asked},
    plan::{Plan, Planned, Silence, Wanted, words},
};
use crate::{
    base::clock::Millis,
    lab::scenario::{Object, Scenario, Scripted},
    model::Priority,
};
use anyhow::{Context, Result};
use serde_json::Value;
use std::{collections::BTreeSet, time::Duration};

/// All that the oracle says of a day, in the order of the script.
#[derive(Debug)]
pub struct Foresight {
    pub recipients: Vec<Recipients>,
    pub plans: Vec<Plan>,
    pub silence: Silence,
}

impl Foresight {
    /// Every output that a step calls, or might call.
    pub fn outputs(&self) -> BTreeSet<String> {
        self.plans.iter().flat_map(|plan| &plan.outputs).cloned().collect()
    }
}

/// A broadcast that is to be accepted, with what the plan is made of.
struct Sketch<'a> {
    publish: &'a Object,
    recipients: &'a Recipients,
    asked: Asked,
    called_in: Vec<Recipients>,
    needs: Vec<Wanted>,
    priority: Priority,
    lives: Duration,
    replaced_by: Option<usize>,
}

/// Works a day out, as of `now`.
pub fn foresee(scenario: &Scenario, oracle: &Oracle, now: Millis) -> Result<Foresight> {
    let recipients = |scripted: &Scripted| {
        if scripted.is_to_be_accepted() {
            oracle.recipients(&scripted.publish, now)
        } else {
            Ok(Recipients::new())
        }
    };
    let recipients: Vec<Recipients> = scenario.broadcasts.iter().map(recipients).collect::<Result<_>>()?;
    let sketches = scenario
        .broadcasts
        .iter()
        .zip(&recipients)
        .map(|(scripted, recipients)| {
            let sketch = sketch(scenario, oracle, scripted, recipients, now);
            sketch.with_context(|| scripted.reference.clone())
        });
    let sketches: Vec<Option<Sketch<'_>>> = sketches.collect::<Result<_>>()?;
    let silent = sketches
        .iter()
        .flatten()
        .map(|sketch| (words(sketch.publish), sketch.silent()));
    let silence = Silence::new(silent);
    let plan = |sketch: &Option<Sketch<'_>>| sketch.as_ref().map(|sketch| sketch.plan(&silence)).unwrap_or_default();
    let plans = sketches.iter().map(plan).collect();
    drop(sketches);
    Ok(Foresight {
        recipients,
        plans,
        silence,
    })
}

/// `None` where nobody has to confirm.
fn sketch<'a>(
    scenario: &Scenario,
    oracle: &Oracle,
    scripted: &'a Scripted,
    recipients: &'a Recipients,
    now: Millis,
) -> Result<Option<Sketch<'a>>> {
    let publish = &scripted.publish;
    let Some(asked) = asked(publish)?.filter(|_| scripted.is_to_be_accepted()) else {
        return Ok(None);
    };
    let called_in = asked
        .steps
        .iter()
        .map(|step| oracle.called_in(publish, step.to.as_ref(), now));
    let called_in = called_in.collect::<Result<_>>()?;
    let audiences = publish.get("audience").into_iter();
    let audiences: Vec<&Value> = audiences
        .chain(asked.steps.iter().filter_map(|step| step.to.as_ref()))
        .collect();
    let wanted = asked.needs.iter().map(|need| {
        Ok(Wanted {
            role: need.role.clone(),
            count: need.count,
            holders: oracle.holders(&audiences, &need.role, now)?,
        })
    });
    let needs = wanted.collect::<Result<_>>()?;
    Ok(Some(Sketch {
        publish,
        recipients,
        asked,
        called_in,
        needs,
        priority: scripted.priority,
        lives: scripted.lives(),
        replaced_by: scenario.broadcasts.iter().position(|later| {
            let old = later.publish.get("supersedes").and_then(Value::as_str);
            later.is_to_be_accepted() && old == Some(&*scripted.reference)
        }),
    }))
}

impl Sketch<'_> {
    /// Steps that are due while it lives.
    fn dues(&self) -> impl Iterator<Item = Duration> {
        self.asked
            .steps
            .iter()
            .map(|step| step.after)
            .take_while(|after| *after < self.lives)
    }

    /// Who has to be silent so that its first step is taken; `None` where nothing would ever wake them.
    fn silent(&self) -> Option<Recipients> {
        self.dues().next().filter(|_| self.replaced_by.is_none())?;
        if self.needs.is_empty() {
            let everybody = self.called_in.iter().flatten().chain(self.recipients);
            return Some(everybody.copied().collect());
        }
        Some(self.needs.iter().flat_map(|need| &need.holders).copied().collect())
    }

    fn plan(&self, silence: &Silence) -> Plan {
        let mut known = self.recipients.clone();
        let mut confirmed = &known - &silence.of(self.publish);
        // whoever is alerted confirms, but not at the same moment
        let (mut alerted_at, mut confirming) = (Duration::ZERO, Recipients::new());
        let mut priority = self.priority;
        let mut steps = Vec::new();
        let due = self.asked.steps.iter().zip(&self.called_in).take(self.dues().count());
        for (step, called_in) in due {
            if step.after > alerted_at {
                confirmed.append(&mut confirming);
            }
            if self.are_met(&known, &confirmed) {
                break;
            }
            let widened = called_in - &known;
            known.extend(&widened);
            priority = step.priority.map_or(priority, |raised| raised.min(priority));
            let alerted = &known - &confirmed;
            (alerted_at, confirming) = (step.after, alerted.clone());
            steps.push(Planned {
                index: step.index,
                after: step.after,
                alerted,
                widened,
                priority,
                outputs: step.outputs.iter().cloned().collect(),
            });
        }
        Plan {
            needs: self.needs.clone(),
            steps,
            dues: self.dues().collect(),
            outputs: self
                .asked
                .steps
                .iter()
                .flat_map(|step| &step.outputs)
                .cloned()
                .collect(),
            replaced_by: self.replaced_by,
        }
    }

    /// An alert that has reached nobody has met no need.
    fn are_met(&self, known: &Recipients, confirmed: &Recipients) -> bool {
        if self.needs.is_empty() {
            return !known.is_empty() && known.is_subset(confirmed);
        }
        let is_met = |need: &Wanted| need.holders.intersection(confirmed).count() as u64 >= need.count;
        self.needs.iter().all(is_met)
    }
}

#[cfg(test)]
mod tests {
    use super::{Foresight, Plan, Planned, foresee};
    use crate::lab::{
        oracle::{Oracle, Recipients},
        scenario::{self, Expect, Object, Scenario, Scripted, Sender},
    };
    use serde_json::{Value, json};
    use std::time::Duration;

    const NOW: i64 = 1_800_000_000_000;

    fn object(value: Value) -> Object {
        serde_json::from_value(value).unwrap()
    }

    /// People `0` to `3`: two of security and one of `venue_ops` at the barn, and a guest who belongs nowhere.
    fn directory() -> Vec<Object> {
        let member =
            |user: &str, role: &str| json!({"kind": "member", "of": {"venue": "barn"}, "user": user, "role": role});
        let users = ["0", "1", "2", "3"].map(|id| json!({"kind": "user", "id": id, "role": "guest"}));
        let members = [
            member("0", "security"),
            member("1", "security"),
            member("2", "venue_ops"),
        ];
        users.into_iter().chain(members).map(object).collect()
    }

    /// One broadcast to the `audience` a minute before it expires, asking for `acknowledge`; and what replaces it.
    fn day(audience: &Value, acknowledge: &Value, replaced: Option<&str>) -> Scenario {
        let scripted = |reference: &str, publish: Value, at: i64| Scripted {
            reference: reference.into(),
            at,
            priority: crate::model::Priority::High,
            sender: Sender {
                role: "venue_ops".into(),
                wedding: None,
                venue: None,
            },
            publish: object(publish),
            expect: Expect::Accept { targeted: 0 },
        };
        let expires_at = crate::base::clock::rfc3339(NOW + 60_000);
        let first = json!({"audience": audience, "title": "T", "body": "B", "acknowledge": acknowledge, "expires_at": expires_at});
        let second =
            json!({"audience": audience, "title": replaced, "body": "B", "supersedes": "a", "acknowledge": {}});
        let mut broadcasts = vec![scripted("a", first, NOW)];
        broadcasts.extend(replaced.map(|_| scripted("b", second, NOW + 1_000)));
        Scenario {
            name: "day".into(),
            directory: directory(),
            broadcasts,
            faults: Vec::new(),
        }
    }

    fn foreseen(audience: &Value, acknowledge: &Value, replaced: Option<&str>) -> Foresight {
        let day = day(audience, acknowledge, replaced);
        foresee(&day, &Oracle::new(&day.directory).unwrap(), NOW).unwrap()
    }

    /// The steps of a plan as words: when, who is alerted, who of them is new.
    fn told(plan: &Plan) -> String {
        let devices = |devices: &Recipients| devices.iter().map(ToString::to_string).collect::<String>();
        let step = |step: &Planned| {
            let (alerted, widened) = (devices(&step.alerted), devices(&step.widened));
            format!("{}@{}:{alerted}+{widened}", step.index, step.after.as_secs())
        };
        plan.steps.iter().map(step).collect::<Vec<_>>().join(" ")
    }

    #[track_caller]
    fn check(audience: &Value, acknowledge: &Value, expected: &str) {
        let plan = &foreseen(audience, acknowledge, None).plans[0];
        assert_eq!(told(plan), expected, "{acknowledge}");
    }

    #[test]
    fn who_is_needed_is_silent_until_a_step_alerts_them() {
        let all = json!({"everyone": true});
        let barn = json!({"venues": ["barn"]});
        let need = |role: &str, count: u64| json!([{"role": role, "count": count}]);
        let step = |after: &str| json!({"after": after, "outputs": ["siren"]});
        check(
            &barn,
            &json!({"need": need("security", 1), "escalate": [step("30s")]}),
            "0@30:01+",
        );
        // once the first step has woken them nothing more is needed
        check(
            &barn,
            &json!({"need": need("security", 2), "escalate": [step("30s"), step("40s")]}),
            "0@30:01+",
        );
        // there are only two: no step brings a third, and those who are woken are not alerted again
        check(
            &barn,
            &json!({"need": need("security", 3), "escalate": [step("40s"), step("30s")]}),
            "1@30:01+ 0@40:+",
        );
        check(
            &barn,
            &json!({"need": need("security", 3), "escalate": [step("30s"), step("30s")]}),
            "0@30:01+ 1@30:01+",
        );
        // without a need everybody is
        check(&all, &json!({"escalate": [step("30s")]}), "0@30:0123+");
        // what is due when it has expired is not taken, and nobody keeps silent for it
        check(
            &barn,
            &json!({"need": need("security", 1), "escalate": [step("60s")]}),
            "",
        );
        check(&barn, &json!({"need": need("security", 1)}), "");
    }

    #[test]
    fn a_step_calls_in_more_people_but_those_who_are_excluded() {
        let guest = json!({"users": ["3"]});
        let ask = |to: Value, role: &str| json!({"need": [{"role": role, "count": 1}], "escalate": [{"after": "30s", "to": to}]});
        check(&guest, &ask(json!({"venues": ["barn"]}), "venue_ops"), "0@30:012+012");
        check(&guest, &ask(json!([{"users": ["0", "3"]}]), "guest"), "0@30:03+0");
        let mut day = day(&guest, &ask(json!({"venues": ["barn"]}), "venue_ops"), None);
        day.broadcasts[0]
            .publish
            .insert("exclude".into(), json!({"users": ["1"]}));
        let foresight = foresee(&day, &Oracle::new(&day.directory).unwrap(), NOW).unwrap();
        assert_eq!(told(&foresight.plans[0]), "0@30:02+02");
        let called_in = [0, 1, 2, 3].map(|device| foresight.plans[0].calls_in(device));
        assert_eq!(called_in, [true, false, true, false]);
        assert_eq!(foresight.recipients[0], [3].into());
    }

    #[test]
    fn nobody_is_silent_about_what_is_replaced_or_has_the_words_of_it() {
        let barn = json!({"venues": ["barn"]});
        let asks = json!({"need": [{"role": "security", "count": 1}], "escalate": [{"after": "30s"}]});
        let alone = foreseen(&barn, &asks, None);
        assert!(alone.silence.is_kept_by(0, "T", "B") && !alone.silence.is_kept_by(2, "T", "B"));
        assert!(!alone.silence.is_kept_by(0, "T", "C"), "other words");
        let replaced = foreseen(&barn, &asks, Some("T2"));
        assert_eq!(
            (told(&replaced.plans[0]), replaced.plans[0].replaced_by),
            (String::new(), Some(1))
        );
        assert_eq!(
            replaced.plans[0].dues,
            [Duration::from_secs(30)],
            "it is seen not to be taken"
        );
        let mut same = day(&barn, &asks, Some("T"));
        same.broadcasts[1].publish.remove("supersedes");
        let same = foresee(&same, &Oracle::new(&same.directory).unwrap(), NOW).unwrap();
        assert!(
            !same.silence.is_kept_by(0, "T", "B"),
            "the second one has no step to wake anybody"
        );
        assert_eq!(told(&same.plans[0]), "");
    }

    #[test]
    fn what_is_to_be_refused_replaces_nothing_and_has_no_plan() {
        let barn = json!({"venues": ["barn"]});
        let asks = json!({"need": [{"role": "security", "count": 1}], "escalate": [{"after": "30s"}]});
        let mut day = day(&barn, &asks, Some("T2"));
        day.broadcasts[1].expect = Expect::Refuse {
            code: "X".into(),
            why: String::new(),
        };
        let foresight = foresee(&day, &Oracle::new(&day.directory).unwrap(), NOW).unwrap();
        assert_eq!(told(&foresight.plans[0]), "0@30:01+");
        assert!(foresight.recipients[1].is_empty() && foresight.plans[1].dues.is_empty());
    }

    #[test]
    fn the_built_in_day_escalates_three_times_and_three_times_it_must_not() {
        let mut day = scenario::open("saturday").unwrap();
        day.move_to(NOW);
        let foresight = foresee(&day, &Oracle::new(&day.directory).unwrap(), NOW).unwrap();
        let named = |choose: fn(&Plan) -> bool| {
            let plans = day.broadcasts.iter().zip(&foresight.plans);
            let chosen = plans.filter(|(_, plan)| choose(plan));
            chosen
                .map(|(scripted, _)| scripted.reference.as_str())
                .collect::<Vec<_>>()
        };
        assert_eq!(named(|plan| !plan.steps.is_empty()), ["sat-080", "sat-087", "sat-088"]);
        assert_eq!(
            named(|plan| plan.steps.is_empty() && !plan.dues.is_empty()),
            ["sat-056", "sat-061", "sat-107"]
        );
        let steps = foresight.plans.iter().flat_map(|plan| &plan.steps);
        let alerted: Vec<usize> = steps.map(|step| step.alerted.len()).collect();
        assert_eq!(alerted, [2, 2, 7]);
        let outputs = foresight.outputs();
        assert_eq!(
            outputs.into_iter().collect::<Vec<_>>(),
            ["radio_bridge", "siren", "sms_modem"]
        );
    }
}
