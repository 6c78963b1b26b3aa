//! The same local time for everybody: who gets it when, and who has to wait.

use super::*;
use crate::model::LocalTime;
use crate::state::zones::ZoneTable;

pub(super) const HOUR: i64 = 3_600_000;
pub(super) const DAY: i64 = 24 * HOUR;
pub(super) const TICK: Tick = Tick {
    kept_ms: 90 * 86_400_000,
    missed_after_ms: 60_000,
    retry: crate::model::Retry::DEFAULT,
};
/// An hour before UTC, three hours behind it, and half a day before it.
const ZONES: [(&str, i32); 3] = [("Test/East", 3_600), ("Test/West", -10_800), ("Test/Far", 43_200)];

fn tables() -> Change {
    let table = |(name, offset): (&str, i32)| ZoneTable {
        name: name.into(),
        offset,
        changes: Vec::new(),
        until: i64::MAX,
    };
    Change::KnowZones(ZONES.map(table).to_vec())
}

pub(super) fn in_zone(id: &str, timezone: &str) -> Change {
    Change::PutUser(User {
        timezone: timezone.into(),
        ..user(id, "guest")
    })
}

/// Ann (0) in the east, Bob (1) in the west, Cid (2) without a zone.
pub(super) fn people() -> Vec<Change> {
    vec![
        in_zone("ann", "Test/East"),
        in_zone("bob", "Test/West"),
        in_zone("cid", ""),
        tables(),
    ]
}

/// When it is this late after `NOON`, which is no noon, at UTC; an hour earlier in the east.
pub(super) fn local(hours: i64) -> LocalTime {
    let at = crate::base::clock::rfc3339(NOON + hours * HOUR);
    LocalTime::parse(at.trim_end_matches(".000Z")).unwrap()
}

pub(super) fn at(hours: i64, draft: Draft) -> Draft {
    Draft {
        deliver_at_local: Some(local(hours)),
        ..draft
    }
}

pub(super) fn to(ids: &[&str]) -> Draft {
    draft(Clause {
        users: strings(ids),
        ..Clause::default()
    })
}

pub(super) fn tick_at(bench: &mut Bench, at: i64) {
    bench.at = at;
    bench.run(Command::Tick(TICK));
}

pub(super) fn hot(bench: &Bench, number: u64) -> crate::state::broadcasts::Hot {
    bench.state.broadcasts().get(number).unwrap().clone()
}

/// Until when the first three have to wait.
pub(super) fn until(bench: &Bench, number: u64) -> [Option<i64>; 3] {
    let aside = hot(bench, number).ledger.aside.clone().unwrap_or_default();
    [0, 1, 2].map(|user| aside.until(user).filter(|_| aside.awaits_local_time(user)))
}

#[test]
fn everybody_gets_it_when_their_own_clocks_show_the_time() {
    let (mut bench, mut disk) = (Bench::new(people()), Disk::default());
    let number = bench.number(publish(at(4, draft(everyone())), 1, 1));
    let [east, middle, west] = [3, 4, 7].map(|hours| NOON + hours * HOUR);
    let broadcast = bench.state.broadcast(number).unwrap();
    assert_eq!((broadcast.position, broadcast.targeted), (None, 3));
    assert_eq!(
        broadcast.expires_at,
        west + HOUR,
        "it lives on after it has gone out to all"
    );
    assert_eq!(bench.state.next_due(), Some(east));
    let again = bench.run(publish(at(4, draft(everyone())), 1, 1));
    assert_eq!(again, Outcome::Published { number, replayed: true });
    bench.state = reload(&mut bench.state, &mut disk);
    tick_at(&mut bench, east - 1);
    assert_eq!(bench.released(), []);
    tick_at(&mut bench, east);
    assert_eq!(bench.released(), [(number, ReleaseKind::Broadcast, vec![0])]);
    bench.state = reload(&mut bench.state, &mut disk);

    let broadcast = bench.state.broadcast(number).unwrap();
    assert_eq!((broadcast.targeted, broadcast.held, broadcast.skipped), (3, 0, 0));
    assert_eq!(until(&bench, number), [None, Some(west), Some(middle)]);
    let reached = hot(&bench, number);
    let aside = reached.ledger.aside.clone().unwrap();
    assert_eq!((aside.held(), aside.skipped(), aside.reason(1)), (0, 0, None));
    assert_eq!([0, 1, 2].map(|user| reached.is_for(user)), [true, false, false]);
    bench.run(receipts(number, Step::Received, &[0, 1, 2]));
    let received = |bench: &Bench| hot(bench, number).ledger.count(Step::Received);
    assert_eq!(received(&bench), 1, "nobody confirms what is not out to them");

    tick_at(&mut bench, middle - 1);
    assert_eq!(bench.released(), []);
    tick_at(&mut bench, middle);
    bench.state = reload(&mut bench.state, &mut disk);
    tick_at(&mut bench, west + 5);
    tick_at(&mut bench, west + 6);
    assert_eq!(
        bench.released(),
        [
            (number, ReleaseKind::Again, vec![2]),
            (number, ReleaseKind::Again, vec![1])
        ]
    );
    assert_eq!(hot(&bench, number).out_at(1), west + 5);
    assert_eq!((bench.state.next_due(), until(&bench, number)), (None, [None; 3]));
    bench.run(receipts(number, Step::Received, &[1, 2]));
    assert_eq!(hot(&bench, number).status(bench.at), Status::Completed);
}

