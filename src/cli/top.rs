//! `campanile top`: the whole cluster on one screen, with keys to look closer.
//!
//! [`model`] is what is shown, [`mod@update`] says what becomes of it when something happens, and [`draw`] puts it on a screen: all three
//! are pure. [`asking`] and [`terminal`] are the thin shells: one asks the nodes, the other holds the terminal and gives it back.

mod asking;
mod draw;
mod keys;
mod ladder;
mod model;
pub mod options;
mod order;
mod tables;
mod terminal;
#[cfg(test)]
mod tests;
mod update;

use super::failure::Failure;
use super::sight::ask::Asker;
use super::sight::line::Palette;
use asking::Asking;
use crossterm::event::EventStream;
use futures_util::StreamExt;
use model::{Event, Model};
use options::Top;
use std::io::IsTerminal;
use terminal::Screen;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use update::update;

/// Answers that wait to be shown: the newest is all that counts.
const ANSWERS_MAX: usize = 2;

pub async fn run(options: &Top, as_json: bool) -> Result<(), Failure> {
    if as_json || !std::io::stdout().is_terminal() {
        return Err(Failure::usage("top draws on a terminal, and this is none")
            .hint("`campanile status`, or `campanile status --watch --json` for programs"));
    }
    let mut asker = Asker::new(&options.target)?;
    // What is wrong with the addresses or the token is told before the screen is taken.
    let first = asker.look().await?;
    let mut signals = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
    let (answers, mut answered) = mpsc::channel(ANSWERS_MAX);
    let (open, opened) = watch::channel(None);
    tokio::spawn(Asking::new(asker, options).run(opened, answers));

    let mut model = update(Model::new(Palette::of_stdout()), Event::Seen(Box::new(first)));
    let mut screen = Screen::open()?;
    let mut keys = EventStream::new();
    while !model.is_over() {
        screen.draw(&model)?;
        let event = tokio::select! {
            key = keys.next() => keys::event(key)?,
            answer = answered.recv() => match answer {
                Some(answer) => answer?,
                None => return Err(Failure::failed("nobody asks the nodes any more")),
            },
            () = any(&mut signals) => Event::Quit,
        };
        model = update(model, event);
        open.send_if_modified(|wanted| {
            let now = model.opened();
            let is_new = wanted.as_deref() != now;
            *wanted = now.map(str::to_owned);
            is_new
        });
    }
    Ok(())
}

/// Ends with the first of these signals; those that cannot be listened for never come.
async fn any(signals: &mut [std::io::Result<Signal>; 3]) {
    let each = signals.iter_mut().flatten().map(|signal| Box::pin(signal.recv()));
    let each: Vec<_> = each.collect();
    if each.is_empty() {
        std::future::pending::<()>().await;
    }
    futures_util::future::select_all(each).await;
}
