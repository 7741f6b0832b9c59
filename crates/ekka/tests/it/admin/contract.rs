//! Fields, codes and words that scripts rely on.

use std::time::Duration;

use ekka::core::control::Command;
use ekka::core::event::EventKind;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use super::Server;
use super::fixture::{GivenNode, minority, name, view, who};
use super::http::send;

#[tokio::test]
async fn status_is_the_contract_letter_by_letter() {
    let server = Server::of(GivenNode::new(view())).await;
    let id = |n: u32| format!("00000000-0000-0000-0000-00000000a00{n}");
    let then = "2026-11-23T02:13:07.120Z";
    let expected = json!({
        "node": "ekka@10.0.0.1", "node_id": id(1), "guid": "00000000-0000-0000-0000-00000000b001",
        "status": "up", "ready": true, "ready_for": {"quorum": true, "available": true},
        "reason": null, "reasons": [],
        "cluster_name": "ekka", "cluster_id": "00000000-0000-0000-0000-0000000000c1",
        "cluster_generation": 0, "cluster_version": "0.1.0", "version": "0.1.0", "cookie_id": "3f9a-02c1-77de",
        "leader": "ekka@10.0.0.1", "coordinator": "ekka@10.0.0.1",
        "quorum": {"voters": 3, "in_reach": 2, "needed": 2, "can_lose": 0},
        "volatile": {
            "generation": 2, "voters": ["ekka@10.0.0.1", "ekka@10.0.0.2"], "leader": "ekka@10.0.0.2", "votes": true,
            "lost": true,
        },
        "split": {
            "state": "suspected", "since": then, "majority": true,
            "unreachable": [{"name": "ekka@10.0.0.3", "node_id": id(3), "since": then, "evidence": "silent", "seen_by": []}],
            "links": [],
        },
        "conflicts": [], "clock_offset_ms": -3,
        "alarms": [{"code": "clock", "text": "your clock is ahead", "since": then, "id": null}],
        "advice": ["check the machine of 10.0.0.3"], "started": then,
    });
    assert_eq!(server.get("/v1/status").await.json(), expected);
}

#[tokio::test]
async fn members_and_links_are_the_contract() {
    let server = Server::of(GivenNode::new(view())).await;
    let members = server.get("/v1/members").await.json();
    let expected = json!({
        "name": "ekka@10.0.0.3", "node_id": "00000000-0000-0000-0000-00000000a003",
        "guid": "00000000-0000-0000-0000-00000000b003", "status": "down", "role": "core", "voter": true,
        "address": "10.0.0.3:4370", "version": "0.1.0", "since": "2026-11-23T02:13:07.120Z",
        "last_heard": "2026-11-23T02:13:07.120Z", "sync": null, "tags": {"zone": "a"},
    });
    assert_eq!((members.as_array().map(Vec::len), &members[2]), (Some(3), &expected));
    let links = server.get("/v1/links").await.json();
    let expected = json!({
        "from": "ekka@10.0.0.1", "to": "ekka@10.0.0.2", "state": "up", "via": null, "rtt_us": 420,
        "loss_1m": null, "last_ok": "2026-11-23T02:13:07.120Z",
    });
    assert_eq!(links[0], expected);
}

#[tokio::test]
async fn past_events_are_one_object_a_line() {
    let server = Server::of(GivenNode::new(view())).await;
    let answer = server.get("/v1/events?last=1&follow=false").await;
    let line: Value = serde_json::from_str(answer.body.trim_end()).expect("one line of JSON");
    let expected = json!({
        "time": "2026-11-23T02:13:07.120Z", "id": "e-000002", "node": "ekka@10.0.0.1", "type": "member.down",
        "severity": "warning", "text": "ekka@10.0.0.3 is down: silent", "decision": "d-00001f",
        "name": "ekka@10.0.0.3", "node_id": "00000000-0000-0000-0000-00000000a003", "evidence": "silent",
    });
    assert_eq!(line, expected);
}

