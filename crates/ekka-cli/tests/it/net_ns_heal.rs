//! Partitions of every shape between real processes: each side works on, and after the repair there is one cluster that
//! holds all that any side acknowledged (DESIGN 2 and 10; SCHEDULES S2-1, S2-2; USERS 2, 3, 4, 5, 10, 23, 24; EKKA_SPEC 10,
//! rows 1, 2, 28, 29).

use std::time::{Duration, Instant};

use crate::support::ask::get;
use crate::support::parted::{DETECTION, HEALING, Parted, SOON};
use crate::support::rows::{post, rows};
use crate::support::scribes::{AVAILABLE, QUORUM, none_committed};
use crate::support::{self, Figures, Netns, duration, netns, poll, rounds};
use serde_json::json;

/// A cut: its name, which hosts hear each other while it lasts, and how it is made.
struct Shape {
    name: &'static str,
    sides: &'static [&'static [usize]],
    cut: fn(&Netns),
}

impl Shape {
    fn hosts(&self) -> usize {
        self.sides.iter().map(|side| side.len()).sum()
    }
}

/// Writes on every side while the network is cut and repaired, and looks at all that the promise names.
fn heals(shape: &Shape) {
    if !netns::wanted() {
        return;
    }
    let mut detected = Figures::new(format!("{}: cut until every node knows", shape.name), DETECTION);
    let mut healed = Figures::new(format!("{}: repair until one cluster", shape.name), HEALING);
    for _ in 0..rounds(1, 10) {
        let parted = Parted::formed(shape.hosts(), "ram", &[]);
        let (scribes, before) = (parted.write(), parted.finished());
        let cut = Instant::now();
        (shape.cut)(&parted.network);
        parted.cluster.wait("every node knows", detected.limit(), |_| parted.all_know(shape.sides));
        let known = cut.elapsed();
        detected.add(known);
        let contested = parted.same_key(shape.sides, "same");
        parted.only_a_majority_commits(shape.sides, 1);
        let repair = Instant::now();
        parted.network.repair();
        let took = parted.healed(&before, parted.outside(shape.sides), healed.limit());
        healed.add(took);
        let mut writes = scribes.end();
        for side in shape.sides.iter().filter(|side| !parted.majority(side)) {
            none_committed(&writes, side, cut, repair);
        }
        let apart = writes.iter().filter(|write| write.sent >= cut && write.acked <= repair).count();
        for (number, side) in shape.sides.iter().enumerate() {
            let here = |write: &&support::scribes::Write| side.contains(&write.node) && write.sent >= cut;
            let acked = writes.iter().filter(here).filter(|write| write.table == AVAILABLE && write.acked <= repair);
            assert!(acked.count() > 0, "side {number} of {} wrote nothing while it was cut off", shape.name);
        }
        writes.extend(contested);
        let account = parted.judge(&writes);
        assert_eq!(account.overridden, shape.sides.len() - 1, "all but one of those who wrote the same key lost");
        parted.same_starts();
        println!(
            "SHAPE {}: known after {known:.1?}, one after {took:.1?}, rows exchanged {}; {} writes acknowledged, {apart} of them \
             apart, {} in the journal, 0 lost",
            shape.name,
            parted.exchanged(),
            account.acked,
            account.overridden
        );
    }
    detected.assert_median();
    healed.assert_median();
}

/// SCHEDULES S2-1; USERS 10; EKKA_SPEC 10, row 28: equal rows by each table's digest, and nothing of either side lost.
#[test]
fn one_of_three_cut_off_heals() {
    heals(&Shape { name: "2|1", sides: &[&[0, 1], &[2]], cut: |network| network.split(&[&[0, 1], &[2]]) });
}

/// USERS 4 and 5: of four nodes three vote, so that one half of them commits.
#[test]
fn two_halves_of_four_heal() {
    heals(&Shape { name: "2|2", sides: &[&[0, 1], &[2, 3]], cut: |network| network.split(&[&[0, 1], &[2, 3]]) });
}

/// USERS 3; EKKA_SPEC 10, row 1: no side has a majority.
#[test]
fn three_alone_heal() {
    heals(&Shape { name: "1|1|1", sides: &[&[0], &[1], &[2]], cut: |network| network.split(&[&[0], &[1], &[2]]) });
}

/// USERS 3: no side of five has a majority.
#[test]
fn three_sides_of_five_heal() {
    let sides: &[&[usize]] = &[&[0, 1], &[2, 3], &[4]];
    heals(&Shape { name: "2|2|1", sides, cut: |network| network.split(&[&[0, 1], &[2, 3], &[4]]) });
}

/// SCHEDULES S2-1: over TCP a cut in one direction is a full one.
#[test]
fn a_node_that_hears_nobody_heals() {
    heals(&Shape { name: "2|1, deaf", sides: &[&[0, 1], &[2]], cut: |network| network.deafen(2) });
}

