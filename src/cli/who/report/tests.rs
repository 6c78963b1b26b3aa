//! Who stands where, what is said of them, and when it is over.

use super::{Group, Named, Report};
use crate::base::clock::parse_rfc3339;
use crate::cli::who::clock::Clock;
use crate::cli::who::options::State;
use crate::cli::who::screen;
use serde_json::{Value, json};

fn asked(with: &Value) -> Value {
    let mut broadcast = json!({"id": "01J", "status": "released", "type": "weather.warning", "priority": "critical",
        "title": "Go inside", "body": "Now.", "acknowledge": {"within": "15s"},
        "released_at": "2027-06-19T20:12:03.000Z", "expires_at": "2027-06-19T20:42:00.000Z"});
    for (name, value) in with.as_object().unwrap() {
        broadcast[name] = value.clone();
    }
    broadcast
}

fn person(user: &str, state: &str, with: &Value) -> Value {
    let mut item = json!({"user": user, "roles": ["guest"], "state": state, "reason": null, "at": null});
    for (name, value) in with.as_object().unwrap() {
        item[name] = value.clone();
    }
    item
}

/// One of every kind, by the name of the group where they belong.
fn everybody() -> Vec<Value> {
    let at = |with: Value| with;
    vec![
        person("away", "targeted", &at(json!({"reason": "no_session"}))),
        person("excluded", "excluded", &json!({"reason": "excluded"})),
        person("failed", "failed", &json!({"reason": "write_failed"})),
        person("expired", "expired", &json!({"reason": "no_session"})),
        person("skipped", "skipped", &json!({"reason": "muted_category"})),
        person(
            "held",
            "held",
            &json!({"reason": "quiet_hours", "until": "2027-06-20T11:00:00.000Z"}),
        ),
        person(
            "has-it",
            "received",
            &json!({"reason": "not_acknowledged", "at": "2027-06-19T20:12:04.000Z"}),
        ),
        person(
            "sent",
            "sent",
            &json!({"reason": "sent_not_received", "at": "2027-06-19T20:12:03.500Z"}),
        ),
        person("soon", "targeted", &json!({})),
        person(
            "left",
            "targeted",
            &json!({"reason": "offline_since", "since": "2027-06-19T18:05:00.000Z", "roles": ["dj"]}),
        ),
        person(
            "fine",
            "acknowledged",
            &json!({"answer": "ok", "at": "2027-06-19T20:12:09.000Z"}),
        ),
        person(
            "hurt",
            "acknowledged",
            &json!({"answer": "need_help", "at": "2027-06-19T20:12:20.000Z", "late": true}),
        ),
    ]
}

fn told(report: &Report, named: &Named) -> Vec<String> {
    let now = parse_rfc3339("2027-06-19T20:14:00Z").unwrap();
    let clock = Clock::new(Some("America/New_York"), now);
    let text = screen::lines(report, named, &clock).join("\n");
    anstream::adapter::strip_str(&text)
        .to_string()
        .lines()
        .map(str::to_owned)
        .collect()
}

#[test]
fn who_needs_help_stands_first_and_everybody_has_a_reason() {
    let report = Report::of(asked(&json!({})), everybody());
    let expected = "\
CRITICAL  weather.warning  Go inside: Now.
01J, released, out since 16:12:03, expires 16:42; times of America/New_York

said something other than ok 1: see to them first
  guest  hurt      said need_help 16:12:20, late

not connected 2: nothing reaches their phones; go there, or call
  dj     left      no session since 14:05
  guest  away      no session so far

connected, not received 2: on its way; a phone that sleeps gets it when it wakes
  guest  sent      sent 16:12:03, not received
  guest  soon      nothing sent yet

received, not confirmed 1: they have it and say nothing; go there, or call
  guest  has-it    received 16:12:04, not confirmed

held by quiet hours 1
  guest  held      quiet hours until 06-20 07:00

skipped by their own preferences 1
  guest  skipped   mutes this category

expired before they were done 1
  guest  expired   no session so far

failed 1
  guest  failed    write failed

excluded by the sender 1
  guest  excluded  excluded

8 of 10 have not confirmed (2 not connected; 2 connected, not received; 1 received, not confirmed; \
1 held by quiet hours; 1 expired before they were done; 1 failed); 1 said something other than ok";
    assert_eq!(told(&report, &Named::NotDone), expected.lines().collect::<Vec<_>>());
    let all = told(&report, &Named::All).join("\n");
    assert!(all.contains("done 1\n  guest  fine      confirmed 16:12:09"), "{all}");
}

