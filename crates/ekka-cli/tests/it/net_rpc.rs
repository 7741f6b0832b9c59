//! Calls between real processes, by the command line.

use std::time::Duration;

use crate::support::Cluster;
use crate::support::metrics::metric;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(40);

fn said(output: &std::process::Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn every_node_is_pinged_and_says_what_it_serves() {
    let mut cluster = Cluster::on_loopback(3);
    let health = format!("{}:9100", cluster.host(0));
    cluster.agents[0].set("health.listen", &health);
    cluster.form(LIMIT);
    for from in &cluster.agents {
        for to in &cluster.agents {
            let answer = from.json(&["rpc", "ping", &to.name, "--count", "2"]).expect("a pong");
            assert_eq!(answer["node"], json!(to.name));
            assert_eq!(answer["rtt_us"].as_array().map(Vec::len), Some(2), "{answer}");
        }
    }
    let (node, other) = (&cluster.agents[0], &cluster.agents[1]);
    let (code, out, _) = said(&node.ekka(&["rpc", "ping", &other.name, "--count", "3"]));
    assert_eq!(code, Some(0));
    assert!(out.matches(&format!("{} answered after", other.name)).count() == 3 && out.contains("mean"), "{out}");

    let id = other.json(&["status"]).expect("answers")["node_id"].as_str().expect("a text").to_owned();
    let info = node.json(&["rpc", "call", &id[..8], "ekka.info"]).expect("an answer");
    assert_eq!((&info["answer"]["name"], &info["answer"]["node_id"]), (&json!(other.name), &json!(id)));
    let methods: Vec<&Value> = info["answer"]["methods"].as_array().expect("a list").iter().collect();
    assert_eq!(
        methods.iter().map(|method| &method["name"]).collect::<Vec<_>>(),
        ["ekka.echo", "ekka.info", "ekka.ping"]
    );

    let (code, _, error) = said(&node.ekka(&["rpc", "call", &other.name, "shop.price", "{}"]));
    assert_eq!(code, Some(4), "{error}");
    assert!(error.contains("no method `shop.price`; it has ekka.echo, ekka.info, ekka.ping"), "{error}");
    let (code, _, error) = said(&node.ekka(&["rpc", "ping", "ekka@10.9.9.9"]));
    assert!(code == Some(4) && error.contains("Members: ") && error.contains(&other.name), "{error}");
    let (code, _, error) = said(&node.ekka(&["rpc", "call", &other.name, "ekka.ping", "{"]));
    assert!(code == Some(2) && error.contains("is no JSON"), "{error}");
    let (code, _, error) = said(&node.ekka(&["rpc", "call", &other.name, "ekka.ping", "[1, 2]"]));
    assert!(code == Some(1) && error.contains("cannot be read"), "{code:?}: {error}");

    let counted = |label: &str| metric(&health, "ekka_rpc_requests_total", label).expect("metrics");
    // From and to itself too: 2 pings of each of the 3, then 3 of the second.
    assert!((counted("method=\"ekka.ping\",side=\"client\",result=\"ok\"") - 9.0).abs() < 0.5);
    assert!((counted("method=\"ekka.ping\",side=\"server\",result=\"ok\"") - 6.0).abs() < 0.5);
}

#[test]
fn a_frozen_node_times_calls_out_and_a_stopped_one_is_known_to_be_gone() {
    let mut cluster = Cluster::on_loopback(3);
    cluster.form(LIMIT);
    let (node, frozen) = (&cluster.agents[0], cluster.agents[1].name.clone());
    node.json(&["rpc", "ping", &frozen]).expect("a pong");
    cluster.agents[1].freeze();
    let output = node.ekka(&["--json", "rpc", "ping", &frozen, "--timeout", "300ms"]);
    let (code, _, error) = said(&output);
    let error: Value = serde_json::from_str(&error).expect("JSON on standard error");
    assert_eq!((code, &error["error"]["code"]), (Some(5), &json!("timed_out")), "{error}");
    assert_eq!(error["error"]["outcome_unknown"], json!(true), "{error}");
    // The others call each other as before.
    for _ in 0..3 {
        let answer = node.json(&["rpc", "ping", &cluster.agents[2].name, "--timeout", "2s"]).expect("a pong");
        assert!(answer["max_us"].as_u64().expect("a number") < 1_000_000, "{answer}");
    }
    cluster.wait("calls of the frozen node fail at once", LIMIT, |cluster| {
        let (code, _, error) = said(&cluster.agents[0].ekka(&["--json", "rpc", "ping", &frozen, "--timeout", "1s"]));
        let error: Value = serde_json::from_str(&error).map_err(|_| format!("{code:?}: {error}"))?;
        // The first ones end with the link, and may have been carried out; then none is sent any more.
        let known = error["error"]["code"] == "unreachable" && error["error"]["outcome_unknown"] == false;
        if known { Ok(()) } else { Err(error.to_string()) }
    });
    cluster.agents[1].thaw();
    cluster.wait("it is called again once it is back", LIMIT, |cluster| {
        let (code, out, error) = said(&cluster.agents[0].ekka(&["rpc", "ping", &frozen, "--timeout", "1s"]));
        if code == Some(0) { Ok(()) } else { Err(out + &error) }
    });
}
