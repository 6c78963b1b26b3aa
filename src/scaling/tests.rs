//! Decisions as tables: what is seen at which second, and how many threads there are then.

use super::forecast::{self, Capacity, Expected};
use super::{Decision, History, Load, Moment, Profile, decide};
use serde_json::json;

/// Out above 80 % busy for 2 s (rests 10 s), in below 30 % for 5 s (rests 10 s), nothing inward within 20 s after a way out.
fn profile() -> Profile {
    serde_json::from_value(json!({
        "threads_min": 1, "threads_max": 50, "per_core_max": 2.0, "start": [],
        "settle": "20s", "busy_after_max": 0.6,
        "season": {"months": [5, 6]},
        "weekend": {"factor": 1.5, "from": {"day": "friday", "hour": 14, "minute": 0}, "to": {"day": "sunday", "hour": 20, "minute": 59}},
        "emergency": {"critical": 10, "oldest": "250ms"},
        "forecast": {"ahead": "2h", "after": "6h", "per_team": 1.0, "per_guest": 0.5, "broadcasts_per_hour": 6.0, "reach": "2s", "headroom": 0.5},
        "rule": [
            {"name": "busy", "when": "always", "if": [{"measure": "busy", "above": 0.8}], "held": "2s", "step": "out", "cooldown": "10s"},
            {"name": "season", "when": "season", "if": [{"measure": "connections", "above": 100.0}], "step": "out", "cooldown": "30s"},
            {"name": "idle", "when": "normal", "if": [{"measure": "busy", "below": 0.3}], "held": "5s", "step": "in", "cooldown": "10s"},
        ],
    }))
    .unwrap()
}

/// A node that does what is decided, a decision a second.
struct Node {
    profile: Profile,
    history: History,
    moment: Moment,
    load: Load,
}

impl Node {
    fn new(threads: usize, cores: usize) -> Self {
        Self {
            profile: profile(),
            history: History::default(),
            moment: Moment {
                now: 0,
                cores,
                threads,
                is_season: false,
                is_weekend: false,
                forecast: 0,
            },
            load: Load::default(),
        }
    }

    fn step(&mut self) -> Decision {
        self.history.see(&self.profile, &self.load, &self.moment);
        let decision = decide(&self.profile, &self.load, &self.history, &self.moment);
        self.history.keep(&decision, &self.moment);
        self.moment.threads = decision.threads;
        self.moment.now += 1_000;
        decision
    }

    /// Some seconds with this share of their time busy; every change as `second:rule=threads`.
    fn check(&mut self, busy: f64, seconds: usize, expected: &str) {
        self.load.busy = busy;
        let mut changes = Vec::new();
        for _ in 0..seconds {
            let (at, before) = (self.moment.now / 1_000, self.moment.threads);
            let decision = self.step();
            if decision.threads != before {
                changes.push(format!("{at}:{}={}", decision.rule, decision.threads));
            }
        }
        assert_eq!(changes.join(" "), expected, "busy {busy}");
    }
}

#[test]
fn out_doubles_after_it_has_held_and_rests_in_between() {
    let mut node = Node::new(1, 4);
    node.check(0.8, 30, "");
    node.check(0.9, 40, "32:busy=2 42:busy=4 52:busy=8");
    // 2 for each core is the most
    node.check(0.9, 60, "");
}

#[test]
fn a_peak_that_does_not_hold_changes_nothing() {
    let mut node = Node::new(1, 4);
    for _ in 0..20 {
        node.check(0.95, 2, "");
        node.check(0.5, 1, "");
    }
}

#[test]
fn in_halves_after_it_has_settled_and_has_held() {
    let mut node = Node::new(8, 4);
    // the start counts as a way out: 20 s to settle
    node.check(0.1, 60, "20:idle=4 30:idle=2 40:idle=1");
}

