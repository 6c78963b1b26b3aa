//! What an output is told: of a step that was taken, and of an alert.

use crate::base::clock::{Millis, rfc3339};
use crate::model::Priority;
use crate::model::alert::Severity;
use crate::outputs::{Message, Turn};
use crate::state::alerts::{Event, Notice};
use crate::state::broadcasts::Hot;
use crate::state::escalation::Taken;
use crate::state::outbox::CallId;
use serde_json::json;

/// Made from what does not change any more, so that every attempt says the same.
pub fn escalated(epoch: u32, call: CallId, hot: &Hot, step: u32) -> Option<Message> {
    let broadcast = &hot.broadcast;
    let draft = &broadcast.draft;
    let aside = hot.ledger.aside.as_ref()?;
    let taken = aside.escalation.taken.iter().find(|taken| taken.step == step)?;
    let needs = taken
        .needs
        .iter()
        .map(|need| json!({"role": need.role, "count": need.count, "confirmed": need.confirmed}));
    Some(Message {
        id: format!("msg_{epoch:08x}_{call}"),
        at: taken.at,
        kind: "broadcast.escalated".into(),
        summary: format!("{}: {}", missing(taken), draft.title),
        priority: taken.priority,
        drill: draft.drill,
        group: broadcast.id.to_string(),
        turn: Turn::Begins,
        data: json!({
            "broadcast": broadcast.id.to_string(),
            "type": draft.kind,
            "title": draft.title,
            "body": draft.body,
            "wedding": draft.wedding(),
            "venue": draft.venue(),
            "released_at": rfc3339(broadcast.released_at()),
            "expires_at": rfc3339(broadcast.draft.expires_at.unwrap_or(broadcast.expires_at)),
            "step": step,
            "taken_at": rfc3339(taken.at),
            "targeted": taken.targeted,
            "confirmed": taken.confirmed,
            "needs": needs.collect::<Vec<_>>(),
        }),
    })
}

/// What was missing when the step was taken.
fn missing(taken: &Taken) -> String {
    let unmet = taken.needs.iter().filter(|need| need.confirmed < u64::from(need.count));
    let each: Vec<String> = unmet
        .map(|need| format!("{} of {} {}", need.confirmed, need.count, need.role))
        .collect();
    if each.is_empty() {
        format!("{} of {} have confirmed", taken.confirmed, taken.targeted)
    } else {
        format!("Only {} confirmed", each.join(", "))
    }
}

/// All of it stands in the notice, so that every attempt says the same. Notices of one rule belong together, whichever nodes they
/// are of.
pub fn alert(epoch: u32, call: CallId, notice: &Notice) -> Message {
    let shown = |value: f64| notice.unit.shown(value);
    Message {
        id: format!("msg_{epoch:08x}_{call}"),
        at: notice.at,
        kind: format!("alert.{}", notice.event.name()),
        summary: said(notice),
        priority: match notice.severity {
            Severity::Critical => Priority::Critical,
            Severity::Error => Priority::High,
            Severity::Warning => Priority::Normal,
        },
        drill: false,
        group: group(epoch, notice),
        turn: match notice.event {
            Event::Raised | Event::Lasting | Event::Passed => Turn::Begins,
            Event::Cleared => Turn::Ends,
        },
        data: json!({
            "rule": notice.rule,
            "severity": notice.severity,
            "event": notice.event.name(),
            "reason": notice.reason,
            "value": notice.value,
            "bound": notice.bound,
            "unit": notice.unit.name(),
            "value_shown": shown(notice.value),
            "bound_shown": format!("{} {}", notice.side.name(), shown(notice.bound)),
            "nodes": notice.nodes,
            "since": rfc3339(notice.since),
            "until": notice.until.map(rfc3339),
            "lasted_seconds": lasted(notice) / 1_000,
            "node_lost": notice.is_lost,
        }),
    }
}

fn lasted(notice: &Notice) -> Millis {
    (notice.until.unwrap_or(notice.at) - notice.since).max(0)
}

