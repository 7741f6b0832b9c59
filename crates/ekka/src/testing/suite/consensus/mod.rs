//! What every adapter of the consensus port has to do, as scenarios over a world of replicas.
//!
//! A scenario gives an error in words instead of panicking, so that it can also be shown to catch faults put in on
//! purpose. Run it on a runtime whose time is paused.

mod churn;
mod faults;
mod ledger;
mod quiet;
mod voters;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ekka_core::consensus::{Standing, VoterId};
use tokio::time::{Instant, sleep, timeout};

pub use self::churn::churn;
pub use self::faults::{
    a_killed_leader_is_replaced, a_leader_that_hears_nobody_is_replaced,
    a_leader_that_starts_again_reads_what_was_acknowledged, a_minority_refuses,
    a_partial_partition_does_not_move_leadership, restarts_keep_what_was_committed, votes_survive_restarts,
};
pub use self::ledger::{Ledger, LedgerMachine};
pub use self::quiet::{
    barriers_see_what_was_acknowledged, commands_are_applied_once_and_in_one_order, leadership_is_handed_over,
    leadership_is_handed_over_under_load,
};
pub use self::voters::{
    a_learner_follows, a_removed_leader_changes_nothing_more, a_sleeper_comes_back_by_snapshot,
    an_interrupted_change_is_ended_by_the_next_leader, voters_change_under_load,
};
use crate::consensus::Group;
use crate::env::BoxFuture;

/// Replicas of one group, named by numbers, and the faults that can befall them.
pub trait World: Send + Sync + 'static {
    /// As whom a replica votes. It stays the same over starts.
    fn voter(&self, number: usize) -> VoterId;

    /// Starts a replica: for the first time, or again on the store that it had.
    fn start(&self, number: usize) -> BoxFuture<'_, ()>;

    /// Ends a replica as `kill -9` does.
    fn kill(&self, number: usize);

    /// The running replica.
    fn group(&self, number: usize) -> Arc<dyn Group>;

    /// It runs.
    fn is_up(&self, number: usize) -> bool;

    /// What the state machine of its latest start has applied.
    fn ledger(&self, number: usize) -> Ledger;

    /// Cuts the way from one replica to another, or mends it.
    fn set_cut(&self, from: usize, to: usize, cut: bool);
}

/// What a scenario found.
pub type Verdict = Result<(), String>;

/// The promise: with a majority up there is a leader again within this time.
pub const LEADERLESS_MAX: Duration = Duration::from_secs(5);

/// Fails the scenario with words unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($words:tt)+) => {
        if !$condition {
            return Err(format!($($words)+));
        }
    };
}
use ensure;

fn set(world: &dyn World, numbers: impl IntoIterator<Item = usize>) -> BTreeSet<VoterId> {
    numbers.into_iter().map(|number| world.voter(number)).collect()
}

/// Starts replicas `0..count` and founds the group with all of them.
pub(crate) async fn founded(world: &dyn World, count: usize) -> Result<usize, String> {
    for number in 0..count {
        world.start(number).await;
    }
    let voters = set(world, 0..count);
    for number in 0..count {
        let found = world.group(number).found(voters.clone()).await;
        found.map_err(|error| format!("replica {number} cannot found: {error}"))?;
    }
    leader(world, 0..count).await
}

/// Waits for a leader among these; its number.
async fn leader(world: &dyn World, among: impl IntoIterator<Item = usize>) -> Result<usize, String> {
    let among: Vec<usize> = among.into_iter().collect();
    let began = Instant::now();
    while began.elapsed() < LEADERLESS_MAX {
        let leads = |number: &&usize| world.is_up(**number) && standing(world, **number).leads;
        if let Some(leader) = among.iter().find(leads) {
            return Ok(*leader);
        }
        sleep(Duration::from_millis(5)).await;
    }
    let all: Vec<_> = among.iter().filter(|n| world.is_up(**n)).map(|n| standing(world, *n)).collect();
    Err(format!("no leader within {LEADERLESS_MAX:?}: {all:#?}"))
}

fn standing(world: &dyn World, number: usize) -> Arc<Standing> {
    world.group(number).standing().borrow().clone()
}

async fn propose(world: &dyn World, number: usize, command: &str) -> Result<u64, String> {
    let done = world.group(number).propose(command.as_bytes().to_vec()).await;
    let applied = done.map_err(|error| format!("replica {number} does not take {command}: {error}"))?;
    let answer: [u8; 8] = applied.answer.try_into().map_err(|_| format!("a wrong answer to {command}"))?;
    Ok(u64::from_le_bytes(answer))
}

/// Waits at each of these for everything that was committed, and compares what they hold.
async fn agree(world: &dyn World, among: impl IntoIterator<Item = usize>) -> Result<Vec<String>, String> {
    let mut all: Option<(usize, Vec<String>)> = None;
    for number in among {
        let began = Instant::now();
        // A replica may come up to date only now.
        while let Err(error) = world.group(number).barrier().await {
            ensure!(began.elapsed() < LEADERLESS_MAX * 2, "replica {number} cannot be read: {error}");
        }
        let mine = world.ledger(number).commands();
        if let Some(twice) = first_repeated(&mine) {
            return Err(format!("replica {number} has applied {twice} twice"));
        }
        if let Some((other, theirs)) = &all {
            ensure!(*theirs == mine, "replicas {other} and {number} hold different logs: {theirs:?}, {mine:?}");
        }
        all = Some((number, mine));
    }
    Ok(all.map(|(_, commands)| commands).unwrap_or_default())
}

fn first_repeated(commands: &[String]) -> Option<&String> {
    let mut seen = BTreeSet::new();
    commands.iter().find(|command| !seen.insert(*command))
}

/// Cuts a replica off from all of these, or mends that.
fn isolate(world: &dyn World, number: usize, others: impl IntoIterator<Item = usize>, cut: bool) {
    for other in others.into_iter().filter(|other| *other != number) {
        world.set_cut(number, other, cut);
        world.set_cut(other, number, cut);
    }
}

/// Waits for a condition in the time of the runtime.
async fn until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) -> Verdict {
    let poll = async {
        while !holds() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(limit, poll).await.map_err(|_| format!("not within {limit:?}: {what}"))
}

/// One test of each claim of the suite that needs nothing but a world, in virtual time, for each of the seeds below
/// `$seeds`. `$make` is a function of a seed that returns an `Arc<dyn World>` or of one that implements it.
#[macro_export]
macro_rules! consensus_suite {
    ($make:path, $seeds:expr) => {
        $crate::consensus_suite!(@claims $make, $seeds,
            commands_are_applied_once_and_in_one_order, barriers_see_what_was_acknowledged, leadership_is_handed_over,
            leadership_is_handed_over_under_load,
            a_killed_leader_is_replaced, a_minority_refuses, restarts_keep_what_was_committed,
            a_leader_that_starts_again_reads_what_was_acknowledged,
            a_partial_partition_does_not_move_leadership, a_leader_that_hears_nobody_is_replaced,
            votes_survive_restarts, an_interrupted_change_is_ended_by_the_next_leader, voters_change_under_load,
            a_learner_follows, a_removed_leader_changes_nothing_more,
        );
    };
    (@claims $make:path, $seeds:expr, $($claim:ident),* $(,)?) => {
        $(
            #[tokio::test(start_paused = true)]
            async fn $claim() {
                for seed in 0..$seeds {
                    $crate::testing::suite::consensus::$claim($make(seed)).await.unwrap();
                }
            }
        )*
    };
}
