//! `campanile validate`: is it what it says?

use super::failure::{Exit, Failure};
use super::load::{authority, scale_up_to};
use crate::base::size::Span;
use crate::config::effective::masked_pair;
use crate::lab::load::stage::Where;
use crate::lab::validate::checks::{self, Check};
use crate::lab::validate::performance::{CONNECTIONS, Load};
use crate::lab::validate::verdict::Whole;
use crate::lab::validate::{self, Options};
use clap::Args;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// The load, unless something else is said.
const LENGTH: Span = Span(Duration::from_secs(20));
const SCALE: f64 = 0.5;
/// The same with --quick. The bounds and the connections stay.
const QUICK_LENGTH: Span = Span(Duration::from_secs(5));
const QUICK_SCALE: f64 = 0.2;
const SCALE_MAX: f64 = 10.0;

/// Try every promise on running nodes, each against its bound
#[derive(Debug, Args)]
#[command(after_help = "\
Starts three nodes of its own (or looks at those of --url), does what it takes, and compares what
came of it. A line for each check says what was measured and within what bound it had to be; of
those that did not pass, all is told. The report is a folder with a page of HTML, JSON and CSV.

Checks, the first six named like those of the system that this one replaces:
  queue        read by everybody in under 100 ms, in order, criticals first, tried again
  cache        nothing stale after a change, 95 % hits, memory within 50 MiB
  scaling      seasons and rules decide as they are written; live decisions with their reasons
  alerts       every documented metric; eight rules; one fires, is told once, and clears
  dashboard    built in under 1 s, its page whole from the binary
  performance  the standard load: mean < 100 ms, 95th percentile < 200 ms, errors < 1 %, hits
               > 90 %, criticals < 5 s, 10,000 connected, nothing lost
  keys         the same key finds the first outcome on any node, and publishes once
  resume       from a cursor, another node goes on without a gap or a repeat
  audience     only those who are meant get it, and nobody sees who else did
  confirming   who has not confirmed, and why, on every node
  escalation   goes on once, to those who have not confirmed, and calls its output
  refusals     bad input, a rate cap, an event day: a code each, and nothing is lost
  schedule     once and not early; what is called off is taken back from those who have it
  tokens       good and worthless on all nodes at once, for their scope alone
  durability   the leader is killed twice: nothing acknowledged is lost, the others go on in 3 s
  preferences  quiet hours hold, mutes skip, critical passes

Exits 0 when every check was run and passed, 1 when one failed, 4 when none failed and not all was
run. With --only it is 4 at best: what was left out was not run. On nodes of --url nobody is killed,
no alert is provoked and no cache filled: those checks say so, and it is 4 at best, too. There
everything but what tries a rate cap is a drill, to people whose names begin with `validate-`, who are
removed at the end (after Ctrl-C, too), and to those of `load-`, who stay. A wedding of theirs is on
meanwhile. What could not be removed is named, and the whole has failed then. Some thousand broadcasts
stay in the nodes' history, and as many sessions as --connections says may raise an alert of theirs.

Examples:
  campanile validate
  campanile validate --quick
  campanile validate --only queue,durability
  campanile validate --for 1m --scale 1 --out ./validated
  campanile validate --url http://10.0.0.1:8205,http://10.0.0.2:8205 --json > validated.json")]