fn said(notice: &Notice) -> String {
    let Notice { rule, reason, .. } = notice;
    let (nodes, lasted) = (nodes(notice), length(lasted(notice)));
    match notice.event {
        Event::Raised => format!("Alert {rule} ({nodes}): {reason}"),
        Event::Lasting => format!("Alert {rule} ({nodes}) for {lasted} now: {reason}"),
        Event::Cleared if notice.is_lost => {
            format!("Alert {rule} has ended after {lasted}, because {nodes} cannot be heard any more: {reason}")
        }
        Event::Cleared => format!("Alert {rule} ({nodes}) is over after {lasted}; it was: {reason}"),
        Event::Passed => format!("Alert {rule} ({nodes}) lasted {lasted} and is over: {reason}"),
    }
}

/// One for all notices of a rule. What has passed is one of its own: nothing ends it, and it must not swallow what comes later.
fn group(epoch: u32, notice: &Notice) -> String {
    let rule = format!("campanile-{epoch:08x}-alert-{}", notice.rule);
    match notice.event {
        Event::Raised | Event::Lasting | Event::Cleared => rule,
        Event::Passed => format!("{rule}-passed-{}", notice.since),
    }
}

fn nodes(notice: &Notice) -> String {
    let all: Vec<String> = notice.nodes.iter().map(ToString::to_string).collect();
    let word = if all.len() == 1 { "node" } else { "nodes" };
    format!("{word} {}", all.join(", "))
}

/// `23 s`, `4 min 10 s`, `3 h 5 min`.
fn length(millis: Millis) -> String {
    let seconds = millis / 1_000;
    let (hours, minutes, rest) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest} s"),
        (0, _) => format!("{minutes} min {rest} s"),
        _ => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::alert;
    use crate::model::Priority;
    use crate::model::alert::{Severity, Side, Unit};
    use crate::outputs::Turn;
    use crate::state::alerts::{Event, Notice};

    fn notice(event: Event) -> Notice {
        Notice {
            event,
            rule: "no_leader".into(),
            severity: Severity::Error,
            unit: Unit::Milliseconds,
            side: Side::Above,
            bound: 5_000.0,
            value: 23_000.0,
            reason: "no leader for 23 s (above 5000 ms)".into(),
            at: 1_800_000_250_000,
            since: 1_800_000_000_000,
            until: (event != Event::Raised).then_some(1_800_000_250_000),
            nodes: vec![1, 3],
            is_lost: false,
        }
    }

    #[test]
    fn a_notice_says_what_and_where_and_for_how_long() {
        let said = |event| {
            let message = alert(7, 4, &notice(event));
            (message.kind, message.turn, message.summary)
        };
        let reason = "no leader for 23 s (above 5000 ms)";
        for (event, kind, turn, before) in [
            (
                Event::Raised,
                "alert.raised",
                Turn::Begins,
                "Alert no_leader (nodes 1, 3): ",
            ),
            (
                Event::Lasting,
                "alert.lasting",
                Turn::Begins,
                "Alert no_leader (nodes 1, 3) for 4 min 10 s now: ",
            ),
            (
                Event::Cleared,
                "alert.cleared",
                Turn::Ends,
                "Alert no_leader (nodes 1, 3) is over after 4 min 10 s; it was: ",
            ),
            (
                Event::Passed,
                "alert.passed",
                Turn::Begins,
                "Alert no_leader (nodes 1, 3) lasted 4 min 10 s and is over: ",
            ),
        ] {
            assert_eq!(said(event), (kind.to_owned(), turn, format!("{before}{reason}")));
        }
    }

    #[test]
    fn begin_and_end_belong_together_and_have_details_for_programs() {
        let (begins, ends) = (
            alert(7, 4, &notice(Event::Raised)),
            alert(7, 5, &notice(Event::Cleared)),
        );
        assert_eq!(
            (begins.group.as_str(), begins.id.as_str()),
            ("campanile-00000007-alert-no_leader", "msg_00000007_4")
        );
        assert_eq!(begins.group, ends.group);
        assert_eq!(
            (begins.priority, ends.data["lasted_seconds"].as_i64()),
            (Priority::High, Some(250))
        );
        assert_eq!(
            (ends.data["value_shown"].as_str(), ends.data["unit"].as_str()),
            (Some("23 s"), Some("ms"))
        );
    }
}
