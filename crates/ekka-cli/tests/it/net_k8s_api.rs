//! What the strategy makes of each answer that an API server can give, seen through `ekka discover` and a running agent.

use std::fs;
use std::time::Duration;

use crate::support::k8s::{Fleet, Pod, Rule, World};
use crate::support::{Agent, poll};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(30);

fn pod(ip: &str) -> Pod {
    Pod { ips: vec![ip.to_owned()], ..Pod::default() }
}

fn discover(agent: &Agent) -> Value {
    agent.discover().unwrap_or_else(|seen| panic!("{seen}"))
}

fn texts(value: &Value, list: &str, field: &str) -> Vec<String> {
    let items = value[list].as_array().into_iter().flatten();
    items.filter_map(|item| item[field].as_str().map(str::to_owned)).collect()
}

fn failure(agent: &Agent) -> String {
    let said = discover(agent);
    let failed = texts(&said, "failed", "error");
    assert_eq!(failed.len(), 1, "{said}");
    println!("{}", failed[0]);
    failed[0].clone()
}

fn notes(agent: &Agent) -> String {
    let said = discover(agent);
    assert_eq!(said["failed"], json!([]), "{said}");
    let notes = texts(&said, "notes", "text").join("\n");
    println!("{notes}");
    notes
}

fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
}

fn deny(fleet: &Fleet, rules: &[Rule]) {
    fleet.server.world(|world| world.access.deny(rules));
}

fn allow(fleet: &Fleet, rules: &[Rule]) {
    fleet.server.world(|world| world.access.allow(rules));
}

/// The original's.
const ENDPOINTS: Rule = Rule("get", "", "endpoints");
const SERVICES: Rule = Rule("get", "", "services");
const SLICES: [Rule; 2] =
    [Rule("list", "discovery.k8s.io", "endpointslices"), Rule("watch", "discovery.k8s.io", "endpointslices")];

#[test]
fn ekka_spec_10_19_a_denial_says_which_permission_is_missing() {
    let mut fleet = Fleet::stateful(3);
    let agent = fleet.asker("ekka-0", "127.9.9.1");
    fleet.server.world(|world| world.put_pod("ekka-0", pod("127.9.9.1")));
    // Slices may not be listed, Endpoints may: the original's Role goes on working, and it is said.
    deny(&fleet, &SLICES);
    allow(&fleet, &[ENDPOINTS]);
    contains(
        &notes(&agent),
        &[
            "Endpoints were read instead of EndpointSlices",
            "ServiceAccount ekka of namespace default may not list endpointslices in API group \"discovery.k8s.io\"",
            "in namespace default (403 Forbidden)",
            r#"add {apiGroups: ["discovery.k8s.io"], resources: ["endpointslices"], verbs: ["list", "watch"]} to its Role"#,
        ],
    );
    deny(&fleet, &[ENDPOINTS]);
    contains(&failure(&agent), &["may not list endpointslices", "to its Role in namespace default"]);
}

#[test]
fn ekka_spec_10_19_a_running_node_says_what_it_may_not() {
    let mut fleet = Fleet::stateful(3);
    deny(&fleet, &SLICES);
    let name = fleet.start_member(0);
    let said = poll::until(LIMIT, || {
        let reason = fleet.pods[&name].json(&["status"])?["reason"].to_string();
        if reason.contains("may not list endpointslices") { Ok(reason) } else { Err(reason) }
    });
    println!("{}", said.unwrap_or_else(|seen| panic!("{seen}\n{}", fleet.report())).0);
}

#[test]
fn ekka_spec_10_19_a_missing_service_is_named() {
    let mut fleet = Fleet::stateful(3);
    let mut agent = fleet.asker("ekka-0", "127.9.9.1");
    agent.set("cluster.k8s.service_name", "ekko");
    allow(&fleet, &[SERVICES]);
    contains(&failure(&agent), &["no Service ekko in namespace default", "cluster.k8s.service_name"]);
    // Where that may not be asked, an empty list is an empty list.
    deny(&fleet, &[SERVICES]);
    contains(&notes(&agent), &["no EndpointSlice of Service ekko in namespace default", "may not get services"]);
    agent.set("cluster.k8s.service_name", "ekka");
    allow(&fleet, &[SERVICES]);
    contains(&notes(&agent), &["no EndpointSlice of Service ekka in namespace default: the Service is there"]);
}

