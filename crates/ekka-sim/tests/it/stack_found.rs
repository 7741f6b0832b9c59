//! Faults that seeds of whole nodes have found, as schedules of their own: each stays mended.

use std::time::Duration;

use ekka_sim::stack::{Plan, Step};

fn run(schedule: Vec<(u64, Step)>) {
    let schedule: Vec<_> = schedule.into_iter().map(|(ms, step)| (Duration::from_millis(ms), step)).collect();
    for seed in 0..3 {
        let plan = Plan {
            seed,
            hosts: 3,
            latency: Duration::from_millis(5),
            schedule: schedule.clone(),
            disc: None,
            after: Vec::new(),
            pace: Some(Duration::from_millis(50)),
            faults: Default::default(),
        };
        if let Err(failure) = plan.run() {
            panic!("seed {seed}: {}\n{}", failure.trace.join("\n"), failure.what);
        }
    }
}

fn started() -> Vec<(u64, Step)> {
    vec![(0, Step::Start(0)), (10, Step::Start(1)), (10, Step::Start(2))]
}

/// A replica that could not write had ended for good, and with two of them so had the group, until somebody restarted
/// the processes.
#[test]
fn replicas_whose_discs_were_full_come_back_by_themselves() {
    let full =
        [(6_000, Step::FailDisk(0)), (10, Step::FailDisk(1)), (3_000, Step::WorkDisk(0)), (10, Step::WorkDisk(1))];
    run([started(), full.into()].concat());
}

/// One of three leaves, then the power goes everywhere: the other two elect a leader of the group of two.
#[test]
fn two_that_are_left_come_back_after_a_power_loss() {
    let gone = [(6_000, Step::Leave(2)), (3_000, Step::PowerLoss(0b111))];
    let back = [(400, Step::Start(0)), (800, Step::Start(1)), (60, Step::Start(2))];
    run([started(), gone.into(), back.into()].concat());
}