#[test]
fn what_is_needed_by_role_stands_below_the_total() {
    let need = |role: &str, count: u64, confirmed: u64| json!({"role": role, "count": count, "confirmed": confirmed, "met": confirmed >= count});
    let needs = json!([need("security", 2, 1), need("dj", 1, 1)]);
    let report = Report::of(asked(&json!({"needs": needs})), everybody());
    let told_last = told(&report, &Named::NotDone).pop();
    assert_eq!(told_last.as_deref(), Some("needed: security 1 of 2; dj 1 of 1, enough"));
    assert_eq!(report.json(&Named::NotDone)["needs"], needs);
    // where everybody has to confirm there is nothing to add
    let plain = Report::of(asked(&json!({"needs": []})), everybody());
    assert!(
        told(&plain, &Named::NotDone)
            .iter()
            .all(|line| !line.starts_with("needed"))
    );
}

#[test]
fn who_waits_for_their_own_time_is_told_when_that_is() {
    let early = person("early", "targeted", &json!({"until": "2027-06-20T11:00:00.000Z"}));
    let report = Report::of(asked(&json!({})), vec![early]);
    let all = told(&report, &Named::NotDone).join("\n");
    assert!(
        all.contains("guest  early  their own time comes at 06-20 07:00"),
        "{all}"
    );
}

#[test]
fn states_choose_whom_to_name_and_the_total_stays() {
    let report = Report::of(asked(&json!({})), everybody());
    let groups = report.groups(&Named::In(vec![State::Targeted, State::Acknowledged]));
    let groups: Vec<_> = groups.iter().map(|(group, people)| (*group, people.len())).collect();
    let expected = [
        (Group::Answered, 1),
        (Group::NotConnected, 2),
        (Group::NotReceived, 1),
        (Group::Done, 1),
    ];
    assert_eq!(groups, expected);
    assert!(
        told(&report, &Named::In(vec![State::Read]))
            .last()
            .unwrap()
            .starts_with("8 of 10 ")
    );
    let shown = report.json(&Named::In(vec![State::Held]));
    assert_eq!(shown["groups"], json!([{"group": "held", "people": [everybody()[5]]}]));
    assert_eq!(
        (&shown["meant"], &shown["waiting"], &shown["settled"]),
        (&json!(10), &json!(8), &json!(false))
    );
}

/// The total, and whether it is settled and over.
#[track_caller]
fn check(broadcast: &Value, people: Vec<Value>, total: &str, settled: bool, over: bool) {
    let report = Report::of(asked(broadcast), people);
    assert_eq!(report.totals(), total);
    assert_eq!((report.is_settled(), report.is_over()), (settled, over), "{total}");
}

#[test]
fn a_script_can_tell_when_it_is_over() {
    let ok = || person("a", "acknowledged", &json!({"answer": "ok"}));
    let help = || person("b", "acknowledged", &json!({"answer": "need_help"}));
    let has_it = || person("c", "received", &json!({"reason": "not_acknowledged"}));
    let skipped = || person("d", "skipped", &json!({"reason": "critical_only"}));
    let waits = "1 of 2 has not confirmed (1 received, not confirmed)";
    check(&json!({}), vec![ok(), skipped()], "all 1 have confirmed", true, true);
    check(&json!({}), vec![ok(), has_it()], waits, false, false);
    check(
        &json!({"status": "cancelled"}),
        vec![ok(), has_it()],
        waits,
        false,
        true,
    );
    check(&json!({"status": "expired"}), vec![ok(), has_it()], waits, false, true);
    let help_is_out = "all 2 have confirmed; 1 said something other than ok";
    check(&json!({}), vec![ok(), help()], help_is_out, false, true);
    check(
        &json!({"acknowledge": null}),
        vec![has_it()],
        "all 1 have received it",
        true,
        true,
    );
    check(
        &json!({"status": "scheduled"}),
        vec![],
        "it has not gone out yet",
        false,
        false,
    );
    check(&json!({}), vec![], "it is for nobody", true, true);
}

#[test]
fn a_drill_ends_with_its_sheet() {
    let sheet = json!({"final": true, "grade": "C", "targeted": 1});
    let report = Report::of(asked(&json!({"drill": true})), vec![]).with_sheet(sheet.clone());
    let lines = told(&report, &Named::NotDone);
    assert!(lines[0].ends_with("[drill]"), "{lines:?}");
    let at = lines.iter().position(|line| line == "it is for nobody").unwrap();
    assert_eq!(lines[at + 2], "drill: grade C");
    assert_eq!(report.json(&Named::NotDone)["sheet"], sheet);
}

/// Somebody who had it on the way and has left is not connected, whatever was sent before.
#[test]
fn who_left_since_is_not_waited_for_at_a_phone() {
    let gone =
        json!({"reason": "sent_not_received", "at": "2027-06-19T20:12:03.000Z", "since": "2027-06-19T20:13:00.000Z"});
    let report = Report::of(asked(&json!({})), vec![person("a", "sent", &gone)]);
    let lines = told(&report, &Named::NotDone);
    assert!(
        lines.contains(&"  guest  a  sent 16:12:03, not received, no session since 16:13".to_owned()),
        "{lines:?}"
    );
    assert!(
        lines.iter().any(|line| line.starts_with("not connected 1")),
        "{lines:?}"
    );
}
