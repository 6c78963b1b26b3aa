//! `campanile report`: two runs side by side, or several of one thing kept as one file.

use super::failure::Failure;
use super::output;
use crate::lab::results::kept::{self, Before, Fitness};
use crate::lab::results::{compare, folder};
use clap::Args;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Lay two runs side by side, or keep several of one thing
#[derive(Debug, Args)]
#[command(after_help = "\
Prints each figure of both with their ratio, and warns of what makes them hard to compare: other
machines, commits, seeds or settings.

With --keep any number of runs go into one file, each figure once for each run. They must be of one
thing: the same kind, name, settings, machine, commit and build. Files that were kept before may be
named too. What FILE holds already stays there, before the new ones; what does not belong to it is
refused, unless --replace says that it is not needed any more. docs/PERFORMANCE.md is made from such
files.

Examples:
  campanile report campanile-reports/load-standard-20261126T120000 ./my-load
  campanile report before after --out compared.html
  campanile report first second third --keep data/measured/load-standard.json")]
pub struct Report {
    /// Folders, or their report.json
    #[arg(required = true, value_name = "RUN")]
    pub runs: Vec<PathBuf>,
    /// Also write a page of HTML
    #[arg(long, value_name = "FILE", conflicts_with = "keep")]
    pub out: Option<PathBuf>,
    /// Keep these runs in one file
    #[arg(long, value_name = "FILE")]
    pub keep: Option<PathBuf>,
    /// Keep them instead of what that file holds
    #[arg(long, requires = "keep")]
    pub replace: bool,
    /// Keep a debug build's too, or those of an unknown commit or a changed tree
    #[arg(long, requires = "keep")]
    pub anyway: bool,
}

pub fn run(options: &Report, json: bool) -> Result<ExitCode, Failure> {
    match (&options.keep, options.runs.as_slice()) {
        (Some(file), runs) => keep(runs, file, options, json)?,
        (None, [first, second]) => beside(first, second, options.out.as_deref(), json)?,
        (None, runs) => {
            let fault = format!("two runs are laid side by side, and {} named", runs.len());
            return Err(Failure::usage(fault).hint("with `--keep FILE` any number of runs go into one file"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn beside(first: &Path, second: &Path, out: Option<&Path>, json: bool) -> Result<(), Failure> {
    let (first, second) = (folder::read(first)?, folder::read(second)?);
    let comparison = compare::compare(&first, &second);
    if let Some(out) = out {
        std::fs::write(out, comparison.page())?;
    }
    if json {
        output::say(&comparison.json().to_string())?;
    } else {
        output::say(&comparison.text())?;
    }
    Ok(())
}

fn keep(runs: &[PathBuf], file: &Path, options: &Report, json: bool) -> Result<(), Failure> {
    let fitness = if options.anyway {
        Fitness::Anyway
    } else {
        Fitness::Required
    };
    let before = if options.replace {
        Before::Replaced
    } else {
        Before::Stay
    };
    let kept = kept::together(runs, fitness)?.keep(file, before)?;
    if json {
        output::say(&json!({"file": file, "kind": kept.kind, "name": kept.name, "runs": kept.runs.len()}).to_string())?;
    } else {
        let runs = kept.count();
        output::say(&format!("{}: {runs} of {} {}", file.display(), kept.kind, kept.name))?;
    }
    Ok(())
}
