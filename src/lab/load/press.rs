//! Publishers: a bounded number of connections in one thread with its own epoll. In an open loop a broadcast goes out when it is due,
//! whether earlier ones were answered or not, and its latency counts from then, so that a slow server cannot hide behind questions that
//! were never asked. In a closed loop each connection asks again once it has its answer.

use super::line::{Line, Turn};
use super::orders::{Fate, Told};
use super::plan::{Dice, Plan, Planned};
use super::published::Published;
use super::request::{self, Answer, Texts, Then};
use super::stamp::{EVERYBODY, Phase};
use crate::base::clock;
use crate::lab::door::Door;
use anyhow::{Context, Result};
use mio::{Events, Poll};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::mpsc::Sender;

const EVENTS_MAX: usize = 1_024;
const POLL_MAX: u64 = 50_000_000;
/// A publish that has no answer that stands by then is of unknown outcome.
const GIVE_UP_AFTER: u64 = 60_000_000_000;
const AGAIN_FIRST: u64 = 50_000_000;
const AGAIN_MAX: u64 = 1_000_000_000;
const DOUBLINGS_MAX: u32 = 5;

/// What is to be asked.
#[derive(Clone, Copy, Debug)]
pub enum Ask {
    Publish(Job),
    /// A value of the cache, as an application reads it before it publishes; and its putting there when it was not.
    Read(u16),
    Put(u16),
}

#[derive(Clone, Copy, Debug)]
pub struct Job {
    pub planned: Planned,
    /// On the monotonic clock.
    pub due: u64,
    /// Of the first attempt; 0 before it.
    pub sent: u64,
    pub attempts: u32,
}

/// Where the broadcasts come from.
pub enum Source {
    Open {
        plan: std::iter::Peekable<Plan>,
    },
    Closed {
        dice: Dice,
        number: u32,
        publishers: usize,
        warm_up: Duration,
        length: Duration,
    },
}

pub struct Needs {
    pub texts: Texts,
    pub nodes: Vec<Door>,
    pub lines: u32,
    pub cache_reads: u32,
    /// Recipients of each group, and of what goes to everybody.
    pub recipients: u64,
    pub users: u64,
    /// When it begins, on the monotonic clock.
    pub begin: u64,
}

/// Publishes all that the source has, and tells what became of each.
pub fn run(needs: Needs, source: Source, news: &Sender<Told>) -> Result<Published> {
    let mut press = Press {
        poll: Poll::new()?,
        lines: (0..needs.lines as usize)
            .map(|number| Line::new(number, needs.nodes[number % needs.nodes.len()].clone()))
            .collect(),
        source,
        ready: VecDeque::new(),
        later: Vec::new(),
        published: Published::new(needs.begin),
        needs,
        news,
    };
    let mut events = Events::with_capacity(EVENTS_MAX);
    while press.turn(clock::monotonic()) {
        let timeout = Duration::from_nanos(press.idle_for(clock::monotonic()));
        match press.poll.poll(&mut events, Some(timeout)) {
            Err(error) if error.kind() != std::io::ErrorKind::Interrupted => return Err(error).context("epoll"),
            Ok(()) | Err(_) => {}
        }
        for event in &events {
            press.event(event.token().0);
        }
    }
    Ok(press.published)
}

struct Press<'a> {
    poll: Poll,
    lines: Vec<Line>,
    source: Source,
    ready: VecDeque<Ask>,
    /// What is asked again, and when.
    later: Vec<(u64, Ask)>,
    published: Published,
    needs: Needs,
    news: &'a Sender<Told>,
}

