//! A small day for the tests of those who judge: a broadcast `a` that goes out at `out`.

use super::{
    afterwards::{Need, OutputCall, Shown, Taken},
    ledger::{Entry, Verdict},
    oracle::{
        Recipients,
        plan::{Plan, Planned, Wanted},
    },
};
use crate::{
    base::clock::{self, Millis},
    model::Priority,
};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

const RELEASED_AT: Millis = 1_800_000_000_000;

pub fn devices(devices: &[usize]) -> Recipients {
    devices.iter().copied().collect()
}

/// A step that calls the siren.
pub fn planned(index: u64, after: u64, alerted: &[usize], widened: &[usize]) -> Planned {
    Planned {
        index,
        after: Duration::from_secs(after),
        alerted: devices(alerted),
        widened: devices(widened),
        priority: Priority::High,
        outputs: ["siren".to_owned()].into(),
    }
}

/// To devices 0 and 1, who must both confirm.
pub fn entry(id: &str, steps: Vec<Planned>, out: Instant) -> Entry {
    Entry {
        reference: format!("ref-{id}"),
        priority: Priority::High,
        title: "T".into(),
        recipients: devices(&[0, 1]),
        acknowledge: true,
        plan: Plan {
            needs: vec![Wanted {
                role: "dj".into(),
                count: 2,
                holders: devices(&[0, 1, 2]),
            }],
            dues: steps.iter().map(|step| step.after).collect(),
            steps,
            ..Plan::default()
        },
        lives: Duration::from_secs(600),
        targeted: 2,
        refusal: None,
        verdict: Verdict::Accepted {
            id: id.into(),
            targeted: 2,
            at: out,
        },
    }
}

/// A step that was taken so many milliseconds after its broadcast went out, and that has called the siren.
pub fn taken(step: u64, after: i64, alerted: u64, widened: u64) -> Taken {
    Taken {
        step,
        at: clock::rfc3339(RELEASED_AT + after),
        alerted,
        widened,
        outputs: vec![OutputCall {
            output: "siren".into(),
            state: "delivered".into(),
        }],
    }
}

/// What the cluster says of `a` when so many of the two that are needed have confirmed.
pub fn shown(confirmed: u64, escalations: Vec<Taken>) -> BTreeMap<String, Shown> {
    let shown = Shown {
        released_at: clock::rfc3339(RELEASED_AT),
        needs: vec![Need {
            role: "dj".into(),
            count: 2,
            confirmed,
            met: confirmed >= 2,
        }],
        escalations,
    };
    [("a".to_owned(), shown)].into()
}
