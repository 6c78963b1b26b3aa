//! One run from the first node to the last judgement: the stage is set, everybody connects, broadcasts go out when they are due, and
//! what was read is compared with what was accepted.

use super::crowds::{Crowds, Standing};
use super::orders::{Fate, Finished, Order, Told};
use super::plan::{Dice, Plan};
use super::press::{self, Needs, Source};
use super::published::Published;
use super::request::Texts;
use super::scenario::Scenario;
use super::stage::{Stage, Where};
use super::stamp::EVERYBODY;
use super::watch::{Decision, Mark, Nodes, Sample};
use crate::base::clock;
use crate::lab::served::Served;
use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::{MissedTickBehavior, interval, sleep};

/// From the start of the publishers to the first that is due.
const LEAD_NS: u64 = 300_000_000;
const NEWS_MAX: usize = 65_536;
const NEWS_AT_ONCE: usize = 512;
const LOOK: Duration = Duration::from_millis(100);
/// When all was accepted and nothing has come for this long, what is still missing is missing.
const QUIET_MAX: Duration = Duration::from_secs(10);
/// Whoever was dropped and is not back this long after the last should be is not waited for.
const BACK_MAX: Duration = Duration::from_secs(60);
/// What the import has used goes back to the system after about this, and must not count for the connections ...
const MEMORY_RESTS: Duration = Duration::from_millis(1_200);
/// ... so the memory of the nodes is looked at until it falls no more, at most so often.
const MEMORY_LOOKS: u32 = 8;
/// It has not fallen when it is at least this part of what it was.
const MEMORY_STAYS: f64 = 0.995;
/// After the last that is expected: what comes now is repeated or wrong.
const SETTLE: Duration = Duration::from_millis(500);
/// Broadcasts of a load are worth nothing after it.
const EXPIRES_AFTER_MS: i64 = 3_600_000;
/// Numbers of one step of a closed loop; the next begins behind them.
const NUMBERS_OF_A_STEP: u32 = 10_000_000;
const SECOND: f64 = 1e9;

/// What a run has come to, before it is judged.
pub struct Played {
    pub served: Served,
    /// Publishers at one time, and what became of theirs; one unless the loop is closed.
    pub steps: Vec<Step>,
    pub finished: Vec<Finished>,
    pub samples: Vec<Sample>,
    pub seconds: Vec<Second>,
    pub decisions: Vec<Decision>,
    /// Of the nodes, in bytes: before and after everybody was connected.
    pub resident: [Option<u64>; 2],
    pub crowds: usize,
}

pub struct Step {
    pub publishers: u32,
    pub published: Published,
    pub from: Mark,
    pub until: Mark,
    /// When the warm-up was over, on the monotonic clock.
    pub measured_from: u64,
}

/// How things stood at one moment of the run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Second {
    pub at: f64,
    pub delivered: u64,
    pub connected: u32,
    pub p50_us: Option<u64>,
    pub p99_us: Option<u64>,
}

pub async fn play(scenario: &Scenario, place: &Where, seed: u64, bar: &ProgressBar) -> Result<Played> {
    let mut stage = Stage::set(scenario, place, bar).await?;
    let run = (clock::wall() as u32) ^ std::process::id().rotate_left(16);
    let nodes = Nodes {
        doors: stage.nodes.clone(),
        bearer: stage.bearer.clone(),
        processes: stage.processes.clone(),
        folders: stage.folders.clone(),
    };
    bar.set_message("the nodes settle");
    let before = settled(&nodes).await;
    let crowds = Crowds::start(scenario, &stage, run).await?;
    bar.set_length(u64::from(scenario.subscribers()));
    bar.set_message("subscribers connect");
    crowds
        .connected(scenario.subscribers(), |standing| {
            bar.set_position(u64::from(standing.connected));
        })
        .await?;
    let resident = [before, nodes.resident()];
    let began_at = clock::rfc3339(clock::wall());
    let mut run = Run {
        scenario,
        seed,
        run,
        crowds,
        nodes,
        bar,
        seconds: Vec::new(),
        begin: clock::monotonic() + LEAD_NS,
    };
    let watch = run.nodes.watch(run.begin);
    let steps = match &scenario.publish {
        Some(publish) => run.closed(&publish.steps, &mut stage).await?,
        None => vec![run.open(&mut stage).await?],
    };
    let decisions = run.nodes.decisions(&began_at).await;
    let samples = watch.end();
    let served = if stage.is_own() {
        Served::Own
    } else {
        run.nodes.served().await
    };
    bar.set_message("everything is compared");
    let (crowds, seconds) = (run.crowds.processes().len(), std::mem::take(&mut run.seconds));
    let finished = run.crowds.finish().await?;
    stage.end().await?;
    Ok(Played {
        served,
        steps,
        finished,
        samples,
        seconds,
        decisions,
        resident,
        crowds,
    })
}

