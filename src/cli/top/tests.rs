//! What keys do, and what is on the screen then.

use super::draw::draw;
use super::ladder::Ladder;
use super::model::{Event, Key, Model, Pane};
use super::update::update;
use crate::cli::sight::line::Palette;
use crate::cli::sight::sample;
use crate::cli::who::clock::Clock;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::{Value, json};
use std::time::Duration;

fn seen() -> Model {
    update(Model::new(Palette::Plain), Event::Seen(Box::new(sample::busy())))
}

/// What is typed, a letter each: `>` Tab, `<` back-tab, `^` `v` the arrows, `!` Enter, `~` Esc, `#` backspace.
fn typed(model: Model, keys: &str) -> Model {
    keys.chars().fold(model, |model, letter| {
        let key = match letter {
            '>' => Key::Right,
            '<' => Key::Left,
            '^' => Key::Up,
            'v' => Key::Down,
            '!' => Key::Enter,
            '~' => Key::Escape,
            '#' => Key::Backspace,
            letter => Key::Letter(letter),
        };
        update(model, Event::Key(key))
    })
}

fn screen(model: &Model, columns: u16, rows: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
    terminal.draw(|frame| draw(model, frame)).unwrap();
    let buffer = terminal.backend().buffer().clone();
    let row = |y: u16| {
        let cells = (0..columns).map(|x| buffer[(x, y)].symbol());
        cells.collect::<String>().trim_end().to_owned()
    };
    (0..rows).map(row).collect()
}

/// The rows of the pane that has the keys, by what they are.
fn keys(model: &Model) -> Vec<String> {
    model.rows(model.focus).into_iter().map(|row| row.key).collect()
}

fn person(user: &str, state: &str, reason: &str, answer: Option<&str>) -> Value {
    json!({"user": user, "roles": ["bar"], "state": state, "reason": reason, "at": null, "answer": answer})
}

fn ladder() -> Box<Ladder> {
    let broadcast = json!({
        "id": sample::STORM, "status": "released", "priority": "critical", "type": "weather.warning", "title": "Go inside now",
        "body": "Go inside the barn now.", "drill": false, "acknowledge": {"within": "15s"},
        "released_at": "2027-06-19T20:40:07Z", "expires_at": "2027-06-19T21:40:07Z",
        "counts": {"targeted": 240, "sent": 201, "received": 198, "read": 12, "acknowledged": 206, "skipped": 3},
        "answers": {"ok": 205, "need_help": 1}, "escalations": [{}],
    });
    let people = vec![
        person("cal", "received", "not_acknowledged", None),
        person("ann", "acknowledged", "", Some("need_help")),
        person("bea", "targeted", "no_session", None),
    ];
    let now = crate::base::clock::parse_rfc3339("2027-06-19T20:42:07Z").unwrap();
    Box::new(Ladder::of(broadcast, people, Clock::new(Some("UTC"), now)))
}

#[test]
fn keys_move_between_panes_and_rows() {
    let check = |keys: &str, focus: Pane, selected: Option<&str>| {
        let model = typed(seen(), keys);
        assert_eq!(
            (model.focus, model.here().selected.as_deref()),
            (focus, selected),
            "{keys}"
        );
    };
    check("", Pane::Broadcasts, None);
    check(">", Pane::Queues, None);
    check(">>", Pane::Nodes, None);
    check("<", Pane::Alerts, None);
    check("hl", Pane::Broadcasts, None);
    check("v", Pane::Broadcasts, Some(sample::CAKE));
    check("jjk", Pane::Broadcasts, Some(sample::CAKE));
    check("G", Pane::Broadcasts, Some(sample::LATER));
    check("Gg", Pane::Broadcasts, Some(sample::STORM));
    check("^", Pane::Broadcasts, Some(sample::STORM));
    check(">vv", Pane::Queues, Some("normal"));
    check("x7", Pane::Broadcasts, None);
}