#[tokio::test]
async fn a_stream_gives_the_past_then_what_comes_and_each_once() {
    let node = GivenNode::new(view());
    let server = Server::of(node.clone()).await;
    let mut stream = server.connect().await;
    send(&mut stream, "GET /v1/events?last=1", "", "").await;
    let mut text = String::new();
    read_until(&mut stream, &mut text, "e-000002").await;
    node.happen(2, EventKind::NodeStopped {}); // is in the past already
    node.happen(3, EventKind::LeaderChanged { from: None, to: Some(name(2)) });
    read_until(&mut stream, &mut text, "e-000003").await;
    assert!(text.contains("content-type: text/event-stream"), "{text}");
    assert!(text.contains("event: leader.changed"), "{text}");
    assert!(!text.contains("e-000001") && text.matches("id: e-000002").count() == 1, "{text}");
    server.shutdown.cancel();
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
    ended.expect("the stream ends with the server").expect("and cleanly");
}

async fn read_until(stream: &mut tokio::net::UnixStream, text: &mut String, end: &str) {
    let mut bytes = [0; 4096];
    while !(text.contains(end) && text.ends_with("\n\n\r\n")) {
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut bytes)).await.expect("in time");
        let read = read.expect("reads");
        assert!(read > 0, "ended before {end}: {text}");
        text.push_str(std::str::from_utf8(&bytes[..read]).expect("text"));
    }
}

#[tokio::test]
async fn readers_of_events_are_bounded() {
    let server = Server::of(GivenNode::new(view())).await;
    let mut readers = Vec::new();
    for _ in 0..64 {
        let mut stream = server.connect().await;
        send(&mut stream, "GET /v1/events", "", "").await;
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.expect("an answer");
        assert_eq!(&first, b"HTTP/1.1 200");
        readers.push(stream);
    }
    let answer = server.get("/v1/events").await;
    assert_eq!((answer.status, answer.json()["error"]["code"].clone()), (503, json!("too_many")));
}

#[tokio::test]
async fn a_decision_is_found_by_its_id_and_by_its_event() {
    let server = Server::of(GivenNode::new(view())).await;
    for id in ["d-00001f", "e-000002"] {
        let answer = server.get(&format!("/v1/why/{id}")).await;
        assert_eq!(answer.json()["what"], "ekka@10.0.0.3 is down", "{id}");
    }
    for (id, status, code) in [
        ("d-000099", 404, "not_found"),
        ("e-000001", 404, "not_found"),
        ("e-000009", 404, "not_found"),
        ("x", 400, "bad_request"),
    ] {
        let answer = server.get(&format!("/v1/why/{id}")).await;
        assert_eq!((answer.status, answer.json()["error"]["code"].clone()), (status, json!(code)), "{id}");
    }
    assert_eq!(server.get("/v1/decisions").await.json()[0]["id"], "d-00001f");
}