/// SCHEDULES S2-1: it had declared the others down as they did it, or only they did.
#[test]
fn a_node_that_nobody_hears_heals() {
    heals(&Shape { name: "2|1, mute", sides: &[&[0, 1], &[2]], cut: |network| network.mute(2) });
}

/// One link is cut, of three: nobody is declared down, nobody heals, and all work goes on by way of the third node.
fn goes_on(name: &str, cut: fn(&Netns)) {
    if !netns::wanted() {
        return;
    }
    let mut known = Figures::new(format!("{name}: cut until both ends show the link"), DETECTION);
    let mut passed = Figures::new(format!("{name}: a write until the other end has it"), Duration::from_secs(2));
    for _ in 0..rounds(1, 10) {
        let parted = Parted::formed(3, "ram", &[]);
        let (before, scribes, start) = (parted.cluster.downs().expect("events"), parted.write(), Instant::now());
        cut(&parted.network);
        parted
            .cluster
            .wait("both ends show the link", known.limit(), |_| (0..3).try_for_each(|index| partial(&parted, index)));
        known.add(start.elapsed());
        let watched = duration(Duration::from_secs(5), Duration::from_secs(60));
        let mut number = 0;
        parted.cluster.throughout("nobody is declared down, heals or is told to", watched, |_| {
            number += 1;
            for (from, to) in [(0, 1), (1, 0)] {
                passed.add(passes(&parted, from, to, &format!("pass-{from}-{number}"), passed.limit())?);
            }
            undisturbed(&parted, before)
        });
        for index in 0..3 {
            let body = json!({"key": format!("each-{index}"), "value": 1});
            let path = format!("/v1/tables/{QUORUM}/put");
            parted.cluster.wait("a quorum write on each node", SOON, |_| post(&parted.data(index), &path, &body));
            parted.cluster.wait("a read on each node", SOON, |_| rows(&parted.data(index), QUORUM));
        }
        parted.network.repair();
        parted.cluster.wait("no trace of it", SOON, |_| parted.one());
        // A heal would begin once the views have settled, three seconds later.
        parted
            .cluster
            .throughout("nor heals anybody after it", Duration::from_secs(4), |_| undisturbed(&parted, before));
        let account = parted.judge(&scribes.end());
        parted.same_starts();
        println!("SHAPE {name}: {} writes acknowledged, 0 lost, nobody down, nobody healed", account.acked);
    }
    known.assert_median();
    passed.assert_median();
}

/// Whether a node says that the split is partial, and shows the link between the first two as broken.
fn partial(parted: &Parted, index: usize) -> Result<(), String> {
    let (status, links) = (parted.status(index)?, get(&parted.data(index), "/v1/links")?);
    let ends = [&parted.cluster.agents[0].name, &parted.cluster.agents[1].name];
    let between = |link: &&serde_json::Value| ends.iter().all(|end| link["from"] == ***end || link["to"] == ***end);
    let broken = links.as_array().into_iter().flatten().filter(between).filter(|link| link["state"] != "up").count();
    if status["split"]["state"] == "partial" && broken >= 1 {
        return Ok(());
    }
    Err(format!("n{}: {}, links {links}", index + 1, status["split"]))
}

/// How long a write of one end takes to the other end.
fn passes(parted: &Parted, from: usize, to: usize, key: &str, limit: Duration) -> Result<Duration, String> {
    let start = Instant::now();
    let body = json!({"key": key, "value": 1, "ack": "local"});
    post(&parted.data(from), &format!("/v1/tables/{AVAILABLE}/put"), &body)?;
    let get = format!("/v1/tables/{AVAILABLE}/get");
    poll::until(limit, || post(&parted.data(to), &get, &json!({"key": key})))?;
    Ok(start.elapsed())
}

/// Nobody was declared down since, and nobody healed, is about to, or lost readiness.
fn undisturbed(parted: &Parted, downs: usize) -> Result<(), String> {
    let now = parted.cluster.downs()?;
    if now != downs {
        return Err(format!("{} declarations", now - downs));
    }
    for index in 0..3 {
        let status = parted.status(index)?;
        if status["status"] != "up" || status["ready"] != true {
            return Err(format!("n{}: {} {}", index + 1, status["status"], status["reasons"]));
        }
        if let Some(event) = support::ask::events(&parted.data(index))?
            .iter()
            .find(|event| event["type"].as_str().is_some_and(|kind| kind.starts_with("heal.")))
        {
            return Err(format!("n{}: {event}", index + 1));
        }
    }
    Ok(())
}

/// SCHEDULES S2-2; USERS 24; EKKA_SPEC 10, rows 2 and 29.
#[test]
fn a_cut_link_of_three_downs_nobody_and_heals_nobody() {
    goes_on("one link of three", |network| network.split(&[&[0], &[1]]));
}

/// SCHEDULES S2-1 and S2-2: one direction of one link.
#[test]
fn a_link_of_three_cut_one_way_downs_nobody_and_heals_nobody() {
    goes_on("one direction of one link of three", |network| network.cut_one_way(0, 1));
}
