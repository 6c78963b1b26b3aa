//! `campanile rehearse`: a scripted day through a real cluster of three processes, judged from outside.

use super::{
    cluster::{Cluster, Settings},
    device::{self, Identity, Orders, World},
    faults::{self, Plan, Player, Tempo},
    ledger::{self, Entry, Seen, Verdict},
    machine,
    oracle::{Oracle, Recipients},
    publisher::{self, Post, Told},
    report::Report,
    scenario::{self, Expect, Object, Scenario, Scripted},
    stream::Transport,
    tokens::{Tokens, bearer},
};
use crate::base::clock;
use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Mutex, watch},
    task::JoinHandle,
    time::{sleep, sleep_until},
};

const GREETED_MAX: Duration = Duration::from_secs(30);
/// Without any delivery for this long, what is still missing is missing.
const QUIET_MAX: Duration = Duration::from_secs(10);
/// After the last expected delivery: what comes now is repeated or wrong.
const SETTLE: Duration = Duration::from_millis(500);
/// Confirmations travel back behind the deliveries.
const CONFIRMED_MAX: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);

#[derive(Clone, Debug)]
pub struct Options {
    /// `saturday`, or a folder.
    pub scenario: String,
    /// How much shorter the pauses between broadcasts are.
    pub speed: f64,
    pub faults: bool,
    pub json: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            scenario: scenario::BUILT_IN.to_owned(),
            speed: 1200.0,
            faults: false,
            json: false,
        }
    }
}