/// The memory of the nodes once it falls no more; `None` where it cannot be seen.
async fn settled(nodes: &Nodes) -> Option<u64> {
    let mut last = nodes.resident()?;
    for _ in 0..MEMORY_LOOKS {
        sleep(MEMORY_RESTS).await;
        let now = nodes.resident()?;
        let stays = now as f64 >= last as f64 * MEMORY_STAYS;
        last = now;
        if stays {
            break;
        }
    }
    Some(last)
}

struct Run<'a> {
    scenario: &'a Scenario,
    seed: u64,
    run: u32,
    crowds: Crowds,
    nodes: Nodes,
    bar: &'a ProgressBar,
    seconds: Vec<Second>,
    begin: u64,
}

impl Run<'_> {
    async fn open(&mut self, stage: &mut Stage) -> Result<Step> {
        let plan = Plan::new(self.scenario, self.seed).peekable();
        self.step(Source::Open { plan }, self.scenario.publishers, stage).await
    }

    async fn closed(&mut self, steps: &[u32], stage: &mut Stage) -> Result<Vec<Step>> {
        let mut all = Vec::new();
        for (publishers, number) in steps.iter().zip(0..) {
            self.begin = clock::monotonic() + LEAD_NS;
            let source = Source::Closed {
                dice: Dice::new(self.scenario, self.seed),
                number: number * NUMBERS_OF_A_STEP,
                publishers: *publishers as usize,
                warm_up: self.scenario.warm_up.0,
                length: self.scenario.length.0,
            };
            all.push(self.step(source, *publishers, stage).await?);
        }
        Ok(all)
    }

    /// Publishes all of a source, and waits until what was accepted has come.
    async fn step(&mut self, source: Source, publishers: u32, stage: &mut Stage) -> Result<Step> {
        let (news, mut told) = channel(NEWS_MAX);
        let needs = self.needs(stage, publishers);
        let press = std::thread::Builder::new().name("publishers".into());
        let press = press
            .spawn(move || press::run(needs, source, &news))
            .context("start the publishers")?;
        let mut course = Course::new(self);
        let from = self.listen(&mut told, &mut course, stage).await?;
        let Ok(published) = press.join() else {
            bail!("the publishers broke")
        };
        let published = published?;
        if published.accepted_in_all == 0 {
            bail!(
                "no broadcast was accepted: {:?} {}",
                published.errors,
                published.findings.join("; ")
            );
        }
        self.settle(&mut course).await;
        let until = self.mark().await;
        Ok(Step {
            publishers,
            published,
            from,
            until,
            measured_from: course.warm_until,
        })
    }

    fn needs(&self, stage: &Stage, publishers: u32) -> Needs {
        Needs {
            texts: Texts {
                run: self.run,
                bearer: stage.bearer.clone(),
                audiences: stage.audiences.clone(),
                everybody: stage.everybody.clone(),
                message: "x".repeat(self.scenario.message_bytes as usize),
                is_drill: self.scenario.drill,
                expires_at: clock::rfc3339(
                    clock::wall() + self.scenario.length.0.as_millis() as i64 + EXPIRES_AFTER_MS,
                ),
            },
            nodes: stage.nodes.clone(),
            lines: publishers,
            cache_reads: self.scenario.cache_reads,
            recipients: u64::from(self.scenario.recipients),
            users: u64::from(self.scenario.users()),
            begin: self.begin,
        }
    }

    /// Passes on what the publishers tell, until they have ended; gives the mark of the end of the warm-up.
    async fn listen(&mut self, told: &mut Receiver<Told>, course: &mut Course, stage: &mut Stage) -> Result<Mark> {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut from = None;
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                count = told.recv_many(&mut batch, NEWS_AT_ONCE) => {
                    if count == 0 {
                        return Ok(match from {
                            Some(from) => from,
                            None => self.mark().await,
                        });
                    }
                    course.expect(self.scenario, &batch);
                    self.crowds.tell(std::mem::take(&mut batch)).await?;
                }
                _ = look.tick() => {
                    let now = clock::monotonic();
                    if from.is_none() && now >= course.warm_until {
                        from = Some(self.mark().await);
                    }
                    if course.drop_at.is_some_and(|at| now >= at) {
                        course.drop_at = None;
                        self.drop_all().await?;
                    }
                    self.look(course, now)?;
                    if let Some(words) = stage.ended() {
                        bail!("{words}");
                    }
                }
            }
        }
    }

    async fn drop_all(&mut self) -> Result<()> {
        let Some(reconnect) = self.scenario.reconnect else {
            return Ok(());
        };
        let spread_ms = reconnect.spread.0.as_millis() as u64;
        self.crowds
            .order(&Order::Drop {
                spread_ms,
                seed: self.seed,
            })
            .await
    }

    async fn mark(&self) -> Mark {
        let generator: Vec<u32> = [std::process::id()]
            .into_iter()
            .chain(self.crowds.processes())
            .collect();
        self.nodes.mark(&generator, self.crowds.standing().delivered).await
    }

    /// Notes how things stand, and says it.
    fn look(&mut self, course: &mut Course, now: u64) -> Result<Standing> {
        let standing = self.crowds.standing();
        if standing.has_lost_a_process {
            bail!(
                "a process of subscribers ended: {}",
                standing.trouble.unwrap_or_default()
            );
        }
        if standing.delivered != course.delivered {
            course.delivered = standing.delivered;
            course.last_change = now;
        }
        let at = now.saturating_sub(self.begin) as f64 / SECOND;
        self.bar.set_length((course.length / SECOND) as u64);
        self.bar.set_position(at as u64);
        if now >= course.next_second {
            course.next_second += SECOND as u64;
            let recent = self.crowds.recent();
            let value = |quantile: f64| (!recent.is_empty()).then(|| recent.value_at_quantile(quantile));
            self.seconds.push(Second {
                at,
                delivered: standing.delivered,
                connected: standing.connected,
                p50_us: value(0.5),
                p99_us: value(0.99),
            });
        }
        let phase = if now < course.warm_until { "warm-up" } else { "measured" };
        self.bar.set_message(format!(
            "s  {phase}: {} accepted, {} of {} deliveries, {} connected",
            course.accepted, standing.delivered, course.expected, standing.connected
        ));
        Ok(standing)
    }

    /// Waits until all that was accepted has come and all are back, or nothing comes any more; then a little for what should not come.
    async fn settle(&mut self, course: &mut Course) {
        if self.scenario.subscribers() == 0 {
            return;
        }
        let begun = clock::monotonic();
        let spread = self
            .scenario
            .reconnect
            .map_or(Duration::ZERO, |reconnect| reconnect.spread.0);
        loop {
            let now = clock::monotonic();
            let Ok(standing) = self.look(course, now) else { return };
            let are_back = standing.connected >= self.scenario.subscribers();
            if standing.delivered >= course.expected && are_back {
                break;
            }
            let quiet = Duration::from_nanos(now.saturating_sub(course.last_change.max(begun)));
            let is_late = !are_back && Duration::from_nanos(now - begun) >= spread + BACK_MAX;
            if is_late || (quiet >= QUIET_MAX && are_back) {
                break;
            }
            sleep(LOOK).await;
        }
        sleep(SETTLE).await;
    }
}

