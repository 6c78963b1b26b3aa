//! Start-up as a script, and the stop as its mirror.

use super::calls::Calls;
use super::duties::{Duties, announce};
use super::history::History;
use super::notify::{self, Notifier, Watched};
use super::watcher::Watcher;
use crate::api;
use crate::base::{clock, version};
use crate::cache::Cache;
use crate::config::{Config, Service, Settings};
use crate::consensus::{self, Handle};
use crate::control::alerter::{self, Alerter};
use crate::control::autoscaler::{self, Autoscaler};
use crate::control::balancer::Balancer;
use crate::control::measuring::Sources;
use crate::control::prober::{self, Prober};
use crate::control::today::Today;
use crate::delivery;
use crate::gateway::Gateway;
use crate::model::NodeId;
use crate::net::Acceptor;
use crate::outputs::Outputs;
use crate::security::Gate;
use crate::state::command::NodeStarted;
use crate::storage::layout::{Found, Layout};
use crate::telemetry::{self, Tracer};
use anyhow::{Context, Result, bail};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// Clients' messages that may wait for the log.
const REQUESTS_MAX: usize = 1_024;
/// A node without a leader for this long tells its sessions.
const DEGRADED_AFTER: Duration = Duration::from_secs(5);
/// How often a node looks whether it has a leader, and how far log time is from its own clock.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often the set of keys for JSON Web Tokens is read.
const KEYS_EVERY: Duration = Duration::from_secs(1);

