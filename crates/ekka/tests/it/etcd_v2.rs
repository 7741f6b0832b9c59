//! API v2 of a real etcd (`--enable-v2`), as the original spoke it.

use std::process::Command;
use std::time::Duration;

use crate::etcd_support::{Etcd, Own, holds};
use ekka::core::id::ClusterId;

const V2: (&str, &str) = ("cluster.etcd.version", "v2");
const BASE: &str = "/ekkacl/ekka/";

fn server() -> Etcd {
    Etcd::start_with("http", &["--enable-v2"])
}

/// `etcdctl` of API v2.
fn ctl(etcd: &Etcd, words: &[&str]) -> String {
    let output =
        Command::new("etcdctl").env("ETCDCTL_API", "2").args(["--endpoints", &etcd.url(0)]).args(words).output();
    let output = output.expect("etcdctl is there");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ekka_spec_10_15_nodes_register_without_a_path_made_by_hand_are_kept_and_go_at_stop() {
    let etcd = server();
    let first = Own::new(1, &etcd.url(0), &[V2]).run();
    first.sees(&["n1@10.0.0.1"]).await;
    let mut second = Own::new(2, &etcd.url(0), &[V2]).run();
    first.sees(&["n1@10.0.0.1", "n2@10.0.0.2"]).await;
    assert_eq!(ctl(&etcd, &["ls", "--sort", BASE]), format!("{BASE}n1@10.0.0.1\n{BASE}n2@10.0.0.2\n"));
    // Three times the time to live.
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    for _ in 0..30 {
        ticks.tick().await;
        assert_eq!(first.names().await, ["n1@10.0.0.1", "n2@10.0.0.2"], "the time to live is refreshed");
    }
    second.stop().await;
    assert_eq!(first.names().await, ["n1@10.0.0.1"]);
    ctl(&etcd, &["rm", &format!("{BASE}n1@10.0.0.1")]);
    let took = first.sees(&["n1@10.0.0.1"]).await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    let mut third = Own::new(3, &etcd.url(0), &[V2]).run();
    first.sees(&["n1@10.0.0.1", "n3@10.0.0.3"]).await;
    third.crash().await;
    first.sees(&["n1@10.0.0.1"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_of_the_original_count_by_their_name_and_its_folders_are_left_out() {
    let etcd = server();
    let own = Own::new(1, &etcd.url(0), &[V2]).run();
    ctl(&etcd, &["set", &format!("{BASE}n5@10.0.0.5"), ""]);
    ctl(&etcd, &["mkdir", &format!("{BASE}nodes")]);
    own.sees(&["n1@10.0.0.1", "n5@10.0.0.5"]).await;
    let found = own.found().await;
    assert_eq!(found.left_out.iter().map(|left| left.what.as_str()).collect::<Vec<_>>(), ["nodes/"], "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_offer_holds_and_a_formed_cluster_writes_it_again() {
    let etcd = server();
    let own = Own::new(1, &etcd.url(0), &[V2]).run();
    let other = Own::new(2, &etcd.url(0), &[V2]);
    let held = own.strategy.claim(&own.offer(7)).await.expect("an answer").expect("a value");
    assert_eq!(held, own.offer(7));
    assert_eq!(other.strategy.claim(&other.offer(8)).await, Ok(Some(own.offer(7))), "the first one holds");
    ctl(&etcd, &["rm", &format!("{BASE}id")]);
    own.register(Some(7));
    let again = async || {
        let held = other.strategy.claim(&other.offer(7)).await?.ok_or("none")?;
        holds(held.cluster_id == ClusterId::from_u128(7) && held.founders.is_empty(), held)
    };
    own.wait("the id", async || {
        let text = Command::new("etcdctl")
            .env("ETCDCTL_API", "2")
            .args(["--endpoints", &etcd.url(0), "get", &format!("{BASE}id")])
            .output();
        holds(text.is_ok_and(|output| output.status.success()), "no id")
    })
    .await;
    again().await.expect("the id of the formed cluster");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn auto_speaks_v3_with_a_server_that_has_both() {
    let etcd = server();
    let own = Own::new(1, &etcd.url(0), &[("cluster.etcd.version", "auto")]).run();
    own.sees(&["n1@10.0.0.1"]).await;
    assert_eq!(etcd.keys(""), ["ekkacl/ekka/n1@10.0.0.1"], "by API v3");
    let fixed = Own::new(2, &etcd.url(0), &[("cluster.etcd.version", "v3")]).run();
    fixed.sees(&["n1@10.0.0.1", "n2@10.0.0.2"]).await;
}
