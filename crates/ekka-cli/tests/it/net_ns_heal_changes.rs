//! Partitions that fall while the voters change, and nodes that start while they do not reach who leads (DESIGN 2, 8, 9, 10
//! and 12): one cluster afterwards, equal tables, and at no time two sides that commit.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::alerts::Pages;
use crate::support::ask::{get, settled};
use crate::support::parted::{DETECTION, FORM_LIMIT, HEALING, Parted, SOON};
use crate::support::scribes::{QUORUM, Write};
use crate::support::{self, Cluster, Figures, netns, rounds};

/// A change of voters that a cut has held up, until all agree.
const AGREED: Duration = Duration::from_secs(90);

/// Sides that acknowledged a quorum write which was sent and answered while the network was cut: one at most.
fn one_side_commits(writes: &[Write], sides: &[&[usize]], (cut, repair): (Instant, Instant)) -> String {
    let apart = |write: &&Write| write.table == QUORUM && write.sent >= cut && write.acked <= repair;
    let side_of = |write: &Write| sides.iter().position(|side| side.contains(&write.node));
    let commit: BTreeSet<_> = writes.iter().filter(apart).filter_map(side_of).collect();
    assert!(commit.len() <= 1, "sides {commit:?} of {sides:?} acknowledged quorum writes while they were apart");
    commit.first().map_or_else(|| "none".to_owned(), |side| format!("{:?}", sides[*side]))
}

/// What each node says of how many vote.
fn votes(parted: &Parted) -> Vec<Option<u64>> {
    let count = |index| parted.status(index).ok().and_then(|status| status["quorum"]["voters"].as_u64());
    (0..parted.starts.len()).map(count).collect()
}

/// Voters grow from three to five, as a fifth node comes, and the network is cut into sides as `sides` has them of the old
/// voters, of the fourth node, and of the fifth.
fn grows(name: &str, sides: fn([usize; 3], usize, usize) -> [Vec<usize>; 2]) {
    if !netns::wanted() {
        return;
    }
    let mut back = Figures::new(format!("{name}: repair until one cluster"), HEALING);
    let mut all = Figures::new(format!("{name}: repair until all five vote and are ready"), AGREED);
    for round in 0..rounds(2, 12) {
        let (mut parted, mut spare) = Parted::formed_with_spare(4, 1, storage(round));
        let voters: Vec<usize> = parted.voters().iter().copied().collect();
        let voters: [usize; 3] = voters.try_into().expect("three of four vote");
        let fourth = (0..4).find(|index| !voters.contains(index)).expect("one does not vote");
        let sides = sides(voters, fourth, 4);
        let sides: [&[usize]; 2] = [&sides[0], &sides[1]];
        let (scribes, mut before) = (parted.write(), parted.finished());
        let mut new = spare.pop().expect("one");
        new.start();
        // At first as soon as it is a member that may vote, then later and later in what follows; every other time when the
        // first node has seen that the voters change.
        parted.cluster.wait("the fifth is up, or the voters change", FORM_LIMIT, |_| {
            if round % 2 == 0 { listed(&parted, &new.name) } else { changes(&parted) }
        });
        parted.cluster.throughout("a moment", Duration::from_millis(u64::from(round / 2) * 20), |_| Ok(()));
        parted.network.split(&sides);
        let cut = Instant::now();
        let voted = votes(&parted);
        parted.cluster.throughout("the cut lasts", DETECTION * 3, |_| Ok(()));
        let then = votes(&parted);
        let repair = Instant::now();
        parted.network.repair();
        parted.cluster.agents.push(new);
        before.push(0);
        parted.cluster.wait("all are up, and no trace of a split", back.limit(), whole);
        back.add(repair.elapsed());
        parted.healed(&before, 0, AGREED);
        parted.cluster.wait("all five vote", AGREED, |cluster| settled(cluster, 5));
        all.add(repair.elapsed());
        let writes = scribes.end();
        let committed = one_side_commits(&writes, &sides, (cut, repair));
        let account = parted.judge(&writes);
        parted.same_starts();
        println!(
            "SHAPE {name}, {}: voters {voted:?} at the cut, {then:?} before the repair, committed meanwhile by {committed}; {} \
             writes acknowledged, 0 lost",
            storage(round),
            account.acked
        );
    }
    back.assert_median();
    // The change of voters goes on after the heal: a new voter is not ready before the volatile group has made it one.
    all.print_only();
}

