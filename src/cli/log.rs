//! The log of a running node, to stderr, as the settings say.

use super::failure::Failure;
use crate::config::{Log, LogFormat};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

pub fn start(log: &Log) -> Result<(), Failure> {
    let levels: Targets = log.level.parse().map_err(|error| {
        Failure::usage(format!("log.level is {:?}: {error}", log.level)).hint("info, or info,campanile::gateway=debug")
    })?;
    let colours = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    let builder = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE) // the levels below decide
        .with_writer(std::io::stderr);
    let started = match log.format {
        LogFormat::Text => builder.with_ansi(colours).finish().with(levels).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).finish().with(levels).try_init(),
    };
    started.map_err(|error| Failure::failed(format!("the log cannot be started: {error}")))
}
