//! How it ends: what was made is taken away where nodes live on, and nodes of its own stop.

use super::Stage;
use crate::base::clock;
use anyhow::{Context, Result, anyhow, bail};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::timeout;

/// All is taken away within this, or is said to stay.
const AWAY_MAX: Duration = Duration::from_secs(30);
/// Users come before the places where they are, and weddings before their venues.
const ORDER: [&str; 5] = [
    "/v1/users/",
    "/v1/weddings/",
    "/v1/venues/",
    "/v1/segments/",
    "/v1/cache/",
];

impl Stage {
    /// Gives what could not be put away.
    pub async fn end(mut self) -> Vec<String> {
        let mut left = Vec::new();
        match self.cluster.take() {
            Some(cluster) => {
                if let Err(error) = cluster.stop().await {
                    left.push(format!("the nodes did not stop: {error:#}"));
                }
            }
            None => self.take_back(&mut left).await,
        }
        left
    }

    async fn take_back(&self, left: &mut Vec<String>) {
        let end = clock::now() + AWAY_MAX;
        for path in in_order(&self.made) {
            let taken = timeout(clock::left(end), self.take_away(path)).await;
            let taken = taken.unwrap_or_else(|_| Err(anyhow!("no time was left")));
            if let Err(why) = taken {
                left.push(format!("{path} stays: {why:#}"));
            }
        }
    }

    /// Through the first node that does it.
    async fn take_away(&self, path: &str) -> Result<()> {
        let mut last = Err(anyhow!("there is no node"));
        for at in 0..self.nodes.len() {
            last = self.remove(at, path).await;
            if last.is_ok() {
                break;
            }
        }
        last
    }

    async fn remove(&self, at: usize, path: &str) -> Result<()> {
        let answer = self.ask(at, ("DELETE", path), &[], b"").await;
        let answer = answer.with_context(|| format!("node {}", at + 1))?;
        if !is_gone(answer.status) {
            bail!("it was answered {} {}", answer.status, answer.code());
        }
        Ok(())
    }
}

/// What was never made is gone, too.
const fn is_gone(status: u16) -> bool {
    matches!(status, 204 | 404)
}

/// Each once.
fn in_order(made: &[String]) -> Vec<&str> {
    let each: BTreeSet<&str> = made.iter().map(String::as_str).collect();
    let mut all: Vec<&str> = each.into_iter().collect();
    all.sort_by_key(|path| ORDER.iter().position(|kind| path.starts_with(kind)));
    all
}

#[cfg(test)]
mod tests {
    use super::{in_order, is_gone};

    #[test]
    fn who_is_somewhere_goes_before_the_place_and_each_goes_once() {
        let made = [
            "/v1/cache/teams/v",
            "/v1/venues/v",
            "/v1/users/v",
            "/v1/weddings/v",
            "/v1/users/v",
        ];
        let expected = ["/v1/users/v", "/v1/weddings/v", "/v1/venues/v", "/v1/cache/teams/v"];
        assert_eq!(in_order(&made.map(String::from)), expected);
    }

    #[test]
    fn what_is_not_there_is_gone_and_what_is_refused_is_not() {
        assert!(is_gone(204) && is_gone(404));
        assert!(![200, 401, 403, 409, 500, 503].into_iter().any(is_gone));
    }
}
