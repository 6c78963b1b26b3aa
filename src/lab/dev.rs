//! `campanile dev`: three nodes on this machine until somebody says stop.

use super::cluster::{Cluster, NODES, Settings};
use anyhow::{Context, Result};
use std::{io::Write, path::PathBuf, process::ExitCode, time::Duration};
use tokio::signal::unix::{SignalKind, signal};

/// How often the parent looks whether a node has ended.
const WATCH: Duration = Duration::from_millis(100);

#[derive(Clone, Debug)]
pub struct Options {
    /// The first node's client API; the others follow 10 apart, peers one above each.
    pub port: u16,
    /// Kept and continued; without it a folder that is removed at the end.
    pub data: Option<PathBuf>,
    /// A line of JSON for each node in place of the table.
    pub json: bool,
    /// Start a node again that was killed from outside.
    pub respawn: bool,
    /// Ask callers for tokens, and make an administrator's.
    pub auth: bool,
    /// Speak TLS to clients, with a certificate that is made here.
    pub tls: bool,
    /// Settings for every node, as `section.key=value`.
    pub set: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            port: 8205,
            data: None,
            json: false,
            respawn: false,
            auth: false,
            tls: false,
            set: Vec::new(),
        }
    }
}

/// Runs until SIGINT or SIGTERM.
pub fn run(options: Options) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(live(options))?;
    Ok(ExitCode::SUCCESS)
}

async fn live(options: Options) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut cluster = Cluster::start(Settings {
        program: None,
        port: Some(options.port),
        data: options.data.clone(),
        set: options.set.clone(),
        auth: options.auth,
        tls: options.tls,
    })?;
    tell_token(&cluster, &options);
    tell_authority(&cluster, &options);
    let watched = async {
        cluster.ready().await?;
        greet(&cluster, &options);
        watch(&mut cluster, &options).await
    };
    tokio::select! {
        ended = watched => ended?,
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    if !options.json {
        eprintln!("stopping {NODES} nodes ...");
    }
    cluster.stop().await
}

/// Tells of nodes that ended, and starts them again when asked to.
async fn watch(cluster: &mut Cluster, options: &Options) -> Result<()> {
    loop {
        tokio::time::sleep(WATCH).await;
        for (number, pid, status) in cluster.ended() {
            let then = if options.respawn {
                "starting it again"
            } else {
                "it stays down (--respawn starts it again)"
            };
            eprintln!("node {number} (process {pid}) ended, {status}: {then}");
            if options.respawn {
                cluster.restart(number)?;
                announce(cluster, number, options);
            }
        }
    }
}

fn greet(cluster: &Cluster, options: &Options) {
    if !options.json {
        println!("Three nodes take writes. Any of them takes any request.\n\n  node  address                  process");
    }
    for number in 1..=NODES {
        announce(cluster, number, options);
    }
    if !options.json {
        let (folder, url) = (cluster.folder().display(), cluster.url(1));
        let fate = if options.data.is_some() {
            "stays"
        } else {
            "is removed at the end"
        };
        println!("\n  data and logs: {folder} ({fate})");
        println!("  try: campanile status --url {url}     (`campanile --help` has the first steps)");
        println!("  Ctrl-C stops them.");
    }
}

/// First of all: without it nobody gets in.
fn tell_token(cluster: &Cluster, options: &Options) {
    let Some(token) = cluster.admin_token() else { return };
    let line = if options.json {
        format!("{{\"admin_token\": \"{token}\"}}")
    } else {
        format!("The administrator's token:\n  export CAMPANILE_TOKEN={token}\n")
    };
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Whom clients have to believe.
fn tell_authority(cluster: &Cluster, options: &Options) {
    let Some(file) = cluster.authority() else { return };
    let line = if options.json {
        serde_json::json!({ "ca": file }).to_string()
    } else {
        let (file, url) = (file.display(), cluster.url(1));
        format!(
            "The authority of their certificate, for `curl --cacert` and browsers, too:\n  export CAMPANILE_CA={file} CAMPANILE_URL={url}\n"
        )
    };
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn announce(cluster: &Cluster, number: u64, options: &Options) {
    let (url, pid) = (cluster.url(number), cluster.pid(number).unwrap_or_default());
    let line = if options.json {
        format!("{{\"node\": {number}, \"url\": \"{url}\", \"pid\": {pid}}}")
    } else {
        format!("  {number:<4}  {url:<23}  {pid}")
    };
    // Whoever started this may have stopped reading; the nodes go on.
    let _ = writeln!(std::io::stdout(), "{line}");
}