/// Runs a node until `shutdown`, or until a part of it ends.
pub async fn run(settings: Settings, shutdown: impl Future<Output = ()>) -> Result<()> {
    let config = settings.config.clone();
    check_address(&config)?;
    let service = Service::of_environment();
    let notifier = notifier(&service);
    let gate = Arc::new(Gate::new(&config.auth).context("the files of the section auth cannot be used")?);
    let outputs = Arc::new(Outputs::new(&config.outputs).context("the outputs cannot be used")?);
    let node = config.node.id;
    let (tracer, pusher) = telemetry::start(&config.otlp, node).context("the section otlp cannot be used")?;
    let layout = Layout::open(&config.node.data, node, &config.storage).context("the data folder cannot be used")?;
    if let Found::Restored { why } | Found::Emptied { why } = &layout.found {
        tracing::warn!(why, "the store was rebuilt");
    }
    let url = config
        .api
        .url
        .clone()
        .unwrap_or_else(|| format!("{}://{}", config.tls.scheme(), config.api.listen));
    let acceptor = acceptor(&config)?;
    let listener = api::serve::bind(&config.api).with_context(|| format!("api.listen {}", config.api.listen))?;

    let watcher = Arc::new(Watcher::default());
    let (handle, running) = consensus::start(
        config.cluster.clone(),
        node,
        layout,
        config.storage.clone(),
        watcher.clone(),
    )
    .await?;
    let store = handle.clone();
    let history = History::new(handle.clone(), Arc::new(move || store.store()));
    let (requests, asked) = mpsc::channel(REQUESTS_MAX);
    let epoch = handle.read(crate::state::State::epoch);
    let backlog = Arc::new(history.clone());
    let scaling = scaling(&config)?;
    let workers = crate::workers::Config {
        threads: scaling.fixed.unwrap_or_else(|| scaling.profile.start(scaling.cores)),
        ..config.workers.clone()
    };
    let gateway = Gateway::start(&config.gateway, &workers, node, epoch, backlog, requests)
        .context("the gateway's threads cannot be started")?;
    let cache = Cache::new(&config.cache, node, handle.clone(), api::READERS).context("the cache cannot be used")?;
    let cache = Arc::new(cache);
    let scaler = Autoscaler::new(handle.clone(), gateway.clone(), scaling);
    let alerter = alerter(&config, &handle, &gateway, &cache)?;
    watcher.watch(handle.clone(), gateway.clone(), cache.clone(), tracer.clone());
    watcher.refill();
    let urls = urls(&config.cluster.peers, node, &url);
    gateway.set_others(
        urls.iter()
            .filter(|(other, _)| *other != node)
            .map(|(_, url)| url.clone())
            .collect(),
    );

    let (stop, stopping) = watch::channel(false);
    let incarnation = clock::wall() as u64;
    let balancer = Balancer {
        node,
        handle: handle.clone(),
        gateway: gateway.clone(),
        nodes: urls.clone(),
        moved_per_second: config.gateway.moved_per_second,
        asked: std::collections::BTreeMap::new(),
    };
    let control = (gateway.clone(), scaler.clone(), alerter.clone());
    let context = context(
        &settings, &tracer, &gate, &outputs, &cache, &handle, control, &history, urls,
    )?;
    let mut parts = JoinSet::new();
    parts.spawn(delivery::receipts::report(
        config.delivery.clone(),
        node,
        incarnation,
        handle.clone(),
        gateway.clone(),
        config.retry.policy(),
        stopping.clone(),
    ));
    let kept = history.clone();
    parts.spawn(delivery::answers::serve(
        node,
        handle.clone(),
        gateway.clone(),
        Arc::new(move |number| kept.broadcast(number)),
        asked,
        stopping.clone(),
    ));
    parts.spawn(
        Duties {
            handle: handle.clone(),
            node_lost_after: config.delivery.node_lost_after.0,
            kept: config.retention.broadcasts.0,
            missed_after: config.schedule.missed_after.0,
            retry: config.retry.policy(),
        }
        .run(stopping.clone()),
    );
    parts.spawn(
        Calls {
            node,
            handle: handle.clone(),
            history: history.clone(),
            outputs,
            config: config.outputs.clone(),
            tracer,
        }
        .run(stopping.clone()),
    );
    parts.spawn(crate::cache::pressure::run(cache.clone(), stopping.clone()));
    parts.spawn(crate::cache::preload::run(cache.clone(), stopping.clone()));
    parts.spawn(super::settle::run(handle.clone(), history.clone(), stopping.clone()));
    parts.spawn(keys(gate, stopping.clone()));
    if let Some(acceptor) = acceptor.clone() {
        parts.spawn(super::certificate::run(
            acceptor,
            config.tls.reload_every.0,
            stopping.clone(),
        ));
    }
    parts.spawn(scaler.run(stopping.clone()));
    parts.spawn(balancer.run(stopping.clone()));
    parts.spawn(alerter.sources.prober.clone().run(stopping.clone()));
    parts.spawn(alerter.run(stopping.clone()));
    parts.spawn(api::audit::run(context.clone(), stopping.clone()));
    parts.spawn(api::dashboard::sample(context.clone(), stopping.clone()));
    if let Some(pusher) = pusher {
        parts.spawn(super::telemetry::run(pusher, context.clone(), stopping.clone()));
    }
    parts.spawn(degraded(handle.clone(), gateway.clone(), stopping.clone()));
    let mut once = JoinSet::new();
    let started = NodeStarted {
        node,
        incarnation,
        url: url.clone(),
        version: version::told(),
    };
    once.spawn(announce(handle.clone(), started, stopping.clone()));
    let (close, closing) = watch::channel(false);
    let mut serving = tokio::spawn(api::serve::run(context.clone(), listener, acceptor.clone(), closing));
    if let Some(notifier) = &notifier {
        let watched = Watched {
            handle: handle.clone(),
            gateway: gateway.clone(),
            write_behind_every: config.storage.write_behind_every.0,
        };
        let telling = notify::run(notifier.clone(), service, watched, context.clone(), stopping.clone());
        parts.spawn(telling);
    }
    tracing::info!(node, url, data = %config.node.data.display(), "campanile {} is up", env!("CARGO_PKG_VERSION"));

    let ended = tokio::select! {
        () = shutdown => Ok(()),
        part = parts.join_next() => Err(anyhow::anyhow!("a part of the node ended by itself: {part:?}")),
        reason = running.ended() => Err(anyhow::anyhow!("this node cannot follow the cluster any more: {reason}")),
        served = &mut serving => Err(anyhow::anyhow!("the API ended by itself: {served:?}")),
    };
    tracing::info!("stopping: new work is refused, what is owed is delivered");
    context.drain();
    if let Some(notifier) = &notifier {
        notifier.say("STOPPING=1\nSTATUS=delivering what is owed").await;
    }
    let draining = gateway.clone();
    let drained = tokio::task::spawn_blocking(move || draining.drain(config.node.drain.0)).await;
    close.send_replace(true);
    // Requests under way have a time of their own, behind which the API ends by itself; who leads still does what is due meanwhile.
    if !serving.is_finished() {
        let _ = (&mut serving).await;
    }
    api::audit::flush(&context).await;
    stop.send_replace(true);
    let finish = async { while parts.join_next().await.is_some() {} };
    // What does not end in time is ended with the runtime.
    let _ = tokio::time::timeout(config.node.drain.0, finish).await;
    running.stop().await;
    drained.context("the gateway did not drain")?;
    tracing::info!("stopped");
    ended
}