#[test]
fn replicas_that_may_not_be_read_are_a_note_and_no_failure() {
    let mut fleet = Fleet::stateful(3);
    let agent = fleet.asker("ekka-0", "127.9.9.1");
    let owner = Some(("StatefulSet".to_owned(), "ekka".to_owned()));
    fleet.server.world(|world| world.put_pod("ekka-0", Pod { owner, ..pod("127.9.9.1") }));
    contains(&notes(&agent), &["StatefulSet ekka has 3 replicas", "when 2 nodes have met"]);
    assert_eq!(fleet.server.world(|world| world.asked_for("/pods")), 0, "its name leads to the StatefulSet");
    deny(&fleet, &[Rule("get", "apps", "statefulsets")]);
    let said = notes(&agent);
    contains(
        &said,
        &[
            "the number of replicas is not known",
            r#"add {apiGroups: ["apps"], resources: ["statefulsets"], verbs: ["get"]}"#,
            r#"add {apiGroups: [""], resources: ["pods"], verbs: ["get"]}"#,
        ],
    );
    assert!(!said.contains("nodes have met"), "{said}");
}

#[test]
fn a_deployment_is_found_through_its_replica_set() {
    let mut fleet = Fleet::deployed(5);
    let agent = fleet.asker("ekka-5f7c-x", "127.9.9.1");
    let owner = Some(("ReplicaSet".to_owned(), "ekka-5f7c".to_owned()));
    fleet.server.world(|world| world.put_pod("ekka-5f7c-x", Pod { owner, ..pod("127.9.9.1") }));
    // A quarter more can live in an update, rounded up, where nothing else is written.
    contains(&notes(&agent), &["Deployment ekka has 5 replicas, and 2 more", "when 4 nodes have met"]);
    let recreate = json!({"replicas": 5, "strategy": {"type": "Recreate"}});
    fleet.server.world(|world| world.put_workload("Deployment", "ekka", None, &recreate));
    contains(&notes(&agent), &["Deployment ekka has 5 replicas; a majority of them is 3", "when 3 nodes have met"]);
}

#[test]
fn a_200_that_is_no_object_of_kubernetes_counts_for_nothing_and_nobody_forms_alone() {
    let mut fleet = Fleet::stateful(3);
    let agent = fleet.asker("ekka-0", "127.9.9.1");
    for body in ["{}", "[]", r#"{"kind": "Status", "status": "Success"}"#, r#"{"metadata": {"name": "x"}}"#] {
        fleet.server.world(|world| world.faults.body = Some(("/", body)));
        contains(&failure(&agent), &["the answer to list endpointslices", "is this the API server?"]);
    }
    // The list is good, and what should say how many replicas there are is not.
    fleet.server.world(|world| world.put_pod("ekka-0", pod("127.9.9.1")));
    for body in ["{}", r#"{"metadata": {"name": "ekka"}}"#, r#"{"metadata": {"name": "x"}, "spec": {"replicas": 1}}"#] {
        fleet.server.world(|world| world.faults.body = Some(("/statefulsets/", body)));
        contains(&notes(&agent), &["how many nodes there are to be is not known", "is this"]);
        assert_eq!(texts(&discover(&agent), "candidates", "name"), ["ekka@127.9.9.1"]);
    }
    let name = fleet.start_member(1);
    let alone = poll::throughout(Duration::from_secs(6), || match fleet.clusters().as_slice() {
        [] => Ok(()),
        some => Err(format!("{name} formed alone: {some:?}")),
    });
    alone.unwrap_or_else(|seen| panic!("{seen}\n{}", fleet.report()));
}

#[test]
fn pods_made_in_order_are_warned_of_once() {
    let mut fleet = Fleet::stateful(3);
    // The default of Kubernetes where nothing is written.
    fleet.server.world(|world| world.put_workload("StatefulSet", "ekka", None, &json!({"replicas": 3})));
    let name = fleet.start_member(0);
    let warning = "pod 0 will wait for ever: set podManagementPolicy: Parallel";
    let agent = &fleet.pods[&name];
    let said = poll::until(LIMIT, || if agent.log().contains(warning) { Ok(()) } else { Err(agent.log()) });
    said.unwrap_or_else(|seen| panic!("{seen}"));
    contains(&notes(agent), &[warning]);
    // Each list wakes the node, which asks again.
    for _ in 0..3 {
        let before = fleet.server.world(|world| world.asked_for("limit="));
        fleet.server.stop();
        fleet.server.resume();
        fleet.server.world(World::compact);
        let listed = poll::until(LIMIT, || {
            let now = fleet.server.world(|world| world.asked_for("limit="));
            if now > before { Ok(()) } else { Err(format!("{now} lists")) }
        });
        listed.expect("the node lists anew");
    }
    let agent = &fleet.pods[&name];
    assert_eq!(agent.log().matches(warning).count(), 1, "{}", agent.log());
}

