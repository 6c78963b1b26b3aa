//! What becomes of the screen when something happens. Pure: the same events always lead to the same screen.

use super::model::{Event, Key, Lost, Model, Opened, Pane};
use super::order::List;
use super::tables;
use crate::cli::sight::Sight;

/// Rows that a page has, as far as keys are concerned.
const PAGE: usize = 10;
/// Looks for which it is told that another node was taken.
const TOLD_FOR: u32 = 20;
/// A filter is a few letters.
const FILTER_MAX: usize = 40;

/// What is shown after something has happened.
pub fn update(mut model: Model, event: Event) -> Model {
    match event {
        Event::Key(key) => return pressed(model, key),
        Event::Resized => {}
        Event::Seen(sight) => see(&mut model, *sight),
        Event::Lost(why, lasts) => model.lost = Some(Lost { why, lasts }),
        Event::Opened(id, told) => {
            if let Some(opened) = model.opened.as_mut().filter(|opened| opened.id == id) {
                match told {
                    Ok(ladder) => (opened.ladder, opened.fault) = (Some(ladder), None),
                    Err(fault) => opened.fault = Some(fault),
                }
            }
        }
        Event::Quit => model.is_over = true,
    }
    model
}

fn see(model: &mut Model, sight: Sight) {
    let now = sight.board.cluster.node;
    let before = model.sight.as_ref().map(|sight| sight.board.cluster.node);
    model.note = match (before, model.note) {
        (Some(before), _) if before != now => Some((before, now, TOLD_FOR)),
        (_, Some((_, _, 0)) | None) => None,
        (_, Some((left, taken, looks))) => Some((left, taken, looks - 1)),
    };
    model.lost = None;
    model.sight = Some(sight);
}

fn pressed(mut model: Model, key: Key) -> Model {
    if key == Key::Interrupt {
        model.is_over = true;
    } else if model.is_helping {
        model.is_helping = false;
    } else if model.is_typing {
        typed(&mut model, key);
    } else {
        moved(&mut model, key);
    }
    model
}

/// While a filter is typed, letters are letters.
fn typed(model: &mut Model, key: Key) {
    match key {
        Key::Enter => model.is_typing = false,
        Key::Escape => {
            model.is_typing = false;
            model.here_mut().filter.clear();
        }
        Key::Backspace => {
            model.here_mut().filter.pop();
        }
        Key::Letter(letter) => {
            let filter = &mut model.here_mut().filter;
            if filter.chars().count() < FILTER_MAX && !letter.is_control() {
                filter.push(letter);
            }
        }
        Key::Up | Key::Down | Key::PageUp | Key::PageDown | Key::Home | Key::End => travel(model, key),
        Key::Left | Key::Right | Key::Interrupt => {}
    }
}

fn moved(model: &mut Model, key: Key) {
    match key {
        Key::Up | Key::Down | Key::PageUp | Key::PageDown | Key::Home | Key::End => travel(model, key),
        Key::Letter('k') => travel(model, Key::Up),
        Key::Letter('j') => travel(model, Key::Down),
        Key::Letter('g') => travel(model, Key::Home),
        Key::Letter('G') => travel(model, Key::End),
        Key::Right | Key::Letter('l') => turn(model, 1),
        Key::Left | Key::Letter('h') => turn(model, Pane::ALL.len() - 1),
        Key::Letter('s') if model.opened.is_none() => {
            let columns = tables::columns(model.focus).len();
            model.here_mut().sort_by_next(columns);
        }
        Key::Letter('r') if model.opened.is_none() => model.here_mut().turn_round(),
        Key::Letter('/') => model.is_typing = true,
        Key::Letter('?') => model.is_helping = true,
        Key::Letter('q') => model.is_over = true,
        Key::Enter => open(model),
        Key::Escape | Key::Backspace => back(model),
        Key::Letter(_) | Key::Interrupt => {}
    }
}

/// To the next pane, or the one before.
fn turn(model: &mut Model, step: usize) {
    if model.opened.is_none() {
        model.focus = model.focus.neighbour(step);
    }
}

/// Out of a filter first, then out of a broadcast.
fn back(model: &mut Model) {
    if model.here().filter.is_empty() {
        model.opened = None;
    } else {
        model.here_mut().filter.clear();
    }
}

fn open(model: &mut Model) {
    if model.opened.is_some() || model.focus != Pane::Broadcasts {
        return;
    }
    let rows = model.rows(Pane::Broadcasts);
    let keys: Vec<&str> = rows.iter().map(|row| row.key.as_str()).collect();
    let Some(at) = model.list(Pane::Broadcasts).place(&keys) else {
        return;
    };
    model.opened = Some(Opened {
        id: rows[at].key.clone(),
        ladder: None,
        fault: None,
        list: List::default(),
    });
}

fn travel(model: &mut Model, key: Key) {
    let places = model.places();
    let keys: Vec<&str> = places.iter().map(String::as_str).collect();
    let Some(at) = model.here().place(&keys) else {
        return;
    };
    let last = keys.len() - 1;
    let to = match key {
        Key::Up => at.saturating_sub(1),
        Key::Down => at + 1,
        Key::PageUp => at.saturating_sub(PAGE),
        Key::PageDown => at + PAGE,
        Key::Home => 0,
        Key::End => last,
        Key::Left | Key::Right | Key::Enter | Key::Escape | Key::Backspace | Key::Letter(_) | Key::Interrupt => at,
    };
    model.here_mut().selected = places.get(to.min(last)).cloned();
}
