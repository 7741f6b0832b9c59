//! A wall clock that jumps by minutes while its node is cut off: the node says so and is not ready until the clock is set,
//! and nothing of what it wrote meanwhile is lost (OPERATIONS 1.13 and 2; DESIGN 2).

use std::time::{Duration, Instant};

use crate::support::parted::{DETECTION, HEALING, Parted};
use crate::support::scribes::{AVAILABLE, Write, none_committed};
use crate::support::wall::WallClock;
use crate::support::{Figures, netns, rounds};
use serde_json::Value;

/// Longer than tables wait with a jump that nobody contradicts.
const ALONE: Duration = Duration::from_secs(35);

/// Writes to tables that need no majority go on at every node all the time. One that comes back under a new guid begins anew.
const GAP: Duration = Duration::from_secs(10);

/// What happens to the clock of the last of so many nodes.
struct Jump {
    name: &'static str,
    nodes: usize,
    seconds: i64,
    /// The others declare that start gone before the repair.
    gone: bool,
}

/// The last node is cut off, its clock jumps, the network is repaired, the clock is set.
fn jumps(&Jump { name, nodes, seconds, gone }: &Jump) {
    if !netns::wanted() {
        return;
    }
    let mut said = Figures::new(format!("{name}: jump until the node says so"), DETECTION);
    let mut back = Figures::new(format!("{name}: clock set until one cluster"), HEALING);
    for _ in 0..rounds(1, 3) {
        let (last, mut clock) = (nodes - 1, None);
        let after = [("cluster.gone_after", if gone { "15s" } else { "10m" })];
        let parted = Parted::formed_of(nodes, "ram", &after, |agents| clock = Some(WallClock::of(&mut agents[last])));
        let clock = clock.expect("made before the start");
        let (rest, alone): (Vec<usize>, [usize; 1]) = ((0..last).collect(), [last]);
        let sides: [&[usize]; 2] = [&rest, &alone];
        let (scribes, before, cut) = (parted.write(), parted.finished(), Instant::now());
        parted.network.split(&sides);
        parted.cluster.wait("every node knows", DETECTION * 10, |_| parted.all_know(&sides));
        let jump = Instant::now();
        clock.set_off(seconds);
        parted.cluster.wait("it says that its clock is wrong", said.limit(), |_| says(&parted, last, seconds));
        said.add(jump.elapsed());
        let event = |event: &Value| event["ms"].as_i64().is_some_and(|ms| near(ms, -seconds));
        let told = |_: &_| match parted.said(last, "clock.offset")? {
            events if events.iter().any(event) => Ok(()),
            events => Err(format!("clock.offset: {events:?}")),
        };
        parted.cluster.wait("an event for it", back.limit(), told);
        parted.cluster.throughout("and goes on saying so", ALONE, |_| says(&parted, last, seconds));
        let repair = Instant::now();
        parted.network.repair();
        parted.cluster.wait("all are in touch again", back.limit(), |_| in_touch(&parted, nodes));
        parted.cluster.wait("it says so anew, and the others are fine", back.limit(), |_| {
            says(&parted, last, seconds).and_then(|()| untroubled(&parted, &rest))
        });
        parted.cluster.throughout(
            "it is not ready while its clock is wrong, and the others are fine",
            DETECTION * 3,
            |_| says(&parted, last, seconds).and_then(|()| untroubled(&parted, &rest)),
        );
        clock.set_off(0);
        let outside = usize::from(nodes > 2);
        back.add(parted.healed(&before, outside, back.limit()));
        let writes = scribes.end();
        none_committed(&writes, &alone, cut, repair);
        let mine = writes.iter().filter(|write| write.node == last && write.table == AVAILABLE && write.sent >= jump);
        let (meanwhile, after) = mine.partition::<Vec<_>, _>(|write| write.acked <= repair);
        assert!(!meanwhile.is_empty() && !after.is_empty(), "{} and {}", meanwhile.len(), after.len());
        (0..nodes).for_each(|node| writes_all_the_time(&writes, node));
        let account = parted.judge(&writes);
        for index in 0..nodes {
            let ((pid, guid), now) = (&parted.starts[index], parted.start_of(index));
            assert_eq!(now.0, *pid, "the same process");
            assert_eq!(now.1 != *guid, gone && index == last, "a new guid where, and only where, it was gone");
        }
        println!(
            "SHAPE {name}: {} writes acknowledged, {} of them alone with a wrong clock, 0 lost",
            account.acked,
            meanwhile.len()
        );
    }
    said.assert_median();
    back.assert_median();
}

