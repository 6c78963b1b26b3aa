//! # Cli
//!
//! What: the command line: what was typed, what it means, and what is said back.
//! Why: the first door that people meet; its help texts teach and its errors say what to try.
//! Never: a rule of the domain; a way to a node that is not its public API.
//! Start: [`run`], then [`arguments`].

mod alerts;
pub mod arguments;
pub mod audience;
pub mod broadcast;
mod cancel;
pub mod doctor;
mod dry_run;
pub mod failure;
pub mod frames;
pub mod import;
pub mod load;
pub mod log;
pub mod nodes;
pub mod output;
mod outputs;
pub mod publish;
pub mod report;
pub mod season;
pub mod serve;
pub mod settings;
pub mod sight;
pub mod status;
pub mod subscribe;
pub mod token;
pub mod top;
pub mod validate;
pub mod version;
pub mod who;

use arguments::{Arguments, Command};
use clap::Parser;
use failure::Failure;
use std::ffi::OsString;
use std::process::ExitCode;

/// Runs what was typed; errors are told on stderr, and the exit code says of which kind they were.
pub fn run(words: impl Iterator<Item = OsString>) -> ExitCode {
    let words: Vec<OsString> = words.collect();
    let arguments = match Arguments::try_parse_from(&words) {
        Ok(arguments) => arguments,
        Err(error) if error.exit_code() != 0 && words.iter().any(|word| word == "--json") => {
            return misunderstood(&error).tell(true);
        }
        // Help comes this way too, and goes to stdout with 0.
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(error.exit_code() as u8);
        }
    };
    let as_json = arguments.json;
    match dispatch(arguments) {
        Ok(code) => code,
        Err(failure) => failure.tell(as_json),
    }
}

/// What the parser of arguments says in several lines, as a failure of ours.
fn misunderstood(error: &clap::Error) -> Failure {
    let text = error.to_string();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let what = lines.next().unwrap_or_default();
    let what = what.strip_prefix("error: ").unwrap_or(what);
    let details = lines.filter(|line| !line.starts_with("For more information"));
    Failure::usage(what)
        .details(details.map(str::to_owned).collect())
        .hint("--help")
}

fn dispatch(arguments: Arguments) -> Result<ExitCode, Failure> {
    let json = arguments.json;
    match arguments.command {
        Command::Serve(options) => return serve::serve(&options, json),
        Command::Dev(options) => return serve::dev(options, json),
        Command::Rehearse(options) => return serve::rehearse(options, json),
        Command::Load(options) => return load::run(options, json),
        Command::Report(options) => return report::run(&options, json),
        Command::LoadCrowd => return load::crowd(),
        Command::Season(options) => return season::run(options, json),
        Command::Validate(options) => return validate::run(options, json),
        Command::Publish(options) => wait(publish::run(&options, json)),
        Command::Cancel(options) => wait(cancel::run(&options, json)),
        Command::Subscribe(options) => {
            if !json {
                output::complain(&subscribe::greeting(&options));
            }
            wait(subscribe::run(&options, json))
        }
        Command::Who(options) => return wait(who::run(&options, json)),
        Command::Status(options) => wait(status::run(&options, json)),
        Command::Top(options) => wait(top::run(&options, json)),
        Command::Alerts(options) => wait(alerts::run(&options, json)),
        Command::Import(options) => wait(import::run(&options, json)),
        Command::Token(options) => wait(token::run(&options.verb, json)),
        Command::Outputs(options) => wait(outputs::run(&options.verb, json)),
        Command::Config(options) => settings::run(&options.verb, json),
        Command::Doctor(options) => wait(doctor::run(&options, json)),
        Command::Version => version::run(json),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// Runs a client command. One thread is plenty, and whatever still blocks (a read of stdin) does not hold up the end.
fn wait<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    done
}
