//! `POST /v1/broadcasts/batch`: a result or a problem a line, in order, and a key that covers line n as KEY/n.

use super::harness::load::draft;
use super::harness::{Answer, Client, cluster, directory};

fn post(client: &mut Client, key: &str, body: &str) -> Answer {
    let headers = [("Idempotency-Key", key), ("Content-Type", "application/x-ndjson")];
    client.must("POST", "/v1/broadcasts/batch", &headers, body.as_bytes())
}

#[test]
fn a_batch_answers_each_line_in_order() {
    let shared = cluster::shared();
    let cluster = &*shared.cluster;
    let users = vec!["batch".to_owned()];
    directory::import_users(&mut cluster.client(0), &users);
    let bad = [17, 50, 399];
    let lines: Vec<String> = (0..400)
        .map(|n| match n {
            17 => "{\"type\": ".to_owned(),
            50 => draft("normal", "no such priority", &users)
                .to_string()
                .replace("normal", "absurd"),
            399 => "[]".to_owned(),
            _ => draft("low", &format!("batch {n}"), &users).to_string(),
        })
        .collect();
    let body = lines.join("\n") + "\n";
    let first = post(&mut cluster.client(1), "batch-key", &body).expect(200).lines();
    assert_eq!(first.len(), lines.len());
    let mut positions = Vec::new();
    for (n, result) in first.iter().enumerate() {
        if bad.contains(&n) {
            assert!(
                result["code"].is_string() && result["status"].as_u64() >= Some(400),
                "{n}: {result}"
            );
            continue;
        }
        positions.push(result["position"].as_u64());
        let id = result["id"].as_str().unwrap_or_else(|| panic!("{n}: {result}"));
        let found = cluster
            .client(1)
            .get(&format!("/v1/broadcasts/{id}"))
            .expect(200)
            .json();
        assert_eq!(
            found["body"],
            format!("batch {n}"),
            "the answer stands where its line stood"
        );
    }

    assert!(positions.is_sorted(), "lines of one batch keep their order");

    let again = post(&mut cluster.client(2), "batch-key", &body).expect(200).lines();
    let ids = |results: &[serde_json::Value]| results.iter().map(|result| result["id"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&first), ids(&again));
    // The first line of the batch and a single post under KEY/1 are the same publish.
    let single = super::keys::post(&mut cluster.client(0), "batch-key/1", &draft("low", "batch 0", &users));
    assert_eq!(single.expect(201).json()["id"], first[0]["id"]);
}