impl Press<'_> {
    /// One look at all that is due; false when there is nothing left to do.
    fn turn(&mut self, now: u64) -> bool {
        for number in 0..self.lines.len() {
            if let Some(ask) = self.lines[number].expire(now) {
                self.again(ask, "NO_ANSWER", now);
            }
        }
        let waited = self.ready.len();
        self.collect(now);
        self.assign(now, waited);
        let is_over = match &mut self.source {
            Source::Open { plan } => plan.peek().is_none(),
            Source::Closed { warm_up, length, .. } => now >= self.needs.begin + nanos(*warm_up + *length),
        };
        let is_quiet = self.ready.is_empty() && self.later.is_empty() && self.lines.iter().all(Line::is_free);
        !(is_over && is_quiet)
    }

    fn collect(&mut self, now: u64) {
        let begin = self.needs.begin;
        let mut due = Vec::new();
        match &mut self.source {
            Source::Open { plan } => {
                while let Some(planned) = plan.next_if(|planned| begin + nanos(planned.at) <= now) {
                    due.push((planned, begin + nanos(planned.at)));
                }
            }
            Source::Closed {
                dice,
                number,
                publishers,
                warm_up,
                length,
            } => {
                let busy = self.lines.iter().filter(|line| !line.is_free()).count();
                let free = publishers.saturating_sub(busy + self.ready.len() + self.later.len());
                let ends = begin + nanos(*warm_up + *length);
                let phase = if now < begin + nanos(*warm_up) {
                    Phase::WarmUp
                } else {
                    Phase::Measured
                };
                for _ in 0..if now >= begin && now < ends { free } else { 0 } {
                    due.push((request::planned(*number, dice.throw(), phase), now));
                    *number += 1;
                }
            }
        }
        for (planned, due) in due {
            for _ in 0..self.needs.cache_reads {
                if planned.group != EVERYBODY {
                    self.ready.push_back(Ask::Read(planned.group));
                }
            }
            self.ready.push_back(Ask::Publish(Job {
                planned,
                due,
                sent: 0,
                attempts: 0,
            }));
        }
        let (again, later): (Vec<_>, Vec<_>) = self.later.drain(..).partition(|(at, _)| *at <= now);
        self.later = later;
        self.ready.extend(again.into_iter().map(|(_, ask)| ask));
    }

    /// Gives what is ready to free lines. The first `waited` have stood here since an earlier turn: no line was free for them.
    fn assign(&mut self, now: u64, mut waited: usize) {
        for number in 0..self.lines.len() {
            if self.ready.is_empty() {
                return;
            }
            if !self.lines[number].is_usable(now) {
                continue;
            }
            let Some(mut ask) = self.ready.pop_front() else { return };
            if let Ask::Publish(job) = &mut ask {
                if job.attempts == 0 {
                    job.sent = now;
                    self.published.sent(job, waited > 0);
                }
                job.attempts += 1;
            }
            waited = waited.saturating_sub(1);
            let (texts, host) = (&self.needs.texts, self.lines[number].node());
            let request = match &ask {
                Ask::Publish(job) => texts.publish(host, &job.planned, job.due),
                Ask::Read(group) => texts.read(host, *group),
                Ask::Put(group) => texts.put(host, *group),
            };
            let turn = self.lines[number].ask(self.poll.registry(), ask, &request, now);
            self.took(number, turn);
        }
    }

    fn event(&mut self, number: usize) {
        if let Some(line) = self.lines.get_mut(number) {
            let turn = line.ready();
            self.took(number, turn);
        }
    }

    fn took(&mut self, number: usize, turn: Turn) {
        let now = clock::monotonic();
        match turn {
            Turn::Nothing => {}
            Turn::Broken(None) => self.published.error("CONNECTION_LOST"),
            Turn::Broken(Some(ask)) => self.again(ask, "CONNECTION_LOST", now),
            Turn::Answered(ask, answer) => {
                if answer.then == Then::Close {
                    self.lines[number].hang_up();
                }
                self.answered(ask, &answer, now);
            }
        }
    }

    fn answered(&mut self, ask: Ask, answer: &Answer, now: u64) {
        match ask {
            Ask::Publish(job) => match answer.status {
                200..=299 => {
                    let expected = if job.planned.group == EVERYBODY {
                        self.needs.users
                    } else {
                        self.needs.recipients
                    };
                    self.published.accepted(&job, now, answer.targeted() == Some(expected));
                    self.tell(&job, Fate::Accepted(now));
                }
                409 | 429 | 500.. => self.again(ask, &answer.code(), now),
                _ => {
                    self.published.refused(&job, &answer.code());
                    self.tell(&job, Fate::Refused);
                }
            },
            Ask::Read(group) if answer.status == 404 => {
                self.published.cache_reads += 1;
                self.ready.push_back(Ask::Put(group));
            }
            Ask::Read(_) if answer.status == 200 => self.published.cache_reads += 1,
            Ask::Put(_) if answer.status == 204 => {}
            Ask::Read(_) | Ask::Put(_) => self.published.error(&format!("CACHE_{}", answer.code())),
        }
    }

    /// It is asked again with the same key, on whichever line is free, until it has been too long.
    fn again(&mut self, ask: Ask, why: &str, now: u64) {
        match ask {
            Ask::Publish(job) if now.saturating_sub(job.sent) > GIVE_UP_AFTER => {
                self.published.unknown(&job, why);
                self.tell(&job, Fate::Unknown);
            }
            Ask::Publish(job) => {
                self.published.failed(&job, why);
                let wait = AGAIN_FIRST << (job.attempts.saturating_sub(1)).min(DOUBLINGS_MAX);
                self.later.push((now + wait.min(AGAIN_MAX), ask));
            }
            Ask::Read(_) | Ask::Put(_) => self.published.error(why),
        }
    }

    fn tell(&self, job: &Job, fate: Fate) {
        let planned = job.planned;
        // Whoever listened may have been stopped; the publishers then end by themselves.
        let _ = self.news.blocking_send(Told {
            number: planned.number,
            group: planned.group,
            ordinal: planned.ordinal,
            priority: planned.priority,
            phase: planned.phase,
            fate,
        });
    }

    fn idle_for(&mut self, now: u64) -> u64 {
        let begin = self.needs.begin;
        let next = match &mut self.source {
            Source::Open { plan } => plan.peek().map(|planned| begin + nanos(planned.at)),
            Source::Closed { .. } => (now < begin).then_some(begin),
        };
        let later = self.later.iter().map(|(at, _)| *at).min();
        let due = next.into_iter().chain(later).min().unwrap_or(u64::MAX);
        due.saturating_sub(now).min(POLL_MAX)
    }
}

fn nanos(span: Duration) -> u64 {
    span.as_nanos() as u64
}
