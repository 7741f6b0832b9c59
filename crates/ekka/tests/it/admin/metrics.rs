//! Names and labels of the metrics, from the first scrape on.

use ekka::core::wire::RefusalReason;

use super::Server;
use super::fixture::{GivenNode, minority, view};

/// Every line of one metric.
fn rows<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    text.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))).collect()
}

#[tokio::test]
async fn all_names_are_there_from_the_first_scrape() {
    let server = Server::of(GivenNode::new(view())).await;
    let answer = server.get("/metrics").await;
    assert!(answer.head.contains("application/openmetrics-text"), "{}", answer.head);
    let text = answer.body;
    let with_rows = [
        "ekka_info",
        "ekka_ready",
        "ekka_not_ready_reason",
        "ekka_split",
        "ekka_split_seconds",
        "ekka_cluster_conflict",
        "ekka_members",
        "ekka_member_up",
        "ekka_member_removed_total",
        "ekka_leader_info",
        "ekka_leader_changes_total",
        "ekka_incarnation_gone_total",
        "ekka_lease_left_seconds",
        "ekka_quorum_voters",
        "ekka_quorum_in_reach",
        "ekka_quorum_can_lose",
        "ekka_heals_total",
        "ekka_heal_seconds_bucket",
        "ekka_link_reconnects_total",
        "ekka_link_up",
        "ekka_link_rtt_seconds",
        "ekka_lane_dropped_total",
        "ekka_lane_queue_bytes",
        "ekka_net_bytes_total",
        "ekka_handshake_refused_total",
        "ekka_tls_certificate_expiry_seconds",
        "ekka_clock_offset_seconds",
        "ekka_discovery_rounds_total",
        "ekka_discovery_candidates",
        "ekka_rpc_requests_total",
        "ekka_rpc_seconds_bucket",
        "ekka_rpc_seconds_count",
        "ekka_raft_has_leader",
        "ekka_raft_leads",
        "ekka_raft_applied_lag",
        "ekka_raft_commit_seconds_bucket",
        "ekka_disk_free_bytes",
        "ekka_disk_alarm",
        "ekka_fsync_seconds_bucket",
        "ekka_events_lagged_total",
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_start_time_seconds",
    ];
    for name in with_rows {
        let rows = rows(&text, name);
        assert!(!rows.is_empty(), "{name} has no row:\n{text}");
        let constant =
            rows.iter().all(|row| row.contains("cluster=\"ekka\"") && row.contains("node=\"ekka@10.0.0.1\""));
        assert!(constant, "{name} lacks the constant labels: {rows:?}");
    }
    assert!(!text.contains("_total_total"), "{text}");
    assert!(text.ends_with("# EOF\n"));
}

#[tokio::test]
async fn every_reason_of_a_refusal_has_a_zero() {
    let server = Server::of(GivenNode::new(view())).await;
    let text = server.get("/metrics").await.body;
    let rows = rows(&text, "ekka_handshake_refused_total");
    for reason in RefusalReason::ALL {
        let label = format!("reason=\"{}\"", reason.as_str());
        assert!(rows.iter().any(|row| row.contains(&label) && row.ends_with(" 0")), "{label}: {rows:?}");
    }
}

#[tokio::test]
async fn values_are_those_of_the_view() {
    let server = Server::of(GivenNode::new(minority())).await;
    let text = server.get("/metrics").await.body;
    let value = |name: &str, label: &str| {
        let row = rows(&text, name).into_iter().find(|row| row.contains(label));
        row.and_then(|row| row.rsplit(' ').next()).and_then(|v| v.parse::<f64>().ok())
    };
    for (name, label, expected) in [
        ("ekka_ready", "for=\"quorum\"", 0.0),
        ("ekka_ready", "for=\"available\"", 1.0),
        ("ekka_not_ready_reason", "code=\"minority\"", 1.0),
        ("ekka_not_ready_reason", "code=\"joining\"", 0.0),
        ("ekka_split", "state=\"minority\"", 1.0),
        ("ekka_split", "state=\"none\"", 0.0),
        ("ekka_split_seconds", "", 2.5),
        ("ekka_members", "status=\"up\"", 2.0),
        ("ekka_member_up", "peer=\"ekka@10.0.0.3\"", 0.0),
        ("ekka_quorum_in_reach", "group=\"durable\"", 1.0),
        ("ekka_link_rtt_seconds", "peer=\"ekka@10.0.0.2\"", 0.000_42),
        ("ekka_leader_changes_total", "group=\"membership\"", 2.0),
        ("ekka_clock_offset_seconds", "peer=\"ekka@10.0.0.2\"", 0.004),
        ("ekka_rpc_requests_total", "method=\"ekka.ping\",side=\"server\",result=\"ok\"", 3.0),
        ("ekka_rpc_requests_total", "result=\"busy\"", 0.0),
        ("ekka_rpc_seconds_bucket", "le=\"0.001\"", 3.0),
        ("ekka_rpc_seconds_sum", "method=\"ekka.ping\"", 0.002),
        ("ekka_cluster_conflict", "", 0.0),
        ("ekka_tls_certificate_expiry_seconds", "which=\"own\"", 86_400.0),
        ("ekka_tls_certificate_expiry_seconds", "which=\"ca\"", -1.0),
    ] {
        assert_eq!(value(name, label), Some(expected), "{name} {label}");
    }
    let split: f64 =
        rows(&text, "ekka_split").iter().filter_map(|row| row.rsplit(' ').next()?.parse::<f64>().ok()).sum();
    assert!((split - 1.0).abs() < f64::EPSILON, "exactly one state holds");
}