#[test]
fn nobody_is_sent_away_who_would_be_called_back() {
    let mut node = Node::new(4, 4);
    node.check(0.29, 19, "");
    // half of the threads would be 58 % busy, then a quarter 116 %
    node.check(0.29, 41, "20:idle=2 30:idle=1");
    let mut node = Node::new(4, 4);
    node.profile.busy_after_max = 0.5;
    node.check(0.29, 60, "");
    node.check(0.25, 2, "60:idle=2");
}

#[test]
fn a_step_of_load_changes_direction_once() {
    let mut node = Node::new(1, 4);
    let mut directions = Vec::new();
    let work = |second: usize| if (60..180).contains(&second) { 3.2 } else { 0.2 };
    for second in 0..400 {
        node.load.busy = f64::min(work(second) / node.moment.threads as f64, 1.0);
        let before = node.moment.threads;
        let after = node.step().threads;
        if after != before {
            directions.push((second, after > before));
        }
    }
    let turns = directions.windows(2).filter(|pair| pair[0].1 != pair[1].1).count();
    assert_eq!(turns, 1, "up with the step, down after it: {directions:?}");
    assert!(
        directions.iter().all(|(second, up)| *up == (60..180).contains(second)),
        "{directions:?}"
    );
    assert_eq!(node.moment.threads, 1);
}

#[test]
fn an_emergency_takes_all_threads_at_once_past_any_cooldown() {
    for (critical, oldest, threads, rule) in [
        (9, 249, 2, "steady"),
        (10, 0, 8, "emergency"),
        (1, 250, 8, "emergency"),
        (0, 9_000, 2, "steady"),
    ] {
        let mut node = Node::new(1, 4);
        node.check(0.9, 3, "2:busy=2"); // its cooldown runs
        node.load.critical = critical;
        node.load.critical_oldest_ms = oldest;
        let decision = node.step();
        assert_eq!(
            (decision.threads, decision.rule.as_str()),
            (threads, rule),
            "{critical} for {oldest} ms"
        );
        if rule == "emergency" {
            assert_eq!(
                decision.reason,
                format!("{critical} critical waiting, the oldest for {oldest} ms: all threads at once")
            );
            assert_eq!(node.step().rule, "steady", "there are no more");
        }
    }
}

/// Seconds in which the machine is so: share that is free, share of the threads' time that they wait for a core.
fn crowd(node: &mut Node, seconds: usize, (free, crowded): (f64, f64), busy: f64, expected: &str) {
    (node.load.free, node.load.crowded) = (Some(free), Some(crowded));
    node.check(busy, seconds, expected);
}

fn node_that_gives_way(threads: usize, cores: usize) -> Node {
    let mut node = Node::new(threads, cores);
    node.profile.crowd =
        serde_json::from_value(json!({"busy": 0.5, "waiting": 0.3, "free_min": 0.1, "free_again": 0.4, "rest": "3s"}))
            .unwrap();
    node
}

#[test]
fn threads_that_wait_for_cores_give_way_at_once() {
    let mut node = node_that_gives_way(8, 4);
    crowd(&mut node, 1, (0.0, 0.45), 0.9, "0:crowd=4");
    crowd(&mut node, 1, (0.0, 0.35), 0.9, "1:crowd=2");
    // what is left has its cores: neither a rule nor an emergency nor a forecast brings threads back while there is no room
    node.load.critical = 1_000;
    node.moment.forecast = 8;
    crowd(&mut node, 30, (0.1, 0.05), 1.0, "");
    // 3 s of room, and then at once
    crowd(&mut node, 4, (0.5, 0.0), 1.0, "35:emergency=8");
    // with little to do a thread waits now and then although most is free: that is no crowd
    let mut calm = node_that_gives_way(8, 4);
    crowd(&mut calm, 1, (0.0, 0.45), 0.9, "0:crowd=4");
    calm.load.critical = 1_000;
    crowd(&mut calm, 5, (0.8, 0.28), 0.2, "4:emergency=8");
    // something is free and nobody waits: ten times as long
    let mut busy = node_that_gives_way(8, 4);
    crowd(&mut busy, 1, (0.0, 0.45), 0.9, "0:crowd=4");
    busy.load.critical = 1_000;
    crowd(&mut busy, 40, (0.3, 0.1), 0.9, "31:emergency=8");
    let mut idle = node_that_gives_way(8, 4);
    crowd(&mut idle, 15, (0.9, 0.9), 0.5, ""); // who hardly runs delays nobody
}

