//! Everything at once: kills, restarts, cuts of every shape, while commands come in at every replica.
//!
//! What must hold: an acknowledged command is applied once, a refused one never, one of unknown outcome at most once;
//! all replicas hold one log; a reader sees what was acknowledged before it asked; in the end there is a leader.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ekka_core::rng::Rng;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{Verdict, World, agree, ensure, founded, leader};
use crate::consensus::GroupError;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    Acknowledged,
    Refused,
    Unknown,
}

#[derive(Default)]
struct Known {
    outcomes: BTreeMap<String, Outcome>,
    /// Those acknowledged, in the order in which that was learned.
    acknowledged: Vec<String>,
}

type Outcomes = Arc<Mutex<Known>>;

/// A reader looks for so many of the newest acknowledged commands.
const LOOKED_FOR: usize = 40;

/// One run by a seed.
///
/// # Errors
/// What was found instead.
pub async fn churn(world: Arc<dyn World>, seed: u64) -> Verdict {
    let mut rng = Rng::new(seed);
    let count = if rng.below(2) == 0 { 3 } else { 5 };
    founded(&*world, count).await?;
    let outcomes = Outcomes::default();
    let (stop, stopped) = watch::channel(false);
    let mut callers = JoinSet::new();
    for caller in 0..count * 2 {
        let task = caller_of(world.clone(), caller, caller % count, outcomes.clone(), stopped.clone());
        callers.spawn(task);
    }
    for _ in 0..12 {
        fault(&*world, count, &mut rng).await;
        sleep(Duration::from_millis(100 + rng.below(3_000))).await;
    }
    for from in 0..count {
        for to in 0..count {
            world.set_cut(from, to, false);
        }
        if !world.is_up(from) {
            world.start(from).await;
        }
    }
    leader(&*world, 0..count).await?;
    sleep(Duration::from_secs(1)).await;
    stop.send_replace(true);
    while let Some(done) = callers.join_next().await {
        done.map_err(|error| error.to_string())??;
    }
    let all = agree(&*world, 0..count).await?;
    judge(&all, &outcomes)
}

/// One fault, or one repair.
async fn fault(world: &dyn World, count: usize, rng: &mut Rng) {
    let (one, other) = (rng.index(count), rng.index(count));
    let up = (0..count).filter(|number| world.is_up(*number)).count();
    match rng.below(10) {
        0..=2 if world.is_up(one) && up > 1 => world.kill(one),
        0..=5 if !world.is_up(one) => world.start(one).await,
        6 => world.set_cut(one, other, true),
        7 => {
            world.set_cut(one, other, true);
            world.set_cut(other, one, true);
        }
        8 => (0..count).for_each(|other| {
            world.set_cut(one, other, true);
            world.set_cut(other, one, true);
        }),
        _ => {
            for from in 0..count {
                (0..count).for_each(|to| world.set_cut(from, to, false));
            }
        }
    }
}

/// A caller at one replica: commands, and readers behind barriers.
async fn caller_of(
    world: Arc<dyn World>,
    caller: usize,
    at: usize,
    outcomes: Outcomes,
    stopped: watch::Receiver<bool>,
) -> Verdict {
    let put = |command: String, outcome| {
        let mut known = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        if outcome == Outcome::Acknowledged {
            known.acknowledged.push(command.clone());
        }
        known.outcomes.insert(command, outcome);
    };
    for turn in 0usize.. {
        if *stopped.borrow() {
            break;
        }
        sleep(Duration::from_millis(20)).await;
        if !world.is_up(at) {
            continue;
        }
        let group = world.group(at);
        let command = format!("{caller}.{turn}");
        put(command.clone(), Outcome::Unknown);
        match group.propose(command.clone().into_bytes()).await {
            Ok(_) => put(command, Outcome::Acknowledged),
            Err(GroupError::NoQuorum(_) | GroupError::Ended(_) | GroupError::Refused(_)) => {
                put(command, Outcome::Refused);
            }
            Err(_) => {}
        }
        let ledger = world.ledger(at);
        let before = acknowledged(&outcomes);
        if group.barrier().await.is_ok() && world.is_up(at) && Arc::ptr_eq(&world.group(at), &group) {
            let missing = before.iter().find(|command| !ledger.has(command));
            ensure!(missing.is_none(), "a reader at {at} does not see {missing:?}, acknowledged before it asked");
        }
    }
    Ok(())
}

fn acknowledged(outcomes: &Outcomes) -> Vec<String> {
    let known = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
    known.acknowledged.iter().rev().take(LOOKED_FOR).cloned().collect()
}

fn judge(all: &[String], outcomes: &Outcomes) -> Verdict {
    let known = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
    let all: BTreeSet<&String> = all.iter().collect();
    for (command, outcome) in &known.outcomes {
        let is_there = all.contains(command);
        match outcome {
            Outcome::Acknowledged => ensure!(is_there, "{command} was acknowledged and is lost"),
            Outcome::Refused => ensure!(!is_there, "{command} was refused and is committed"),
            Outcome::Unknown => {}
        }
    }
    let kept = known.acknowledged.len();
    ensure!(kept > 50, "only {kept} commands were acknowledged");
    Ok(())
}
