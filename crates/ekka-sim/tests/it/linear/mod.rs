//! The judgement of histories: a register that keeps its word is never blamed, and each way to break it is seen.

mod ideal;

use std::sync::Arc;
use std::time::Duration;

use ekka_sim::linear::{Answer, GroupClient, History, Limits, Op, Outcome, Recorder, Verdict, Workload, check, drive};
use ideal::{Fault, IdealGroup};

const CLIENTS: u32 = 4;

/// The history of a few clients of one group, in virtual time.
fn history(seed: u64, fault: Fault, loss: u64) -> History {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime without sockets needs nothing");
    runtime.block_on(async {
        let group = IdealGroup::new(seed, fault, loss);
        let recorder = Recorder::default();
        let clients = (0..CLIENTS).map(|client| {
            let (group, recorder) = (Arc::clone(&group), recorder.clone());
            let workload = Workload { seed, client, ops: 40, keys: 2, unknown_max: 5 };
            async move {
                // Half of them read through the log, half on a replica that lags.
                let mut client = if client % 2 == 0 {
                    GroupClient::through_the_log(group)
                } else {
                    let reader = group.reader();
                    GroupClient::with_barrier(group, reader)
                };
                drive(&mut client, &recorder, workload).await;
            }
        });
        futures_join(clients.collect()).await;
        recorder.history()
    })
}

/// Runs them beside each other on this thread.
async fn futures_join<F: Future<Output = ()> + 'static>(futures: Vec<F>) {
    let local = tokio::task::LocalSet::new();
    let tasks: Vec<_> = futures.into_iter().map(|future| local.spawn_local(future)).collect();
    local.await;
    for task in tasks {
        task.await.expect("no client panics");
    }
}

#[test]
fn a_register_that_keeps_its_word_is_never_blamed() {
    let (mut answered, mut unknown) = (0, 0);
    for seed in 0..300 {
        let history = history(seed, Fault::None, if seed % 3 == 0 { 0 } else { 12 });
        check(&history, Limits::default()).assert_linearizable();
        answered += history.answered();
        unknown += history.entries().iter().filter(|entry| matches!(entry.ended, Some((_, Outcome::Unknown)))).count();
    }
    assert!(answered > 30_000 && unknown > 500, "{answered} answered, {unknown} unknown");
}

#[test]
fn two_runs_of_one_seed_are_one() {
    assert_eq!(history(7, Fault::None, 12), history(7, Fault::None, 12));
}

#[test]
fn every_broken_promise_is_seen() {
    for (fault, loss) in
        [(Fault::StaleRead, 0), (Fault::LostWrite, 0), (Fault::DoubleApply, 0), (Fault::FailedIsDone, 12)]
    {
        let seen = (0..50)
            .filter(|seed| matches!(check(&history(*seed, fault, loss), Limits::default()), Verdict::Violated { .. }));
        assert!(seen.count() >= 40, "{fault:?} is overlooked too often");
    }
}

fn done(history: &mut History, client: u32, op: Op, answer: Answer) {
    let call = history.call(client, "k", op);
    history.end(call, Outcome::Ok(answer));
}

#[test]
fn a_violation_is_told_by_the_shortest_history_that_shows_it() {
    let mut history = History::default();
    for value in 1..20 {
        done(&mut history, 1, Op::Write(value), Answer::Done);
        done(&mut history, 2, Op::Read, Answer::Value(vec![value]));
    }
    done(&mut history, 2, Op::Read, Answer::Value(vec![18]));
    done(&mut history, 1, Op::Write(20), Answer::Done);
    let Verdict::Violated { key, report } = check(&history, Limits::default()) else { panic!("not seen") };
    assert_eq!(key, "k");
    let lines: Vec<&str> = report.lines().collect();
    assert_eq!(lines[0], "no order explains these 20 of 40 operations:", "{report}");
    assert_eq!(lines[20].split_whitespace().skip(1).collect::<Vec<_>>().join(" "), "client 2: read: it holds [18]");
    assert_eq!(lines.iter().filter(|line| line.contains(": read:")).count(), 1, "other reads do not matter: {report}");
}

#[test]
fn what_is_unknown_may_happen_late_or_never_but_not_before_its_call() {
    let mut late = History::default();
    let call = late.call(1, "k", Op::Append(7));
    late.end(call, Outcome::Unknown);
    done(&mut late, 2, Op::Read, Answer::Value(vec![]));
    done(&mut late, 2, Op::Read, Answer::Value(vec![7]));
    assert_eq!(check(&late, Limits::default()), Verdict::Linearizable);
    done(&mut late, 2, Op::Read, Answer::Value(vec![7, 7]));
    assert!(matches!(check(&late, Limits::default()), Verdict::Violated { .. }), "twice is too often");

    let mut early = History::default();
    done(&mut early, 2, Op::Read, Answer::Value(vec![7]));
    let _open = early.call(1, "k", Op::Append(7));
    assert!(matches!(check(&early, Limits::default()), Verdict::Violated { .. }));

    let mut failed = History::default();
    let call = failed.call(1, "k", Op::Write(7));
    failed.end(call, Outcome::Fail);
    done(&mut failed, 2, Op::Read, Answer::Value(vec![7]));
    assert!(matches!(check(&failed, Limits::default()), Verdict::Violated { .. }), "failed means never");
}

#[test]
fn what_is_not_judged_to_the_end_is_no_pass() {
    let mut history = History::default();
    for value in 0..30 {
        done(&mut history, 1, Op::Write(value), Answer::Done);
    }
    let undecided = |limits| matches!(check(&history, limits), Verdict::Undecided { .. });
    assert!(undecided(Limits { ops_max: 29, ..Limits::default() }));
    assert!(!undecided(Limits { ops_max: 30, ..Limits::default() }));

    // Forty appends without an answer, and a read that none of their orders explains, once for each half of them.
    let mut hard = History::default();
    for value in 0..40 {
        let _open = hard.call(value, "k", Op::Append(value));
    }
    done(&mut hard, 99, Op::Read, Answer::Value((0..39).rev().chain([77]).collect()));
    assert!(matches!(check(&hard, Limits { open_max: 39, ..Limits::default() }), Verdict::Undecided { .. }));
    let short = Limits { timeout: Duration::from_millis(20), ..Limits::default() };
    assert!(matches!(check(&hard, short), Verdict::Undecided { .. }), "time ran out");
    assert!(std::panic::catch_unwind(|| check(&hard, short).assert_linearizable()).is_err());
}

#[test]
fn a_violation_of_one_key_is_told_although_another_is_undecided() {
    let mut history = History::default();
    let _open = history.call(1, "a", Op::Write(1));
    done(&mut history, 1, Op::Read, Answer::Value(vec![5]));
    let limits = Limits { open_max: 0, ..Limits::default() };
    assert!(matches!(check(&history, limits), Verdict::Violated { key, .. } if key == "k"));
}