#[test]
fn a_rotated_token_is_taken_from_its_file() {
    let mut fleet = Fleet::stateful(3);
    let agent = fleet.asker("ekka-0", "127.9.9.1");
    fleet.server.world(|world| world.put_pod("ekka-0", pod("127.9.9.1")));
    for ordinal in 0..3 {
        fleet.start_member(ordinal);
    }
    let (id, _) = fleet.whole(LIMIT);
    fleet.server.world(|world| {
        let user = "system:serviceaccount:default:ekka".to_owned();
        world.access.tokens = [("token-of-the-second-hour".to_owned(), user)].into();
    });
    contains(&failure(&agent), &["401 Unauthorized", "is refused; it may have run out"]);
    fs::write(fleet.token_file(), "token-of-the-second-hour\n").expect("the kubelet writes");
    notes(&agent);
    // Who runs goes on with it: a fourth pod is found, and finds them.
    fleet.start_member(3);
    assert_eq!(fleet.whole(LIMIT).0, id);
    fs::remove_file(fleet.token_file()).expect("it is there");
    contains(&failure(&agent), &["401 Unauthorized", "cannot be read", "no token was sent"]);
}

#[test]
fn ekka_spec_10_21_an_api_server_on_ipv6_alone_is_asked() {
    let mut fleet = Fleet::at("[::1]:0");
    fleet.server.world(|world| world.put_pod("ekka-0", pod("127.9.9.1")));
    assert!(fleet.server.url().starts_with("https://[::1]:"), "{}", fleet.server.url());
    let agent = fleet.asker("ekka-0", "127.9.9.1");
    assert_eq!(texts(&discover(&agent), "candidates", "name"), ["ekka@127.9.9.1"]);
}