#[tokio::test]
async fn commands_reach_the_node_as_they_were_asked() {
    let node = GivenNode::new(view());
    let server = Server::of(node.clone()).await;
    let done = server.post("/v1/stop", "").await;
    assert_eq!(done.json(), json!({"text": "done", "decision": "d-000020", "cluster_id": null}));
    let plan = server.post("/v1/leave", r#"{"plan": true}"#).await;
    assert_eq!(plan.json(), json!({"plan": ["leave cluster ekka"], "refused": null}));
    server.post("/v1/force-leave", r#"{"node": "ekka@10.0.0.3", "alive": true}"#).await;
    server.post("/v1/force-leave", r#"{"node": "ekka@10.0.0.3", "replace_with": "ekka@10.0.0.4"}"#).await;
    server.post("/v1/join", r#"{"node": "ekka@10.0.0.2", "absorb": true, "plan": true}"#).await;
    server.post("/v1/recover", "").await;
    server.post("/v1/recover", r#"{"accept_loss": true}"#).await;
    let asked = node.commands.lock().expect("no panic elsewhere").clone();
    assert_eq!(
        asked,
        [
            Command::Stop { by: "api".into(), plan: false },
            Command::Leave { plan: true },
            Command::ForceLeave { node: "ekka@10.0.0.3".into(), replace_with: None, alive: true, plan: false },
            Command::ForceLeave {
                node: "ekka@10.0.0.3".into(),
                replace_with: Some("ekka@10.0.0.4".into()),
                alive: false,
                plan: false
            },
            Command::Join { name: "ekka@10.0.0.2".parse().expect("a name"), absorb: true, plan: true },
            Command::Recover { accept_loss: false, plan: false },
            Command::Recover { accept_loss: true, plan: false },
        ]
    );
}

#[tokio::test]
async fn who_does_not_wait_is_answered_while_the_work_goes_on() {
    let server = Server::of(GivenNode::new(view())).await;
    let answer = server.post("/v1/join", r#"{"node": "ekka@10.0.0.2", "wait": false}"#).await;
    assert_eq!((answer.status, answer.json()["accepted"].clone()), (202, json!(true)));
}

#[tokio::test]
async fn what_is_wrong_is_said_with_a_code_and_the_right_status() {
    let server = Server::of(GivenNode::new(view())).await;
    let cases = [
        ("/v1/form", "", 409, "refused"),
        ("/v1/force-leave", r#"{"node": "abcdef"}"#, 400, "ambiguous"),
        ("/v1/join", r#"{"node": "nobody"}"#, 400, "bad_request"),
        ("/v1/join", "{", 400, "bad_request"),
        ("/v1/leave", r#"{"plna": true}"#, 400, "bad_request"),
        ("/v1/reload", "", 409, "refused"),
        ("/v1/status", "", 405, "method_not_allowed"),
        ("/v1/nothing", "", 404, "not_found"),
    ];
    for (path, body, status, code) in cases {
        let answer = server.post(path, body).await;
        let said = answer.json()["error"].clone();
        assert_eq!((answer.status, said["code"].clone()), (status, json!(code)), "{path} {body}");
        assert!(said["message"].as_str().is_some_and(|text| text.len() > 5), "{path}: {said}");
    }
    let large = format!("{{\"node\": \"{}\"}}", "x".repeat(70_000));
    assert_eq!(server.post("/v1/join", &large).await.status, 413);
    assert_eq!(server.get("/v1/decisions?last=many").await.json()["error"]["code"], "bad_request");
    let whom = server.post("/v1/force-leave", r#"{"node": "abcdef"}"#).await.json();
    assert_eq!(whom["error"]["candidates"], json!(["ekka@10.0.0.2", "ekka@10.0.0.3"]));
}

#[tokio::test]
async fn readiness_follows_the_table_of_operations() {
    let healthy = Server::of(GivenNode::new(view())).await;
    let cut_off = Server::of(GivenNode::new(minority())).await;
    let table = [("/livez", 200, 200), ("/readyz", 200, 503), ("/readyz?for=available", 200, 200)];
    for (path, well, cut) in table {
        assert_eq!((healthy.get(path).await.status, cut_off.get(path).await.status), (well, cut), "{path}");
    }
    let answer = cut_off.get("/readyz").await.json();
    let reason = json!({"code": "minority", "text": "1 of 3 voters in reach", "since": "2026-11-23T02:13:07.120Z"});
    assert_eq!(answer, json!({"ready": false, "for": "quorum", "reasons": [reason], "split": "minority"}));
    assert_eq!(cut_off.get("/readyz?for=available").await.json()["split"], "minority");
    let words = cut_off.get("/readyz?verbose").await;
    assert!(words.body.contains("[+] joining ok") && words.body.contains("[-] minority"), "{}", words.body);
    assert_eq!(cut_off.get("/readyz?for=ever").await.status, 400);
    assert_eq!(healthy.get("/v1/health/safe-to-stop").await.status, 503);
}

#[tokio::test]
async fn cookie_says_what_each_member_signs_with_and_who_is_not_known() {
    let server = Server::of(GivenNode::new(view())).await;
    let expected = json!({
        "cookie_id": "3f9a-02c1-77de", "trusted": ["3f9a-02c1-77de", "0000-0000-0000"],
        "members": [
            {"name": "ekka@10.0.0.2", "node_id": who(2).node_id.to_string(), "cookie_id": "0000-0000-0000"},
            {"name": "ekka@10.0.0.3", "node_id": who(3).node_id.to_string(), "cookie_id": "unknown"},
        ],
    });
    assert_eq!(server.get("/v1/cookie").await.json(), expected);
}

#[tokio::test]
async fn only_a_thread_without_steps_is_not_live() {
    let stuck = Server::of(GivenNode::new(view()).stuck_for(Duration::from_secs(11))).await;
    assert_eq!((stuck.get("/livez").await.status, stuck.get("/v1/health/live").await.status), (503, 503));
    let slow = Server::of(GivenNode::new(view()).stuck_for(Duration::from_secs(9))).await;
    assert_eq!(slow.get("/livez").await.json(), json!({"live": true, "last_step_ms": 9000}));
}

#[tokio::test]
async fn the_document_lists_every_route_that_answers() {
    let server = Server::of(GivenNode::new(view())).await;
    let document = server.get("/v1/openapi.json").await.json();
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")), "{document}");
    let paths = document["paths"].as_object().expect("paths");
    let expected = [
        "/livez",
        "/readyz",
        "/metrics",
        "/v1/status",
        "/v1/members",
        "/v1/links",
        "/v1/events",
        "/v1/why/{id}",
        "/v1/decisions",
        "/v1/cookie",
        "/v1/version",
        "/v1/health/live",
        "/v1/health/ready",
        "/v1/health/safe-to-stop",
        "/v1/form",
        "/v1/join",
        "/v1/leave",
        "/v1/stop",
        "/v1/drain",
        "/v1/undrain",
        "/v1/heal",
        "/v1/force-leave",
        "/v1/recover",
        "/v1/reload",
        "/v1/rpc/ping",
        "/v1/rpc/call",
        "/v1/bench/rpc",
        "/v1/bench/commit",
        "/v1/bench/tokens",
        "/v1/bench/ceiling",
        "/v1/bench/count",
        "/v1/locks",
        "/v1/locks/hold",
        "/v1/locks/force-release",
        "/v1/bench/table",
        "/v1/tables",
        "/v1/tables/{table}",
        "/v1/tables/{table}/put",
        "/v1/tables/{table}/delete",
        "/v1/tables/{table}/get",
        "/v1/tables/{table}/scan",
        "/v1/tables/{table}/rows",
        "/v1/tables/{table}/watch",
        "/v1/tables/{table}/losses",
        "/v1/backup",
        "/v1/restore",
        "/v1/verify",
    ];
    for path in expected {
        assert!(paths.contains_key(path), "{path} is not in the document");
    }
    assert_eq!(paths.len(), expected.len());
    let text = document.to_string();
    for (at, _) in text.match_indices("\"#/components/schemas/") {
        let name = text[at + 22..].split('"').next().expect("a name");
        assert!(document["components"]["schemas"].get(name).is_some(), "{name} is named and not there");
    }
}

#[tokio::test]
async fn calls_go_through_as_json_and_their_errors_have_codes() {
    let server = Server::of(GivenNode::new(view())).await;
    let call = async |body: Value| server.post("/v1/rpc/call", &body.to_string()).await;
    let answer = call(json!({"node": "ekka@10.0.0.2", "method": "shop.price", "request": {"item": "bolt"}})).await;
    let mut answer = answer.json();
    assert!(answer["took_us"].take().is_u64());
    let id = "00000000-0000-0000-0000-00000000a002";
    let expected = json!({
        "node": "ekka@10.0.0.2", "node_id": id, "method": "shop.price",
        "answer": {"asked": {"item": "bolt"}, "price": 7}, "took_us": null,
    });
    assert_eq!(answer, expected);
    let full = who(2).node_id.to_string();
    for (body, status, code, unknown) in [
        (json!({"node": full, "method": "shop.hang"}), 504, "timed_out", json!(true)),
        (json!({"node": full, "method": "shop.prize"}), 404, "no_such_method", json!(false)),
        (json!({"node": "ekka@10.0.0.9", "method": "shop.price"}), 404, "not_found", Value::Null),
        (json!({"node": "000000", "method": "shop.price"}), 400, "ambiguous", Value::Null),
    ] {
        let answer = call(body.clone()).await;
        let error = answer.json()["error"].clone();
        assert_eq!((answer.status, &error["code"]), (status, &json!(code)), "{body}");
        assert_eq!(error["outcome_unknown"], unknown, "{body}");
    }
    let answer = server.post("/v1/rpc/ping", r#"{"node": "ekka@10.0.0.2"}"#).await.json();
    assert!(answer["rtt_us"].is_u64() && answer["node_id"] == id, "{answer}");
    let answer = server.post("/v1/rpc/ping", r#"{"node": "ekka@10.0.0.3"}"#).await;
    assert_eq!((answer.status, answer.json()["error"]["code"].clone()), (503, json!("unreachable")));
}

#[tokio::test]
async fn a_measurement_is_bounded_and_gives_a_rate() {
    let server = Server::of(GivenNode::new(view())).await;
    let ask = async |body: Value| server.post("/v1/bench/rpc", &body.to_string()).await;
    let answer = ask(json!({"node": "ekka@10.0.0.2", "bytes": 16, "callers": 64, "for_ms": 500})).await;
    let expected = json!({
        "node": "ekka@10.0.0.2", "bytes": 16, "callers": 64, "calls": 100, "calls_per_s": 200.0,
        "p50_us": 50, "p99_us": 90,
    });
    assert_eq!(answer.json(), expected);
    for (bytes, callers, for_ms) in [(2_000_000, 1, 1), (1, 0, 1), (1, 1, 600_000)] {
        let answer = ask(json!({"node": "ekka@10.0.0.2", "bytes": bytes, "callers": callers, "for_ms": for_ms})).await;
        assert_eq!(answer.status, 400);
    }
}

#[tokio::test]
async fn commits_are_measured_and_tokens_taken_and_read() {
    let server = Server::of(GivenNode::new(view())).await;
    let ask = async |body: Value| server.post("/v1/bench/commit", &body.to_string()).await;
    let expected = json!({
        "group": "durable", "proposers": 64, "commits": 200, "unknown": 1, "commits_per_s": 400.0, "p50_us": 900,
        "p99_us": 2500, "fsyncs_per_commit": 0.25, "first": 7, "last": 206, "leads": true,
    });
    assert_eq!(ask(json!({"proposers": 64, "for_ms": 500})).await.json(), expected);
    assert_eq!(ask(json!({"group": "volatile", "proposers": 1, "for_ms": 500})).await.status, 409);
    for (proposers, for_ms) in [(0, 1), (2_000, 1), (1, 600_000)] {
        assert_eq!(ask(json!({"proposers": proposers, "for_ms": for_ms})).await.status, 400);
    }
    let taken = server.post("/v1/bench/tokens", r#"{"count": 3}"#).await.json();
    assert_eq!(taken, json!({"from": 207, "to": 210}));
    assert_eq!(server.get("/v1/bench/ceiling").await.json(), json!({"ceiling": 207}));
    assert_eq!(server.get("/v1/bench/ceiling?applied=true").await.json(), json!({"ceiling": 200}));
}
