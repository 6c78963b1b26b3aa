//! The report on paper, for a runner with a clipboard: plain letters of ASCII that any printer has, and a box for each person.

use super::ascii::{ascii, wrapped};
use super::clock::Clock;
use super::person::Person;
use super::report::{Named, Report};
use super::screen::course;
use crate::base::clock::Millis;

/// Letters of a line.
const WIDTH: usize = 80;
/// Lines of a page, its head among them.
const LINES: usize = 60;
/// The title, a rule, and an empty line.
const HEAD_LINES: usize = 3;
/// Letters of a title that fit into the head of any page.
const TITLE_MAX: usize = 60;
const USER_MAX: usize = 28;
const ROLES_MAX: usize = 22;

/// Lines that stay together on one page.
type Block = Vec<String>;

/// Whole pages, each a text; form feeds stand between them.
pub fn pages(report: &Report, named: &Named, clock: &Clock, now: Millis) -> Vec<String> {
    let sheets = laid_out(blocks(report, named, clock, now));
    let count = sheets.len();
    let title = title(report);
    let page = |(at, lines): (usize, Vec<String>)| {
        let mut page = head(&title, at + 1, count);
        page.extend(lines);
        page.join("\n")
    };
    sheets.into_iter().enumerate().map(page).collect()
}

fn title(report: &Report) -> String {
    let drill = if report.is_drill() { "DRILL: " } else { "" };
    format!("{drill}{}", ascii(report.text("title")))
}

fn head(title: &str, page: usize, count: usize) -> Block {
    let title = if title.len() > TITLE_MAX {
        format!("{}...", title.chars().take(TITLE_MAX - 3).collect::<String>())
    } else {
        title.to_owned()
    };
    let number = format!("page {page} of {count}");
    let first = format!("{title:<TITLE_MAX$}{number:>rest$}", rest = WIDTH - TITLE_MAX);
    vec![first, "=".repeat(WIDTH), String::new()]
}

fn blocks(report: &Report, named: &Named, clock: &Clock, now: Millis) -> Vec<Block> {
    let title = title(report);
    let mut message = if title.len() > TITLE_MAX {
        wrapped(&title, WIDTH) // its beginning stands in the head
    } else {
        Vec::new()
    };
    message.extend(wrapped(&ascii(report.text("body")), WIDTH));
    let facts = format!(
        "{}, {}, {}; times of {}",
        report.text("type"),
        report.text("priority"),
        course(report, clock),
        clock.zone()
    );
    let mut facts = wrapped(&ascii(&facts), WIDTH);
    facts.push(ascii(report.text("id")));
    facts.extend(wrapped(
        &format!("At {}: {}", clock.second(now), report.totals()),
        WIDTH,
    ));
    facts.extend(report.needs().iter().flat_map(|needs| wrapped(&ascii(needs), WIDTH)));
    let mut blocks = vec![message, vec![String::new()], facts];
    let groups = report.groups(named);
    let columns = Columns::of(groups.iter().flat_map(|(_, people)| people));
    for (group, people) in &groups {
        // the name of a group is on the page of its first person
        let mut heading = vec![
            String::new(),
            format!("{} ({})", group.title().to_uppercase(), people.len()),
        ];
        for person in people {
            heading.extend(columns.block(person, clock));
            blocks.push(std::mem::take(&mut heading));
        }
    }
    let sheet = report.sheet();
    if !sheet.is_empty() {
        let lines = sheet.iter().map(|line| ascii(line)).flat_map(|line| match line.len() {
            0..=WIDTH => vec![line],
            _ => wrapped(&line, WIDTH),
        });
        blocks.push(std::iter::once(String::new()).chain(lines).collect());
    }
    blocks
}

/// Deals the blocks out to pages.
fn laid_out(blocks: Vec<Block>) -> Vec<Vec<String>> {
    let room = LINES - HEAD_LINES;
    let mut pages = vec![Vec::new()];
    for block in blocks {
        let used = pages.last().map_or(0, Vec::len);
        if used > 0 && used + block.len() > room {
            pages.push(Vec::new());
        }
        for line in block {
            // a page does not begin with an empty line, and a block longer than a page is cut all the same
            if pages.last().is_some_and(|page| page.len() == room) {
                pages.push(Vec::new());
            }
            if let Some(page) = pages.last_mut()
                && !(page.is_empty() && line.is_empty())
            {
                page.push(line);
            }
        }
    }
    pages
}

/// How wide names and roles are.
struct Columns {
    user: usize,
    roles: usize,
}

