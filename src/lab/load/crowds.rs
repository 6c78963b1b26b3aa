//! The processes that hold the subscribers, as the run sees them: started, told, listened to, and asked at the end.

use super::crowd::sockets_max;
use super::orders::{Finished, Order, Progress, Receipts, Setup, Told, Word};
use super::scenario::Scenario;
use super::stage::Stage;
use crate::base::clock;
use crate::lab::results::histogram;
use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// The hidden command that such a process runs.
pub const COMMAND: &str = "load-crowd";
const CONNECTED_MAX: Duration = Duration::from_secs(180);
const FINISHED_MAX: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

pub struct Crowds {
    all: Vec<Process>,
}

struct Process {
    orders: ChildStdin,
    progress: Arc<Mutex<Heard>>,
    finished: JoinHandle<Result<Finished>>,
    child: Child,
}

#[derive(Default)]
struct Heard {
    progress: Progress,
    /// Since somebody last asked.
    recent: Option<Histogram<u64>>,
    has_ended: bool,
}

/// How things stand, of all processes.
#[derive(Debug, Default)]
pub struct Standing {
    pub connected: u32,
    pub delivered: u64,
    pub failed: u64,
    pub trouble: Option<String>,
    pub has_lost_a_process: bool,
}

impl Crowds {
    /// As many processes as the file limit asks for; each is told whom it holds.
    pub async fn start(scenario: &Scenario, stage: &Stage, run: u32) -> Result<Self> {
        let most = u32::try_from(sockets_max()).unwrap_or(u32::MAX);
        let subscribers = scenario.subscribers();
        let mut all = Vec::new();
        let mut first = 0;
        while first < subscribers {
            let count = (subscribers - first).min(most);
            let own = first as usize..(first + count) as usize;
            let setup = Setup {
                run,
                first,
                count,
                groups: scenario.groups,
                recipients: scenario.recipients,
                prefix: stage.prefix.clone(),
                bearers: stage.bearers.get(own).unwrap_or_default().to_vec(),
                way: stage.way.clone(),
                websocket_percent: scenario.transports.websocket,
                receipts: if scenario.receipts {
                    Receipts::Promised
                } else {
                    Receipts::None
                },
            };
            all.push(Process::start(setup).await?);
            first += count;
        }
        Ok(Self { all })
    }

    pub fn processes(&self) -> Vec<u32> {
        self.all.iter().filter_map(|process| process.child.id()).collect()
    }

    pub fn standing(&self) -> Standing {
        let mut standing = Standing::default();
        for process in &self.all {
            let heard = process.progress.lock();
            standing.connected += heard.progress.connected;
            standing.delivered += heard.progress.delivered;
            standing.failed += heard.progress.failed;
            standing.trouble = heard.progress.trouble.clone().or(standing.trouble);
            standing.has_lost_a_process |= heard.has_ended;
        }
        standing
    }

    /// Accepted to read, since the last call.
    pub fn recent(&self) -> Histogram<u64> {
        let mut whole = histogram();
        for process in &self.all {
            if let Some(recent) = process.progress.lock().recent.take() {
                // Both have the same bounds.
                let _ = whole.add(recent);
            }
        }
        whole
    }

    /// Waits until everybody is greeted.
    pub async fn connected(&self, wanted: u32, say: impl Fn(&Standing)) -> Result<()> {
        let end = clock::now() + CONNECTED_MAX;
        loop {
            let standing = self.standing();
            say(&standing);
            if standing.connected >= wanted {
                return Ok(());
            }
            if standing.has_lost_a_process || clock::now() >= end {
                let trouble = standing.trouble.unwrap_or_else(|| "none".to_owned());
                bail!(
                    "{} of {wanted} subscribers were connected within {CONNECTED_MAX:?}; {} attempts failed, the last trouble was: {trouble}",
                    standing.connected,
                    standing.failed
                );
            }
            sleep(POLL).await;
        }
    }

    pub async fn order(&mut self, order: &Order) -> Result<()> {
        if self.all.is_empty() {
            return Ok(());
        }
        let line = format!("{}\n", serde_json::to_string(order)?);
        for process in &mut self.all {
            process
                .orders
                .write_all(line.as_bytes())
                .await
                .context("a process of subscribers has gone")?;
        }
        Ok(())
    }

    pub async fn tell(&mut self, told: Vec<Told>) -> Result<()> {
        self.order(&Order::Told(told)).await
    }

    /// What they found, in the order of the users.
    pub async fn finish(mut self) -> Result<Vec<Finished>> {
        self.order(&Order::Finish).await?;
        let mut found = Vec::new();
        for process in self.all {
            let finished = timeout(FINISHED_MAX, process.finished).await;
            found.push(finished.context("a process of subscribers does not finish")???);
        }
        Ok(found)
    }
}

impl Process {
    async fn start(setup: Setup) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe().context("the path of this program")?)
            .arg(COMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C in a terminal goes to the run alone, which then ends its processes.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("start a process for subscribers")?;
        let mut orders = child.stdin.take().context("its standard input")?;
        let words = child.stdout.take().context("its standard output")?;
        let begin = format!("{}\n", serde_json::to_string(&Order::Begin(Box::new(setup)))?);
        orders.write_all(begin.as_bytes()).await?;
        let progress = Arc::new(Mutex::new(Heard::default()));
        Ok(Self {
            orders,
            finished: tokio::spawn(listen(words, progress.clone())),
            progress,
            child,
        })
    }
}

async fn listen(words: ChildStdout, heard: Arc<Mutex<Heard>>) -> Result<Finished> {
    let mut lines = BufReader::new(words).lines();
    while let Some(line) = lines.next_line().await? {
        match serde_json::from_str(&line).context("a word of a process of subscribers")? {
            Word::Progress(progress) => {
                let mut heard = heard.lock();
                progress.recent.add_to(heard.recent.get_or_insert_with(histogram));
                heard.progress = progress;
            }
            Word::Finished(finished) => return Ok(*finished),
            Word::Failed(why) => {
                heard.lock().has_ended = true;
                bail!("a process of subscribers failed: {why}");
            }
        }
    }
    heard.lock().has_ended = true;
    bail!("a process of subscribers ended by itself")
}
