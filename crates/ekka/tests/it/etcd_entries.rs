//! Entries of nodes in a real etcd, by API v3: who is listed, for how long, and what comes back.

use std::time::Duration;

use crate::etcd_support::{Etcd, LIMIT, Own, holds};

const BASE: &str = "ekkacl/ekka/";
/// What a lost entry may take to come back.
const BACK: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_register_see_each_other_at_once_and_go_at_stop_and_at_leave() {
    let etcd = Etcd::start();
    let first = Own::new(1, &etcd.url(0), &[]).run();
    first.sees(&["n1@10.0.0.1"]).await;
    // Whatever was told so far is old.
    while tokio::time::timeout(Duration::from_millis(300), first.news.notified()).await.is_ok() {}
    let mut second = Own::new(2, &etcd.url(0), &[]).run();
    let begun = std::time::Instant::now();
    tokio::time::timeout(LIMIT, first.news.notified()).await.expect("it is told");
    println!("a newcomer is told of: {:.2?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(2));
    first.sees(&["n1@10.0.0.1", "n2@10.0.0.2"]).await;
    let value: serde_json::Value =
        serde_json::from_str(&etcd.value(&format!("{BASE}n1@10.0.0.1")).expect("a value")).expect("JSON");
    assert_eq!(value["endpoint"], "10.0.0.1:4371");
    second.stop().await;
    assert_eq!(first.names().await, ["n1@10.0.0.1"], "gone when it has stopped");
    first.unlist();
    first.sees(&[]).await;
    assert_eq!(etcd.keys(""), Vec::<String>::new(), "nothing is left");
    assert!(etcd.ctl(&["lease", "list"]).starts_with("found 0 leases"), "no lease is left");
    first.register(None);
    first.sees(&["n1@10.0.0.1"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ekka_spec_10_18_the_key_of_a_crashed_node_goes_by_the_ttl_that_is_set() {
    let etcd = Etcd::start();
    let first = Own::new(1, &etcd.url(0), &[]).run();
    let mut second = Own::new(2, &etcd.url(0), &[("cluster.etcd.node_ttl", "4s")]).run();
    first.sees(&["n1@10.0.0.1", "n2@10.0.0.2"]).await;
    second.crash().await;
    let took = first.sees(&["n1@10.0.0.1"]).await;
    assert!(took > Duration::from_secs(2) && took < Duration::from_secs(8), "{took:?}");
    drop(second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_deleted_by_hand_comes_back_at_once() {
    let etcd = Etcd::start();
    let own = Own::new(1, &etcd.url(0), &[("cluster.etcd.node_ttl", "1m")]).run();
    own.sees(&["n1@10.0.0.1"]).await;
    for _ in 0..3 {
        etcd.ctl(&["del", &format!("{BASE}n1@10.0.0.1")]);
        let took = own.sees(&["n1@10.0.0.1"]).await;
        assert!(took < BACK, "{took:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_is_revoked_by_hand_is_taken_again_at_once() {
    let etcd = Etcd::start();
    let own = Own::new(1, &etcd.url(0), &[("cluster.etcd.node_ttl", "1m")]).run();
    own.sees(&["n1@10.0.0.1"]).await;
    let leases = etcd.ctl(&["lease", "list"]);
    let lease = leases.lines().nth(1).expect("one lease").trim();
    etcd.ctl(&["lease", "revoke", lease]);
    let took = own.sees(&["n1@10.0.0.1"]).await;
    assert!(took < BACK, "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_that_starts_again_with_nothing_is_filled_again_within_one_ttl() {
    let mut etcd = Etcd::start();
    let own = Own::new(1, &etcd.url(0), &[]).run();
    own.register(Some(7));
    own.wait("the id", async || holds(etcd.value("ekkacl/ekka/id").is_some(), etcd.keys(""))).await;
    etcd.restart_empty();
    let took = own.wait("both keys", async || holds(etcd.keys("").len() == 2, etcd.keys(""))).await;
    assert!(took < BACK, "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ekka_spec_10_18_two_clusters_under_one_prefix_stay_apart_and_foreign_keys_are_left_out() {
    let etcd = Etcd::start();
    let one = Own::new(1, &etcd.url(0), &[]).run();
    let two = Own::new(2, &etcd.url(0), &[("cluster.name", "ekka2")]).run();
    let three = Own::new(3, &etcd.url(0), &[("cluster.etcd.prefix", "ekkacl/ekka")]).run();
    one.sees(&["n1@10.0.0.1"]).await;
    two.sees(&["n2@10.0.0.2"]).await;
    three.sees(&["n3@10.0.0.3"]).await;
    for (key, value) in
        [("config", "x"), ("n8@10.0.0.8", "no JSON"), ("n9@10.0.0.9", ""), ("nodes/emqx@10.0.0.4", "emqx@10.0.0.4")]
    {
        etcd.ctl(&["put", &format!("{BASE}{key}"), value]);
    }
    etcd.ctl(&["put", "zzz@10.0.0.7", "beyond the prefix"]);
    let found = one.found().await;
    let names: Vec<String> = found.candidates.iter().map(|candidate| candidate.name.to_string()).collect();
    assert_eq!(names, ["n1@10.0.0.1", "n9@10.0.0.9"], "an entry without a value counts by its name");
    let left: Vec<&str> = found.left_out.iter().map(|left| left.what.as_str()).collect();
    assert_eq!(left, ["config", "ekka/n3@10.0.0.3", "n8@10.0.0.8", "nodes/emqx@10.0.0.4"]);
    assert!(found.left_out.iter().all(|left| !left.why.is_empty()), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_keys_than_are_read_and_values_that_are_long_do_no_harm() {
    let etcd = Etcd::start_with("http", &["--max-request-bytes", "8000000"]);
    let long = "x".repeat(1_000_000);
    let file = etcd.folder().join("long");
    std::fs::write(&file, &long).expect("a file");
    let own = Own::new(1, &etcd.url(0), &[]).run();
    own.sees(&["n1@10.0.0.1"]).await;
    for number in 0..6 {
        let key = format!("{BASE}long-{number}");
        let put = format!("etcdctl --endpoints {} put {key} < {}", etcd.url(0), file.display());
        let status = std::process::Command::new("sh").args(["-c", &put]).env("ETCDCTL_API", "3").status();
        assert!(status.expect("sh").success());
    }
    let found = own.found().await;
    assert_eq!((found.candidates.len(), found.left_out.len()), (1, 6), "{:?}", found.notes);
    etcd.put_many((0..1300).map(|n| format!("{BASE}x{n:04}@10.9.0.1")));
    let found = own.found().await;
    assert!(found.candidates.len() <= 1024 && found.candidates.len() > 900, "{}", found.candidates.len());
    assert!(found.notes.iter().any(|note| note.contains("keys begin with")), "{:?}", found.notes);
}