/// A majority that the node with the wrong clock is not part of is ready, and says nothing of clocks of its own. Of two nodes
/// neither is a majority, and the right one can but say that the clocks differ.
fn untroubled(parted: &Parted, rest: &[usize]) -> Result<(), String> {
    if !parted.majority(rest) {
        return Ok(());
    }
    rest.iter().try_for_each(|index| {
        let status = parted.status(*index)?;
        let alarm = status["alarms"].as_array().is_some_and(|alarms| alarms.iter().any(|one| one["code"] == "clock"));
        if status["ready"] == true && !alarm {
            return Ok(());
        }
        Err(format!("n{}: {} {}", index + 1, status["reasons"], status["alarms"]))
    })
}

/// No clock keeps a node from writing for long.
fn writes_all_the_time(writes: &[Write], node: usize) {
    let acked = writes.iter().filter(|write| write.table == AVAILABLE && write.node == node).map(|write| write.acked);
    let acked: Vec<Instant> = acked.collect();
    let gap = acked.windows(2).map(|pair| pair[1].saturating_duration_since(pair[0])).max().expect("some writes");
    println!("n{}: at most {gap:.1?} without a write", node + 1);
    assert!(gap < GAP, "n{} did not write for {gap:.1?}", node + 1);
}

fn near(ms: i64, seconds: i64) -> bool {
    ms.abs_diff(seconds * 1000) < 5_000
}

/// Whether a node says that its clock is so many seconds ahead, in all the ways in which it says such things.
fn says(parted: &Parted, index: usize, seconds: i64) -> Result<(), String> {
    let status = parted.status(index)?;
    let has = |list: &str| status[list].as_array().is_some_and(|list| list.iter().any(|one| one["code"] == "clock"));
    let offset = status["clock_offset_ms"].as_i64().is_some_and(|ms| near(ms, seconds));
    let ready = ["quorum", "available"].into_iter().any(|kind| status["ready_for"][kind] != false);
    if has("reasons") && has("alarms") && offset && !ready {
        return Ok(());
    }
    Err(format!("n{}: {} {} {} {}", index + 1, status["reasons"], status["alarms"], status["clock_offset_ms"], ready))
}

/// Every node has every other one as one that runs.
fn in_touch(parted: &Parted, nodes: usize) -> Result<(), String> {
    let pairs = (0..nodes).flat_map(|one| (0..nodes).map(move |other| (one, other)));
    pairs.into_iter().try_for_each(|(one, other)| parted.sees(one, other, &["up", "healing", "joining", "syncing"]))
}

#[test]
fn a_clock_that_jumps_ahead_behind_a_cut_is_said_and_loses_nothing() {
    jumps(&Jump { name: "2|1, 5 min ahead", nodes: 3, seconds: 300, gone: false });
}

#[test]
fn a_clock_that_jumps_back_behind_a_cut_is_said_and_loses_nothing() {
    jumps(&Jump { name: "2|1, 5 min back", nodes: 3, seconds: -300, gone: false });
}

/// It comes back under a new guid, and is not let in while its clock is wrong.
#[test]
fn a_clock_that_jumps_ahead_until_its_node_is_gone_is_said_and_loses_nothing() {
    jumps(&Jump { name: "2|1 until gone, 5 min ahead", nodes: 3, seconds: 300, gone: true });
}

/// With one peer the clocks alone do not tell which of both is wrong: the one that jumped knows. Nobody can be gone.
#[test]
fn of_two_the_one_whose_clock_jumped_says_so() {
    jumps(&Jump { name: "1|1, 5 min ahead", nodes: 2, seconds: 300, gone: false });
    jumps(&Jump { name: "1|1, 5 min back", nodes: 2, seconds: -300, gone: false });
}