#[test]
fn ekka_spec_10_21_pods_with_addresses_of_both_kinds_count_once() {
    let mut fleet = Fleet::new();
    for n in 1..=3 {
        let ips = vec![format!("127.9.9.{n}"), format!("fd00:9::{n}")];
        fleet.server.world(|world| world.put_pod(&format!("ekka-{n}"), Pod { ips, ..Pod::default() }));
    }
    let named = |agent: &Agent, result: fn(&str) -> bool| {
        let said = discover(agent);
        let all = said["candidates"].as_array().cloned().unwrap_or_default();
        let names = all.iter().filter(|seen| result(seen["result"].as_str().unwrap_or_default()));
        names.map(|seen| seen["name"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    let v4 = fleet.asker("ekka-1", "127.9.9.1");
    assert_eq!(named(&v4, |result| result != "left_out"), ["ekka@127.9.9.1", "ekka@127.9.9.2", "ekka@127.9.9.3"]);
    assert_eq!(named(&v4, |result| result == "left_out").len(), 3);
    let v6 = fleet.asker("ekka-1", "[fd00:9::1]");
    assert_eq!(named(&v6, |result| result != "left_out"), ["ekka@[fd00:9::1]", "ekka@[fd00:9::2]", "ekka@[fd00:9::3]"]);
}

#[test]
fn ekka_spec_10_20_each_address_type_names_pods_as_the_original_does() {
    let mut fleet = Fleet::new();
    let hostname = Some("ekka-0".to_owned());
    fleet.server.world(|world| world.put_pod("ekka-0", Pod { hostname, ..pod("127.9.9.1") }));
    fleet.server.world(|world| world.put_pod("ekka-1", pod("127.9.9.2")));
    let mut agent = fleet.asker("ekka-0", "127.9.9.1");
    agent.set("cluster.k8s.address_type", "dns");
    let dns = ["ekka@127-9-9-1.default.pod.cluster.local", "ekka@127-9-9-2.default.pod.cluster.local"];
    let said = discover(&agent);
    assert_eq!(texts(&said, "candidates", "name"), dns);
    // They are dialled by address: names of pods resolve late, if at all.
    assert_eq!(texts(&said, "candidates", "address"), ["127.9.9.1:4370", "127.9.9.2:4370"]);
    agent.set("cluster.k8s.suffix", "pod.local");
    assert_eq!(texts(&discover(&agent), "candidates", "name")[0], "ekka@127-9-9-1.default.pod.local");
    agent.unset("cluster.k8s.suffix");
    agent.set("cluster.k8s.address_type", "hostname");
    let said = discover(&agent);
    assert_eq!(texts(&said, "candidates", "name")[0], "ekka@ekka-0.ekka.default.svc.cluster.local");
    assert_eq!(said["candidates"][1]["result"], "left_out", "{said}");
    contains(&said["candidates"][1]["text"].to_string(), &["no hostname", "StatefulSet"]);
}

#[test]
fn pods_that_are_not_ready_are_candidates_and_counted() {
    let mut fleet = Fleet::new();
    fleet.server.world(|world| {
        world.put_pod("ekka-0", Pod { ready: true, ..pod("127.9.9.1") });
        world.put_pod("ekka-1", pod("127.9.9.2"));
    });
    let agent = fleet.asker("ekka-0", "127.9.9.1");
    assert_eq!(texts(&discover(&agent), "candidates", "name").len(), 2);
    contains(&notes(&agent), &["1 of 2 pods are not ready; they are candidates all the same"]);
    // The same from Endpoints, where the API of slices is not there.
    allow(&fleet, &[ENDPOINTS]);
    fleet.server.world(|world| world.faults.no_group = Some("discovery.k8s.io"));
    assert_eq!(texts(&discover(&agent), "candidates", "name").len(), 2);
    contains(&notes(&agent), &["no API for endpointslices (404 Not Found", "1 of 2 pods are not ready"]);
}

#[test]
fn a_long_list_comes_in_pages_and_begins_anew_where_they_went_stale() {
    let mut fleet = Fleet::new();
    fleet.server.world(|world| {
        world.slice_size = 1;
        for n in 0..300 {
            world.put_pod(&format!("ekka-{n}"), pod(&format!("127.9.{}.{}", 10 + n / 100, 1 + n % 100)));
        }
        world.faults.stale_pages = 1;
    });
    let agent = fleet.asker("ekka-0", "127.9.10.1");
    assert_eq!(texts(&discover(&agent), "candidates", "name").len(), 300);
    let pages = fleet.server.world(|world| (world.asked_for("limit="), world.asked_for("continue=")));
    assert_eq!(pages, (4, 2), "two pages, twice: the first time the second one had gone stale");
}

#[test]
fn a_server_with_too_much_to_do_is_given_the_time_it_asks_for() {
    let mut fleet = Fleet::new();
    fleet.server.world(|world| {
        world.put_pod("ekka-0", pod("127.9.9.1"));
        world.faults.busy = (1, 1);
    });
    let agent = fleet.asker("ekka-0", "127.9.9.1");
    let before = std::time::Instant::now();
    assert_eq!(texts(&discover(&agent), "candidates", "name").len(), 1);
    assert!(before.elapsed() >= Duration::from_secs(1), "asked again too soon: {:?}", before.elapsed());
    fleet.server.world(|world| world.faults.busy = (1, 30));
    contains(&failure(&agent), &["429 Too Many Requests", "asked again in 30 s"]);
}

#[test]
fn a_server_that_fails_is_followed_by_the_next_of_the_list() {
    let mut fleet = Fleet::new();
    fleet.server.world(|world| world.put_pod("ekka-0", pod("127.9.9.1")));
    let mut agent = fleet.asker("ekka-0", "127.9.9.1");
    let url = fleet.server.url();
    agent.set("cluster.k8s.apiserver", &format!("https://127.0.0.1:1, {url}"));
    assert_eq!(texts(&discover(&agent), "candidates", "name").len(), 1);
    fleet.server.world(|world| world.faults.status = Some(503));
    contains(&failure(&agent), &["https://127.0.0.1:1: not reached", &url, "503: the server is out of order"]);
}

#[test]
fn a_certificate_of_another_authority_is_refused() {
    let mut fleet = Fleet::new();
    let other = Fleet::new();
    let mut agent = fleet.asker("ekka-0", "127.9.9.1");
    agent.set("cluster.k8s.cacertfile", &other.ca().display().to_string());
    contains(&failure(&agent), &["TLS", "certificate"]);
}

#[test]
fn watches_that_are_cut_at_once_are_told_once_and_begun_ever_more_seldom() {
    let mut fleet = Fleet::stateful(1);
    fleet.server.world(|world| world.faults.cut_watches = true);
    let name = fleet.start_member(0);
    fleet.whole(LIMIT);
    let count = |text: &str| fleet.pods[&name].log().matches(text).count();
    let (failed, again) = ("the API server cannot be watched", "the API server is watched again");
    let told_once = poll::throughout(Duration::from_secs(10), || match (count(failed), count(again)) {
        (0 | 1, 0) => Ok(()),
        more => Err(format!("told {more:?} times")),
    });
    told_once.unwrap_or_else(|seen| panic!("{seen}: {}", fleet.report()));
    assert_eq!(count(failed), 1, "{}", fleet.report());
    assert!(fleet.pods[&name].log().contains("ends the watch before it says anything"), "{}", fleet.report());
    let watches = fleet.server.world(|world| world.asked_for("watch=true"));
    assert!((2..=10).contains(&watches), "{watches} watches in 10 s");
    fleet.server.world(|world| world.faults.cut_watches = false);
    let said = poll::until(LIMIT, || if count(again) == 1 { Ok(()) } else { Err(fleet.report()) });
    println!("watched again after {:.2?}", said.unwrap_or_else(|seen| panic!("{seen}")).1);
}

#[test]
fn a_server_that_hangs_gives_an_answer_in_time() {
    let mut fleet = Fleet::new();
    let mut agent = fleet.asker("ekka-0", "127.9.9.1");
    // By two names, each of which would be waited for in turn.
    let url = fleet.server.url();
    agent.set("cluster.k8s.apiserver", &format!("{url}, {}", url.replace("127.0.0.1", "localhost")));
    let took = |parts: &[&str]| {
        let start = std::time::Instant::now();
        contains(&discover(&agent).to_string(), parts);
        assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
        start.elapsed()
    };
    // The list is empty; to learn why takes too long.
    fleet.server.world(|world| world.faults.hang_at = Some("/services/"));
    println!("{:.2?}", took(&["no EndpointSlice of Service ekka in namespace default"]));
    fleet.server.world(|world| world.faults.hang_at = Some("/"));
    println!("{:.2?}", took(&["no API server answered within 5.5 s"]));
}

#[test]
fn a_token_that_is_sent_back_is_not_shown() {
    let mut fleet = Fleet::new();
    let agent = fleet.asker("ekka-0", "127.9.9.1");
    for body in ["who is token-of-the-first-hour?", "\"token-of-the-first-hour\""] {
        fleet.server.world(|world| world.faults.body = Some(("/", body)));
        let said = failure(&agent);
        assert!(!said.contains("first-hour"), "{said}");
    }
}

#[test]
fn the_watch_wakes_nodes_and_spares_the_server() {
    let mut fleet = Fleet::stateful(3);
    for ordinal in 0..3 {
        fleet.start_member(ordinal);
    }
    fleet.whole(LIMIT);
    let watches = |part: &str| fleet.server.world(|world| world.asked_for(part));
    assert_eq!(watches("watch=true"), 3, "one for each pod");
    let lists = watches("limit=");
    fleet.server.world(|world| world.put_pod("other", pod("127.9.9.9")));
    let spared = poll::throughout(Duration::from_secs(3), || match watches("limit=") {
        told if told == lists => Ok(()),
        told => Err(format!("{told} lists, {lists} before")),
    });
    spared.unwrap_or_else(|seen| panic!("{seen}"));
    // What the watch began with is forgotten, told by status and by an ERROR line: the list begins anew.
    for by_status in [true, false] {
        let before = fleet.server.world(|world| {
            world.faults.gone_by_status = by_status;
            world.compact();
            world.asked_for("limit=")
        });
        fleet.server.stop();
        fleet.server.resume();
        let anew = poll::until(LIMIT, || {
            let now = fleet.server.world(|world| world.asked_for("limit="));
            if now >= before + 3 { Ok(()) } else { Err(format!("{now} lists, {before} before")) }
        });
        anew.unwrap_or_else(|seen| panic!("{seen}\n{}", fleet.report()));
    }
    fleet.whole(LIMIT);
}
