//! What is on the screen, and what gives way where it is small.

use super::{Room, lines};
use crate::cli::sight::board::Alerts;
use crate::cli::sight::{Sight, sample};
use serde_json::json;

fn told(sight: &Sight, columns: usize, rows: usize) -> Vec<String> {
    let lines = lines(sight, Room { columns, rows });
    assert!(lines.len() <= rows && lines.iter().all(|line| line.width() <= columns));
    lines.iter().map(super::Line::text).collect()
}

#[test]
fn a_storm_is_seen_at_a_glance() {
    let expected = "\
Go inside now: 31 people have not confirmed.  20:42:07 UTC, from node 1
Node 3 does not answer.
score 85  node 2 leads, term 7  201 of 237 users connected  uptime 99.9 %  (queue time 612 ms: -15)

node  says       role         lag  sessions  waiting  address
   1  ready      follower       2       120       13  http://10.0.0.1:8205
   2  ready      leader         0        81        1  http://10.0.0.2:8205
   3  no answer  unreachable    -         0        -  http://10.0.0.3:8205

queue     waiting  oldest  written/s  in flight  retries  (2 of 3 nodes)
critical        4     2 s         30          2        3
high            0       -          0          0        0
normal         10  200 ms         12          0        0
low             0       -          0          0        0

2 threads (1 to 4, default)  1 to 2: busy, busy 91.0 % (above 0.8)
cache  96.3 % of 1,000 reads hit, 94.0 % in memory
delivery  612 ms mean, 95 of 100 within 1.0 s; a publish takes 3.1 ms

critical, newest first     missing     out  id
Go inside now            31 of 237   2 min  01M4QZ6A4S3W0G00000000000C
Leave by the north gate     nobody  22 min  01M4QZ6A4S3W0G00000000000D";
    assert_eq!(told(&sample::busy(), 200, 200).join("\n"), expected);
}

#[test]
fn a_calm_day_is_calm() {
    let told = told(&sample::calm(), 80, 24);
    assert_eq!(told[0], "All is well.  20:42:07 UTC, from node 1");
    assert_eq!(told[told.len() - 1], "no critical broadcast is out; 0 in the last hour");
    assert!(!told.iter().any(|line| line.contains("alert") || line.contains("cache")));
}

#[test]
fn it_fits_small_screens() {
    let mut sight = sample::busy();
    let alert = |at: usize| json!({"rule": format!("rule_{at}"), "severity": "warning", "reason": "x".repeat(200)});
    let items: Vec<_> = (0..12).map(alert).collect();
    sight.board.alerts = Some(serde_json::from_value(json!({ "items": items })).unwrap());
    for (columns, rows) in [(80, 24), (120, 40), (60, 20), (40, 10), (20, 3)] {
        let told = told(&sight, columns, rows);
        assert!(told[0].starts_with("Go inside now"), "{told:?}");
    }
    let told = told(&sight, 80, 24);
    assert!(told.contains(&"and 7 more".to_owned()), "{told:#?}");
    assert!(told[told.len() - 2].contains("31 of 237"), "{told:#?}");
}

#[test]
fn nobody_leads_and_it_says_so() {
    let mut sight = sample::calm();
    sight.board.cluster.leader = None;
    assert!(told(&sight, 80, 24)[1].starts_with("score 100  no leader, term 7"));
    sight.board.alerts = Some(Alerts::default());
    assert!(told(&sight, 80, 24).contains(&"no alert fires".to_owned()));
}