/// Where one step stands.
struct Course {
    warm_until: u64,
    drop_at: Option<u64>,
    /// Of the whole step, in ns.
    length: f64,
    accepted: u64,
    expected: u64,
    delivered: u64,
    last_change: u64,
    next_second: u64,
}

impl Course {
    fn new(run: &Run<'_>) -> Self {
        let (warm_up, length) = (run.scenario.warm_up.0, run.scenario.length.0);
        let warm_until = run.begin + warm_up.as_nanos() as u64;
        let dropped = |percent: u32| warm_until + (length.as_nanos() as u64 / 100) * u64::from(percent);
        Self {
            warm_until,
            drop_at: run.scenario.reconnect.map(|reconnect| dropped(reconnect.at_percent)),
            length: (warm_up + length).as_nanos() as f64,
            accepted: 0,
            expected: 0,
            delivered: run.crowds.standing().delivered,
            last_change: clock::monotonic(),
            next_second: run.begin,
        }
    }

    fn expect(&mut self, scenario: &Scenario, told: &[Told]) {
        let accepted = told.iter().filter(|told| matches!(told.fate, Fate::Accepted(_)));
        for told in accepted {
            self.accepted += 1;
            self.expected += u64::from(if told.group == EVERYBODY {
                scenario.users()
            } else {
                scenario.recipients
            });
        }
    }
}

/// Shown in a terminal, unless the output is for programs.
pub fn progress(is_shown: bool) -> ProgressBar {
    let bar = ProgressBar::new(0);
    if !is_shown {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len}  {msg}");
    style.map_or(bar.clone(), |style| bar.with_style(style))
}
