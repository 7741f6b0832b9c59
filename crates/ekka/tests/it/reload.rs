//! A running node takes a changed configuration: seeds and the vote together, or nothing at all.

use crate::support::{COOKIE, config, names, start, until};
use ekka::config::{Config, ConfigBuilder};
use ekka::core::view::Status;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_with_other_seeds_finds_a_node_that_it_did_not_know() {
    let names = names(4);
    let dirs: Vec<_> = (0..2).map(|_| tempfile::tempdir().expect("a directory")).collect();
    let formed = start(config(&names[0], &names[..1], dirs[0].path())).await.expect("it starts");
    until(&formed, "forms alone", |view| view.status == Status::Up).await;
    // Two of its three seeds are nowhere, so this one waits.
    let waiting = start(config(&names[1], &names[1..], dirs[1].path())).await.expect("it starts");
    until(&waiting, "waits", |view| view.reasons.iter().any(|reason| reason.text.contains(&names[2]))).await;

    let seeds = [names[0].clone(), names[1].clone()];
    let report = waiting.reload(config(&names[1], &seeds, dirs[1].path())).await.expect("it is taken");
    assert_eq!((report.changed, report.needs_restart), (vec!["cluster.discovery".to_owned()], vec![]));
    let cluster = formed.view().cluster_id;
    until(&waiting, "joins whom the new list names", |view| view.status == Status::Up && view.cluster_id == cluster)
        .await;
    assert_eq!(formed.view().members.len(), 2);
    assert_eq!(waiting.counters().discovery_candidates.values().sum::<u64>(), 2, "the old list is asked no more");

    let again = waiting.reload(config(&names[1], &seeds, dirs[1].path())).await.expect("it is taken");
    assert_eq!((again.changed, again.needs_restart), (vec![], vec![]), "nothing is left to change");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_that_is_refused_changes_nothing() {
    let names = names(1);
    let dir = tempfile::tempdir().expect("a directory");
    let node = start(config(&names[0], &names, dir.path())).await.expect("it starts");
    until(&node, "forms", |view| view.status == Status::Up).await;
    let before = (node.config(), node.view().members[0].tags.clone(), node.cookie_ids());
    let missing = built(&[
        ("node.name", &names[0]),
        ("node.data_dir", dir.path().to_str().expect("UTF-8")),
        ("node.cookie_file", dir.path().join("no-cookie").to_str().expect("UTF-8")),
        ("node.tags", "zone=b"),
        ("cluster.discovery", "manual"),
    ]);
    let error = node.reload(missing).await.expect_err("there is no such file");
    assert!(error.contains("no-cookie"), "{error}");
    assert_eq!((node.config(), node.view().members[0].tags.clone(), node.cookie_ids()), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_needs_a_restart_is_said_each_time_and_not_taken_by_halves() {
    let names = names(2);
    let dirs: Vec<_> = (0..2).map(|_| tempfile::tempdir().expect("a directory")).collect();
    let first = start(config(&names[0], &names, dirs[0].path())).await.expect("it starts");
    let second = start(config(&names[1], &names, dirs[1].path())).await.expect("it starts");
    until(&first, "forms", |view| view.members.iter().filter(|m| m.status == Status::Up).count() == 2).await;
    let mut renamed = config(&names[0], &names, dirs[0].path());
    renamed.cluster.name = "other".to_owned();
    for _ in 0..2 {
        let report = first.reload(renamed.clone()).await.expect("it is taken");
        assert_eq!((report.changed, report.needs_restart), (vec![], vec!["cluster.name".to_owned()]));
    }
    // With keys for another cluster name neither would let the other in.
    let endpoint =
        second.view().members.iter().find(|m| m.name == second.view().name).expect("itself").endpoint.clone();
    let seen = first.observe(&endpoint).await.expect("its keys are those of its cluster still");
    assert_eq!(seen.hello.cluster_name, "ekka");
}

fn built(values: &[(&str, &str)]) -> Config {
    let has_file = values.iter().any(|(key, _)| *key == "node.cookie_file");
    let base = if has_file { ConfigBuilder::new() } else { ConfigBuilder::new().set("node.cookie", COOKIE) };
    let builder = values.iter().fold(base, |builder, (key, value)| builder.set(*key, *value));
    builder.build().unwrap_or_else(|errors| panic!("{errors}"))
}