#[test]
fn rows_are_sorted_and_filtered() {
    let check = |typing: &str, expected: &[&str]| {
        let model = typed(seen(), typing);
        assert_eq!(keys(&model), expected, "{typing}");
    };
    let all = [sample::STORM, sample::CAKE, sample::FIRE, sample::LATER];
    check("", &all);
    // by age, by priority, by title
    check("s", &all);
    check("ss", &[sample::STORM, sample::FIRE, sample::LATER, sample::CAKE]);
    check("sss", &[sample::CAKE, sample::STORM, sample::FIRE, sample::LATER]);
    check("sssr", &[sample::LATER, sample::FIRE, sample::STORM, sample::CAKE]);
    check("ssssssssss", &all);
    check("/critical!", &[sample::STORM, sample::FIRE]);
    check("/CAKE", &[sample::CAKE]);
    check("/cakes#", &[sample::CAKE]);
    check("/cake~", &all);
    check("/cake!~", &all);
    check("/q", &[]);
    check(">>/leader", &["2"]);
    check(">>>ss", &["1 worker-0", "2 worker-0", "1 worker-1"]);
    check(">>>sss", &["1 worker-0", "1 worker-1", "2 worker-0"]);
}

#[test]
fn a_broadcast_is_opened_and_left() {
    let mut model = typed(seen(), "v!");
    assert_eq!(model.opened(), Some(sample::CAKE));
    let told = |id: &str| Event::Opened(id.into(), Ok(ladder()));
    model = update(model, told(sample::STORM));
    assert!(model.opened.as_ref().unwrap().ladder.is_none(), "it is another one's");
    model = typed(model, "~");
    assert_eq!(model.opened(), None);
    model = update(typed(model, "^!"), told(sample::STORM));
    assert_eq!(model.opened(), Some(sample::STORM));
    model = typed(model, "v");
    assert_eq!(model.here().selected.as_deref(), Some("bea"));
    model = typed(model, "/cal!v");
    assert_eq!(model.here().selected.as_deref(), Some("cal"));
    model = typed(model, "~");
    assert_eq!(model.opened(), Some(sample::STORM), "the filter goes first");
    model = typed(model, "~");
    assert_eq!((model.opened(), model.focus), (None, Pane::Broadcasts));
    assert_eq!(typed(seen(), ">!").opened(), None, "a queue cannot be opened");
    assert_eq!(typed(seen(), "/none!!").opened(), None);
}

#[test]
fn it_ends_when_it_is_told_to() {
    for (keys, expected) in [
        ("q", true),
        ("v!q", true),
        ("?q", false),
        ("?qq", true),
        ("/q", false),
        ("~", false),
    ] {
        assert_eq!(typed(seen(), keys).is_over(), expected, "{keys}");
    }
    for typing in ["", "/", "?", "v!"] {
        let model = update(typed(seen(), typing), Event::Key(Key::Interrupt));
        assert!(model.is_over(), "{typing}");
    }
    assert!(update(seen(), Event::Quit).is_over());
}

#[test]
fn a_lost_node_is_told_and_forgotten() {
    let mut model = update(
        seen(),
        Event::Lost("cannot reach http://10.0.0.1:8205".into(), Duration::from_secs(12)),
    );
    assert!(screen(&model, 120, 40)[0].starts_with(" no node answers, for 12 s: cannot reach"));
    assert!(screen(&model, 120, 40)[1].contains("as of 20:42:07 UTC via node 1"));
    let mut other = sample::busy();
    other.board.cluster.node = 2;
    model = update(model, Event::Seen(Box::new(other.clone())));
    assert!(screen(&model, 120, 40)[0].starts_with(" node 1 was lost: going on with node 2. Go inside now: 31"));
    for _ in 0..30 {
        model = update(model, Event::Seen(Box::new(other.clone())));
    }
    assert!(screen(&model, 120, 40)[0].starts_with(" Go inside now: 31 people"));
}

/// The cursor stays with its broadcast when a newer one comes.
#[test]
fn the_cursor_stays_where_it_is() {
    let mut model = typed(seen(), "v");
    let mut sight = sample::busy();
    let newest = sample::broadcast("01M5", "high", "Buses", "2027-06-19T20:42:00Z", [9, 0, 0, 0], false);
    sight
        .board
        .broadcasts
        .insert(0, serde_json::from_value(newest).unwrap());
    model = update(model, Event::Seen(Box::new(sight)));
    assert_eq!(keys(&model)[..2], ["01M5".to_owned(), sample::STORM.to_owned()]);
    assert_eq!(typed(model, "!").opened(), Some(sample::CAKE));
}

