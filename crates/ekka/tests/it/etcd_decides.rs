//! The id's key in a real etcd: one transaction decides, formed clusters write it again, nothing else is touched.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::etcd_support::{Etcd, Own, holds};
use ekka::core::autocluster::{Proposal, Supersedes};
use ekka::core::id::ClusterId;

const ID: &str = "ekkacl/ekka/id";

fn id_in(etcd: &Etcd) -> Option<ClusterId> {
    let value: serde_json::Value = serde_json::from_str(&etcd.value(ID)?).ok()?;
    value["cluster_id"].as_str()?.parse().ok()
}

async fn becomes(own: &Own, etcd: &Etcd, cluster_id: u128) -> Duration {
    let wanted = Some(ClusterId::from_u128(cluster_id));
    own.wait("the id in etcd", async || holds(id_in(etcd) == wanted, id_in(etcd))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_offers_at_once_one_holds_and_all_are_told_that_one() {
    let etcd = Etcd::start();
    for round in 0..3u128 {
        let mut claims = tokio::task::JoinSet::new();
        for number in 1..=8u8 {
            let own = Own::new(number, &etcd.url(0), &[]);
            let offer = own.offer(1000 * round + u128::from(number));
            claims.spawn(async move { own.strategy.claim(&offer).await });
        }
        let answers = claims.join_all().await;
        let held: Vec<Proposal> =
            answers.into_iter().map(|answer| answer.expect("an answer").expect("a value")).collect();
        let ids: BTreeSet<ClusterId> = held.iter().map(|proposal| proposal.cluster_id).collect();
        assert_eq!(ids.len(), 1, "one id");
        assert!(held.iter().all(|proposal| proposal == &held[0] && proposal.founders.len() == 1), "whole");
        assert_eq!(id_in(&etcd), ids.first().copied());
        etcd.ctl(&["del", ID]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_cannot_be_read_is_an_error_that_names_the_key_and_what_to_do() {
    let etcd = Etcd::start();
    etcd.ctl(&["put", ID, "hello"]);
    let own = Own::new(1, &etcd.url(0), &[]);
    let error = own.strategy.claim(&own.offer(1)).await.expect_err("it cannot be read");
    println!("{error}");
    assert!(error.contains(ID) && error.contains("`hello`") && error.contains("etcdctl del"), "{error}");
    let found = own.found().await;
    assert!(found.left_out.iter().any(|left| left.what == "id"), "{found:?}");
    assert_eq!(etcd.value(ID).as_deref(), Some("hello"), "it is not overwritten");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_formed_cluster_writes_an_id_that_is_gone_again_at_once() {
    let etcd = Etcd::start();
    let own = Own::new(1, &etcd.url(0), &[("cluster.etcd.node_ttl", "1m")]).run();
    own.sees(&["n1@10.0.0.1"]).await;
    assert_eq!(id_in(&etcd), None, "who is in no cluster writes no id");
    own.register(Some(5));
    becomes(&own, &etcd, 5).await;
    etcd.ctl(&["del", ID]);
    let took = becomes(&own, &etcd, 5).await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    let newcomer = Own::new(2, &etcd.url(0), &[]);
    let held = newcomer.strategy.claim(&newcomer.offer(9)).await.expect("an answer").expect("a value");
    assert_eq!(held, Proposal { cluster_id: ClusterId::from_u128(5), founders: Vec::new() });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_id_names_no_founders_once_all_of_them_are_in() {
    let etcd = Etcd::start();
    let own = Own::new(1, &etcd.url(0), &[]);
    let offer = own.offer(5);
    own.strategy.claim(&offer).await.expect("an answer");
    let own = own.run();
    own.register(Some(5));
    own.sees(&["n1@10.0.0.1"]).await;
    let newcomer = Own::new(2, &etcd.url(0), &[]);
    let held = newcomer.strategy.claim(&newcomer.offer(9)).await.expect("an answer").expect("a value");
    assert_eq!(held, offer, "one of them may not know yet");
    own.settle();
    own.wait("the record without founders", async || {
        let held = newcomer.strategy.claim(&newcomer.offer(9)).await.expect("an answer").expect("a value");
        holds(held == Proposal { cluster_id: ClusterId::from_u128(5), founders: Vec::new() }, held)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_id_of_another_cluster_gives_way_only_where_it_is_superseded() {
    let etcd = Etcd::start();
    let own = Own::new(1, &etcd.url(0), &[("cluster.etcd.node_ttl", "1s")]).run();
    let other = Own::new(2, &etcd.url(0), &[]);
    other.strategy.claim(&other.offer(7)).await.expect("an answer");
    own.register(Some(5));
    own.sees(&["n1@10.0.0.1"]).await;
    // It is looked at every second.
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    for _ in 0..30 {
        ticks.tick().await;
        assert_eq!(id_in(&etcd), Some(ClusterId::from_u128(7)), "two formed clusters: nothing moves");
    }
    own.say(Some(5), Supersedes::Merged(vec![ClusterId::from_u128(7)]));
    becomes(&own, &etcd, 5).await;
    own.say(Some(6), Supersedes::Any);
    becomes(&own, &etcd, 6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_clusters_that_were_each_formed_by_hand_do_not_write_over_each_other_for_ever() {
    let etcd = Etcd::start();
    let own = Own::new(1, &etcd.url(0), &[("cluster.etcd.node_ttl", "1s")]).run();
    let other = Own::new(2, &etcd.url(0), &[("cluster.etcd.node_ttl", "1s")]).run();
    own.say(Some(5), Supersedes::Any);
    becomes(&own, &etcd, 5).await;
    other.say(Some(6), Supersedes::Any);
    let revision = || -> u64 {
        let text = etcd.ctl(&["get", ID, "-w", "json"]);
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        value["kvs"][0]["version"].as_u64().expect("a version")
    };
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    for _ in 0..50 {
        ticks.tick().await;
    }
    assert!(revision() <= 4, "written {} times", revision());
}
