//! Blips, cuts that come again and links that flap: one cluster afterwards, equal tables, no process restarted (USERS 2 and
//! 22; EKKA_SPEC 10, row 3).

use std::time::{Duration, Instant};

use crate::support::parted::{DETECTION, HEALING, Parted};
use crate::support::{Figures, duration, netns, poll, rounds};

/// Which way nothing passes: what a rule matches.
const WAYS: [(&str, &str); 3] = [
    ("both ways", "meta iifname . meta oifname { host0 . host2, host1 . host2, host2 . host0, host2 . host1 }"),
    ("deaf", "oifname host2"),
    ("mute", "iifname host2"),
];
const SIDES: [&[usize]; 2] = [&[0, 1], &[2]];
/// A member that has healed in the last ten minutes waits the longer, the more often it did: a minute at most.
const DAMPED: Duration = Duration::from_secs(90);

/// USERS 22: a blip of milliseconds splits nothing for good, whichever way nothing passed.
#[test]
fn blips_of_any_length_and_direction_leave_one_cluster() {
    if !netns::wanted() {
        return;
    }
    let mut back = Figures::new("end of a blip until one cluster", HEALING);
    for round in 0..rounds(1, 10) {
        let parted = Parted::formed(3, "ram", &[]);
        let scribes = parted.write();
        // Those below the time of detection part nobody; so the longest one is the first heal of its member.
        let lengths = [Duration::from_millis(4), Duration::from_millis(400), Duration::from_secs(4)];
        for (place, length) in lengths.into_iter().enumerate() {
            let ways = if length < DETECTION { 0..3 } else { round as usize % 3..round as usize % 3 + 1 };
            for (name, matches) in ways.map(|way| WAYS[way]) {
                let before = parted.finished();
                parted.network.blip(matches, length);
                if length < DETECTION {
                    parted.cluster.throughout("nobody is down", Duration::from_millis(200), |_| parted.one());
                }
                back.add(parted.healed(&before, usize::from(length > DETECTION), back.limit()));
                println!("SHAPE blip {} of {length:.1?}, {name}: one cluster", place + 1);
            }
            if length < DETECTION {
                parted.cluster.throughout("nobody is down after all", DETECTION, |_| parted.one());
                assert_eq!(parted.cluster.downs(), Ok(0), "a blip of {length:?} downs nobody");
            }
        }
        let account = parted.judge(&scribes.end());
        parted.same_starts();
        println!("SHAPE blips: {} writes acknowledged, 0 lost, no restart", account.acked);
    }
    back.assert_median();
}

/// USERS 2; EKKA_SPEC 10, row 3: the second and the third partition of one cluster heal like the first.
#[test]
fn the_third_partition_heals_like_the_first() {
    if !netns::wanted() {
        return;
    }
    let mut known = Figures::new("cut until every node knows", DETECTION);
    let mut back = Figures::new("repair until one cluster, again and again", HEALING);
    let parted = Parted::formed(3, "ram", &[]);
    let (scribes, mut contested) = (parted.write(), Vec::new());
    for round in 0..rounds(3, 12) {
        let before = parted.finished();
        let cut = Instant::now();
        parted.network.split(&SIDES);
        parted.cluster.wait("every node knows", known.limit(), |_| parted.all_know(&SIDES));
        known.add(cut.elapsed());
        contested.extend(parted.same_key(&SIDES, &format!("same-{round}")));
        parted.network.repair();
        back.add(parted.healed(&before, 1, DAMPED));
    }
    let mut writes = scribes.end();
    let cuts = contested.len() / 2;
    writes.extend(contested);
    let account = parted.judge(&writes);
    assert_eq!(account.overridden, cuts, "one of two lost in each cut");
    parted.same_starts();
    println!("SHAPE {cuts} partitions of one cluster: {} writes acknowledged, 0 lost", account.acked);
    known.assert_median();
    // Damping has the later ones wait.
    back.print_only();
}

/// USERS 24 and 38: a link that comes and goes. Writes go on everywhere, and the end of it is one cluster.
#[test]
fn a_node_whose_link_flaps_comes_back_when_it_stays() {
    if !netns::wanted() {
        return;
    }
    let mut back = Figures::new("end of the flapping until one cluster", HEALING);
    for _ in 0..rounds(1, 3) {
        let parted = Parted::formed(3, "ram", &[]);
        let (scribes, before) = (parted.write(), parted.finished());
        let (start, time) = (Instant::now(), duration(Duration::from_secs(20), Duration::from_secs(60)));
        let mut flaps = 0;
        while start.elapsed() < time {
            parted.network.cut(2);
            poll::pace(Duration::from_secs(1));
            parted.network.repair();
            poll::pace(Duration::from_secs(1));
            flaps += 1;
        }
        let heals = parted.finished().iter().sum::<usize>() - before.iter().sum::<usize>();
        back.add(parted.healed(&before, 0, DAMPED));
        if parted.cluster.downs() == Ok(0) {
            parted.cluster.throughout("it stays one", DETECTION, |_| parted.one());
        }
        let account = parted.judge(&scribes.end());
        parted.same_starts();
        println!("SHAPE {flaps} flaps: {heals} heals meanwhile, {} writes acknowledged, 0 lost", account.acked);
    }
    back.assert_median();
}
