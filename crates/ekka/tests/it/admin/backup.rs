//! Backups and comparisons over HTTP.

use serde_json::{Value, json};

use super::Server;
use super::fixture::{GivenNode, view};

fn lines(body: &str) -> Vec<Value> {
    // The body may be cut into chunks, whose lengths stand between the lines.
    body.lines().filter_map(|line| serde_json::from_str(line).ok()).filter(Value::is_object).collect()
}

#[tokio::test]
async fn a_restore_tells_how_far_it_is_and_what_it_did() {
    let server = Server::of(GivenNode::new(view())).await;
    let table = json!({
        "table": "users", "what": "", "made": false, "added": 12, "replaced": 0, "kept": 0, "stay_deleted": 0,
        "expired": 0, "deleted": 0,
    });
    let answer = server.post("/v1/restore", "good backup.").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let mut said = lines(&answer.body);
    assert_eq!(
        said.pop().expect("a last line")["done"],
        json!({
            "plan": false, "tables": [table], "token_ceiling": 9, "notes": [],
        })
    );
    assert!(said.iter().all(|line| line["progress"] == table), "{said:?}");
    let plan = server.post("/v1/restore?plan=true", "good backup.").await;
    assert_eq!(lines(&plan.body)[0]["done"]["plan"], true, "{}", plan.body);
}

#[tokio::test]
async fn what_is_no_backup_is_refused_with_its_place_and_what_fails_later_is_the_last_line() {
    let server = Server::of(GivenNode::new(view())).await;
    let answer = server.post("/v1/restore", "bad, not one at all").await;
    let error = answer.json()["error"].clone();
    assert_eq!((answer.status, &error["code"]), (400, &json!("bad_backup")));
    assert!(error["message"].as_str().is_some_and(|text| text.contains("at byte 0")), "{error}");
    let answer = server.post("/v1/restore?mode=replace", "good backup.").await;
    let last = lines(&answer.body).pop().expect("a last line");
    let text = last["error"]["message"].as_str().unwrap_or_default();
    assert!(text.contains("the table users, after 3 rows"), "{last}");
    assert_eq!(server.post("/v1/restore?mode=other", "good").await.status, 400);
    let answer = server.get("/v1/backup").await;
    assert_eq!((answer.status, answer.json()["error"]["code"].clone()), (503, json!("not_loaded")));
}

#[tokio::test]
async fn a_comparison_says_of_each_node_how_it_stands() {
    let server = Server::of(GivenNode::new(view())).await;
    let answer = server.post("/v1/verify", r#"{"table": "users"}"#).await.json();
    let peer = |n: u32, state: &str, counts: (u64, u64), ranges: Value, why: Value| {
        json!({
            "node": format!("ekka@10.0.0.{n}"), "node_id": format!("00000000-0000-0000-0000-00000000a00{n}"),
            "state": state, "behind": counts.0, "ahead": counts.1, "ranges": ranges, "why": why,
        })
    };
    let expected = json!([{
        "table": "users", "kind": "available", "rows": 5, "digest": "0000000000000abc", "differs": true,
        "left_out": null, "peers": [
            peer(2, "differs", (0, 0), json!([3, 200]), Value::Null),
            peer(3, "behind", (4, 1), json!([]), Value::Null),
            peer(4, "not_compared", (0, 0), json!([]), json!("it is down")),
        ],
    }]);
    assert_eq!(answer, expected);
    assert_eq!(server.post("/v1/verify", "").await.json(), expected);
}
