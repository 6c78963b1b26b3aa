//! Every check: its name, what it holds the server to, how long it may take, and what it needs. First the origin's six, then the promises
//! of the README.

use super::proof::Proof;
use super::stage::Stage;
use super::{
    alerts, audience, cache, confirming, dashboard, durability, escalation, keys, preferences, queue, refusals, resume,
    scaling, schedule, tokens,
};
use anyhow::Result;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    Queue,
    Cache,
    Scaling,
    Alerts,
    Dashboard,
    Performance,
    Keys,
    Resume,
    Audience,
    Confirming,
    Escalation,
    Refusals,
    Schedule,
    Tokens,
    Durability,
    Preferences,
}

#[derive(Debug)]
pub struct Check {
    pub name: Name,
    pub word: &'static str,
    /// What is promised.
    pub promise: &'static str,
    pub limit: Duration,
    /// Why it cannot be looked at on nodes that are not the check's own; `None` where it can.
    pub own_only: Option<&'static str>,
}

const MINUTE: Duration = Duration::from_secs(60);

const fn check(name: Name, word: &'static str, promise: &'static str, limit: Duration) -> Check {
    Check {
        name,
        word,
        promise,
        limit,
        own_only: None,
    }
}

/// In the order of the report.
pub const ALL: [Check; 16] = [
    check(
        Name::Queue,
        "queue",
        "what is published is read by everybody in under 100 ms, in order, criticals first, and is tried again",
        MINUTE,
    ),
    check(
        Name::Cache,
        "cache",
        "nothing stale after a change, 95 % of the reads hit, memory stays within 50 MiB",
        Duration::from_secs(120),
    ),
    check(
        Name::Scaling,
        "scaling",
        "seasons and rules decide as they are written, live decisions have their reasons",
        MINUTE,
    ),
    check(
        Name::Alerts,
        "alerts",
        "every documented metric is there and true; eight rules, and one that is provoked fires, is told once, and clears",
        MINUTE,
    ),
    check(
        Name::Dashboard,
        "dashboard",
        "built in under a second, its page whole from the binary",
        MINUTE,
    ),
    check(
        Name::Performance,
        "performance",
        "mean, 95th percentile, errors, hit rate and criticals under load within the origin's targets, with 10,000 connected",
        Duration::from_secs(1_200),
    ),
    check(
        Name::Keys,
        "keys",
        "the same key finds the first outcome on any node, and publishes once",
        MINUTE,
    ),
    check(
        Name::Resume,
        "resume",
        "from a cursor, another node goes on without a gap or a repeat",
        MINUTE,
    ),
    check(
        Name::Audience,
        "audience",
        "only those who are meant get a broadcast, and nobody sees who else did",
        MINUTE,
    ),
    check(
        Name::Confirming,
        "confirming",
        "every node says of each recipient how far they are, and why no further",
        MINUTE,
    ),
    check(
        Name::Escalation,
        "escalation",
        "when nobody confirms it goes on, once, to those who have not",
        MINUTE,
    ),
    check(
        Name::Refusals,
        "refusals",
        "bad input, a rate cap and an event day have a code, and what was accepted comes all the same",
        MINUTE,
    ),
    check(
        Name::Schedule,
        "schedule",
        "what is scheduled comes once and not early; what is called off is taken back from those who have it, and nobody else hears",
        MINUTE,
    ),
    check(
        Name::Tokens,
        "tokens",
        "a token is good on all nodes at once, for its scope and user alone, and worthless everywhere when revoked",
        MINUTE,
    ),
    Check {
        own_only: Some("nodes of --url are not killed"),
        ..check(
            Name::Durability,
            "durability",
            "the leader is killed: nothing acknowledged is lost or doubled, the others answer within 3 s",
            Duration::from_secs(120),
        )
    },
    check(
        Name::Preferences,
        "preferences",
        "quiet hours hold, mutes skip, critical passes both; what is held comes when they end",
        Duration::from_secs(150),
    ),
];

/// By its word.
pub fn named(word: &str) -> Option<&'static Check> {
    ALL.iter().find(|check| check.word == word)
}

/// Looks at one of those that are done on the stage; `performance` has one of its own.
pub async fn look(name: Name, stage: &mut Stage, proof: &mut Proof) -> Result<()> {
    match name {
        Name::Queue => queue::look(stage, proof).await,
        Name::Cache => cache::look(stage, proof).await,
        Name::Scaling => scaling::look(stage, proof).await,
        Name::Alerts => alerts::look(stage, proof).await,
        Name::Dashboard => dashboard::look(stage, proof).await,
        Name::Performance => Ok(()),
        Name::Keys => keys::look(stage, proof).await,
        Name::Resume => resume::look(stage, proof).await,
        Name::Audience => audience::look(stage, proof).await,
        Name::Confirming => confirming::look(stage, proof).await,
        Name::Escalation => escalation::look(stage, proof).await,
        Name::Refusals => refusals::look(stage, proof).await,
        Name::Schedule => schedule::look(stage, proof).await,
        Name::Tokens => tokens::look(stage, proof).await,
        Name::Durability => durability::look(stage, proof).await,
        Name::Preferences => preferences::look(stage, proof).await,
    }
}

#[cfg(test)]
mod tests {
    use super::{ALL, named};
    use std::collections::BTreeSet;

    #[test]
    fn every_check_has_a_word_of_its_own_and_says_what_it_promises() {
        let words: BTreeSet<&str> = ALL.iter().map(|check| check.word).collect();
        assert_eq!(words.len(), ALL.len());
        for check in &ALL {
            assert_eq!(named(check.word).map(|found| found.name), Some(check.name));
            assert!(check.promise.len() > 20 && !check.limit.is_zero(), "{}", check.word);
        }
        assert!(named("queues").is_none());
    }
}
