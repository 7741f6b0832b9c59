//! What probes and metrics say while a network is cut: asked ten times a second at every node, from before the cut to after
//! the repair (OPERATIONS 1.6, 2, 4 and 8; DESIGN 2; SCHEDULES S2-14; USERS 9, 27, 40).

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::support::alerts::Pages;
use crate::support::parted::{DETECTION, HEALING, Parted, SOON};
use crate::support::probes::{Probes, Sample, keep};
use crate::support::{Figures, netns, rounds};

/// A replica that hears nobody believes in its leader for a while; an alert has to be true for 15 s at least.
const ALERTED: Duration = Duration::from_secs(10);

/// What the nodes of one side are to say once they know.
struct Side {
    hosts: Vec<usize>,
    /// They reach a majority of the voters.
    majority: bool,
    state: &'static str,
}

/// From when to when the network was cut.
#[derive(Clone, Copy)]
struct Cut {
    from: Instant,
    to: Instant,
}

impl Cut {
    /// Samples that were asked for and answered while it lasted.
    fn within<'a>(&self, samples: &'a [Sample]) -> impl Iterator<Item = &'a Sample> + Clone {
        let Self { from, to } = *self;
        samples.iter().filter(move |sample| sample.asked >= from && sample.at <= to)
    }
}

/// The sides of a complete cut.
fn sides(parted: &Parted, hosts: &[&[usize]]) -> Vec<Side> {
    let side = |hosts: &&[usize]| {
        let majority = parted.majority(hosts);
        Side { hosts: hosts.to_vec(), majority, state: if majority { "suspected" } else { "minority" } }
    };
    hosts.iter().map(side).collect()
}

/// Holds the samples of a node against what its side promises: how long it took to say so.
fn judge(samples: &[Sample], side: &Side, cut: Cut) -> Result<Duration, String> {
    keep(samples, cut.from, |sample| sample.live == 200)?;
    keep(samples, cut.from, |sample| sample.split.len() == 1)?;
    keep(cut.within(samples), cut.from, |sample| sample.available == 200)?;
    if side.majority {
        keep(samples, cut.from, |sample| sample.quorum == 200)?;
    }
    let known = |sample: &Sample| {
        let told = sample.split == [side.state];
        let minority = sample.quorum == 503 && sample.reasons.iter().any(|code| code == "minority");
        told && (side.majority || minority)
    };
    let first = cut.within(samples).find(|sample| known(sample));
    let first = first.ok_or_else(|| format!("never {}: {:?}", side.state, cut.within(samples).last()))?;
    keep(cut.within(samples).filter(|sample| sample.asked >= first.asked), cut.from, known)?;
    if side.state == "minority" {
        let told = |sample: &Sample| sample.body["split"] == "minority";
        keep(cut.within(samples).filter(|sample| sample.asked >= first.asked), cut.from, told)?;
    }
    let last = samples.last().ok_or("no samples")?;
    if last.split != ["none"] || last.quorum != 200 {
        return Err(format!("in the end: {last:?}"));
    }
    Ok(first.at - cut.from)
}

impl Side {
    /// Alerts whose expression is true for a scraper that reaches only a node of this side; `voters` vote in all.
    fn alerts(&self, voters: u64) -> BTreeSet<&'static str> {
        let mut alerts = BTreeSet::from(["EkkaSplit"]);
        if self.state != "partial" && voters >= 3 {
            alerts.insert("EkkaNextFailureHurts");
        }
        if !self.majority {
            alerts.insert("EkkaNoQuorum");
        }
        alerts
    }
}

/// Alerts that the metrics of these nodes make true.
fn found(parted: &Parted, nodes: &[usize]) -> Result<BTreeSet<&'static str>, String> {
    let data: Vec<_> = nodes.iter().map(|index| parted.data(*index)).collect();
    Ok(Pages::of(data.iter().map(PathBuf::as_path))?.alerts())
}

/// Whether the metrics of these nodes make exactly these alerts true.
fn alert(parted: &Parted, nodes: &[usize], alerts: &BTreeSet<&str>) -> Result<(), String> {
    let found = found(parted, nodes)?;
    if found == *alerts { Ok(()) } else { Err(format!("{nodes:?}: {found:?}, not {alerts:?}")) }
}

