//! Partitions that last until one side is gone, and those that come while something else is under way: formation, a join, a
//! leave, the death of nodes (DESIGN 2, 8, 9 and 10; USERS 2, 9, 10; EKKA_SPEC 10, rows 3 and 28).

use std::time::{Duration, Instant};

use crate::support::ask::get;
use crate::support::parted::{DETECTION, FORM_LIMIT, HEALING, Parted, SOON};
use crate::support::scribes::none_committed;
use crate::support::{Cluster, Figures, Netns, netns, rounds};

const SIDES: [&[usize]; 2] = [&[0, 1], &[2]];
/// A member that left, or came, until all agree; a leave waits for a majority.
const AGREED: Duration = Duration::from_secs(90);

/// SCHEDULES S2-1 and S2-4: it takes a new guid in the same process, and brings what it had acknowledged.
#[test]
fn who_was_cut_off_until_it_was_gone_comes_back_under_a_new_guid_in_the_same_process() {
    if !netns::wanted() {
        return;
    }
    let mut back = Figures::new("repair after 14 s until one cluster", HEALING);
    for _ in 0..rounds(1, 3) {
        let parted = Parted::formed(3, "ram", &[("cluster.gone_after", "10s")]);
        let (scribes, before, cut) = (parted.write(), parted.finished(), Instant::now());
        parted.network.split(&SIDES);
        parted.cluster.wait("every node knows", DETECTION * 10, |_| parted.all_know(&SIDES));
        let contested = parted.same_key(&SIDES, "same");
        parted.cluster.wait("the others say gone", Duration::from_secs(100), |_| {
            parted.sees(0, 2, &["gone"]).and_then(|()| parted.sees(1, 2, &["gone"]))
        });
        let fenced = parted.said(2, "node.fenced").expect("events");
        assert!(!fenced.is_empty(), "fenced before the others say gone\n{}", parted.cluster.report());
        let rest = Duration::from_secs(14).saturating_sub(cut.elapsed());
        parted.cluster.throughout("it goes on alone", rest, |_| parted.sees(0, 2, &["gone"]));
        let repair = Instant::now();
        parted.network.repair();
        back.add(parted.healed(&before, 1, back.limit()));
        let mut writes = scribes.end();
        none_committed(&writes, SIDES[1], cut, repair);
        writes.extend(contested);
        let account = parted.judge(&writes);
        for index in 0..3 {
            let ((pid, guid), now) = (&parted.starts[index], parted.start_of(index));
            assert_eq!(now.0, *pid, "the same process");
            assert_eq!(now.1 != *guid, index == 2, "a new guid where, and only where, it was gone: n{}", index + 1);
        }
        println!("SHAPE 2|1 until gone: {} writes acknowledged, 0 lost", account.acked);
    }
    back.assert_median();
}

/// DESIGN 8: a cut in the middle of it makes no second cluster.
#[test]
fn a_cut_during_formation_makes_no_second_cluster() {
    if !netns::wanted() {
        return;
    }
    let mut back = Figures::new("repair after a cut during formation until one cluster", HEALING);
    for _ in 0..rounds(1, 3) {
        let network = Netns::new(3);
        let mut cluster = Cluster::within(&network, 3);
        cluster.start();
        cluster.wait("each answers", FORM_LIMIT, |cluster| {
            cluster.agents.iter().try_for_each(|agent| get(&agent.data(), "/v1/status").map(drop))
        });
        network.split(&SIDES);
        let id_of = |cluster: &Cluster, index: usize| {
            Ok::<_, String>(get(&cluster.agents[index].data(), "/v1/status")?["cluster_id"].clone())
        };
        let id = cluster.wait("the majority has formed", FORM_LIMIT, |cluster| {
            let (one, other) = (id_of(cluster, 0)?, id_of(cluster, 1)?);
            if one.is_string() && one == other { Ok(one) } else { Err(format!("{one} and {other}")) }
        });
        cluster.throughout("the third forms none of its own", DETECTION, |cluster| {
            let alone = id_of(cluster, 2)?;
            if alone.is_null() || alone == id { Ok(()) } else { Err(format!("{alone}, not {id}")) }
        });
        network.repair();
        let start = Instant::now();
        let whole = cluster.wait("one cluster", back.limit(), Cluster::whole);
        back.add(start.elapsed());
        assert_eq!(id, whole, "the one of the majority");
    }
    back.assert_median();
}

