//! One broadcast: its ladder as it fills, and by name who is not done.

use super::{first_shown, put};
use crate::cli::output;
use crate::cli::sight::line::{Ending, Line, Tone, cut, width};
use crate::cli::top::ladder::{Ladder, Person};
use crate::cli::top::model::{Model, Opened};
use crate::cli::who::report::Group;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::widgets::{Block, BorderType, Padding};

/// What of the room roles and names may take: the reason matters more.
const ROLES_PART: usize = 6;
const USER_PART: usize = 3;

pub fn broadcast(model: &Model, opened: &Opened, frame: &mut Frame, area: Rect) {
    let title = Line::new()
        .with(Tone::Strong, format!(" {} ", opened.id))
        .spans(model.palette);
    let block = Block::bordered()
        .border_type(BorderType::Rounded)
        .padding(Padding::horizontal(1))
        .title(title);
    let inside = block.inner(area);
    frame.render_widget(block, area);
    let Some(ladder) = &opened.ladder else {
        let line = match &opened.fault {
            Some(fault) => Line::new().with(Tone::Bad, fault),
            None => Line::new().with(Tone::Dim, "asking ..."),
        };
        put(model, frame, inside, 0, line);
        return;
    };
    let mut above = ladder.head();
    above.extend(ladder.steps(usize::from(inside.width)));
    let beside = ladder.beside();
    above.extend(Some(beside).filter(|line| !line.is_empty()));
    above.push(total(ladder, opened));
    // People are what one opens it for: on a low screen the steps give way.
    let height = u16::try_from(above.len())
        .unwrap_or(u16::MAX)
        .min(inside.height.saturating_sub(4).max(3));
    let [top, _, list] = Layout::vertical([
        Constraint::Length(height),
        Constraint::Length(u16::from(inside.height > height + 5)),
        Constraint::Min(0),
    ])
    .areas(inside);
    let skipped = above.len().saturating_sub(usize::from(height));
    // The total is the last line, and the title the first: what stands between them goes.
    let shown = above.iter().take(1).chain(above.iter().skip(1 + skipped));
    for (row, line) in (0..).zip(shown) {
        put(model, frame, top, row, line.clone());
    }
    people(model, ladder, opened, frame, list);
}

fn total(ladder: &Ladder, opened: &Opened) -> Line {
    let mut line = ladder.total();
    if ladder.more() > 0 {
        line.push(
            Tone::Dim,
            format!("; {} are not named here: campanile who", output::count(ladder.more())),
        );
    }
    if !opened.list.filter.is_empty() {
        line.push(Tone::Warn, format!("  /{}", opened.list.filter));
    }
    if let Some(fault) = &opened.fault {
        line.push(Tone::Bad, format!("  not asked again: {fault}"));
    }
    line
}

/// A row of the list: a group's name, or somebody.
enum Entry<'a> {
    Group(Group, usize),
    Person(&'a Person),
}

fn people(model: &Model, ladder: &Ladder, opened: &Opened, frame: &mut Frame, area: Rect) {
    let people = ladder.people(&opened.list.filter);
    let keys: Vec<&str> = people.iter().map(|person| person.key.as_str()).collect();
    let cursor = opened.list.place(&keys);
    let widest = |text: fn(&Person) -> &str, most: usize| {
        let each = people.iter().map(|person| width(text(person)));
        each.max().unwrap_or_default().min(most)
    };
    let columns = usize::from(area.width);
    let roles = widest(|person| &person.roles, columns / ROLES_PART);
    let user = widest(|person| &person.user, columns / USER_PART);
    let entries = entries(&people);
    let selected = cursor.and_then(|at| people.get(at));
    let is_selected =
        |entry: &Entry| matches!((entry, selected), (Entry::Person(one), Some(two)) if std::ptr::eq(*one, two));
    let at = entries.iter().position(is_selected).unwrap_or_default();
    let height = usize::from(area.height);
    let first = first_shown(at, height);
    for (entry, row) in entries.iter().skip(first).take(height).zip(0..) {
        let line = match entry {
            Entry::Group(group, count) => {
                let line = Line::new().with(tone(*group), group.title());
                line.with(Tone::Plain, format!(" {}", output::count(*count as u64)))
            }
            Entry::Person(person) => {
                let pad = |text: &str, columns: usize| {
                    let text = cut(text, columns, Ending::WhereCut);
                    format!("{text}{}  ", " ".repeat(columns.saturating_sub(width(&text))))
                };
                let line = Line::new().with(Tone::Plain, format!("  {}", pad(&person.roles, roles)));
                line.with(Tone::Strong, pad(&person.user, user))
                    .with(Tone::Dim, &person.why)
            }
        };
        put(model, frame, area, row, line);
        if is_selected(entry) {
            let place = Rect::new(area.x, area.y + row, area.width, 1);
            frame
                .buffer_mut()
                .set_style(place, Style::new().add_modifier(Modifier::REVERSED));
        }
    }
}

/// People below the names of their groups.
fn entries(people: &[Person]) -> Vec<Entry<'_>> {
    let mut entries = Vec::new();
    let mut last = None;
    for person in people {
        if last != Some(person.group) {
            let count = people.iter().filter(|other| other.group == person.group).count();
            entries.push(Entry::Group(person.group, count));
            last = Some(person.group);
        }
        entries.push(Entry::Person(person));
    }
    entries
}

const fn tone(group: Group) -> Tone {
    match group {
        Group::Answered => Tone::Bad,
        Group::NotConnected | Group::NotReceived | Group::NotConfirmed | Group::Expired | Group::Failed => Tone::Warn,
        Group::Held | Group::Skipped | Group::Excluded => Tone::Strong,
        Group::Done => Tone::Good,
    }
}