/// Whether one node makes those alerts true that its side should.
fn alert_of_one(parted: &Parted, node: usize, side: &Side, voters: u64) -> Result<(), String> {
    let (mut found, alerts) = (found(parted, &[node])?, side.alerts(voters));
    if side.state == "partial" {
        // Who has no link to the leader of a group hears no leader there, and is served by way of the third.
        found.remove("EkkaNoQuorum");
    }
    if found == alerts { Ok(()) } else { Err(format!("n{}: {found:?}, not {alerts:?}", node + 1)) }
}

/// Whether each node makes those alerts true that its side should, and all of them together those of all but one: while any
/// side has a leader there is one.
fn alerts(parted: &Parted, sides: &[Side]) -> Result<(), String> {
    let voters = parted.status(0)?["quorum"]["voters"].as_u64().ok_or("no voters")?;
    for side in sides {
        side.hosts.iter().try_for_each(|index| alert_of_one(parted, *index, side, voters))?;
    }
    let mut all: BTreeSet<&str> = sides.iter().flat_map(|side| side.alerts(voters)).collect();
    if sides.iter().any(|side| side.majority) {
        all.remove("EkkaNoQuorum");
    }
    if sides.len() > 1 {
        all.insert("EkkaTwoLeaders");
    }
    let hosts: Vec<usize> = sides.iter().flat_map(|side| side.hosts.iter().copied()).collect();
    alert(parted, &hosts, &all)
}

/// Cuts, waits until all know and a while longer, repairs, and judges every sample of every node.
fn told(parted: &Parted, sides: &[Side], time: Duration, figures: &mut Figures, cut: impl FnOnce(&Parted)) {
    let probes = Probes::begin((0..parted.starts.len()).map(|index| parted.data(index)));
    let nodes: Vec<usize> = (0..parted.starts.len()).collect();
    let none = BTreeSet::new();
    parted.cluster.throughout("no alert before the cut", Duration::from_millis(500), |_| alert(parted, &nodes, &none));
    let (before, from) = (parted.finished(), Instant::now());
    cut(parted);
    parted.cluster.wait("all say so", figures.limit(), |_| {
        for side in sides {
            for index in &side.hosts {
                let status = parted.status(*index)?;
                if status["split"]["state"] != *side.state {
                    return Err(format!("n{}: {}", index + 1, status["split"]));
                }
            }
        }
        Ok(())
    });
    parted.cluster.wait("the alerts of each side, and of all", ALERTED, |_| alerts(parted, sides));
    parted
        .cluster
        .throughout("for as long as it lasts", time.saturating_sub(from.elapsed()), |_| alerts(parted, sides));
    let cut = Cut { from, to: Instant::now() };
    parted.network.repair();
    let hosts: Vec<&[usize]> = sides.iter().map(|side| &side.hosts[..]).collect();
    parted.healed(&before, parted.outside(&hosts), HEALING * 10);
    parted.cluster.wait("no alert after it", SOON, |_| alert(parted, &nodes, &none));
    parted.cluster.throughout("nor a while later", Duration::from_millis(500), |_| alert(parted, &nodes, &none));
    let samples = probes.end();
    for side in sides {
        for index in &side.hosts {
            let took = judge(&samples[*index], side, cut);
            figures.add(took.unwrap_or_else(|seen| panic!("n{}: {seen}\n{}", index + 1, parted.cluster.report())));
        }
    }
    println!("{} samples of {} nodes", samples.iter().map(Vec::len).sum::<usize>(), samples.len());
    parted.same_starts();
}

/// A complete cut into these sides.
fn told_of(name: &str, hosts: &[&[usize]]) {
    if !netns::wanted() {
        return;
    }
    let mut figures = Figures::new(format!("{name}: cut until probes and metric say so"), DETECTION);
    for _ in 0..rounds(1, 10) {
        let parted = Parted::formed(hosts.iter().map(|side| side.len()).sum(), "ram", &[]);
        told(&parted, &sides(&parted, hosts), DETECTION * 2, &mut figures, |parted| parted.network.split(hosts));
    }
    figures.assert_median();
}