/// Without authentication only this machine may call.
fn check_address(config: &Config) -> Result<()> {
    let listen = &config.api.listen;
    let address: SocketAddr = listen
        .parse()
        .with_context(|| format!("api.listen {listen} is not an address"))?;
    if !address.ip().is_loopback() && !config.node.insecure && !config.auth.enabled {
        bail!(
            "api.listen is {listen}, but auth.enabled is false: everybody who can connect would be an administrator. \
             Turn authentication on, listen on 127.0.0.1, or say --insecure in a network that you trust"
        );
    }
    Ok(())
}

/// TLS on the port for clients, where the settings have a certificate.
fn acceptor(config: &Config) -> Result<Option<Arc<Acceptor>>> {
    let acceptor = config.tls.is_on().then(|| Acceptor::new(&config.tls)).transpose();
    Ok(acceptor.context("the section tls cannot be used")?.map(Arc::new))
}

/// The way to systemd, where it started this process. A shell may have the variable from a service that is long gone.
fn notifier(service: &Service) -> Option<Arc<Notifier>> {
    let name = service.notify.as_ref()?;
    let connected = Notifier::connect(name).map(Arc::new);
    let socket = name.display();
    connected
        .inspect_err(|error| tracing::warn!(%error, %socket, "NOTIFY_SOCKET cannot be used: nobody is told that this node is ready"))
        .ok()
}

/// Reads the set of keys again when it changes. A file that cannot be read right now is told once, and changes nothing.
async fn keys(gate: Arc<Gate>, mut stop: watch::Receiver<bool>) {
    let mut look = tokio::time::interval(KEYS_EVERY);
    let mut complained = false;
    loop {
        tokio::select! {
            _ = stop.changed() => return,
            _ = look.tick(), if gate.has_set() => {}
        }
        let reading = gate.clone();
        let Ok(read) = tokio::task::spawn_blocking(move || reading.reload()).await else {
            return;
        };
        match &read {
            Ok(true) => tracing::info!("the keys for JSON Web Tokens have changed"),
            Err(error) if !complained => tracing::warn!(%error, "the keys for JSON Web Tokens stay as they are"),
            Ok(false) | Err(_) => {}
        }
        complained = read.is_err();
    }
}

/// What the number of threads goes by.
fn scaling(config: &Config) -> Result<autoscaler::Settings> {
    let threads = config.workers.threads;
    Ok(autoscaler::Settings {
        name: config.scaling.profile.clone(),
        profile: config.scaling_profile().map_err(anyhow::Error::msg)?,
        every: config.scaling.every.0,
        fixed: (threads > 0).then_some(threads),
        capacity: config.capacity().map_err(anyhow::Error::msg)?,
        cores: crate::workers::cores(),
    })
}