#[test]
fn a_crowd_that_comes_back_must_be_gone_for_longer() {
    let mut node = node_that_gives_way(2, 2);
    let mut changes = Vec::new();
    for second in 0..600 {
        // one thread leaves half of the machine free, and two have none
        let two = node.moment.threads == 2;
        (node.load.free, node.load.crowded) = if two {
            (Some(0.0), Some(0.5))
        } else {
            (Some(0.5), Some(0.0))
        };
        node.load.busy = 0.9;
        let before = node.moment.threads;
        if node.step().threads > before {
            changes.push(second);
        }
    }
    let apart: Vec<i32> = changes.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(apart.is_sorted() && changes.len() <= 8, "{changes:?}");
    assert!(apart.last().unwrap() > &100, "{changes:?}");
}

#[test]
fn a_season_has_rules_of_its_own() {
    let mut node = Node::new(2, 8);
    node.load.connections = 101;
    node.check(0.1, 10, "");
    node.moment.is_season = true;
    // no way in during the season, and its way out rests for 30 s
    node.check(0.1, 60, "10:season=4 40:season=8");
    node.load.connections = 100;
    node.check(0.1, 60, "");
    node.moment.is_season = false;
    node.check(0.1, 40, "135:idle=4 145:idle=2 155:idle=1");
}

#[test]
fn weekend_and_forecast_are_floors() {
    let mut node = Node::new(1, 4);
    node.moment.is_weekend = true;
    // one for each core, half as many again
    node.check(0.1, 60, "0:weekend=6");
    node.moment.forecast = 8;
    node.check(0.1, 60, "60:forecast=8");
    (node.moment.is_weekend, node.moment.forecast) = (false, 0);
    node.check(0.1, 60, "120:idle=4 130:idle=2 140:idle=1");
    node.moment.forecast = 99;
    node.check(0.1, 3, "180:forecast=8");
}

#[test]
fn the_number_is_brought_within_its_bounds() {
    let mut node = Node::new(40, 4);
    node.check(0.9, 2, "0:bounds=8");
    assert_eq!(node.step().rule, "steady", "there are no more");
    let mut node = Node::new(2, 4);
    node.profile.threads_min = 3;
    node.check(0.1, 2, "0:bounds=3");
}

#[test]
fn a_profile_starts_within_its_bounds_and_follows_the_cores() {
    let mut profile = profile();
    for (start, cores, expected) in [
        (&[][..], 1, 1),
        (&[], 2, 2),
        (&[], 16, 16),
        (&[8, 6, 4, 2], 4, 8),
        (&[8, 6, 4, 2], 16, 20),
        (&[30, 30], 64, 50),
    ] {
        profile.start = start.to_vec();
        assert_eq!(profile.start(cores), expected, "{start:?} on {cores} cores");
    }
    profile.per_core_max = None;
    assert_eq!((profile.start(4), profile.bounds(1)), (50, (1, 50)));
}

type Change = fn(&mut Profile);