impl Columns {
    fn of<'a>(people: impl Iterator<Item = &'a &'a Person> + Clone) -> Self {
        let widest = |text: fn(&Person) -> String, max: usize| {
            let each = people.clone().map(|person| ascii(&text(person)).len());
            each.max().unwrap_or_default().min(max)
        };
        Self {
            user: widest(Person::user, USER_MAX),
            roles: widest(Person::roles, ROLES_MAX),
        }
    }

    /// `[ ] ah-dj-01   dj        no session since 14:05`; each column goes on below where it is too long.
    fn block(&self, person: &Person, clock: &Clock) -> Block {
        const BOX: &str = "[ ] ";
        const GAP: usize = 2;
        let Self { user, roles } = self;
        let rest = WIDTH - BOX.len() - user - roles - 2 * GAP;
        let users = wrapped(&ascii(&person.user()), (*user).max(1));
        let named = wrapped(&ascii(&person.roles()), (*roles).max(1));
        let why = wrapped(&ascii(&person.why(clock)), rest);
        let line = |at: usize| {
            let cell = |column: &[String]| column.get(at).cloned().unwrap_or_default();
            let mark = if at == 0 { BOX } else { "    " };
            let line = format!(
                "{mark}{:<user$}  {:<roles$}  {}",
                cell(&users),
                cell(&named),
                cell(&why)
            );
            line.trim_end().to_owned()
        };
        let lines = users.len().max(named.len()).max(why.len());
        (0..lines).map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{HEAD_LINES, LINES, WIDTH, pages};
    use crate::base::clock::parse_rfc3339;
    use crate::cli::who::clock::Clock;
    use crate::cli::who::report::{Named, Report};
    use serde_json::{Value, json};

    fn printed(title: &str, people: Vec<Value>) -> Vec<String> {
        let broadcast = json!({"id": "01J", "status": "released", "title": title, "body": "Go inside. Next at 16:25.",
            "type": "weather.warning", "priority": "critical", "drill": true, "acknowledge": {"within": "15s"},
            "released_at": "2027-06-19T20:12:03.000Z", "expires_at": "2027-06-19T20:42:00.000Z"});
        let now = parse_rfc3339("2027-06-19T20:14:00Z").unwrap();
        let clock = Clock::new(Some("America/New_York"), now);
        let sheet = json!({"final": true, "grade": "F", "targeted": people.len()});
        let report = Report::of(broadcast, people).with_sheet(sheet);
        pages(&report, &Named::NotDone, &clock, now)
    }

    fn gone(user: &str, role: &str) -> Value {
        json!({"user": user, "roles": [role], "state": "targeted", "reason": "offline_since", "since": "2027-06-19T18:05:00.000Z"})
    }

    #[test]
    fn a_page_is_ready_to_be_ticked_off() {
        let people = vec![gone("ah-dj-01", "dj"), gone("cn-transport-01", "transport")];
        let expected = format!(
            "DRILL: Go inside now{}page 1 of 1\n{}\n\n\
             Go inside. Next at 16:25.\n\n\
             weather.warning, critical, released, out since 16:12:03, expires 16:42; times of\n\
             America/New_York\n01J\n\
             At 16:14:00: 2 of 2 have not confirmed (2 not connected)\n\n\
             NOT CONNECTED (2)\n\
             [ ] ah-dj-01         dj         no session since 14:05\n\
             [ ] cn-transport-01  transport  no session since 14:05\n\n\
             drill: grade F\n  within 15 s: 0 of 2\n  within 60 s: 0 of 2\n  not confirmed: 0, of whom 0 were never sent it",
            " ".repeat(49),
            "=".repeat(80)
        );
        assert_eq!(printed("Go inside now", people), [expected]);
    }

    /// Whatever stands in it: short lines, short pages, letters that every printer has, and everybody once.
    #[test]
    fn pages_hold_what_they_can_and_no_more() {
        let long = "q".repeat(128);
        let mut people: Vec<Value> = (0..150).map(|n| gone(&format!("guest-{n:03}"), "guest")).collect();
        people.push(gone(&long, "a role of many words and letters"));
        people.push(gone("Zoë", "fleuriste"));
        let printed = printed(&format!("Orage – « à l’abri » {}\u{1b}[2J", "très ".repeat(30)), people);
        assert!(printed.len() >= 3, "{} pages", printed.len());
        for (at, page) in printed.iter().enumerate() {
            let lines: Vec<&str> = page.lines().collect();
            assert!(
                lines.len() <= LINES && lines.len() > HEAD_LINES,
                "{} lines",
                lines.len()
            );
            assert!(
                lines[0].ends_with(&format!("page {} of {}", at + 1, printed.len())),
                "{}",
                lines[0]
            );
            assert!(lines.iter().all(|line| line.len() <= WIDTH), "{page}");
            let is_plain = |c: char| c == '\n' || (' '..='~').contains(&c);
            assert!(page.chars().all(is_plain), "{page:?}");
        }
        let all = printed.concat();
        assert_eq!(all.matches("[ ] ").count(), 152);
        assert_eq!(all.matches('q').count(), 128);
        assert!(
            all.contains("[ ] Zoe ") && all.contains("Orage - << a l'abri >> tres"),
            "{all}"
        );
    }
}
