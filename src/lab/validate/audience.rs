//! Audiences: who is meant gets it, nobody else does, and no frame names anybody but what it is about.

use super::house::{House, PEOPLE};
use super::listener::{Listener, Promise, Seat, text};
use super::nouns::draft;
use super::proof::Proof;
use super::stage::{SOON, Stage};
use crate::lab::stream::Transport;
use anyhow::Result;
use serde_json::json;

/// Wanted for a stream; no other address looks at it.
const STREAM: &str = "text/event-stream";
pub async fn look(stage: &mut Stage, proof: &mut Proof) -> Result<()> {
    let house = House::build(stage).await?;
    let mut listeners = Vec::new();
    for (at, person) in house.people.iter().enumerate() {
        // Streams without a cursor on other nodes, in both ways.
        let transport = if at % 3 == 2 {
            Transport::Sse
        } else {
            Transport::WebSocket
        };
        listeners.push(stage.listen(at, transport, person).await?);
    }
    let mut meant_at_all = 0;
    let (mut missing, mut foreign, mut miscounted) = (0, 0, 0);
    let cases = house.cases();
    for (number, case) in cases.iter().enumerate() {
        let mut draft = draft("high", &case.audience, case.what);
        if let Some(exclude) = &case.exclude {
            draft["exclude"] = exclude.clone();
        }
        let published = stage.publish(number, &draft).await?;
        miscounted += usize::from(published.whole["targeted"] != case.meant.len());
        let last = stage.publish(number, &house.everybody(case.what)).await?;
        for (person, listener) in PEOPLE.iter().zip(&listeners) {
            // The second is to all of them, and comes behind the first.
            missing += usize::from(!listener.gets(&last.id, SOON).await);
            let times = listener.look(|heard| heard.of(&published.id).len());
            let is_meant = case.meant.contains(&person.0);
            meant_at_all += usize::from(is_meant);
            if is_meant && times == 0 {
                missing += 1;
                proof.wrong(format!("{} did not get {:?}", person.0, case.what));
            } else if !is_meant && times > 0 {
                foreign += 1;
                proof.wrong(format!("{} got {:?}, and was not meant", person.0, case.what));
            }
        }
    }
    let named: usize = listeners
        .iter()
        .zip(&house.people)
        .map(|(one, own)| house.names_in(one, own))
        .sum();
    proof.none("broadcasts missing at those who were meant", missing);
    proof.none("broadcasts at those who were not meant", foreign);
    proof.none("frames that name another person", named);
    proof.none("answers with another count than there are people", miscounted);
    proof.saw(format!(
        "{} audiences over {} people: {meant_at_all} deliveries, and as many more to all of them",
        cases.len(),
        PEOPLE.len()
    ));
    unstated(stage, &house, proof).await?;
    own_alone(stage, &house, proof).await
}

/// The origin reached everybody when no audience was stated.
async fn unstated(stage: &Stage, house: &House, proof: &mut Proof) -> Result<()> {
    let mut refused = 0;
    let none = [json!([]), json!({}), json!({"users": []})];
    for audience in &none {
        let answer = stage
            .post(0, "/v1/broadcasts", &draft("normal", audience, "To nobody"))
            .await?;
        refused += usize::from(answer.status == 422);
    }
    proof.exactly("audiences that name nobody, refused", none.len(), refused);
    let nobody = draft(
        "normal",
        &json!({"weddings": [house.wedding], "roles": ["parking"]}),
        "Nobody",
    );
    let answer = stage.publish(0, &nobody).await?;
    proof.exactly(
        "people in an audience that finds nobody",
        0,
        answer.whole["targeted"].as_u64().unwrap_or(u64::MAX) as usize,
    );
    Ok(())
}

/// With a token of their own: their own stream alone, and no list of who got what.
async fn own_alone(stage: &Stage, house: &House, proof: &mut Proof) -> Result<()> {
    if !stage.has_tokens {
        proof.not_run("a person's own token: the nodes ask for none");
        return Ok(());
    }
    let [ana, ben, ..] = &house.people[..] else {
        return Ok(());
    };
    let wanted = json!({"user": ana, "role": "guest", "scopes": ["subscribe"], "ttl": "10m"});
    let made = stage.post(0, "/v1/tokens", &wanted).await?.json()?;
    let bearer = crate::lab::tokens::bearer(&text(&made, "token"));
    let published = stage.publish(0, &house.everybody("To all")).await?;
    let seat = Seat {
        node: stage.node(1),
        transport: Transport::Sse,
        bearer: &bearer,
        user: None,
        cursor: None,
        promise: Promise::Nothing,
    };
    let listener = Listener::start(seat).await?;
    if !listener.gets(&published.id, SOON).await {
        proof.wrong("a person's own token does not open the own stream");
    }
    let others = [
        format!("/v1/subscribe?user={ben}"),
        format!("/v1/inbox?user={ben}"),
        format!("/v1/broadcasts/{}/recipients", published.id),
        "/v1/broadcasts".to_owned(),
    ];
    let mut refused = 0;
    for path in &others {
        let answer = stage
            .ask_as(2, ("GET", path), &bearer, (&[("Accept", STREAM)], b""))
            .await?;
        if answer.status == 403 {
            refused += 1;
        } else {
            proof.wrong(format!("{path} was answered {} to another's token", answer.status));
        }
    }
    proof.exactly("looks at what is another's, refused", others.len(), refused);
    let path = format!("/v1/tokens/{}", text(&made, "id"));
    stage.ask(0, ("DELETE", &path), &[], b"").await?;
    Ok(())
}
