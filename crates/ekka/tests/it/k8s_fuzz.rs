//! What an API server sends can be anything: seeded mutations of real answers, for a bounded time.

use std::time::{Duration, Instant};

use crate::fuzz_support::run;
use ekka::discovery::{fuzz_k8s_list, fuzz_k8s_watch};

const LISTS: &[&str] = &[
    r#"{"kind": "EndpointSliceList", "metadata": {"resourceVersion": "7", "continue": "abc"}, "items": [
        {"metadata": {"name": "s", "resourceVersion": "5"}, "addressType": "IPv4", "endpoints": [
            {"addresses": ["10.0.0.1"], "conditions": {"ready": true}, "hostname": "p-0",
             "targetRef": {"kind": "Pod", "name": "p-0", "uid": "u"}},
            {"addresses": ["fd00::1"], "conditions": {"ready": null}, "hostname": null}]}]}"#,
    r#"{"metadata": {"name": "svc"}, "subsets": [{"addresses": [{"ip": "10.0.0.1", "hostname": "p-0"}],
        "notReadyAddresses": [{"ip": "fd00::7"}], "ports": [{"port": 1}]}]}"#,
    r#"{"kind": "Status", "message": "x is forbidden: User \"system:serviceaccount:a:b\" cannot list", "code": 403}"#,
    r#"{"metadata": {"name": "ekka", "ownerReferences": [{"kind": "StatefulSet", "name": "e", "controller": true}]},
        "spec": {"replicas": 3, "podManagementPolicy": "Parallel"}}"#,
];
const WATCHES: &[&str] = &[concat!(
    r#"{"type":"ADDED","object":{"metadata":{"name":"s","resourceVersion":"1"},"addressType":"IPv4","endpoints":[{"addresses":["10.0.0.1"]}]}}"#,
    "\n",
    r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"2"}}}"#,
    "\n",
    r#"{"type":"DELETED","object":{"metadata":{"name":"s","resourceVersion":"3"}}}"#,
    "\n",
    r#"{"type":"ERROR","object":{"kind":"Status","code":410,"message":"too old"}}"#,
)];
const PIECES: &[&str] =
    &["null", "[", "{", "}", "\"", "\\u0000", "-1", "1e999", "99999999999", "é", "\n", "..", "%2F", "\u{7}"];

#[test]
fn lists_and_objects_can_hold_anything() {
    run("list", LISTS, PIECES, fuzz_k8s_list);
}

#[test]
fn lines_of_a_watch_can_hold_anything() {
    run("watch", WATCHES, PIECES, fuzz_k8s_watch);
}

#[test]
fn answers_made_to_be_slow_are_read_in_bounded_time() {
    let started = Instant::now();
    fuzz_k8s_list("[".repeat(1_000_000).as_bytes());
    fuzz_k8s_list(
        format!(r#"{{"items": [{}]}}"#, r#"{"endpoints": [{"addresses": ["::1"]}]},"#.repeat(20_000)).as_bytes(),
    );
    let many = format!("{}{{}}", "{},".repeat(300_000));
    fuzz_k8s_list(format!(r#"{{"items": [{many}]}}"#).as_bytes());
    fuzz_k8s_watch("{}\n".repeat(200_000).as_bytes());
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}
