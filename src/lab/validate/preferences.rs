//! Preferences: quiet hours hold, mutes and "critical only" skip, a critical passes all of them. Quiet hours end with a minute, so what is
//! held is published when the run begins, and looked for at its end.

use super::listener::Listener;
use super::nouns::draft;
use super::proof::Proof;
use super::stage::{Published, SOON, Stage};
use crate::base::clock::{self, Millis};
use crate::lab::stream::Transport;
use anyhow::{Result, bail};
use serde_json::{Value, json};
use std::time::Duration;

const MINUTE_MS: Millis = 60_000;
const HOUR_MS: Millis = 3_600_000;
/// Quiet hours that end sooner would be over before anything is tried.
const QUIET_MIN_MS: Millis = 15_000;
/// Ticks of the log and a way through it.
const LATE_MAX_MS: f64 = 3_000.0;

/// What was published at the beginning.
pub struct Held {
    quinn: String,
    ends: Millis,
    published: Published,
}

/// Holds something, and tries what does not take time.
pub async fn prepare(stage: &mut Stage, proof: &mut Proof) -> Result<Held> {
    let people = stage
        .people(&[
            "preferences-quinn",
            "preferences-mia",
            "preferences-cleo",
            "preferences-olga",
        ])
        .await?;
    let [quinn, mia, cleo, olga] = &people[..] else {
        bail!("{} people were made", people.len())
    };
    let now = stage.time().await?;
    let ends = ((now + QUIET_MIN_MS) / MINUTE_MS + 1) * MINUTE_MS;
    let quiet = json!({"start": time_of_day(now - HOUR_MS), "end": time_of_day(ends), "timezone": "UTC"});
    let wishes = [
        json!({"kind": "preferences", "user": quinn, "quiet_hours": quiet}),
        json!({"kind": "preferences", "user": mia, "muted_categories": ["venue"]}),
        json!({"kind": "preferences", "user": cleo, "critical_only": true}),
    ];
    stage.import(&wishes).await?;
    let mut listeners = Vec::new();
    for (at, user) in people.iter().enumerate() {
        listeners.push(stage.listen(at, Transport::WebSocket, user).await?);
    }
    let audience = json!({"users": people});
    let published = stage
        .publish(0, &draft("high", &audience, "For those who may be called"))
        .await?;
    let critical = stage.publish(1, &draft("critical", &audience, "For everybody")).await?;
    let count = |name: &str| published.whole[name].as_u64().unwrap_or(u64::MAX) as usize;
    proof.exactly("held, by the answer to the publish", 1, count("held"));
    proof.exactly("skipped, by the answer to the publish", 2, count("skipped"));
    let called = reached(&listeners, &critical).await;
    proof.exactly("people whom a critical reached", people.len(), called);
    told(stage, &published, &people, proof).await?;
    // A critical overtakes: that nothing came is shown by one of the same priority behind it, for which nobody wishes anything.
    let wishless: Vec<Value> = people
        .iter()
        .map(|user| json!({"kind": "preferences", "user": user}))
        .collect();
    stage.import(&wishless).await?;
    let fence = stage.publish(0, &draft("high", &audience, "For all of them")).await?;
    let behind = reached(&listeners, &fence).await;
    proof.exactly(
        "people whom a later one reached, without their wishes",
        people.len(),
        behind,
    );
    stage.import(&wishes).await?;
    let came: Vec<usize> = listeners
        .iter()
        .map(|one| one.look(|heard| heard.of(&published.id).len()))
        .collect();
    proof.exactly("came to who has no preferences", 1, came[3]);
    proof.none("came to who mutes it, or wants criticals alone", came[1] + came[2]);
    if fence.at < ends {
        let early = listeners[0].look(|heard| heard.before(&published.id, &fence.id));
        proof.none("came while hours were quiet", early);
    } else {
        proof.not_run("quiet hours: they ended while this was tried");
    }
    proof.saw(format!(
        "{olga} has no preferences; quiet hours of {quinn} end at {}",
        time_of_day(ends)
    ));
    Ok(Held {
        quinn: quinn.clone(),
        ends,
        published,
    })
}

/// How many it comes to.
async fn reached(listeners: &[Listener], published: &Published) -> usize {
    let mut reached = 0;
    for listener in listeners {
        reached += usize::from(listener.gets(&published.id, SOON).await);
    }
    reached
}

/// Of those who did not get it, why.
async fn told(stage: &Stage, published: &Published, people: &[String], proof: &mut Proof) -> Result<()> {
    let path = format!(
        "/v1/broadcasts/{}/recipients?at_least={}",
        published.id, published.log_index
    );
    let shown = stage.get(2, &path).await?;
    let reasons = [
        ("held", "quiet_hours"),
        ("skipped", "muted_category"),
        ("skipped", "critical_only"),
    ];
    let right = reasons
        .iter()
        .zip(people)
        .filter(|((state, reason), user)| has(&shown, user, state, reason))
        .count();
    proof.exactly("people told with why they did not get it", reasons.len(), right);
    Ok(())
}

fn has(page: &Value, user: &str, state: &str, reason: &str) -> bool {
    let items = page["items"].as_array().map_or(&[][..], Vec::as_slice);
    items
        .iter()
        .any(|item| item["user"] == user && item["state"] == state && item["reason"] == reason)
}

/// Like `09:30`, in UTC.
fn time_of_day(at: Millis) -> String {
    clock::rfc3339(at).get(11..16).unwrap_or_default().to_owned()
}

pub async fn look(stage: &mut Stage, proof: &mut Proof) -> Result<()> {
    let held = match stage.take_held() {
        Some((begun, Ok(held))) => {
            *proof = begun;
            held
        }
        Some((_, Err(error))) => {
            proof.saw(format!(
                "at first nothing could be held: {error:#}; it was tried once more"
            ));
            prepare(stage, proof).await?
        }
        None => prepare(stage, proof).await?,
    };
    let listener = stage.listen(0, Transport::Sse, &held.quinn).await?;
    let left = Duration::from_millis(u64::try_from(held.ends - stage.time().await?).unwrap_or(0));
    listener.gets(&held.published.id, left + SOON).await;
    let times = listener.look(|heard| heard.of(&held.published.id).len());
    proof.exactly("came when quiet hours had ended, once", 1, times);
    let late = listener.look(|heard| {
        let frame = heard.of(&held.published.id);
        let at = clock::parse_rfc3339(frame.first()?.0["released_at"].as_str()?)?;
        Some((at - held.ends) as f64)
    });
    proof.at_least("after their end it went out", 0.0, "ms", late);
    proof.below("after their end it went out", LATE_MAX_MS, "ms", late);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::time_of_day;

    #[test]
    fn quiet_hours_are_given_by_the_minute() {
        assert_eq!(time_of_day(1_800_000_000_000), "08:00");
    }
}
