//! Faults of real networks between namespaces: cuts, loss, one way only, seeds that are not there.

use std::time::{Duration, Instant};

use crate::support::{Cluster, Figures, Netns, duration, netns, rounds};

const FORM_LIMIT: Duration = Duration::from_secs(20);

/// A node on every host.
fn nodes(network: &Netns) -> Cluster {
    Cluster::within(network, network.hosts())
}

#[test]
fn a_node_that_is_cut_off_is_seen_by_all_says_so_and_heals_back_in() {
    if !netns::wanted() {
        return;
    }
    let network = Netns::new(3);
    let mut cluster = nodes(&network);
    let mut seen = Figures::new("cut until the others see it", Duration::from_secs(3));
    let mut known = Figures::new("cut until the node itself says so", Duration::from_secs(3));
    let mut back = Figures::new("repair until up for all", Duration::from_secs(5));
    let (id, _) = cluster.form(FORM_LIMIT);
    for round in 0..rounds(2, 30) {
        let victim = round as usize % 3;
        let start = Instant::now();
        network.cut(victim);
        cluster.wait("the others see it down", seen.limit(), |cluster| {
            let others = (0..3).filter(|other| *other != victim);
            for other in others {
                let row = cluster.agents[other].row(&cluster.agents[victim].name)?;
                if row["status"] != "down" {
                    return Err(format!("{} sees {}", cluster.agents[other].name, row["status"]));
                }
            }
            Ok(())
        });
        seen.add(start.elapsed());
        cluster.wait("it knows that it is alone", known.limit(), |cluster| {
            let status = cluster.agents[victim].json(&["status"])?;
            let quorum = &status["ready_for"]["quorum"];
            let split = &status["split"]["state"];
            if *quorum == false && split != "none" { Ok(()) } else { Err(format!("quorum {quorum}, split {split}")) }
        });
        known.add(start.elapsed());

        let start = Instant::now();
        network.repair();
        let again = cluster.wait("it is up again", back.limit(), Cluster::whole);
        back.add(start.elapsed());
        assert_eq!(again, id, "the same cluster");
    }
    seen.assert_each();
    known.assert_each();
    back.assert_median();
}

#[test]
fn a_link_that_works_one_way_only_downs_nobody_where_a_third_node_sees_both() {
    if !netns::wanted() {
        return;
    }
    let network = Netns::new(3);
    let mut cluster = nodes(&network);
    cluster.form(FORM_LIMIT);
    let before = cluster.downs().unwrap_or_else(|error| panic!("{error}"));
    network.cut_one_way(0, 1);
    cluster.throughout(
        "nobody is declared down",
        duration(Duration::from_secs(8), Duration::from_secs(60)),
        |cluster| {
            let downs = cluster.downs()? - before;
            if downs == 0 { Ok(()) } else { Err(format!("{downs} declarations")) }
        },
    );
    network.repair();
    cluster.wait("all up", FORM_LIMIT, Cluster::whole);
}

#[test]
fn a_fifth_of_all_packets_lost_downs_nobody() {
    if !netns::wanted() {
        return;
    }
    let network = Netns::new(3);
    let mut cluster = nodes(&network);
    cluster.form(FORM_LIMIT);
    let before = cluster.downs().unwrap_or_else(|error| panic!("{error}"));
    let time = duration(Duration::from_secs(20), Duration::from_secs(60));
    network.lose(20);
    cluster.throughout("nobody is declared down", time, |cluster| {
        let downs = cluster.downs()? - before;
        if downs == 0 { Ok(()) } else { Err(format!("{downs} declarations")) }
    });
    network.repair();
    println!("FIGURE declared down in {time:?} with 20 % loss: 0");
}

#[test]
fn a_cluster_forms_while_a_fifth_of_all_packets_is_lost() {
    if !netns::wanted() {
        return;
    }
    let network = Netns::new(3);
    let mut figures = Figures::new("formation of three nodes with 20 % loss", Duration::from_secs(8));
    network.lose(20);
    for _ in 0..rounds(1, 10) {
        let mut cluster = nodes(&network);
        let (_, took) = cluster.form(figures.limit());
        figures.add(took);
    }
    figures.assert_median();
}

#[test]
fn a_seed_whose_host_answers_nothing_does_not_hold_up_the_others() {
    if !netns::wanted() {
        return;
    }
    let network = Netns::new(3);
    let mut figures = Figures::new("formation with one silent host among three seeds", Duration::from_secs(5));
    network.cut(2);
    for _ in 0..rounds(1, 10) {
        let mut cluster = nodes(&network);
        cluster.agents.pop();
        let (_, took) = cluster.form(figures.limit());
        figures.add(took);
    }
    figures.assert_median();
}

#[test]
fn two_silent_hosts_are_named_and_the_cluster_forms_when_one_of_them_speaks() {
    if !netns::wanted() {
        return;
    }
    let network = Netns::new(3);
    let mut cluster = nodes(&network);
    network.cut(0);
    cluster.agents.pop();
    cluster.start();
    for index in 0..2 {
        let missing = cluster.agents[1 - index].name.clone();
        cluster.wait("words for what is missing", FORM_LIMIT, |cluster| {
            let text = cluster.agents[index].json(&["status"])?.to_string();
            if text.contains("waits: 1 of 2") && text.contains(&missing) { Ok(()) } else { Err(text) }
        });
    }
    network.repair();
    // Rediscovery may have backed off to its longest interval.
    cluster.wait("two of three", Duration::from_secs(60), Cluster::whole);
}
