//! A drill's sheet, and that nothing else has one.

use super::{Node, broadcast};
use serde_json::{Value, json};

async fn sheet(node: &Node, id: &str) -> Value {
    node.get(&format!("/v1/broadcasts/{id}/drill")).await.expect(200).json()
}

async fn published(node: &Node, with: &Value) -> String {
    let answer = node.post("/v1/broadcasts", &broadcast(with)).await.expect(201).json();
    answer["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_has_a_sheet_and_nothing_else_has() {
    let node = Node::start().await;
    node.furnish().await;
    let id = published(&node, &json!({"drill": true, "acknowledge": {"within": "15s"}})).await;
    let path = format!("/v1/broadcasts/{id}");
    node.post(&format!("{path}/acknowledge?user=bob"), &json!({"answer": "ok"}))
        .await
        .expect(200);
    let seen = sheet(&node, &id).await;
    let ann = json!({"count": 1, "people": [{"user": "ann", "roles": ["couple"]}]});
    assert_eq!(
        (&seen["id"], &seen["title"], &seen["status"]),
        (&json!(id), &json!("T"), &json!("released"))
    );
    assert_eq!(
        (&seen["measured"], &seen["final"]),
        (&json!("acknowledged"), &json!(false))
    );
    assert_eq!(
        (&seen["targeted"], &seen["confirmed"], &seen["grade"]),
        (&json!(2), &json!(1), &json!("F"))
    );
    for within in ["within_15s", "within_60s"] {
        assert_eq!(seen[within], json!({"count": 1, "share": 0.5}), "{seen}");
    }
    assert_eq!(seen["slowest"], json!({"user": "bob", "roles": ["dj"]}));
    assert!(
        seen["slowest_ms"].is_u64() && seen["median_ms"] == seen["slowest_ms"],
        "{seen}"
    );
    assert_eq!((&seen["not_confirmed"], &seen["unreachable"]), (&ann, &ann));
    node.post(&format!("{path}/acknowledge?user=ann"), &json!({"answer": "ok"}))
        .await
        .expect(200);
    let seen = sheet(&node, &id).await;
    assert_eq!((&seen["grade"], &seen["final"]), (&json!("A"), &json!(true)));
    assert_eq!(seen["not_confirmed"], json!({"count": 0, "people": []}));

    let real = published(&node, &json!({})).await;
    node.get(&format!("/v1/broadcasts/{real}/drill"))
        .await
        .expect_problem(409, "NOT_A_DRILL", "");
    node.get("/v1/broadcasts/01ARZ3NDEKTSV4RRFFQ69G5FAV/drill")
        .await
        .expect_problem(404, "NOT_FOUND", "");
    node.stop().await;
}

/// Of any priority: times are kept for each person although nobody is asked to confirm.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_question_receipts_count() {
    let node = Node::start().await;
    node.furnish().await;
    let id = published(&node, &json!({"drill": true, "priority": "low"})).await;
    node.post("/v1/receipts?user=ann", &json!({"received": [id]}))
        .await
        .expect(200);
    let seen = sheet(&node, &id).await;
    assert_eq!((&seen["measured"], &seen["confirmed"]), (&json!("received"), &json!(1)));
    assert_eq!(seen["slowest"]["user"], "ann");
    assert!(seen["slowest_ms"].as_u64().unwrap() < 15_000, "{seen}");
    let nobody = published(&node, &json!({"drill": true, "audience": {"users": ["ghost"]}})).await;
    let seen = sheet(&node, &nobody).await;
    assert_eq!(
        (&seen["grade"], &seen["within_15s"]),
        (&Value::Null, &json!({"count": 0, "share": null}))
    );
    node.stop().await;
}