/// The node that leads the volatile group.
fn leader(parted: &Parted) -> usize {
    parted.cluster.wait("a leader", SOON, |cluster| {
        let status = parted.status(0)?;
        let place = cluster.agents.iter().position(|agent| status["volatile"]["leader"] == *agent.name);
        place.ok_or_else(|| status["volatile"].to_string())
    })
}

/// OPERATIONS 2; USERS 40: the two that remain elect a leader, and are ready all the time.
#[test]
fn a_majority_is_ready_all_the_time_though_its_leader_is_cut_away() {
    if !netns::wanted() {
        return;
    }
    let mut figures = Figures::new("2|1, the leader alone: cut until probes and metric say so", DETECTION);
    for _ in 0..rounds(1, 10) {
        let parted = Parted::formed(3, "ram", &[]);
        let alone = leader(&parted);
        let rest: Vec<usize> = (0..3).filter(|index| *index != alone).collect();
        let hosts: [&[usize]; 2] = [&rest, &[alone]];
        told(&parted, &sides(&parted, &hosts), DETECTION * 2, &mut figures, |parted| parted.network.split(&hosts));
    }
    figures.assert_median();
}

/// OPERATIONS 2; USERS 4: three of four vote.
#[test]
fn of_two_halves_of_four_one_is_ready_all_the_time() {
    told_of("2|2", &[&[0, 1], &[2, 3]]);
}

/// OPERATIONS 2; USERS 3: no majority anywhere, all serve available tables.
#[test]
fn three_alone_are_ready_for_available_work() {
    told_of("1|1|1", &[&[0], &[1], &[2]]);
}

/// SCHEDULES S2-2; USERS 24: longer than a lease lives.
#[test]
fn with_one_link_of_three_cut_all_are_ready_all_the_time() {
    if !netns::wanted() {
        return;
    }
    let mut figures = Figures::new("one link of three: cut until probes and metric say so", DETECTION);
    for _ in 0..rounds(1, 10) {
        let parted = Parted::formed(3, "ram", &[("cluster.gone_after", "10s")]);
        // The end that does not lead must not depend on the link.
        let (one, other) = (leader(&parted), (leader(&parted) + 1) % 3);
        let all = [Side { hosts: vec![0, 1, 2], majority: true, state: "partial" }];
        let cut = |parted: &Parted| parted.network.split(&[&[one], &[other]]);
        told(&parted, &all, Duration::from_secs(12), &mut figures, cut);
    }
    figures.assert_median();
}

/// SCHEDULES S2-14; USERS 40: the survivor of two refuses nobody who needs no majority.
#[test]
fn the_survivor_of_two_serves_available_work() {
    if !netns::wanted() {
        return;
    }
    let mut figures = Figures::new("one of two killed until probes and metric say so", DETECTION);
    for _ in 0..rounds(1, 10) {
        let mut parted = Parted::formed(2, "ram", &[]);
        let probes = Probes::begin([parted.data(0)]);
        let from = Instant::now();
        parted.cluster.agents[1].kill();
        let name = "the survivor says so";
        parted.cluster.wait(name, figures.limit(), |_| {
            let split = parted.status(0)?["split"]["state"].clone();
            if split == "minority" { Ok(()) } else { Err(split.to_string()) }
        });
        let side = Side { hosts: vec![0], majority: false, state: "minority" };
        let alone = std::slice::from_ref(&side);
        parted.cluster.wait("its alerts", ALERTED, |_| alerts(&parted, alone));
        parted.cluster.throughout("a while longer", Duration::from_secs(1), |_| alerts(&parted, alone));
        let cut = Cut { from, to: Instant::now() };
        parted.cluster.agents[1].start();
        parted.cluster.wait("two again", SOON, |_| parted.one());
        let none = BTreeSet::new();
        parted.cluster.wait("no alert after it", SOON, |_| alert(&parted, &[0, 1], &none));
        parted.cluster.throughout("a while after it", Duration::from_millis(500), |_| alert(&parted, &[0, 1], &none));
        let took = judge(&probes.end()[0], &side, cut);
        figures.add(took.unwrap_or_else(|seen| panic!("{seen}\n{}", parted.cluster.report())));
    }
    figures.assert_median();
}
