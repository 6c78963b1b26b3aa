//! Each rule by itself, and the order in which they are asked.

use super::RIGHTS_AFTER;
use super::bench::{Bench, DAY, END, HOUR, QUIET, START, draft, user, wedding, widened};
use crate::model::directory::User;
use crate::model::directory::{WINDOW_AFTER, WINDOW_BEFORE, WeddingStatus};
use crate::model::{Draft, LocalTime, Place, PlaceKind, Priority};
use crate::state::command::Change;
use crate::state::zones::ZoneTable;
use crate::state::{Command, Outcome, Refused, RowKey, State};

#[test]
fn a_reach_of_ones_own_is_the_weddings_and_their_venue() {
    let bench = Bench::new();
    let check = |to, expected| bench.check("dj@w1", "cue.call", to, expected);
    check("to:w1", "yes");
    check("at:barn", "yes");
    check("to:w1 or at:barn roles:security", "yes");
    check("to:w2", "cross");
    check("to:w1 or to:w2", "cross");
    check("to:w1,w2", "cross");
    check("at:mill", "cross");
    check("to:w1 at:mill", "cross");
    check("to:unheard-of", "cross");
    check("everyone", "cross");
    check("roles:guest", "cross");
    check("segments:guests", "cross");
    check("segments:unheard-of", "unknown");
    check("users:guest-1", "yes");
    check("users:guest-1,ops", "yes");
    check("users:guest-1,guest-2", "cross");
    check("users:guest-1,guest-2 not users:guest-2", "yes");
    check("users:guest-2 to:w1", "yes");
    bench.check("dj@w1,w2", "cue.call", "to:w1,w2", "yes");
    bench.check("dj", "cue.call", "to:w1", "cross");
    bench.check("dj", "cue.call", "users:unheard-of", "no role");
}

#[test]
fn a_reach_of_the_venue_is_the_weddings_held_there_too() {
    let bench = Bench::new();
    let check = |who, to, expected| bench.check(who, "cue.call", to, expected);
    check("venue_ops@barn", "to:w1,w2 or at:barn", "yes");
    check("venue_ops@barn", "on_site:barn", "yes");
    check("venue_ops@barn", "users:guest-1,guest-2,guard", "yes");
    check("venue_ops@barn", "to:w3", "cross");
    check("venue_ops@barn", "at:mill", "cross");
    // who belongs to one wedding does not reach the other through its venue
    check("venue_ops@w1", "to:w2", "cross");
    check("sre", "everyone", "type");
    bench.check("sre", "system.test", "everyone", "yes");
    bench.check("sre", "system.test", "to:w1 or at:mill", "yes");
}

#[test]
fn who_is_on_site_counts_by_the_venue_alone_only_in_danger() {
    let bench = Bench::new();
    let on_site = |kind, priority| draft(kind, priority, "on_site:barn");
    let verdict = |draft: &Draft, at| bench.verdict("coordinator@w1", draft, at);
    assert_eq!(verdict(&on_site("venue.notice", Priority::High), QUIET), "yes");
    assert_eq!(verdict(&on_site("venue.notice", Priority::High), START), "cross");
    assert_eq!(verdict(&on_site("venue.evacuation", Priority::Critical), START), "yes");
}

#[test]
fn the_role_must_be_held_where_the_reach_comes_from() {
    let bench = Bench::new();
    let check = |who, to, expected| bench.check(who, "cue.call", to, expected);
    check("dj-1=dj@w1", "to:w1", "yes");
    check("dj-2=dj@w1", "to:w1", "no role");
    check("dj-1=coordinator@w1", "to:w1", "no role");
    check("unheard-of=dj@w1", "to:w1", "no role");
    // without a user it is enough that somebody holds it
    check("dj@w1", "to:w1", "yes");
    check("venue_ops@w1", "to:w1", "no role");
    check("dj@barn", "at:barn", "no role");
    check("dj-1=dj@w1,w2", "to:w1", "yes");
    check("dj-1=dj@w1,w2", "to:w1,w2", "no role");
    check("dj-1=dj@w1,w2", "at:barn", "yes");
    check("dj-1=dj@w1,w2", "users:guest-1", "yes");
    check("dj-1=dj@w1,w2", "users:guest-2", "no role");
    check("dj-1=dj@unheard-of,w1", "to:w1", "yes");
}

