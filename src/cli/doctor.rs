//! `campanile doctor`: whether this machine and these settings are fit for a wedding day, and what to do where they are not.
//!
//! [`measure`] finds out, [`judge`] decides: pure, so that every verdict is tried without a machine that has the fault.

mod judge;
mod measure;

use super::arguments::Settings;
use super::failure::{Exit, Failure};
use super::nodes;
use super::output;
use super::settings;
use super::sight::line::{Line, Palette, Tone};
use crate::base::clock;
use crate::config::Config;
use crate::net::{Trust, files_max};
use clap::Args;
use judge::{Finding, Verdict};
use serde_json::json;
use std::path::PathBuf;

/// Check this machine and the settings before a wedding day, and say what to do
#[derive(Debug, Args)]
#[command(after_help = "\
It looks at: open files allowed; what keeps the clock, and how far the other nodes' clocks are;
room on the disk of node.data, and how long a sync takes there (64 of them are made, in a file that
is removed); the two ports; the certificate; the other nodes; time zones; memory against what the
settings may take.
Run it as the user and on the machine that shall run the node, with the node's settings. It changes
nothing, and a node may run meanwhile.

Exits 0 when nothing failed (a warning is no failure), 1 when something did, 2 when the settings
have faults.

Examples:
  campanile doctor --config /etc/campanile.toml
  campanile doctor --config /etc/campanile.toml --json | jq '.checks[] | select(.verdict != \"fine\")'")]
pub struct Doctor {
    #[command(flatten)]
    pub settings: Settings,
    /// For other nodes with https: believe the authorities in this PEM file, and no others
    #[arg(long, value_name = "FILE", env = "CAMPANILE_CA")]
    pub ca: Option<PathBuf>,
}

pub async fn run(options: &Doctor, as_json: bool) -> Result<(), Failure> {
    let settings = settings::read(&options.settings, &[])?;
    let trust = nodes::trust(options.ca.as_deref())?;
    let findings = look(&settings.config, trust.as_ref()).await;
    let failed = findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Failed)
        .count();
    if as_json {
        let checks: Vec<_> = findings.iter().map(Finding::json).collect();
        output::say(&json!({"ok": failed == 0, "checks": checks}).to_string())?;
    } else {
        let palette = Palette::of_stdout();
        for line in findings.iter().flat_map(lines) {
            output::say(&match palette {
                Palette::Colours => line.ansi(),
                Palette::Plain => line.text(),
            })?;
        }
    }
    match failed {
        0 => Ok(()),
        1 => Err(Failure::new(Exit::Failed, "1 check failed")),
        _ => Err(Failure::new(Exit::Failed, format!("{failed} checks failed"))),
    }
}

/// Everything is looked at, whatever was found before.
async fn look(config: &Config, trust: Option<&Trust>) -> Vec<Finding> {
    let shown = measure::certificate(config);
    let mut findings = vec![
        judge::files(files_max(), config),
        judge::keeper(measure::clock_keeper().as_deref()),
        judge::zones(&measure::zones_missing()),
        judge::memory(measure::memory(config), config),
    ];
    findings.extend(judge::key(shown.as_ref()));
    findings.push(judge::certificate(shown, clock::wall(), config));
    match measure::folder(&config.node.data) {
        Ok(folder) => {
            findings.push(judge::room(measure::room(&folder, config)));
            let config = config.clone();
            let syncs = tokio::task::spawn_blocking(move || measure::syncs(&folder)).await;
            let syncs = syncs.unwrap_or_else(|_| Err("the measurement broke off".into()));
            findings.push(judge::syncs(
                syncs.as_ref().map(Vec::as_slice).map_err(String::as_str),
                &config,
            ));
        }
        Err(why) => findings.push(judge::no_folder(&config.node.data, &why)),
    }
    let is_running = measure::is_node(&config.api.listen).await;
    for (setting, address) in [
        ("api.listen", &config.api.listen),
        ("cluster.listen", &config.cluster.listen),
    ] {
        findings.push(judge::port(setting, address, measure::port(address), is_running));
    }
    findings.extend(measure::peers(config, trust).await.iter().map(judge::peer));
    findings
}

/// A line for what was found, and one for what to do about it.
fn lines(finding: &Finding) -> Vec<Line> {
    let (tone, word) = match finding.verdict {
        Verdict::Fine => (Tone::Good, "fine   "),
        Verdict::Warning => (Tone::Warn, "warning"),
        Verdict::Failed => (Tone::Bad, "failed "),
    };
    let line = Line::new()
        .with(tone, word)
        .with(Tone::Strong, format!("  {:<12}", finding.check));
    let mut lines = vec![line.with(Tone::Plain, format!("  {}", finding.found))];
    lines.extend(finding.advice.as_ref().map(|advice| {
        let line = Line::new().with(Tone::Plain, " ".repeat(23));
        line.with(Tone::Dim, format!("try: {advice}"))
    }));
    lines
}
