//! Formation by real processes on loopback, started together from static seeds.

use std::time::Duration;

use crate::support::{Cluster, Figures, rounds};

fn forms(count: u8, what: &'static str, target: Duration, rounds: u32) {
    let mut figures = Figures::new(what, target);
    for _ in 0..rounds {
        let mut cluster = Cluster::on_loopback(count);
        let (_, took) = cluster.form(figures.limit());
        for agent in &cluster.agents {
            let log = agent.log();
            assert!(!log.contains("panicked"), "{}", agent.report());
        }
        figures.add(took);
    }
    figures.assert_median();
}

#[test]
fn three_nodes_form_one_cluster_that_all_see() {
    forms(3, "formation of three nodes", Duration::from_secs(2), rounds(3, 100));
}

#[test]
fn seven_nodes_form_one_cluster_that_all_see() {
    forms(7, "formation of seven nodes", Duration::from_millis(2500), rounds(1, 30));
}

#[test]
fn two_of_three_seeds_form_without_the_third() {
    let mut figures = Figures::new("formation with one of three seeds absent", Duration::from_secs(3));
    for _ in 0..rounds(1, 10) {
        let mut cluster = Cluster::on_loopback(3);
        cluster.agents.pop();
        let (_, took) = cluster.form(figures.limit());
        figures.add(took);
    }
    figures.assert_median();
}

#[test]
fn one_of_three_seeds_says_what_it_waits_for_and_forms_with_the_second() {
    let mut figures = Figures::new("formation once a second of three seeds comes", Duration::from_secs(7));
    for _ in 0..rounds(1, 10) {
        let mut cluster = Cluster::on_loopback(3);
        cluster.agents[0].start();
        let (second, third) = (cluster.agents[1].name.clone(), cluster.agents[2].name.clone());
        cluster.wait("words for what is missing", Duration::from_secs(10), |cluster| {
            let status = cluster.agents[0].json(&["status"])?;
            let text = status.to_string();
            let says = text.contains("waits: 1 of 2") && text.contains(&second) && text.contains(&third);
            if says { Ok(()) } else { Err(text) }
        });
        cluster.throughout("a node alone never forms", Duration::from_secs(3), |cluster| {
            let status = cluster.agents[0].json(&["status"])?;
            let alone = status["cluster_id"].is_null() && status["status"] == "joining" && status["ready"] == false;
            if alone { Ok(()) } else { Err(status.to_string()) }
        });
        cluster.agents.pop();
        let start = std::time::Instant::now();
        cluster.agents[1].start();
        cluster.wait("two of three", figures.limit(), Cluster::whole);
        figures.add(start.elapsed());
    }
    figures.assert_median();
}