#[test]
fn rights_end_with_the_wedding() {
    let mut bench = Bench::new();
    let mut check = |status, at, expected| {
        bench.change(vec![wedding("w1", "barn", status)]);
        let cue = draft("cue.call", Priority::Normal, "to:w1");
        assert_eq!(bench.verdict("dj@w1", &cue, at), expected, "{status:?}");
        // the venue's people keep theirs: somebody must be able to tell
        assert_eq!(bench.verdict("venue_ops@barn", &cue, at), "yes", "{status:?}");
    };
    check(WeddingStatus::Cancelled, QUIET, "no role");
    check(WeddingStatus::Completed, END + RIGHTS_AFTER, "yes");
    check(WeddingStatus::Completed, END + RIGHTS_AFTER + 1, "no role");
    check(WeddingStatus::Active, END + 2 * RIGHTS_AFTER, "yes");
}

#[test]
fn a_type_and_a_priority_must_be_the_roles() {
    let bench = Bench::new();
    let check = |who, what, expected| bench.check(who, what, "to:w1", expected);
    check("dj@w1", "cue.call!high", "yes");
    check("dj@w1", "cue.call!critical", "type");
    check("dj@w1", "venue.notice", "type");
    check("dj@w1", "medical.assist!critical", "yes");
    check("guest@w1", "cue.call", "type");
    check("guest@w1", "medical.assist!critical", "type");
    check("coordinator@w1", "venue.evacuation!critical", "yes");
    check("coordinator@w1", "cue.call!critical", "critical");
    check("administrator", "cue.call!critical", "critical");
    check("nobody", "cue.call!critical", "critical");
    check("nobody", "venue.evacuation!critical", "yes");
    check("nobody", "any.thing", "yes");
}

#[test]
fn what_it_may_become_is_looked_at_as_well() {
    let bench = Bench::new();
    let check = |who, draft: Draft, expected| {
        assert_eq!(bench.verdict(who, &draft, QUIET), expected, "{:?}", draft.acknowledge);
    };
    check("dj@w1", widened("cue.call", "at:barn", None), "yes");
    check("dj@w1", widened("cue.call", "to:w2", None), "cross");
    check("dj@w1", widened("cue.call", "users:guest-2", None), "cross");
    check(
        "dj@w1",
        widened("cue.call", "at:barn", Some(Priority::Critical)),
        "type",
    );
    check(
        "coordinator@w1",
        widened("cue.call", "at:barn", Some(Priority::Critical)),
        "critical",
    );
    check(
        "coordinator@w1",
        widened("venue.notice", "at:barn", Some(Priority::Critical)),
        "yes",
    );
}

#[test]
fn product_news_waits_for_every_event_that_it_would_reach() {
    let bench = Bench::new();
    let check = |kind: &str, to, at, expected| {
        for who in ["sre", "nobody"] {
            let draft = draft(kind, Priority::Low, to);
            assert_eq!(bench.verdict(who, &draft, at), expected, "{who}, {kind} {to}");
        }
    };
    for to in [
        "to:w1",
        "at:barn",
        "on_site:barn",
        "everyone",
        "roles:guest",
        "users:guard",
        "segments:guests",
    ] {
        check("feature.released", to, START, "event day");
        check("feature.released", to, START - WINDOW_BEFORE, "event day");
        check("feature.released", to, START - WINDOW_BEFORE - 1, "yes");
        check("feature.released", to, END + WINDOW_AFTER, "event day");
        check("feature.released", to, END + WINDOW_AFTER + 1, "yes");
        check("system.report", to, START, "yes");
    }
    check("feature.released", "users:sre", START, "yes");
    check("feature.released", "roles:sre", START, "yes");
    let tomorrow = Draft {
        deliver_at: Some(START),
        ..draft("feature.released", Priority::Low, "to:w1")
    };
    assert_eq!(bench.verdict("sre", &tomorrow, START - 3 * DAY), "event day");
    let mut other = Bench::new();
    other.change(vec![wedding("w3", "mill", WeddingStatus::Cancelled)]);
    let news = draft("tier.changed", Priority::Low, "to:w3");
    assert_eq!(
        other.verdict("nobody", &news, START),
        "yes",
        "a cancelled wedding has no event day"
    );
}

/// When clocks at UTC show it.
fn local(at: i64, draft: Draft) -> Draft {
    let shown = crate::base::clock::rfc3339(at);
    let shown = LocalTime::parse(shown.trim_end_matches(".000Z"));
    Draft {
        deliver_at_local: Some(shown.unwrap()),
        ..draft
    }
}

/// In a zone two hours ahead of UTC.
fn ahead(id: &str) -> Vec<Change> {
    let Change::PutUser(person) = user(id, "guest") else {
        panic!("no user");
    };
    let table = ZoneTable {
        name: "Test/Ahead".into(),
        offset: 7_200,
        changes: Vec::new(),
        until: i64::MAX,
    };
    let timezone = table.name.clone();
    vec![
        Change::PutUser(User { timezone, ..person }),
        Change::KnowZones(vec![table]),
    ]
}