#[test]
fn it_goes_out_at_once_to_those_whose_time_has_come() {
    let mut bench = Bench::new(people());
    let some = bench.number(publish(at(1, draft(everyone())), 1, 1));
    assert_eq!(bench.released(), [(some, ReleaseKind::Broadcast, vec![0])]);
    assert_eq!(
        until(&bench, some),
        [None, Some(NOON + 4 * HOUR), Some(NOON + HOUR)].map(|at| at)
    );
    let all = bench.number(publish(at(-4, draft(everyone())), 2, 2));
    assert_eq!(bench.released(), [(all, ReleaseKind::Broadcast, vec![0, 1, 2])]);
    assert_eq!(hot(&bench, all).ledger.aside, None);
    assert_eq!(bench.state.broadcast(all).unwrap().expires_at, NOON + HOUR);
}

/// Zones of others are no reason to release it: those who come, go or move until it is due for somebody still count.
#[test]
fn it_goes_out_when_it_is_first_due_for_somebody_it_is_meant_for() {
    let (mut bench, mut disk) = (Bench::new(people()), Disk::default());
    bench.run(Command::Directory(vec![in_zone("far", "Test/Far")]));
    let number = bench.number(publish(at(14, to(&["bob", "cid", "new"])), 1, 1));
    assert_eq!(
        bench.state.next_due(),
        Some(NOON + 2 * HOUR),
        "somewhere it is time then"
    );
    tick_at(&mut bench, NOON + 2 * HOUR);
    bench.state = reload(&mut bench.state, &mut disk);
    assert_eq!(
        (bench.released(), bench.state.next_due()),
        (vec![], Some(NOON + 13 * HOUR))
    );
    assert_eq!(hot(&bench, number).status(bench.at), Status::Scheduled);
    let changes = vec![in_zone("new", "Test/East"), in_zone("cid", "Test/West")];
    bench.run(Command::Directory(changes));
    tick_at(&mut bench, NOON + 13 * HOUR);
    let new = bench.state.directory().user_number("new").unwrap();
    assert_eq!(bench.released(), [(number, ReleaseKind::Broadcast, vec![new])]);
    // from here on the groups stay as they are
    let changes = vec![in_zone("late", "Test/East"), in_zone("bob", "Test/Far")];
    bench.run(Command::Directory(changes));
    assert_eq!(
        until(&bench, number),
        [None, Some(NOON + 17 * HOUR), Some(NOON + 17 * HOUR)]
    );
    tick_at(&mut bench, NOON + 17 * HOUR);
    assert_eq!(bench.released(), [(number, ReleaseKind::Again, vec![1, 2])]);
}

