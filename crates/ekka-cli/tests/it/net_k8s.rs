//! Pods that find each other through the API of Kubernetes: how they form, come late, go and come back elsewhere.
//! Real processes on loopback, and an API server of the tests.

use std::time::{Duration, Instant};

use crate::support::k8s::Fleet;
use crate::support::{Figures, poll, rounds};

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn three_pods_form_one_cluster_and_a_fourth_joins() {
    let mut figures = Figures::new("formation of three pods", Duration::from_secs(6));
    for _ in 0..rounds(3, 20) {
        let mut fleet = Fleet::stateful(3);
        let start = Instant::now();
        for ordinal in 0..3 {
            fleet.start_member(ordinal);
        }
        let (id, _) = fleet.whole(figures.limit());
        figures.add(start.elapsed());
        fleet.start_member(3);
        let (again, took) = fleet.whole(figures.limit());
        println!("a fourth pod joined after {took:.2?}");
        assert_eq!(again, id, "the same cluster");
    }
    figures.assert_median();
}

#[test]
fn the_role_of_deploy_is_enough_and_all_of_it_is_used() {
    let mut fleet = Fleet::stateful(3);
    // While the list is empty, the Service is asked for.
    let said = fleet.asker("ekka-0", "127.9.9.1").discover().expect("an answer").to_string();
    assert!(said.contains("the Service is there") && said.contains("StatefulSet ekka has 3 replicas"), "{said}");
    for ordinal in 0..3 {
        fleet.start_member(ordinal);
    }
    fleet.whole(LIMIT);
    let (denied, unused) = fleet.server.world(|world| (world.access.denied.clone(), world.access.unused()));
    assert!(denied.is_empty() && unused.is_empty(), "denied: {denied:?}; not used: {unused:?}");
}

#[test]
fn a_killed_pod_that_stays_listed_keeps_nobody_out() {
    let mut figures = Figures::new("a pod joins beside a stale one", Duration::from_secs(3));
    for _ in 0..rounds(2, 20) {
        let mut fleet = Fleet::deployed(3);
        let names: Vec<String> = (0..3).map(|_| fleet.start_replica()).collect();
        let (id, _) = fleet.whole(LIMIT);
        // The API server goes on listing it, as it does until the kubelet says otherwise.
        let mut killed = fleet.pods.remove(&names[0]).expect("it runs");
        killed.kill();
        let start = Instant::now();
        fleet.start_replica();
        let (again, _) = fleet.whole(figures.limit());
        figures.add(start.elapsed());
        assert_eq!(again, id, "no second cluster");
    }
    figures.assert_median();
}

#[test]
fn users_6_a_rolling_restart_with_other_addresses_keeps_a_stateful_cluster_whole() {
    let mut figures = Figures::new("a pod of a StatefulSet is back elsewhere", Duration::from_secs(5));
    for _ in 0..rounds(1, 20) {
        let mut fleet = Fleet::stateful(3);
        for ordinal in 0..3 {
            fleet.start_member(ordinal);
        }
        let (id, _) = fleet.whole(LIMIT);
        for ordinal in [2, 1, 0] {
            fleet.stop_pod(&format!("ekka-{ordinal}"));
            let start = Instant::now();
            fleet.start_member(ordinal);
            let (again, _) = fleet.whole(figures.limit());
            figures.add(start.elapsed());
            assert_eq!(again, id, "the same cluster");
        }
    }
    figures.assert_median();
}

#[test]
fn users_6_a_rolling_restart_of_pods_without_discs_keeps_the_cluster_whole() {
    let mut figures = Figures::new("a pod of a Deployment is replaced", Duration::from_secs(5));
    for _ in 0..rounds(1, 20) {
        let mut fleet = Fleet::deployed(3);
        let names: Vec<String> = (0..3).map(|_| fleet.start_replica()).collect();
        let (id, _) = fleet.whole(LIMIT);
        for name in &names {
            // maxSurge 1: the new pod comes before the old one goes.
            let start = Instant::now();
            fleet.start_replica();
            let (again, _) = fleet.whole(figures.limit());
            figures.add(start.elapsed());
            assert_eq!(again, id, "the same cluster");
            fleet.stop_pod(name);
            assert_eq!(fleet.whole(figures.limit()).0, id, "the same cluster");
        }
        // None of the old ones is left as a member that is down and votes.
        fleet.wait_members(3);
    }
    figures.assert_median();
}

#[test]
fn users_8_both_pods_deleted_and_started_again_are_one_cluster_always() {
    let mut figures = Figures::new("two pods are back", Duration::from_secs(6));
    for round in 0..rounds(3, 20) {
        let mut fleet = Fleet::stateful(2);
        for ordinal in 0..2 {
            fleet.start_member(ordinal);
        }
        let (id, _) = fleet.whole(LIMIT);
        for ordinal in 0..2 {
            fleet.stop_pod(&format!("ekka-{ordinal}"));
        }
        let start = Instant::now();
        let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        for ordinal in order {
            fleet.start_member(ordinal);
        }
        let (again, _) = fleet.whole(figures.limit());
        figures.add(start.elapsed());
        assert_eq!(again, id, "the cluster that was");
    }
    figures.assert_median();
}