/// Plays the day and prints the report; fails when anything is missing, wrong or unexpected.
pub fn run(options: &Options) -> Result<ExitCode> {
    if !options.speed.is_finite() || options.speed <= 0.0 {
        bail!("--speed {} must be above 0", options.speed);
    }
    let mut scenario = scenario::open(&options.scenario)?;
    scenario.move_to(clock::wall());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(async {
        tokio::select! {
            report = play(&scenario, options) => report,
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        }
    })?;
    if options.json {
        println!("{}", report.json());
    } else {
        anstream::println!("{}", report.table(&scenario));
    }
    Ok(if report.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn play(scenario: &Scenario, options: &Options) -> Result<Report> {
    let bar = progress(scenario, options);
    let oracle = Oracle::new(&scenario.directory)?;
    let mut cluster = Cluster::start(Settings {
        program: None,
        port: None,
        data: None,
        set: vec!["rates.enabled=false".into()],
        auth: true,
    })?;
    bar.set_message("three nodes start");
    cluster.ready().await?;
    let (first, admin) = (
        cluster.addresses()[0],
        cluster.admin_token().map(bearer).unwrap_or_default(),
    );
    publisher::import(first, &admin, &ndjson(&scenario.directory)).await?;
    bar.set_message("everybody gets a token");
    let tokens = Tokens::mint(first, &admin, scenario).await?;

    bar.set_message("devices connect");
    let crowd = Crowd::connect(&oracle, cluster.addresses(), &tokens).await?;
    let sender = Sender::new(scenario, &oracle, cluster.addresses(), tokens)?;
    let tempo = Tempo {
        begun: clock::now(),
        first: scenario.day().0,
        speed: options.speed,
    };
    let cluster = Arc::new(Mutex::new(cluster));
    let hands = Player {
        tempo,
        cluster: cluster.clone(),
        devices: crowd.orders.clone(),
        guests: Arc::new(
            (0..crowd.users.len())
                .filter(|device| oracle.is_guest(*device))
                .collect(),
        ),
    };
    let plan = if options.faults {
        faults::plan(&scenario.faults)
    } else {
        Plan {
            not_played: scenario.faults.clone(),
            ..Plan::default()
        }
    };
    let not_played = faults::ids(&plan.not_played);
    let processes = tokio::spawn(hands.clone().processes(plan.processes));
    let connections = tokio::spawn(hands.connections(plan.connections));
    let sent = sender.play(tempo, &crowd, &bar).await?;
    bar.set_message("last faults end");
    let mut played = processes.await??;
    played.extend(connections.await?);
    played.sort();
    bar.set_message("last deliveries arrive");
    let to_acknowledge = sent.to_acknowledge();
    crowd.settle(sent.expected(), to_acknowledge).await;
    let took = clock::now() - tempo.begun;

    let (acknowledged, reconnects) = (count(&crowd.world.acknowledged), count(&crowd.world.reconnects));
    let (users, seen) = crowd.leave().await?;
    let judgement = ledger::judge(&sent.entries, &users, &seen);
    bar.finish_and_clear();
    if let Ok(cluster) = Arc::try_unwrap(cluster) {
        cluster.into_inner().stop().await?;
    }
    Ok(Report {
        scenario: scenario.name.clone(),
        speed: options.speed,
        took,
        judgement,
        publish: sent.publish,
        publish_gap_max: sent.gap_max,
        acknowledged,
        to_acknowledge,
        reconnects,
        played,
        not_played,
        machine: machine::machine(),
        commit: machine::COMMIT.unwrap_or_default().to_owned(),
    })
}

fn progress(scenario: &Scenario, options: &Options) -> ProgressBar {
    if !options.json {
        let count = scenario.broadcasts.len();
        eprintln!(
            "{}: {count} broadcasts at {} times the pace, rate caps off for this cluster",
            scenario.name, options.speed
        );
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} broadcasts  {msg}");
    let bar = ProgressBar::new(scenario.broadcasts.len() as u64);
    style.map_or(bar.clone(), |style| bar.with_style(style))
}

fn ndjson(lines: &[Object]) -> Vec<u8> {
    lines
        .iter()
        .flat_map(|line| format!("{}\n", Value::Object(line.clone())).into_bytes())
        .collect()
}

fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// A device for every user, spread over the nodes, half of them on WebSocket and half on SSE.
struct Crowd {
    users: Vec<String>,
    world: Arc<World>,
    orders: Arc<Vec<watch::Sender<Orders>>>,
    devices: Vec<JoinHandle<Vec<Seen>>>,
}

impl Crowd {
    async fn connect(oracle: &Oracle, nodes: Vec<SocketAddr>, tokens: &Tokens) -> Result<Self> {
        let users: Vec<String> = oracle.users().map(str::to_owned).collect();
        let world = Arc::new(World::new(nodes));
        let mut orders = Vec::with_capacity(users.len());
        let mut devices = Vec::with_capacity(users.len());
        for (number, user) in users.iter().enumerate() {
            let (order, ordered) = watch::channel(Orders::Stay);
            let transport = if number % 2 == 0 {
                Transport::WebSocket
            } else {
                Transport::Sse
            };
            let identity = Identity {
                user: user.clone(),
                bearer: tokens.devices.get(user).cloned().unwrap_or_default(),
                transport,
                home: number % world.nodes.len(),
            };
            devices.push(tokio::spawn(device::live(identity, world.clone(), ordered)));
            orders.push(order);
        }
        let crowd = Self {
            users,
            world,
            orders: Arc::new(orders),
            devices,
        };
        crowd.greeted().await?;
        Ok(crowd)
    }

    async fn greeted(&self) -> Result<()> {
        let (all, end) = (self.users.len() as u64, clock::now() + GREETED_MAX);
        while count(&self.world.greeted) < all {
            if clock::now() >= end {
                let (greeted, trouble) = (count(&self.world.greeted), self.world.last_trouble.lock().clone());
                bail!(
                    "{greeted} of {all} devices were connected within {GREETED_MAX:?}; the last trouble was {trouble}"
                );
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Waits until as much was read as is expected, or nothing comes any more; then a little for what should not come.
    async fn settle(&self, expected: u64, to_acknowledge: u64) {
        let (mut last, mut since) = (0, clock::now());
        while last < expected && clock::now() - since < QUIET_MAX {
            let read = count(&self.world.read);
            if read > last {
                (last, since) = (read, clock::now());
            }
            sleep(POLL).await;
        }
        let end = clock::now() + CONFIRMED_MAX;
        while count(&self.world.acknowledged) < to_acknowledge && clock::now() < end {
            sleep(POLL).await;
        }
        sleep(SETTLE).await;
    }

    async fn leave(self) -> Result<(Vec<String>, Vec<Vec<Seen>>)> {
        for order in self.orders.iter() {
            order.send_replace(Orders::Leave);
        }
        let mut seen = Vec::with_capacity(self.devices.len());
        for device in self.devices {
            seen.push(device.await.context("a device")?);
        }
        Ok((self.users, seen))
    }
}

/// Sends the day's broadcasts in their order.
struct Sender<'a> {
    scenario: &'a Scenario,
    nodes: Vec<SocketAddr>,
    /// Makes the keys of this run its own.
    run: String,
    recipients: Vec<Recipients>,
    tokens: Tokens,
}

struct Sent {
    entries: Vec<Entry>,
    publish: Histogram<u64>,
    gap_max: Duration,
}

impl Sent {
    fn to_acknowledge(&self) -> u64 {
        let asked = self.entries.iter().filter(|entry| entry.acknowledge);
        asked.map(|entry| entry.recipients.len() as u64).sum()
    }

    fn expected(&self) -> u64 {
        self.entries.iter().map(|entry| entry.recipients.len() as u64).sum()
    }
}

impl<'a> Sender<'a> {
    fn new(scenario: &'a Scenario, oracle: &Oracle, nodes: Vec<SocketAddr>, tokens: Tokens) -> Result<Self> {
        let now = clock::wall();
        let recipients = |scripted: &Scripted| match scripted.expect {
            Expect::Accept { .. } => oracle.recipients(&scripted.publish, now),
            Expect::Refuse { .. } => Ok(Recipients::new()),
        };
        let recipients = scenario.broadcasts.iter().map(recipients).collect::<Result<_>>()?;
        let run = format!("rehearse-{:08x}", rand::random::<u32>());
        Ok(Self {
            scenario,
            nodes,
            run,
            recipients,
            tokens,
        })
    }

    async fn play(self, tempo: Tempo, crowd: &Crowd, bar: &ProgressBar) -> Result<Sent> {
        let mut sent = Sent {
            entries: Vec::new(),
            publish: ledger::histogram(),
            gap_max: Duration::ZERO,
        };
        let mut ids = BTreeMap::new();
        for (number, scripted) in self.scenario.broadcasts.iter().enumerate() {
            let mut entry = self.entry(number, scripted);
            sleep_until(tempo.at(scripted.at).into()).await;
            if let Some(told) = self.send(number, scripted, &ids).await? {
                ledger::record(&mut sent.publish, told.took);
                sent.gap_max = sent.gap_max.max(told.took);
                entry.verdict = verdict(told)?;
            }
            if let Verdict::Accepted { id, .. } = &entry.verdict {
                ids.insert(scripted.reference.clone(), id.clone());
            }
            sent.entries.push(entry);
            bar.inc(1);
            bar.set_message(format!("{} deliveries", count(&crowd.world.read)));
        }
        Ok(sent)
    }

    fn entry(&self, number: usize, scripted: &Scripted) -> Entry {
        let (targeted, refusal) = match &scripted.expect {
            Expect::Accept { targeted } => (*targeted, None),
            Expect::Refuse { code, .. } => (0, Some(code.clone())),
        };
        Entry {
            reference: scripted.reference.clone(),
            priority: scripted.priority,
            title: scripted
                .publish
                .get("title")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            recipients: self.recipients[number].clone(),
            acknowledge: scripted.publish.contains_key("acknowledge") && !self.recipients[number].is_empty(),
            targeted,
            refusal,
            verdict: Verdict::NotSent,
        }
    }

    /// `None` when it supersedes one that was never accepted.
    async fn send(&self, number: usize, scripted: &Scripted, ids: &BTreeMap<String, String>) -> Result<Option<Told>> {
        let Some(body) = scripted.body(clock::wall(), |reference| ids.get(reference).cloned()) else {
            return Ok(None);
        };
        let post = Post {
            bearer: self.tokens.senders.get(&scripted.sender).map_or("", String::as_str),
            key: &format!("{}-{}", self.run, scripted.reference),
            body: &serde_json::to_vec(&body)?,
        };
        Ok(Some(publisher::post(&self.nodes, number, post).await))
    }
}

fn verdict(Told { answer, at, .. }: Told) -> Result<Verdict> {
    let Some(answer) = answer else {
        return Ok(Verdict::NoAnswer);
    };
    if answer.status != 201 {
        return Ok(Verdict::Refused {
            status: answer.status,
            code: answer.code(),
        });
    }
    let json = answer.json()?;
    Ok(Verdict::Accepted {
        id: json["id"].as_str().context("a 201 without an id")?.to_owned(),
        targeted: json["targeted"].as_u64().context("a 201 without targeted")?,
        at,
    })
}

#[cfg(test)]
mod tests {
    use super::{Options, run};

    #[test]
    fn a_speed_that_stops_the_day_is_refused() {
        for speed in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(
                run(&Options {
                    speed,
                    ..Options::default()
                })
                .is_err(),
                "{speed}"
            );
        }
    }
}