/// What is watched, by which rules, and how uptime is measured.
fn alerter(config: &Config, handle: &Handle, gateway: &Arc<Gateway>, cache: &Arc<Cache>) -> Result<Arc<Alerter>> {
    let (node, today) = (config.node.id, Arc::new(Today::default()));
    let probe = prober::Settings {
        interval: config.probe.interval.0,
        interval_enhanced: config.probe.interval_enhanced.0,
        within: config.probe.within.0,
    };
    let cache = cache.clone();
    let sources = Sources {
        handle: handle.clone(),
        gateway: gateway.clone(),
        prober: Prober::new(node, handle.clone(), today.clone(), probe),
        memory: Box::new(move || Some(cache.decision()?.memory.fullest()?.share())),
        not_taken: api::Code::of_the_node(),
        over: config.alerts.over.0,
    };
    let rules = config.alert_rules();
    let settings = alerter::Settings {
        rules: rules.map_err(|faults| anyhow::anyhow!(faults.join("\n")))?,
        every: config.alerts.every.0,
        every_enhanced: config.alerts.every_enhanced.0,
        lost_after: config.alerts.lost_after.0,
    };
    Ok(Alerter::new(node, sources, today, settings))
}

fn urls(peers: &[consensus::Peer], node: NodeId, own: &str) -> Vec<(NodeId, String)> {
    if peers.is_empty() {
        return vec![(node, own.to_owned())];
    }
    peers.iter().map(|peer| (peer.node, peer.url.clone())).collect()
}

#[allow(clippy::too_many_arguments)] // each part of the node, once
fn context(
    settings: &Settings,
    tracer: &Tracer,
    gate: &Arc<Gate>,
    outputs: &Arc<Outputs>,
    cache: &Arc<Cache>,
    handle: &Handle,
    control: (Arc<Gateway>, Arc<Autoscaler>, Arc<Alerter>),
    history: &History,
    urls: Vec<(NodeId, String)>,
) -> Result<Arc<api::Context>> {
    let (one, mine, all, whole) = (history.clone(), history.clone(), history.clone(), history.clone());
    let reader = api::Reader {
        broadcast: Box::new(move |number| one.broadcast(number)),
        inbox: Box::new(move |user, look| mine.inbox(user, look)),
        block: Box::new(move |block| whole.whole_block(block)),
        newest: Box::new(move |behind, look| all.newest(behind, look)),
    };
    let config = &settings.config;
    let decide = api::Settings {
        config: Arc::new(config.api.clone()),
        rules: config.rules().map_err(anyhow::Error::msg)?,
        dashboard: config.dashboard.clone(),
        tracer: tracer.clone(),
        shown: serde_json::to_value(config).unwrap_or_default(),
    };
    let gate = (gate.clone(), config.auth.clone());
    Ok(api::Context::new(
        handle.clone(),
        control,
        decide,
        gate,
        outputs.clone(),
        cache.clone(),
        config.node.id,
        urls,
        reader,
    ))
}

/// Tells the sessions when this node has had no leader for a while, and when it has one again; and the gateway the log's time.
async fn degraded(handle: Handle, gateway: Arc<Gateway>, mut stop: watch::Receiver<bool>) {
    let mut look = tokio::time::interval(LOOK_EVERY);
    let mut alone_since = None;
    loop {
        tokio::select! {
            _ = stop.changed() => return,
            _ = look.tick() => {}
        }
        gateway.set_clock_offset(handle.log_time() - clock::wall());
        alone_since = match handle.leadership().leader {
            Some(_) => None,
            None => Some(alone_since.unwrap_or_else(clock::now)),
        };
        gateway.set_degraded(alone_since.is_some_and(|since| since.elapsed() >= DEGRADED_AFTER));
    }
}