#[test]
fn who_has_no_zone_is_where_the_audience_is() {
    let place = |kind, id: &str| Place { kind, id: id.into() };
    let mut bench = Bench::new(people());
    let west = |id: &str| Venue {
        timezone: "Test/West".into(),
        ..venue(id)
    };
    let east = Wedding {
        timezone: "Test/East".into(),
        ..wedding("w-east", "barn", NOON)
    };
    let changes = vec![
        Change::PutVenue(west("barn")),
        Change::PutVenue(west("mill")),
        Change::PutWedding(east),
        Change::PutMember(place(PlaceKind::Venue, "barn"), "cid".into(), "dj".into()),
        Change::PutMember(place(PlaceKind::Venue, "mill"), "cid".into(), "dj".into()),
        Change::PutMember(place(PlaceKind::Wedding, "w-east"), "cid".into(), "dj".into()),
    ];
    bench.run(Command::Directory(changes));
    let check = |weddings: &[&str], venues: &[&str], hours: i64| {
        let clauses = [(weddings, true), (venues, false)]
            .into_iter()
            .filter(|(ids, _)| !ids.is_empty());
        let clause = |(ids, is_wedding)| {
            let (named, none) = (strings(ids), Vec::new());
            let (weddings, venues) = if is_wedding { (named, none) } else { (none, named) };
            Clause {
                weddings,
                venues,
                ..Clause::default()
            }
        };
        let mut draft = at(4, draft(everyone()));
        draft.audience.clauses = clauses.map(clause).collect();
        let groups = bench
            .state
            .directory()
            .groups(&draft, local(4), &[2].into_iter().collect());
        let expected = std::collections::BTreeMap::from([(NOON + hours * HOUR, [2].into_iter().collect())]);
        assert_eq!(groups, expected, "{weddings:?} {venues:?}");
    };
    check(&[], &["barn"], 7);
    check(&["w-east"], &[], 3);
    check(&[], &["barn", "mill"], 7);
    check(&["w-east"], &["barn"], 4);
    // a place that moves takes those along for whom it is still to come
    let barn = Draft {
        deliver_at_local: Some(local(14)),
        ..draft(Clause {
            venues: strings(&["barn"]),
            ..Clause::default()
        })
    };
    let number = bench.number(publish(barn, 1, 1));
    let far = Venue {
        timezone: "Test/Far".into(),
        ..venue("barn")
    };
    bench.run(Command::Directory(vec![Change::PutVenue(far)]));
    tick_at(&mut bench, NOON + 2 * HOUR);
    assert_eq!(bench.released(), [(number, ReleaseKind::Broadcast, vec![2])]);
}

#[test]
fn times_that_cannot_be_are_refused() {
    let mut bench = Bench::new(people());
    let mut check = |hours: i64, ids: &[&str], expires_at: Option<i64>, expected: Option<Refused>| {
        let key = bench.state.applied() as u8;
        let draft = Draft {
            expires_at,
            ..at(hours, to(ids))
        };
        let outcome = bench.run(publish(draft, key, 1));
        let refused = match outcome {
            Outcome::Refused(refused) => Some(refused),
            other => {
                assert!(matches!(other, Outcome::Published { .. }), "{other:?}");
                None
            }
        };
        assert_eq!(refused, expected, "{hours} h, {ids:?}, {expires_at:?}");
    };
    let far = Refused::ScheduleTooFar(7 * DAY as u64);
    check(7 * 24, &["ann", "cid"], None, None);
    check(7 * 24 - 3, &["bob"], None, None);
    check(7 * 24 - 2, &["ann", "bob"], None, Some(far.clone()));
    check(7 * 24 + 1, &["ann"], None, None);
    check(7 * 24 + 1, &["cid"], None, Some(far));
    // it must not be over before it is out to all of them
    let late = Some(Refused::ExpiresBeforeDelivery);
    check(4, &["ann", "bob"], Some(NOON + 7 * HOUR), late.clone());
    check(4, &["ann", "bob"], Some(NOON + 7 * HOUR + 1), None);
    check(1, &["ann", "bob"], Some(NOON + 2 * HOUR), late);
    check(4, &["ann"], Some(NOON + 3 * HOUR + 1), None);
    check(-4, &["ann", "bob"], Some(NOON), Some(Refused::ExpiresBeforeRelease));
    check(-4, &["ann", "bob"], Some(NOON + 1), None);
}

#[test]
fn nobody_there_is_no_reason_to_forget_it() {
    let mut bench = Bench::new(people());
    let nobody = bench.number(publish(at(4, to(&["new"])), 1, 1));
    let joined = bench.number(publish(at(4, to(&["bee"])), 2, 2));
    let past = bench.number(publish(at(-4, to(&["new"])), 3, 3));
    assert_eq!(bench.released(), [(past, ReleaseKind::Broadcast, vec![])]);
    tick_at(&mut bench, NOON + 3 * HOUR);
    bench.run(Command::Directory(vec![in_zone("bee", "")]));
    tick_at(&mut bench, NOON + 4 * HOUR);
    assert_eq!(bench.released(), [(joined, ReleaseKind::Broadcast, vec![3])]);
    tick_at(&mut bench, NOON + 7 * HOUR);
    assert_eq!(bench.released(), [(nobody, ReleaseKind::Broadcast, vec![])]);
    assert_eq!(
        (hot(&bench, nobody).recipients.len(), bench.state.next_due()),
        (0, None)
    );

    let mut empty = Bench::new(Vec::new());
    let number = empty.number(publish(at(4, to(&["new"])), 1, 1));
    assert_eq!(empty.state.next_due(), Some(NOON + 4 * HOUR), "at UTC");
    tick_at(&mut empty, NOON + 4 * HOUR);
    assert_eq!(empty.released(), [(number, ReleaseKind::Broadcast, vec![])]);
}