/// Every node is up, and says that nothing is split.
fn whole(cluster: &Cluster) -> Result<(), String> {
    cluster.agents.iter().try_for_each(|agent| {
        let status = get(&agent.data(), "/v1/status")?;
        let (node, split) = (&status["status"], &status["split"]["state"]);
        if node == "up" && split == "none" { Ok(()) } else { Err(format!("{}: {node}, split {split}", agent.name)) }
    })
}

/// Whether the first of the nodes has a member of that name that is up.
fn listed(parted: &Parted, name: &str) -> Result<(), String> {
    let members = get(&parted.data(0), "/v1/members")?;
    let known = members.as_array().into_iter().flatten().any(|row| row["name"] == name && row["status"] == "up");
    if known { Ok(()) } else { Err(format!("{name} is not listed")) }
}

/// Whether anybody has other voters than at first.
fn changes(parted: &Parted) -> Result<(), String> {
    let votes = votes(parted);
    if votes.iter().any(|count| count.is_some_and(|count| count != 3)) { Ok(()) } else { Err(format!("{votes:?}")) }
}

/// Quorum tables on disc are in the durable group, those in ram in the volatile one.
fn storage(round: u32) -> &'static str {
    if (round + round / 2).is_multiple_of(2) { "disc" } else { "ram" }
}

#[test]
fn a_cut_that_leaves_the_new_ones_alone_while_three_voters_become_five_heals() {
    grows("3 voters | 2 newcomers", |voters, fourth, fifth| [voters.to_vec(), vec![fourth, fifth]]);
}

/// The larger side would have a majority of the five, and not of the three.
#[test]
fn a_cut_that_leaves_the_new_ones_with_one_voter_while_three_voters_become_five_heals() {
    grows("2 voters | 1 voter and 2 newcomers", |[one, other, third], fourth, fifth| {
        [vec![one, other], vec![third, fourth, fifth]]
    });
}

/// One of five voters leaves, and the network is cut in the middle of that.
fn shrinks(name: &str, sides: [&[usize]; 2]) {
    if !netns::wanted() {
        return;
    }
    let mut figures = Figures::new(format!("{name}: repair until all agree and are ready"), AGREED);
    for round in 0..rounds(2, 12) {
        let mut parted = Parted::formed(5, storage(round), &[]);
        // What it acknowledges while it leaves is another question.
        let scribes = support::scribes::Scribes::begin((0..4).map(|index| parted.data(index)));
        let (output, cut, repair) = std::thread::scope(|scope| {
            let leaves = scope.spawn(|| parted.cluster.agents[4].ekka(&["leave"]));
            parted.cluster.wait("it leaves", SOON, |_| match parted.status(4)?["status"].as_str() {
                Some("up") => Err("not yet".into()),
                _ => Ok(()),
            });
            parted.cluster.throughout("a moment", Duration::from_millis(u64::from(round) * 50), |_| Ok(()));
            parted.network.split(&sides);
            let cut = Instant::now();
            parted.cluster.throughout("the cut lasts", DETECTION * 3, |_| Ok(()));
            let repair = Instant::now();
            parted.network.repair();
            (leaves.join().expect("the command ends"), cut, repair)
        });
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        println!("leave: {} after {:.1?}: {}", output.status, repair.elapsed(), said.trim());
        let gone = parted.cluster.wait("all agree", AGREED, |_| agreed(&parted));
        figures.add(repair.elapsed());
        if gone {
            drop(parted.cluster.agents.pop());
        }
        let writes = scribes.end();
        let committed = one_side_commits(&writes, &sides, (cut, repair));
        let account = parted.judge(&writes);
        println!(
            "SHAPE {name}, {}: left {gone}, committed meanwhile by {committed}; {} writes acknowledged, 0 lost",
            storage(round),
            account.acked
        );
    }
    // A leave waits for a majority, and its command for the leave.
    figures.print_only();
}

/// Whether the last of five has left, when the others say the same of it, see each other up and are ready.
fn agreed(parted: &Parted) -> Result<bool, String> {
    let mut counts = BTreeSet::new();
    for index in 0..4 {
        let members = get(&parted.data(index), "/v1/members")?;
        let rows = members.as_array().ok_or("members are no array")?;
        let status = parted.status(index)?;
        if rows.iter().any(|row| row["status"] != "up") || status["split"]["state"] != "none" || status["ready"] != true
        {
            return Err(format!("n{}: {} {members}", index + 1, status["reasons"]));
        }
        counts.insert((rows.len(), status["quorum"]["voters"].as_u64()));
    }
    match counts.into_iter().collect::<Vec<_>>().as_slice() {
        [(4, Some(3))] => Ok(true),
        [(5, Some(5))] => Ok(false),
        counts => Err(format!("members and voters: {counts:?}")),
    }
}