#[test]
fn everything_is_on_one_screen() {
    for (columns, rows) in [(80, 24), (120, 40), (200, 60)] {
        let shown = screen(&seen(), columns, rows);
        let text = shown.join("\n");
        for part in [
            "Go inside now: 31 people have not confirmed.",
            "score 85  node 2 leads, term 7  201 of 237 connected",
            "queues of 2 nodes of 3",
            "critical        4     2 s     30",
            "   3  no answer         0",
            "worker-0  91.0 %",
            "alerts 2",
            "broadcasts 4",
            "31",
            "Leave by the nort",
            "q quit",
        ] {
            assert!(text.contains(part), "{columns} x {rows}: {part:?} is not in\n{text}");
        }
    }
}

#[test]
fn a_small_screen_has_a_pane_at_a_time() {
    let shown = screen(&typed(seen(), ">>"), 60, 20);
    let text = shown.join("\n");
    assert!(text.contains(" queues  nodes  workers  alerts  broadcasts"), "{text}");
    assert!(text.contains("leader") && !text.contains("worker-0"), "{text}");
    assert_eq!(screen(&seen(), 39, 20)[0], "40 x 10 or more, please");
    assert!(
        screen(&seen(), 40, 10).join("\n").contains("Go inside"),
        "it still answers"
    );
}

#[test]
fn the_ladder_shows_who_is_missing() {
    let model = update(typed(seen(), "!"), Event::Opened(sample::STORM.into(), Ok(ladder())));
    let text = screen(&model, 100, 30).join("\n");
    for part in [
        "CRITICAL  Go inside now  weather.warning",
        "Go inside the barn now.",
        "released, out since 20:40:07, expires 21:40; times of UTC",
        "meant          237  ███",
        "confirmed      206  ███",
        "3 skipped · 1 said need_help · 205 said ok · escalated once",
        "31 of 237 have not confirmed; 29 are not named here: campanile who",
        "said something other than ok 1\n│   bar  ann  said need_help",
        "not connected 1\n│   bar  bea  no session so far",
        "received, not confirmed 1\n│   bar  cal  received, not confirmed",
    ] {
        let flat = text
            .lines()
            .map(|line| line.trim_end_matches('│').trim_end())
            .collect::<Vec<_>>()
            .join("\n");
        assert!(flat.contains(part), "{part:?} is not in\n{flat}");
    }
    let low = screen(&model, 60, 14).join("\n");
    assert!(
        low.contains("31 of 237 have not confirmed") && low.contains("ann"),
        "{low}"
    );
    let waiting = screen(&typed(seen(), "!"), 80, 24).join("\n");
    assert!(waiting.contains("asking ..."), "{waiting}");
    let refused = update(
        typed(seen(), "!"),
        Event::Opened(sample::STORM.into(), Err("it is gone (404)".into())),
    );
    assert!(screen(&refused, 80, 24).join("\n").contains("it is gone (404)"));
}

#[test]
fn the_keys_are_explained() {
    let text = screen(&typed(seen(), "?"), 80, 24).join("\n");
    assert!(
        text.contains("turn the order round") && text.contains("has not confirmed or"),
        "{text}"
    );
    assert!(
        !screen(&typed(seen(), "?x"), 80, 24)
            .join("\n")
            .contains("turn the order round")
    );
    let typing = screen(&typed(seen(), "/cake"), 80, 24);
    assert!(typing[23].starts_with(" /cake_"), "{}", typing[23]);
    let kept = screen(&typed(seen(), "/cake!"), 80, 24).join("\n");
    assert!(kept.contains("broadcasts 1 /cake"), "{kept}");
}

/// Without colours nothing is coloured; with them, what is wrong is red.
#[test]
fn colours_are_as_the_user_wants_them() {
    use ratatui::style::Color;
    let colours = |palette: Palette| {
        let model = update(Model::new(palette), Event::Seen(Box::new(sample::busy())));
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        terminal.draw(|frame| draw(&model, frame)).unwrap();
        let cells = terminal.backend().buffer().content().to_vec();
        let mut used: Vec<Color> = cells.iter().flat_map(|cell| [cell.fg, cell.bg]).collect();
        used.retain(|colour| *colour != Color::Reset);
        used
    };
    assert!(colours(Palette::Plain).is_empty());
    assert!(colours(Palette::Colours).contains(&Color::Red));
}

#[test]
fn nothing_is_known_and_nothing_breaks() {
    let model = Model::new(Palette::Colours);
    for (columns, rows) in [(80, 24), (60, 20), (1, 1), (40, 10)] {
        screen(&model, columns, rows);
    }
    let model = typed(model, "v!s/x~?x>");
    assert!(screen(&model, 80, 24)[0].contains("looking"));
}
