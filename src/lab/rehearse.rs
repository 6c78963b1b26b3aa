//! `campanile rehearse`: a scripted day through a real cluster of three processes, judged from outside.

use super::{
    afterwards,
    alerts::Evidence,
    cluster::{Cluster, Settings},
    course::{self, Course},
    crowd::Crowd,
    device::World,
    faults::{self, Plan, Player, Tempo},
    ledger::{self, Entry, Judgement},
    machine,
    oracle::{Oracle, steps},
    publisher,
    report::Report,
    scenario::{self, Object, Scenario},
    sender::Sender,
    sequel::{self, Conditions, Sequel},
    sink::Sink,
    tokens::{Tokens, bearer},
    uptime::{Prober, Probing},
};
use crate::base::clock;
use anyhow::{Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use std::{
    net::SocketAddr,
    process::ExitCode,
    sync::{Arc, atomic::Ordering},
};
use tokio::{sync::Mutex, task::JoinHandle};

#[derive(Clone, Debug)]
pub struct Options {
    /// `saturday`, or a folder.
    pub scenario: String,
    /// How much shorter the pauses between broadcasts are.
    pub speed: f64,
    pub faults: bool,
    pub probing: Probing,
    pub json: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            scenario: scenario::BUILT_IN.to_owned(),
            speed: 1200.0,
            faults: false,
            probing: Probing::Off,
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

/// A scenario whose day is now, played as the options say.
pub(super) async fn play(scenario: &Scenario, options: &Options) -> Result<Report> {
    let bar = progress(scenario, options);
    let oracle = Oracle::new(&scenario.directory)?;
    let (stage, sender) = Stage::set(scenario, &oracle, &bar).await?;
    let tempo = Tempo {
        begun: clock::now(),
        first: scenario.day().0,
        speed: options.speed,
    };
    let plan = plan(scenario, options);
    let not_played = faults::ids(&plan.not_played);
    let prober = Prober::start(options.probing, stage.nodes.clone(), stage.admin.clone());
    let breaks = stage.play_faults(plan, tempo, &oracle);
    let told = || {
        bar.inc(1);
        bar.set_message(format!("{} deliveries", stage.world.read.load(Ordering::Relaxed)));
    };
    let sent = sender.play(tempo, told).await?;
    bar.set_message("last faults end");
    let played = breaks.end().await?;
    let courses = course::courses(&sent.entries);
    let say = |words| bar.set_message(words);
    stage.crowd.settle(&courses, &stage.sink, say).await;
    let took = clock::now() - tempo.begun;
    let uptime = match prober {
        Some(prober) => Some(prober.end().await?),
        None => None,
    };
    bar.set_message("the cluster says what became of it");
    let reconnects = stage.world.reconnects.load(Ordering::Relaxed);
    let (judgement, sequel) = stage.end(&sent.entries, &courses, conditions(&played)).await?;
    bar.finish_and_clear();
    Ok(Report {
        scenario: scenario.name.clone(),
        speed: options.speed,
        took,
        judgement,
        sequel,
        publish: sent.publish,
        publish_gap_max: sent.gap_max,
        reconnects,
        uptime,
        played,
        not_played,
        machine: machine::machine(),
        commit: machine::COMMIT.unwrap_or_default().to_owned(),
    })
}

fn plan(scenario: &Scenario, options: &Options) -> Plan {
    if options.faults {
        return faults::plan(&scenario.faults);
    }
    Plan {
        not_played: scenario.faults.clone(),
        ..Plan::default()
    }
}

fn conditions(played: &[String]) -> Conditions {
    if played.is_empty() {
        Conditions::Calm
    } else {
        Conditions::Faults
    }
}

/// What a day is played on.
struct Stage {
    users: Vec<String>,
    nodes: Vec<SocketAddr>,
    admin: String,
    cluster: Arc<Mutex<Cluster>>,
    sink: Sink,
    crowd: Crowd,
    world: Arc<World>,
}

impl Stage {
    /// Starts the nodes, tells them who there is, connects everybody; and makes who will send.
    async fn set<'a>(scenario: &'a Scenario, oracle: &Oracle, bar: &ProgressBar) -> Result<(Self, Sender<'a>)> {
        let foresight = steps::foresee(scenario, oracle, clock::wall())?;
        let sink = Sink::start(foresight.outputs()).await?;
        bar.set_message("three nodes start");
        let mut cluster = start(&sink)?;
        cluster.ready().await?;
        let nodes = cluster.addresses();
        let admin = cluster.admin_token().map(bearer).unwrap_or_default();
        publisher::import(nodes[0], &admin, &ndjson(&scenario.directory)).await?;
        bar.set_message("everybody gets a token");
        let tokens = Tokens::mint(nodes[0], &admin, scenario).await?;
        bar.set_message("devices connect");
        let users: Vec<String> = oracle.users().map(str::to_owned).collect();
        let crowd = Crowd::connect(&users, World::new(nodes.clone(), foresight.silence), &tokens).await?;
        let stage = Self {
            users,
            nodes: nodes.clone(),
            admin,
            cluster: Arc::new(Mutex::new(cluster)),
            sink,
            world: crowd.world.clone(),
            crowd,
        };
        Ok((
            stage,
            Sender::new(scenario, foresight.recipients, foresight.plans, nodes, tokens),
        ))
    }

    fn play_faults(&self, plan: Plan, tempo: Tempo, oracle: &Oracle) -> Breaks {
        let guests = (0..self.users.len()).filter(|device| oracle.is_guest(*device));
        let hands = Player {
            tempo,
            cluster: self.cluster.clone(),
            devices: self.crowd.orders.clone(),
            guests: Arc::new(guests.collect()),
        };
        Breaks {
            processes: tokio::spawn(hands.clone().processes(plan.processes)),
            connections: tokio::spawn(hands.connections(plan.connections)),
        }
    }

    /// Asks the cluster what it knows, sends everybody home, judges, and stops the nodes.
    async fn end(
        self,
        entries: &[Entry],
        courses: &[Course<'_>],
        conditions: Conditions,
    ) -> Result<(Judgement, Sequel)> {
        let afterwards = afterwards::ask(&self.nodes, &self.admin, courses).await?;
        let asked_at = clock::now();
        let seen = self.crowd.leave().await?;
        let evidence = Evidence {
            users: &self.users,
            seen: &seen,
            confirmations: &self.world.confirmations.lock().clone(),
            shown: &afterwards.shown,
        };
        let calls = self.sink.heard();
        let sequel = sequel::judge(courses, &evidence, &calls, (&afterwards, asked_at), conditions);
        let judgement = ledger::judge(entries, &self.users, &seen);
        if let Ok(cluster) = Arc::try_unwrap(self.cluster) {
            cluster.into_inner().stop().await?;
        }
        Ok((judgement, sequel))
    }
}

/// Faults under way.
struct Breaks {
    processes: JoinHandle<Result<Vec<String>>>,
    connections: JoinHandle<Vec<String>>,
}

impl Breaks {
    /// Waits for the last one, and names what was played.
    async fn end(self) -> Result<Vec<String>> {
        let mut played = self.processes.await??;
        played.extend(self.connections.await?);
        played.sort();
        Ok(played)
    }
}

/// Three nodes whose outputs lead to the sink; everybody needs a token.
fn start(sink: &Sink) -> Result<Cluster> {
    let mut set = vec!["rates.enabled=false".to_owned()];
    set.extend(sink.settings());
    Cluster::start(Settings {
        program: None,
        port: None,
        data: None,
        set,
        auth: true,
        tls: false,
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