/// A newcomer on the side that cannot admit it waits there, and is a member after the repair.
#[test]
fn a_cut_during_a_join_ends_with_all_in_one_cluster() {
    if !netns::wanted() {
        return;
    }
    let mut back = Figures::new("repair after a cut during a join until one cluster", HEALING);
    for _ in 0..rounds(1, 3) {
        let (mut parted, mut spare) = Parted::formed_with_spare(3, 1, "ram");
        let (scribes, before) = (parted.write(), parted.finished());
        let mut new = spare.pop().expect("one");
        new.start();
        parted.cluster.wait("it answers", FORM_LIMIT, |_| get(&new.data(), "/v1/status"));
        parted.network.split(&[&[0, 1], &[2, 3]]);
        parted.cluster.throughout("it founds nothing of its own", DETECTION, |_| {
            let id = get(&new.data(), "/v1/status")?["cluster_id"].clone();
            if id.is_null() || id == *parted.id { Ok(()) } else { Err(id.to_string()) }
        });
        parted.network.repair();
        parted.cluster.agents.push(new);
        back.add(parted.healed(&before, 1, back.limit()));
        let account = parted.judge(&scribes.end());
        println!("SHAPE 2|1+1 during a join: {} writes acknowledged, 0 lost", account.acked);
    }
    back.assert_median();
}

/// A leave that a cut comes into ends: it has left for all, or is a member for all; what it acknowledged is there.
#[test]
fn a_cut_during_a_leave_ends_with_all_agreed() {
    if !netns::wanted() {
        return;
    }
    for round in 0..rounds(1, 3) {
        let mut parted = Parted::formed(4, "ram", &[]);
        let scribes = parted.write();
        parted.cluster.throughout("a while of writes", Duration::from_millis(500), |_| Ok(()));
        // What it acknowledges while it leaves is another question: here a cut takes nothing from what it had.
        let writes = scribes.end();
        let start = Instant::now();
        let output = std::thread::scope(|scope| {
            let leaves = scope.spawn(|| parted.cluster.agents[3].ekka(&["leave"]));
            parted.cluster.throughout("a moment", Duration::from_millis(u64::from(round) * 100), |_| Ok(()));
            parted.network.split(&[&[0, 1, 2], &[3]]);
            parted.cluster.throughout("the cut lasts", DETECTION * 2, |_| Ok(()));
            parted.network.repair();
            leaves.join().expect("the command ends")
        });
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        println!("leave: {} after {:.1?}: {}", output.status, start.elapsed(), said.trim());
        let gone = parted.cluster.wait("all agree", AGREED, |_| agreed(&parted));
        if gone {
            drop(parted.cluster.agents.pop());
        }
        let account = parted.judge(&writes);
        println!("SHAPE 3|1 during a leave: left {gone}, {} writes acknowledged, 0 lost", account.acked);
    }
}

/// Whether the last of four has left, when all that are concerned say the same.
fn agreed(parted: &Parted) -> Result<bool, String> {
    let mut counts = Vec::new();
    for index in 0..3 {
        let members = get(&parted.data(index), "/v1/members")?;
        let rows = members.as_array().ok_or("members are no array")?;
        let up = rows.iter().filter(|row| row["status"] == "up").count();
        if up != rows.len() || parted.status(index)?["split"]["state"] != "none" {
            return Err(format!("n{}: {members}", index + 1));
        }
        counts.push(rows.len());
    }
    // Who has left may end.
    let own = parted.status(3).map_or(serde_json::Value::Null, |status| status["cluster_id"].clone());
    match counts.as_slice() {
        [3, 3, 3] if own != *parted.id => Ok(true),
        [4, 4, 4] if own == *parted.id => parted.one().map(|()| false),
        _ => Err(format!("{counts:?} members, its own cluster {own}")),
    }
}

/// DESIGN 2: deaths on either side while it is cut, of nodes whose tables are on disc.
#[test]
fn nodes_killed_and_started_on_either_side_of_a_cut_heal() {
    if !netns::wanted() {
        return;
    }
    let mut back = Figures::new("repair after deaths on both sides until one cluster", HEALING);
    for _ in 0..rounds(1, 3) {
        let mut parted = Parted::formed(3, "disc", &[]);
        let (scribes, cut) = (parted.write(), Instant::now());
        parted.network.split(&SIDES);
        parted.cluster.wait("every node knows", DETECTION * 10, |_| parted.all_know(&SIDES));
        let contested = parted.same_key(&SIDES, "same");
        for victim in [0, 2] {
            parted.cluster.agents[victim].kill();
            parted.cluster.agents[victim].start();
            parted.cluster.wait("it answers", FORM_LIMIT, |_| parted.status(victim));
        }
        parted.cluster.wait("the majority is one again", SOON, |_| {
            parted.sees(0, 1, &["up"]).and_then(|()| parted.sees(1, 0, &["up"]))
        });
        // The other one is killed once more, and comes back while the network is repaired.
        parted.cluster.agents[2].kill();
        let repair = Instant::now();
        parted.network.repair();
        parted.cluster.agents[2].start();
        back.add(parted.healed(&[0, 0, 0], 0, FORM_LIMIT + back.limit()));
        let mut writes = scribes.end();
        none_committed(&writes, SIDES[1], cut, repair);
        writes.extend(contested);
        let account = parted.judge(&writes);
        println!("SHAPE 2|1 with deaths on both sides: {} writes acknowledged, 0 lost", account.acked);
    }
    // It starts a process, whose credentials take their time.
    back.print_only();
}
