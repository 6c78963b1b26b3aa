//! `POST /v1/import`: any length, faults by line, all or nothing per 1,000 lines, safe to send again.

use super::harness::directory::{import, member, user};
use super::harness::{Client, cluster};
use serde_json::{Value, json};

fn exists(client: &mut Client, id: &str) -> bool {
    let answer = client.get(&format!("/v1/users/{id}"));
    assert!(matches!(answer.status, 200 | 404), "{}", answer.text());
    answer.status == 200
}

#[test]
fn a_faulty_thousand_is_left_out_whole() {
    let shared = cluster::shared();
    let cluster = &*shared.cluster;
    let id = |n: usize| format!("import-{n}");
    let mut lines: Vec<Value> = (0..3_500).map(|n| user(&id(n), "guest", "starter")).collect();
    // A line that is wrong by itself, one of no known kind, and one that only the directory can refuse.
    lines[1_234] = json!({"kind": "user"});
    lines[1_300] = json!({"kind": "unicorn", "id": "x"});
    lines[3_200] = member("wedding", "no-such-wedding", "import-1", "guest");
    let answer = import(&mut cluster.client(1), &lines);
    assert!(matches!(answer.status, 200 | 422), "{}", answer.text());
    let text = answer.text();
    for line in ["1235", "1301", "3201"] {
        assert!(
            text.contains(line),
            "the fault in line {line} (from 1) is named in {text}"
        );
    }
    let applied: u64 = answer.header("campanile-applied").unwrap().parse().unwrap();
    cluster.wait_applied(applied, std::time::Duration::from_secs(10));
    for at in 0..3 {
        let mut client = cluster.client(at);
        for (n, taken) in [
            (0, true),
            (999, true),
            (1_000, false),
            (1_999, false),
            (2_000, true),
            (2_999, true),
        ] {
            assert_eq!(exists(&mut client, &id(n)), taken, "user {n} on node {at}");
        }
        assert!(!exists(&mut client, &id(3_000)) && !exists(&mut client, &id(3_499)));
    }

    // Mended and sent again as a whole: what was there stays, what was missing comes.
    lines[1_234] = user(&id(1_234), "guest", "starter");
    lines[1_300] = user(&id(1_300), "guest", "starter");
    lines[3_200] = user(&id(3_200), "guest", "starter");
    import(&mut cluster.client(2), &lines).expect(200);
    let mut client = cluster.client(2);
    assert!(
        [0, 1_000, 1_234, 3_200, 3_499]
            .iter()
            .all(|n| exists(&mut client, &id(*n)))
    );
}