#[test]
fn product_news_at_a_local_time_waits_for_the_event_days_of_those_whom_it_reaches_then() {
    let mut bench = Bench::new();
    let news = |to| draft("feature.released", Priority::Low, to);
    let soon = START - 3 * DAY;
    let verdict = |bench: &Bench, at, to| bench.verdict("sre", &local(at, news(to)), soon);
    assert_eq!(verdict(&bench, START, "to:w1"), "event day");
    assert_eq!(verdict(&bench, START, "users:guest-1"), "event day");
    assert_eq!(verdict(&bench, START, "users:sre"), "yes");
    let after = END + WINDOW_AFTER + HOUR;
    assert_eq!(verdict(&bench, after, "to:w1"), "yes");
    // it is over where the guests are, and not two hours ahead
    bench.change(ahead("sre"));
    assert_eq!(verdict(&bench, after, "to:w1 or users:sre"), "yes");
    bench.change(ahead("guest-1"));
    assert_eq!(verdict(&bench, after, "to:w1"), "event day");
    // a time that is over means now
    assert_eq!(bench.verdict("sre", &local(soon, news("to:w1")), START), "event day");
    assert_eq!(bench.verdict("sre", &local(START, news("to:w1")), after), "yes");
}

#[test]
fn a_local_time_is_a_later_time() {
    let mut bench = Bench::new();
    let verdict = |bench: &Bench, to, at, asked_at| {
        let cue = local(at, draft("cue.call", Priority::Normal, to));
        bench.verdict("dj@w1", &cue, asked_at)
    };
    for to in ["everyone", "roles:dj", "segments:guests"] {
        assert_eq!(verdict(&bench, to, QUIET + HOUR, QUIET), "cross", "{to}");
    }
    assert_eq!(verdict(&bench, "users:guest-1", QUIET + HOUR, QUIET), "yes");
    assert_eq!(verdict(&bench, "users:guest-1,guest-2", QUIET + HOUR, QUIET), "cross");
    // who is on site then belongs to both weddings
    let outside = START - WINDOW_BEFORE - HOUR;
    assert_eq!(verdict(&bench, "on_site:barn", outside, QUIET), "yes");
    assert_eq!(verdict(&bench, "on_site:barn", START, QUIET), "cross");
    bench.change(ahead("sre"));
    let after = END + WINDOW_AFTER + HOUR;
    assert_eq!(
        verdict(&bench, "on_site:barn", after, QUIET),
        "cross",
        "it may go out two hours earlier"
    );
}

#[test]
fn the_checks_are_asked_in_their_order() {
    let mut bench = Bench::new();
    let everything_wrong = |kind| draft(kind, Priority::Critical, "to:w2");
    assert_eq!(
        bench.verdict("dj@w1", &everything_wrong("feature.released"), START),
        "event day"
    );
    // from here on outside of the window; critical is not limited, so the rate is tried with less
    for _ in 0..2 {
        assert!(bench.publish("dj@w1", draft("cue.call", Priority::Low, "to:w1"), QUIET));
    }
    let wrong = draft("venue.notice", Priority::Low, "to:w2");
    assert_eq!(bench.verdict("dj@w1", &wrong, QUIET), "rate");
    assert_eq!(bench.verdict("dj@w1", &everything_wrong("cue.call"), QUIET), "cross");
    let stranger = draft("guest.list", Priority::Critical, "to:w1");
    assert_eq!(bench.verdict("dj-2=dj@w1", &stranger, QUIET), "no role");
    assert_eq!(bench.verdict("dj@w1", &stranger, QUIET), "type");
    assert_eq!(
        bench.verdict("coordinator@w1", &draft("cue.call", Priority::Critical, "to:w1"), QUIET),
        "critical"
    );
}

#[test]
fn caps_are_by_sender_role_and_type() {
    let mut bench = Bench::new();
    let mut sent = |who: &str, kind: &str, priority| {
        let all = (0..20).filter(|_| bench.publish(who, draft(kind, priority, "to:w1"), QUIET));
        all.count()
    };
    assert_eq!(sent("dj-1=dj@w1", "cue.call", Priority::Normal), 2);
    assert_eq!(sent("dj-1=dj@w1", "cue.tea", Priority::Normal), 1, "counted by itself");
    assert_eq!(
        sent("dj-1=dj@w1", "medical.assist", Priority::Critical),
        20,
        "never limited"
    );
    assert_eq!(
        sent("coordinator-1=coordinator@w1", "cue.call", Priority::Normal),
        4,
        "twice as many"
    );
    assert_eq!(
        sent("administrator", "cue.call", Priority::Normal),
        6,
        "three times as many"
    );
    assert_eq!(sent("nobody", "cue.call", Priority::Normal), 20);
    bench.rules.rates.enabled = false;
    assert!(bench.publish("dj-1=dj@w1", draft("cue.call", Priority::Normal, "to:w1"), QUIET));
}