#[test]
fn what_a_profile_cannot_be_is_said() {
    assert_eq!(profile().faults(), Vec::<String>::new());
    let changes: [(Change, &str); 10] = [
        (|profile| profile.threads_min = 51, "threads_min"),
        (|profile| profile.per_core_max = Some(0.0), "per_core_max"),
        (|profile| profile.start = vec![1; 5], "start"),
        (|profile| profile.season.months = vec![13], "season.months"),
        (|profile| profile.weekend.factor = 0.5, "weekend.factor"),
        (|profile| profile.weekend.to.hour = 24, "weekend.from and weekend.to"),
        (
            |profile| {
                profile.crowd = serde_json::from_value(
                    json!({"busy": 0.5, "waiting": 1.1, "free_min": 0.1, "free_again": 0.4, "rest": "3s"}),
                )
                .unwrap();
            },
            "crowd.busy",
        ),
        (|profile| profile.forecast.headroom = 1.1, "forecast.headroom"),
        (
            |profile| profile.rule[1].name = "busy".into(),
            "each rule must have a name",
        ),
        (
            |profile| profile.rule[0].r#if[0].below = Some(0.1),
            "each rule must have an \"if\"",
        ),
    ];
    for (change, start) in changes {
        let mut profile = profile();
        change(&mut profile);
        let faults = profile.faults();
        assert!(faults.len() == 1 && faults[0].starts_with(start), "{start}: {faults:?}");
    }
}

const HOUR: i64 = 3_600_000;

fn wedding(starts_at: i64, hours: i64, team: u64, guests: u64) -> Expected {
    Expected {
        starts_at,
        ends_at: starts_at + hours * HOUR,
        team,
        guests,
    }
}

fn capacity(deliveries_per_second: f64, threads: usize) -> Capacity {
    Capacity {
        deliveries_per_second,
        threads,
        machine: "a test".into(),
        commit: "none".into(),
        measured_at: "2027-06-19".into(),
    }
}

#[test]
fn capacity_is_raised_two_hours_ahead_and_released_six_hours_after() {
    let rules = profile().forecast;
    let weddings = [wedding(100 * HOUR, 8, 40, 120)];
    for (at, weddings_near, threads) in [
        (98 * HOUR - 1, 0, 0),
        (98 * HOUR, 1, 3),
        (114 * HOUR - 1, 1, 3),
        (114 * HOUR, 0, 0),
    ] {
        let seen = forecast::forecast(&weddings, &rules, None, (at, at + 7 * 24 * HOUR), 3);
        assert_eq!((seen.now.weddings, seen.threads), (weddings_near, threads), "at {at}");
        assert_eq!((seen.share, seen.warning), (None, None), "not measured");
        assert_eq!(seen.peak.weddings, usize::from(at < 114 * HOUR), "at {at}");
    }
}

#[test]
fn weddings_add_up_and_their_peak_is_found() {
    let rules = profile().forecast;
    let weddings = [
        wedding(100 * HOUR, 8, 40, 120),
        wedding(112 * HOUR, 5, 10, 80),
        wedding(900 * HOUR, 5, 1_000, 9_000),
    ];
    let seen = forecast::forecast(&weddings, &rules, Some(&capacity(1_000.0, 2)), (0, 200 * HOUR), 1);
    let steps: Vec<(i64, f64, f64)> = seen
        .steps
        .iter()
        .map(|step| (step.at / HOUR, step.need.connections, step.need.broadcasts_per_hour))
        .collect();
    assert_eq!(
        steps,
        [
            (0, 0.0, 0.0),
            (98, 100.0, 6.0),
            (110, 150.0, 12.0),
            (114, 50.0, 6.0),
            (123, 0.0, 0.0)
        ],
        "the third is beyond the horizon"
    );
    assert_eq!(
        (seen.peak_at, seen.peak.connections, seen.peak.deliveries_per_second),
        (Some(110 * HOUR), 150.0, 75.0)
    );
    // 75 a second, of half of the 1,000
    assert_eq!((seen.share, seen.warning), (Some(0.15), None));
}

#[test]
fn more_than_this_machine_can_do_is_warned_of() {
    let rules = profile().forecast;
    let weddings = [wedding(0, 8, 400, 1_200)];
    let seen = forecast::forecast(&weddings, &rules, Some(&capacity(800.0, 4)), (0, HOUR), 1);
    assert_eq!(seen.share, Some(1.25));
    assert_eq!(
        seen.warning.unwrap(),
        "1000 sessions are expected, which is 125 % of what this machine was measured to reach in time"
    );
    // 500 a second, and 100 of one thread
    assert_eq!(seen.threads, 5);
}