#[test]
fn users_8_both_pods_deleted_with_their_discs_are_one_new_cluster_always() {
    let mut figures = Figures::new("two pods with empty discs form anew", Duration::from_secs(6));
    for _ in 0..rounds(3, 20) {
        let mut fleet = Fleet::deployed(2);
        let old: Vec<String> = (0..2).map(|_| fleet.start_replica()).collect();
        let (id, _) = fleet.whole(LIMIT);
        for name in &old {
            fleet.stop_pod(name);
        }
        let start = Instant::now();
        for _ in 0..2 {
            fleet.start_replica();
        }
        let (again, _) = fleet.whole(figures.limit());
        figures.add(start.elapsed());
        assert_ne!(again, id, "nothing was left of the old one");
    }
    figures.assert_median();
}

#[test]
fn users_26_a_slow_pod_gives_no_lone_node_beside_a_pair() {
    for _ in 0..rounds(2, 20) {
        let mut fleet = Fleet::stateful(3);
        fleet.start_member(0);
        waits(&fleet, "waits: 1 of 2", Duration::from_secs(4));
        fleet.start_member(1);
        let (id, _) = fleet.whole(LIMIT);
        fleet.start_member(2);
        assert_eq!(fleet.whole(LIMIT).0, id, "one cluster");
    }
}

#[test]
fn users_26_two_of_five_pods_wait_for_a_third() {
    // By the pods that are listed two would be enough; by the replicas they are not.
    let mut fleet = Fleet::stateful(5);
    fleet.start_member(0);
    fleet.start_member(1);
    waits(&fleet, "waits: 2 of 3", Duration::from_secs(8));
    for ordinal in 2..5 {
        fleet.start_member(ordinal);
    }
    fleet.whole(LIMIT);
}

/// All pods say that they wait, and for how many; for a while none is in a cluster.
fn waits(fleet: &Fleet, text: &str, time: Duration) {
    let said = poll::until(Duration::from_secs(20), || {
        for agent in fleet.pods.values() {
            let status = agent.json(&["status"])?.to_string();
            if !status.contains(text) {
                return Err(status);
            }
        }
        Ok(())
    });
    said.unwrap_or_else(|seen| panic!("{text}: {seen}\n{}", fleet.report()));
    let alone = poll::throughout(time, || match fleet.clusters().as_slice() {
        [] => Ok(()),
        some => Err(format!("formed: {some:?}")),
    });
    alone.unwrap_or_else(|seen| panic!("{seen}\n{}", fleet.report()));
}

#[test]
fn an_api_server_that_fails_or_is_gone_changes_nothing_in_a_formed_cluster() {
    let mut fleet = Fleet::stateful(3);
    for ordinal in 0..3 {
        fleet.start_member(ordinal);
    }
    let (id, _) = fleet.whole(LIMIT);
    let same = |fleet: &Fleet, what: &str, time: Duration| {
        let same = poll::throughout(time, || match fleet.one_cluster()? {
            now if now == id => Ok(()),
            now => Err(format!("another cluster: {now}")),
        });
        same.unwrap_or_else(|seen| panic!("{what}: {seen}\n{}", fleet.report()));
    };
    fleet.server.world(|world| world.faults.status = Some(500));
    fleet.server.stop();
    fleet.server.resume();
    same(&fleet, "500 for everything", Duration::from_secs(6));
    fleet.server.stop();
    same(&fleet, "the API server is gone", Duration::from_secs(6));
    // Whoever is started now is let in once the API server is back.
    let late = fleet.start_member(3);
    let words = poll::until(Duration::from_secs(20), || {
        let status = fleet.pods[&late].json(&["status"])?;
        if status["cluster_id"].is_null() { Ok(status) } else { Err(status.to_string()) }
    });
    println!("without an API server: {}", words.expect("it cannot know of anybody").0["reason"]);
    fleet.server.world(|world| world.faults.status = None);
    fleet.server.resume();
    assert_eq!(fleet.whole(LIMIT).0, id, "the same cluster");
    let failures = fleet.pods["ekka-0"].log().matches("the API server cannot be watched").count();
    assert!((1..=3).contains(&failures), "said when it changes, not with each try: {failures}\n{}", fleet.report());
    let again = poll::until(LIMIT, || {
        let log = fleet.pods["ekka-0"].log();
        if log.contains("the API server is watched again") { Ok(()) } else { Err(log) }
    });
    println!("watched again after {:.2?}", again.expect("it tries on").1);
}

#[test]
fn an_answer_that_forgets_pods_removes_nobody() {
    let mut fleet = Fleet::stateful(3);
    for ordinal in 0..3 {
        fleet.start_member(ordinal);
    }
    let (id, _) = fleet.whole(LIMIT);
    for ordinal in 0..3 {
        fleet.server.world(|world| world.remove_pod(&format!("ekka-{ordinal}")));
    }
    let kept = poll::throughout(Duration::from_secs(6), || fleet.one_cluster().map(drop));
    kept.unwrap_or_else(|seen| panic!("{seen}\n{}", fleet.report()));
    assert_eq!(fleet.one_cluster(), Ok(id));
}