/// A state as a restart finds it.
fn restarted(state: &mut State) -> State {
    let mut again = State::new();
    let mut rows = state.take_rows();
    rows.sort_by(|a, b| a.key.cmp(&b.key));
    for row in rows {
        if let Some(value) = &row.value {
            again.load(&row.key, value).unwrap();
        }
    }
    again.loaded(state.applied());
    again
}

#[test]
fn counts_outlive_a_restart_and_end_by_log_time() {
    let mut bench = Bench::new();
    let cue = || draft("cue.call", Priority::Normal, "to:w1");
    assert!(bench.publish("dj@w1", cue(), QUIET));
    assert!(bench.publish("dj@w1", cue(), QUIET + 1));
    bench.state = restarted(&mut bench.state);
    assert_eq!(bench.verdict("dj@w1", &cue(), QUIET + 2), "rate");
    assert!(bench.publish("dj@w1", cue(), QUIET + HOUR));
    assert_eq!(
        bench.verdict("dj@w1", &cue(), QUIET + DAY - 1),
        "rate",
        "three are the day's"
    );
    assert!(bench.publish("dj@w1", cue(), QUIET + DAY));
}

#[test]
fn counts_are_part_of_what_nodes_agree_on_and_their_rows_go() {
    let (mut one, mut other) = (Bench::new(), Bench::new());
    let cue = || draft("cue.call", Priority::Normal, "to:w1");
    assert!(one.publish("dj-1=dj@w1", cue(), QUIET) && other.publish("coordinator-1=coordinator@w1", cue(), QUIET));
    assert_ne!(one.state.hash(), other.state.hash());
    assert_eq!(restarted(&mut one.state).rates().iter().count(), 1);
    one.run(QUIET + DAY, Command::Directory(Vec::new()));
    let gone = one
        .state
        .take_rows()
        .into_iter()
        .find(|row| matches!(row.key, RowKey::Rate(_)));
    assert_eq!(gone.unwrap().value, None);
}

#[test]
fn apply_counts_once_what_was_accepted_and_refuses_what_raced() {
    let mut bench = Bench::new();
    let cue = || draft("cue.call", Priority::Normal, "to:w1");
    let grant = bench.judge("dj-1=dj@w1", &cue(), QUIET).unwrap();
    let left = |bench: &Bench| bench.state.rates().look(grant.rate.as_ref().unwrap(), QUIET)[0].left;
    assert!(matches!(
        bench.send(1, cue(), grant.clone(), QUIET),
        Outcome::Published { replayed: false, .. }
    ));
    assert!(matches!(
        bench.send(1, cue(), grant.clone(), QUIET),
        Outcome::Published { replayed: true, .. }
    ));
    assert_eq!(left(&bench), 1, "what is repeated under its key does not count");
    let unknown = draft("cue.call", Priority::Normal, "to:unheard-of");
    assert!(matches!(
        bench.send(2, unknown, grant.clone(), QUIET),
        Outcome::Refused(Refused::UnknownWedding(_))
    ));
    assert_eq!(left(&bench), 1, "what is refused does not count");
    assert!(matches!(
        bench.send(3, cue(), grant.clone(), QUIET),
        Outcome::Published { .. }
    ));
    // a second node had judged on the same state
    let raced = bench.send(4, cue(), grant.clone(), QUIET);
    assert!(
        matches!(raced, Outcome::Refused(Refused::RateLimited { max: 2, .. })),
        "{raced:?}"
    );
    let place = Place {
        kind: PlaceKind::Wedding,
        id: "w1".into(),
    };
    bench.change(vec![Change::DeleteMember(place, "dj-1".into())]);
    let raced = bench.send(5, cue(), grant.clone(), QUIET + HOUR);
    assert!(
        matches!(raced, Outcome::Refused(Refused::NoSuchRole { .. })),
        "{raced:?}"
    );
}

#[test]
fn a_verdict_rests_only_on_the_places_it_needs() {
    let bench = Bench::new();
    let places = |who, to| {
        let grant = bench
            .judge(who, &draft("cue.call", Priority::Normal, to), QUIET)
            .unwrap();
        let places = grant.claim.map(|claim| claim.places).unwrap_or_default();
        places.into_iter().map(|place| place.id).collect::<Vec<_>>()
    };
    assert_eq!(places("dj@w1,w2", "to:w2"), ["w2"]);
    assert_eq!(places("dj@w1,w2", "to:w1,w2 or at:barn"), ["w1", "w2"]);
    assert_eq!(places("dj@w1,w2", "users:guest-1"), ["w1", "w2"]);
    assert!(places("nobody", "to:w1").is_empty());
    assert!(places("administrator", "to:w1").is_empty());
}