pub struct Validate {
    /// Nodes that run already; several are separated by commas [default: three of its own]
    #[arg(long, value_delimiter = ',')]
    pub url: Vec<String>,
    /// An administrator's, for --url
    #[arg(long, env = "CAMPANILE_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// For --url with https: believe the authorities in this PEM file, and no others
    #[arg(long, value_name = "FILE", env = "CAMPANILE_CA")]
    pub ca: Option<PathBuf>,
    /// These checks alone; the others are then not run
    #[arg(long, value_name = "CHECKS", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Less load: for 5 s, at a fifth. The bounds stay
    #[arg(long)]
    pub quick: bool,
    /// How long the load is measured [default: 20s]
    #[arg(long = "for", value_name = "DURATION")]
    pub length: Option<Span>,
    /// Groups and broadcasts a second of the load times this [default: 0.5]
    #[arg(long, value_parser = scale)]
    pub scale: Option<f64>,
    /// Connected during the load; with fewer than 10,000 that requirement is not run
    #[arg(long, value_name = "N", default_value_t = CONNECTIONS, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub connections: u32,
    /// What is drawn is drawn the same with the same number
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// A setting for nodes of its own; may be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE", conflicts_with = "url")]
    pub set: Vec<String>,
    /// Where the report goes [default: campanile-reports/validate-NODES-TIME]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

fn scale(text: &str) -> Result<f64, String> {
    scale_up_to(SCALE_MAX, text)
}

pub fn run(options: Validate, json: bool) -> Result<ExitCode, Failure> {
    crate::config::load(None, std::iter::empty(), &options.set)?;
    let only = chosen(&options.only)?;
    let load = load(&options)?;
    let command = typed(&options, &load);
    let place = if options.url.is_empty() {
        Where::Own {
            set: options.set,
            tls: false,
        }
    } else {
        Where::There {
            authority: authority(options.ca.as_deref(), &options.url)?,
            urls: options.url,
            token: options.token,
        }
    };
    let whole = validate::run(&Options {
        place,
        only,
        load,
        seed: options.seed,
        out: options.out,
        command,
        json,
    })?;
    Ok(match whole {
        Whole::Validated => ExitCode::SUCCESS,
        Whole::Failed => ExitCode::from(Exit::Failed as u8),
        Whole::NotValidated => ExitCode::from(Exit::NotRun as u8),
    })
}

fn chosen(words: &[String]) -> Result<Vec<&'static Check>, Failure> {
    let found = words.iter().map(|word| {
        checks::named(word.trim()).ok_or_else(|| {
            let known: Vec<&str> = checks::ALL.iter().map(|check| check.word).collect();
            Failure::usage(format!("--only {word}: there is no such check"))
                .hint(format!("one of {}", known.join(", ")))
        })
    });
    found.collect()
}

fn load(options: &Validate) -> Result<Load, Failure> {
    let (length, scale) = if options.quick {
        (QUICK_LENGTH, QUICK_SCALE)
    } else {
        (LENGTH, SCALE)
    };
    let length = options.length.unwrap_or(length).0;
    if length.is_zero() {
        return Err(Failure::usage("--for 0s measures nothing"));
    }
    Ok(Load {
        length,
        scale: options.scale.unwrap_or(scale),
        connections: options.connections,
    })
}

/// As it could be typed again; a token is nobody's business.
fn typed(options: &Validate, load: &Load) -> String {
    let mut words = "campanile validate".to_owned();
    if !options.url.is_empty() {
        let _ = write!(words, " --url {}", options.url.join(","));
    }
    if !options.only.is_empty() {
        let _ = write!(words, " --only {}", options.only.join(","));
    }
    let (length, scale) = (Span(load.length), load.scale);
    let _ = write!(
        words,
        " --for {length} --scale {scale} --connections {} --seed {}",
        load.connections, options.seed
    );
    for set in &options.set {
        let _ = write!(words, " --set {}", masked_pair(set));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::{chosen, scale};
    use crate::lab::validate::checks;

    #[test]
    fn checks_are_chosen_by_their_words_and_a_wrong_one_names_the_right_ones() {
        let words = ["queue".to_owned(), " keys".to_owned()];
        let found: Vec<&str> = chosen(&words).unwrap().iter().map(|check| check.word).collect();
        assert_eq!(found, ["queue", "keys"]);
        let failure = chosen(&["queues".to_owned()]).unwrap_err();
        assert!(failure.hint.unwrap().contains("queue, cache"));
        assert_eq!(chosen(&[]).unwrap().len(), 0);
        assert!(scale("0").is_err() && scale("11").is_err() && scale("0.5") == Ok(0.5));
    }

    #[test]
    fn the_help_names_every_check() {
        use clap::CommandFactory;
        let mut command = crate::cli::arguments::Arguments::command();
        let help = command
            .find_subcommand_mut("validate")
            .unwrap()
            .render_long_help()
            .to_string();
        for check in &checks::ALL {
            assert!(
                help.contains(&format!("\n  {} ", check.word)),
                "{} is not in {help}",
                check.word
            );
        }
    }
}
