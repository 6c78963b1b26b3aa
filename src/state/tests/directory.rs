//! Changes of the directory, and keys.

use super::*;

#[test]
fn changes_are_all_or_nothing() {
    let mut bench = Bench::new(two_places());
    let at = Place {
        kind: PlaceKind::Wedding,
        id: "w-1".into(),
    };
    let outcome = bench.run(Command::Directory(vec![
        Change::PutUser(user("fay", "guest")),
        Change::PutMember(at.clone(), "fay".into(), "guest".into()),
        Change::PutMember(at, "gus".into(), "guest".into()),
        Change::DeleteVenue("barn".into()),
    ]));
    let faults = vec![
        (2, Refused::UnknownUser("gus".into())),
        (3, Refused::VenueInUse("barn".into())),
    ];
    assert_eq!(outcome, Outcome::NotChanged(faults));
    assert_eq!(bench.state.directory().user_number("fay"), None);
}

#[test]
fn numbers_are_never_given_twice() {
    let mut bench = Bench::new(vec![
        Change::PutUser(user("ann", "guest")),
        Change::PutUser(user("bob", "guest")),
    ]);
    assert_eq!(
        bench.run(Command::Directory(vec![Change::DeleteUser("bob".into())])),
        Outcome::Changed(vec![Did::Deleted])
    );
    bench.run(Command::Directory(vec![Change::PutUser(user("bob", "guest"))]));
    assert_eq!(bench.state.directory().user_number("bob"), Some(2));
    let again = reload(&mut bench.state, &mut Disk::default());
    assert_eq!(
        (again.directory().user_number("bob"), again.directory().next_number()),
        (Some(2), 3)
    );
}

#[test]
fn a_key_answers_with_the_first_publish() {
    let mut bench = Bench::new(two_places());
    let first = bench.number(publish(draft(everyone()), 1, 5));
    assert_eq!(
        bench.run(publish(draft(everyone()), 1, 5)),
        Outcome::Published {
            number: first,
            replayed: true
        }
    );
    assert_eq!(
        bench.run(publish(draft(everyone()), 1, 6)),
        Outcome::Refused(Refused::KeyReused)
    );
    bench.at += 60_001;
    assert_ne!(bench.number(publish(draft(everyone()), 1, 5)), first);
    assert_eq!(
        bench
            .effects
            .iter()
            .filter(|effect| matches!(effect, Effect::Released(_)))
            .count(),
        2
    );
}
