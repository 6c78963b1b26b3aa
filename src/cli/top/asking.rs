//! Asks the nodes at an interval, and as soon as a broadcast is opened.

use super::ladder::{self, Ladder};
use super::model::Event;
use super::options::Top;
use crate::base::clock;
use crate::cli::failure::Failure;
use crate::cli::sight::ask::{Asker, Unseen};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

/// The people of a broadcast are several pages: they are asked for no more often than this.
const LADDER_EVERY: Duration = Duration::from_secs(2);

pub type Answers = mpsc::Sender<Result<Event, Failure>>;

pub struct Asking {
    asker: Asker,
    every: Duration,
    rows_max: usize,
    lost_since: Option<Instant>,
    ladder_at: Option<Instant>,
}

impl Asking {
    pub fn new(asker: Asker, options: &Top) -> Self {
        Self {
            asker,
            every: options.every,
            rows_max: options.rows as usize,
            lost_since: None,
            ladder_at: None,
        }
    }

    /// Until nobody wants answers any more.
    pub async fn run(mut self, mut opened: watch::Receiver<Option<String>>, answers: Answers) {
        let mut tick = tokio::time::interval(self.every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let told = tokio::select! {
                changed = opened.changed() => match changed {
                    Ok(()) => {
                        self.ladder_at = None;
                        Ok(())
                    }
                    Err(_) => return,
                },
                _ = tick.tick() => {
                    let seen = self.look().await;
                    answers.send(seen).await
                }
            };
            let wanted = opened.borrow_and_update().clone();
            let told = match (told, wanted) {
                (Ok(()), Some(id)) if self.is_ladder_due() => {
                    let event = self.ladder(id).await;
                    answers.send(Ok(event)).await
                }
                (told, _) => told,
            };
            if told.is_err() {
                return;
            }
        }
    }

    /// A fault that no other node would heal ends it all.
    async fn look(&mut self) -> Result<Event, Failure> {
        match self.asker.look().await {
            Ok(sight) => {
                self.lost_since = None;
                Ok(Event::Seen(Box::new(sight)))
            }
            Err(Unseen::Final(failure)) => Err(failure),
            Err(Unseen::Later(failure)) => {
                let since = *self.lost_since.get_or_insert_with(clock::now);
                Ok(Event::Lost(failure.what, since.elapsed()))
            }
        }
    }

    fn is_ladder_due(&self) -> bool {
        self.ladder_at
            .is_none_or(|at| at.elapsed() >= LADDER_EVERY.max(self.every))
    }

    async fn ladder(&mut self, id: String) -> Event {
        self.ladder_at = Some(clock::now());
        let told = match self.asker.nodes() {
            Ok(nodes) => ladder::ask(&nodes, &id, self.rows_max).await,
            Err(failure) => Err(failure),
        };
        let told = told.map(Box::<Ladder>::new).map_err(|failure| failure.what);
        Event::Opened(id, told)
    }
}
