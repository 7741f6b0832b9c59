//! The harness itself: a network that is cut must be cut, or every test on it would be blind.

use std::process::Command;
use std::time::Duration;

use crate::support::history::{Counts, Heard, Op, check, longest_gap};
use crate::support::{Figures, Netns, netns, poll, process};

fn reaches(network: &Netns, from: usize, to: usize) -> bool {
    // The kernel of a host that is reached answers by a reset: no program is needed there.
    let target = format!("{}/7", Netns::address(to));
    let script = format!("exec 3<>/dev/tcp/{target}");
    let mut command = Command::new("timeout");
    command.args(["0.5", "ip", "netns", "exec", &network.namespace(from), "bash", "-c", &script]);
    let output = command.output().expect("timeout, ip and bash are there");
    // Silence runs into the time-out and says nothing.
    String::from_utf8_lossy(&output.stderr).contains("refused")
}

#[test]
fn cuts_of_the_network_cut_and_repairs_repair() {
    if !netns::wanted() {
        return;
    }
    let network = Netns::new(3);
    assert!(reaches(&network, 0, 1) && reaches(&network, 1, 2), "hosts reach each other");
    network.cut(1);
    assert!(!reaches(&network, 0, 1) && !reaches(&network, 1, 2) && reaches(&network, 0, 2), "one host is cut off");
    network.repair();
    assert!(reaches(&network, 0, 1), "repaired");
    network.cut_one_way(2, 0);
    assert!(!reaches(&network, 0, 2), "answers are lost");
    assert!(reaches(&network, 0, 1) && reaches(&network, 1, 2), "only that way is cut");
    network.repair();
    network.lose(99);
    // Request and answer get through once in ten thousand times: two in a row do not.
    assert!(!reaches(&network, 0, 1) || !reaches(&network, 0, 1), "nearly everything is lost");
}

#[test]
fn a_dropped_network_leaves_no_namespace() {
    if !netns::wanted() {
        return;
    }
    drop(Netns::new(2));
    let output = Command::new("ip").args(["netns", "list"]).output().expect("ip is there");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!text.contains(&format!("ekka-{}-", std::process::id())), "{text}");
}

#[test]
fn a_condition_that_never_holds_ends_with_what_was_seen_last() {
    let mut looks = 0;
    let ended = poll::until(Duration::from_millis(100), || {
        looks += 1;
        Err::<(), String>(format!("look {looks}"))
    });
    let seen = ended.expect_err("it never holds");
    assert!(looks > 1 && seen.starts_with(&format!("look {looks} (after ")), "{seen}");
}

#[test]
#[should_panic(expected = "is above")]
fn a_figure_above_its_target_fails() {
    let mut figures = Figures::new("an example", Duration::from_secs(1));
    figures.add(Duration::from_secs(4));
    figures.assert_each();
}

#[test]
fn facts_of_a_process_are_read() {
    assert!(process::resident(std::process::id()) > 100 * 1024);
    assert!(process::descriptors(std::process::id()) >= 3);
}

fn op(heard: Heard, asked: u64, answered: u64) -> Op {
    Op { client: 0, asked: Duration::from_secs(asked), answered: Duration::from_secs(answered), heard }
}

fn took(from: u64, to: u64, asked: u64, answered: u64) -> Op {
    op(Heard::Took { from, to }, asked, answered)
}

fn read(ceiling: u64, asked: u64, answered: u64) -> Op {
    op(Heard::Read { ceiling }, asked, answered)
}

#[test]
fn a_history_of_one_counter_is_taken() {
    // Beside each other in time, in either order; a range between that nobody heard of.
    let ops = [took(5, 7, 0, 9), took(1, 2, 3, 8), read(5, 4, 9), read(5, 4, 9), read(7, 8, 10), took(20, 21, 11, 12)];
    let others = [op(Heard::Unknown, 0, 1), op(Heard::Refused, 2, 3)];
    let counts = check(&[&ops[..], &others].concat());
    assert_eq!(counts, Ok(Counts { took: 3, read: 3, unknown: 1, refused: 1, ceiling: 21 }));
}

#[test]
fn histories_that_no_counter_has_are_refused() {
    for (what, ops) in [
        ("given to two", vec![took(1, 3, 0, 1), took(1, 3, 0, 1)]),
        ("in part", vec![took(1, 3, 0, 1), took(2, 4, 0, 1)]),
        ("in part", vec![took(1, 3, 0, 1), read(2, 0, 9)]),
        ("asked for", vec![took(5, 6, 0, 1), took(1, 2, 2, 3)]),
        ("asked for", vec![took(5, 6, 0, 1), read(5, 2, 3)]),
        ("asked for", vec![took(5, 6, 4, 5), read(6, 2, 3)]),
        ("asked for", vec![read(9, 0, 1), read(8, 2, 3)]),
    ] {
        let found = check(&ops).expect_err(what);
        assert!(found.contains(what), "{what}: {found}");
    }
}

#[test]
fn gaps_are_measured_around_what_is_excused() {
    let seconds = Duration::from_secs;
    let ops = [took(1, 2, 0, 2), took(2, 3, 2, 10), took(3, 4, 10, 11)];
    assert_eq!(longest_gap(&ops, (seconds(0), seconds(12)), &[]), (seconds(8), seconds(2)));
    assert_eq!(longest_gap(&ops, (seconds(0), seconds(12)), &[(seconds(3), seconds(7))]), (seconds(3), seconds(7)));
    assert_eq!(longest_gap(&ops, (seconds(0), seconds(20)), &[(seconds(2), seconds(10))]), (seconds(9), seconds(11)));
}
