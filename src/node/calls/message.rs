//! What an output is told of a step that was taken.

use crate::base::clock::rfc3339;
use crate::outputs::Message;
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
