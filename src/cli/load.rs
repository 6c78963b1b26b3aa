//! `campanile load`: thousands of subscribers, and every delivery accounted for.

use super::failure::Failure;
use super::nodes::check_authority;
use crate::base::size::Span;
use crate::config::effective::masked_pair;
use crate::lab::load::scenario::{self, ScenarioError};
use crate::lab::load::stage::Where;
use crate::lab::load::{self, crowd};
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const SCALE_MAX: f64 = 100.0;

/// Put load on three nodes and account for every delivery
#[derive(Debug, Args)]
#[command(after_help = "\
Starts three nodes of its own (or uses those of --url), imports people whose names begin with
`load-`, connects each of them on a real socket, publishes at fixed times, and compares what each
one read with what was accepted. Latency counts from accepted to read, and from when a broadcast
was due. Exits 1 when anything was missing, wrong or repeated; targets are passed, missed or not
measured. The report is a folder with a page of HTML, JSON with all histograms, and CSV.

Scenarios:
  standard    100 broadcasts a second to 25 groups of 200        season    300 to 50 of 300
  weekend     200 to 40 of 250, for ten minutes                  publish   how many are taken
  emergency   a critical to 15,000 while the standard load runs  reconnect all drop at once
  or a file of the same form, see data/scenarios/load

--scale makes it smaller: fewer groups and broadcasts, and so many fewer deliveries. With --url
the people stay there, all is a drill, and where the nodes ask for tokens rates.enabled must be
false.

Examples:
  campanile load
  campanile load --scenario season --for 30s --scale 0.5
  campanile load --scenario ./my-load.toml --seed 7 --out ./my-load
  campanile load --out plain; campanile load --tls --out tls; campanile report plain tls
  campanile load --scenario publish --set cluster.log_flush_wait_us=0
  campanile load --url http://10.0.0.1:8205,http://10.0.0.2:8205 --json > report.json")]
pub struct Load {
    /// One that is built in, or a TOML file
    #[arg(long, value_name = "NAME|FILE", default_value = "standard")]
    pub scenario: String,
    /// Nodes that run already; several are separated by commas [default: three of its own]
    #[arg(long, value_delimiter = ',')]
    pub url: Vec<String>,
    /// An administrator's, for --url
    #[arg(long, env = "CAMPANILE_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// For --url with https: believe the authorities in this PEM file, and no others
    #[arg(long, value_name = "FILE", env = "CAMPANILE_CA")]
    pub ca: Option<PathBuf>,
    /// Nodes of its own speak TLS, and everybody with them
    #[arg(long, conflicts_with = "url")]
    pub tls: bool,
    /// How long it is measured, after the warm-up [default: the scenario's]
    #[arg(long = "for", value_name = "DURATION")]
    pub length: Option<Span>,
    /// Groups and broadcasts a second times this
    #[arg(long, default_value_t = 1.0, value_parser = scale)]
    pub scale: f64,
    /// WebSocket subscribers confirm what they get, as if the scenario said so
    #[arg(long)]
    pub receipts: bool,
    /// What is drawn is drawn the same with the same number
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// A setting for nodes of its own; may be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE", conflicts_with = "url")]
    pub set: Vec<String>,
    /// Where the report goes [default: campanile-reports/load-NAME-TIME]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

fn scale(text: &str) -> Result<f64, String> {
    scale_up_to(SCALE_MAX, text)
}

pub fn scale_up_to(most: f64, text: &str) -> Result<f64, String> {
    let scale: f64 = text.parse().map_err(|_| "it must be a number".to_owned())?;
    if scale > 0.0 && scale <= most {
        Ok(scale)
    } else {
        Err(format!("it must be above 0, {most} at most"))
    }
}

pub fn run(options: Load, json: bool) -> Result<ExitCode, Failure> {
    crate::config::load(None, std::iter::empty(), &options.set)?;
    let command = typed(&options);
    let mut scenario = scenario::open(&options.scenario)?;
    if let Some(Span(length)) = options.length {
        if length.is_zero() {
            return Err(Failure::usage("--for 0s measures nothing"));
        }
        scenario = scenario.lasting(length);
    }
    scenario = scenario.scaled(options.scale);
    scenario.receipts |= options.receipts;
    // Somebody's nodes may have a siren.
    scenario.drill |= !options.url.is_empty();
    let scenario = scenario.checked()?;
    let place = if options.url.is_empty() {
        Where::Own {
            set: options.set,
            tls: options.tls,
        }
    } else {
        Where::There {
            authority: authority(options.ca.as_deref(), &options.url)?,
            urls: options.url,
            token: options.token,
        }
    };
    Ok(load::run(&load::Options {
        scenario,
        place,
        seed: options.seed,
        out: options.out,
        command,
        json,
    })?)
}

/// The file's text; empty without one. It must count for all these addresses.
pub fn authority(file: Option<&Path>, urls: &[String]) -> Result<String, Failure> {
    urls.iter().try_for_each(|url| check_authority(file, url))?;
    let Some(file) = file else { return Ok(String::new()) };
    let read = std::fs::read_to_string(file);
    read.map_err(|error| Failure::usage(format!("--ca {}: {error}", file.display())))
}

/// As it could be typed again; a token is nobody's business.
fn typed(options: &Load) -> String {
    let mut words = vec!["campanile load --scenario".to_owned(), options.scenario.clone()];
    if !options.url.is_empty() {
        words.push(format!("--url {}", options.url.join(",")));
    }
    if let Some(length) = options.length {
        words.push(format!("--for {length}"));
    }
    if options.tls {
        words.push("--tls".to_owned());
    }
    if options.receipts {
        words.push("--receipts".to_owned());
    }
    words.push(format!("--scale {} --seed {}", options.scale, options.seed));
    words.extend(options.set.iter().map(|set| format!("--set {}", masked_pair(set))));
    words.join(" ")
}

/// A process that holds subscribers for a run; it is told what to do over its standard input.
pub fn crowd() -> Result<ExitCode, Failure> {
    Ok(crowd::run()?)
}

impl From<ScenarioError> for Failure {
    fn from(error: ScenarioError) -> Self {
        Self::usage(error.to_string()).hint("`campanile load --help` names the scenarios that are built in")
    }
}