#[test]
fn a_cut_that_leaves_a_voter_of_five_on_the_larger_side_while_it_leaves_heals() {
    shrinks("2|2+1 while it leaves", [&[0, 1], &[2, 3, 4]]);
}

#[test]
fn a_cut_that_leaves_a_voter_of_five_on_the_smaller_side_while_it_leaves_heals() {
    shrinks("3|1+1 while it leaves", [&[0, 1, 2], &[3, 4]]);
}

/// The node that leads the durable group.
fn leader(parted: &Parted) -> usize {
    parted.cluster.wait("a leader", SOON, |_| {
        let leads = |index: &usize| Pages::of([parted.data(*index).as_path()]).is_ok_and(|page| page.leads("durable"));
        (0..parted.starts.len()).find(leads).ok_or_else(|| "nobody leads".to_owned())
    })
}

/// How a node that starts without its link to who leads fares: it is up, or names the one that it waits for.
fn up_or_says(parted: &Parted, data: &Path, leads: usize) -> String {
    let leads = parted.cluster.agents[leads].name.as_str();
    parted.cluster.wait("it is up, or says what it waits for", SOON, |_| {
        let status = get(data, "/v1/status")?;
        let words = status["reasons"][0]["text"].as_str().unwrap_or_default();
        match status["status"].as_str() {
            Some("up") if status["ready"] == true => Ok("up".to_owned()),
            _ if words.starts_with("waits: ") && words.contains(leads) => Ok(words.to_owned()),
            _ => Err(format!("{} {}", status["status"], status["reasons"])),
        }
    })
}

/// A newcomer whose link to the leader is cut reaches the others.
#[test]
fn a_newcomer_that_does_not_reach_the_leader_is_one_of_the_cluster_after_the_repair() {
    if !netns::wanted() {
        return;
    }
    let mut back = Figures::new("repair until a newcomer is one of the cluster", HEALING);
    for _ in 0..rounds(1, 10) {
        let (mut parted, mut spare) = Parted::formed_with_spare(3, 1, "ram");
        let leads = leader(&parted);
        parted.network.split(&[&[leads], &[3]]);
        let (scribes, mut before) = (parted.write(), parted.finished());
        let (mut new, start) = (spare.pop().expect("one"), Instant::now());
        new.start();
        parted.cluster.wait("it answers", FORM_LIMIT, |_| get(&new.data(), "/v1/status"));
        let first = up_or_says(&parted, &new.data(), leads);
        println!("{:.1?} after its start: {first}", start.elapsed());
        parted.cluster.throughout("it founds nothing of its own", DETECTION * 3, |_| {
            let id = get(&new.data(), "/v1/status")?["cluster_id"].clone();
            if id.is_null() || id == *parted.id { Ok(()) } else { Err(id.to_string()) }
        });
        let last = up_or_says(&parted, &new.data(), leads);
        parted.network.repair();
        parted.cluster.agents.push(new);
        before.push(0);
        back.add(parted.healed(&before, 0, back.limit()));
        let account = parted.judge(&scribes.end());
        parted.same_starts();
        println!("SHAPE newcomer without a link to the leader: {last}; {} writes acknowledged, 0 lost", account.acked);
    }
    back.assert_median();
}

/// A voter that was killed, and starts again while its link to the leader is cut.
#[test]
fn a_voter_that_starts_without_a_link_to_the_leader_is_one_of_the_cluster_after_the_repair() {
    if !netns::wanted() {
        return;
    }
    let mut back = Figures::new("repair until a voter that came back is one of the cluster", HEALING);
    for _ in 0..rounds(1, 10) {
        let mut parted = Parted::formed(3, "ram", &[]);
        let leads = leader(&parted);
        let (scribes, victim) = (parted.write(), (leads + 1) % 3);
        parted.cluster.agents[victim].kill();
        parted.network.split(&[&[leads], &[victim]]);
        let start = Instant::now();
        parted.cluster.agents[victim].start();
        parted.cluster.wait("it answers", FORM_LIMIT, |_| parted.status(victim));
        let first = up_or_says(&parted, &parted.data(victim), leads);
        println!("{:.1?} after its start: {first}", start.elapsed());
        parted.cluster.throughout("the cut lasts", DETECTION * 3, |_| Ok(()));
        let last = up_or_says(&parted, &parted.data(victim), leads);
        parted.network.repair();
        back.add(parted.healed(&[0, 0, 0], 0, back.limit()));
        let account = parted.judge(&scribes.end());
        println!(
            "SHAPE voter back without a link to the leader: {last}; {} writes acknowledged, 0 lost",
            account.acked
        );
    }
    back.assert_median();
}
