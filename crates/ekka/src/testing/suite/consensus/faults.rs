//! Scenarios with one fault each.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{LEADERLESS_MAX, Verdict, World, agree, ensure, founded, isolate, leader, propose, standing, until};
use crate::consensus::GroupError;

/// A leader that is killed is replaced within the promised time, and nothing acknowledged is lost.
///
/// # Errors
/// What was found instead.
pub async fn a_killed_leader_is_replaced(world: Arc<dyn World>) -> Verdict {
    let mut at = founded(&*world, 3).await?;
    for turn in 0..4 {
        propose(&*world, at, &format!("before {turn}")).await?;
        world.kill(at);
        let began = Instant::now();
        let next = (at + 1) % 3;
        // Callers wait for the next leader instead of being refused.
        propose(&*world, next, &format!("after {turn}")).await?;
        ensure!(began.elapsed() < LEADERLESS_MAX, "a command took {:?}", began.elapsed());
        world.start(at).await;
        at = leader(&*world, 0..3).await?;
    }
    let all = agree(&*world, 0..3).await?;
    ensure!(all.len() == 8, "8 commands were acknowledged, {} are left", all.len());
    Ok(())
}

/// A side without a majority refuses, and what it refused is never committed; the other side goes on.
///
/// # Errors
/// What was found instead.
pub async fn a_minority_refuses(world: Arc<dyn World>) -> Verdict {
    let old = founded(&*world, 3).await?;
    propose(&*world, old, "before").await?;
    isolate(&*world, old, 0..3, true);
    // For a moment it cannot know.
    let early = world.group(old).propose(b"early".to_vec()).await;
    ensure!(matches!(early, Err(GroupError::Unknown(_) | GroupError::NoQuorum(_))), "a minority committed: {early:?}");
    let others: Vec<usize> = (0..3).filter(|number| *number != old).collect();
    let new = leader(&*world, others.clone()).await?;
    until("the old leader knows", LEADERLESS_MAX, || !standing(&*world, old).leads).await?;
    let late = world.group(old).propose(b"late".to_vec()).await;
    ensure!(matches!(late, Err(GroupError::NoQuorum(_))), "a minority does not say NoQuorum: {late:?}");
    let read = world.group(old).barrier().await;
    ensure!(matches!(read, Err(GroupError::NoQuorum(_))), "a minority can be read: {read:?}");
    propose(&*world, new, "meanwhile").await?;
    isolate(&*world, old, 0..3, false);
    let all = agree(&*world, 0..3).await?;
    ensure!(!all.contains(&"late".to_owned()), "what was refused is committed");
    ensure!(all.contains(&"meanwhile".to_owned()) && all.contains(&"before".to_owned()), "{all:?} is left");
    Ok(())
}

/// All replicas end at once and start again: what was acknowledged is there, and the group goes on.
///
/// # Errors
/// What was found instead.
pub async fn restarts_keep_what_was_committed(world: Arc<dyn World>) -> Verdict {
    founded(&*world, 3).await?;
    let mut expected = Vec::new();
    for round in 0..3 {
        for turn in 0..20 {
            let command = format!("{round}.{turn}");
            propose(&*world, turn % 3, &command).await?;
            expected.push(command);
        }
        if round == 1 {
            for number in 0..3 {
                let cut = world.group(number).snapshot().await;
                cut.map_err(|error| format!("replica {number} makes no snapshot: {error}"))?;
            }
        }
        (0..3).for_each(|number| world.kill(number));
        for number in 0..3 {
            world.start(number).await;
        }
        leader(&*world, 0..3).await?;
    }
    let all = agree(&*world, 0..3).await?;
    ensure!(all == expected, "{all:?} is left of {expected:?}");
    Ok(())
}

/// A leader that ends and is there again before anybody notices reads what it had acknowledged: it does not go on
/// leading with what its disc knows of that.
///
/// # Errors
/// What was found instead.
pub async fn a_leader_that_starts_again_reads_what_was_acknowledged(world: Arc<dyn World>) -> Verdict {
    founded(&*world, 3).await?;
    for turn in 0..5 {
        let at = leader(&*world, 0..3).await?;
        let command = format!("{turn}");
        propose(&*world, at, &command).await?;
        world.kill(at);
        world.start(at).await;
        let began = Instant::now();
        while let Err(error) = world.group(at).barrier().await {
            ensure!(began.elapsed() < LEADERLESS_MAX, "replica {at} cannot be read: {error}");
        }
        ensure!(
            world.ledger(at).has(&command),
            "a reader at {at} does not see {command}, acknowledged before it asked"
        );
    }
    Ok(())
}

/// Two voters that cannot reach each other, but both a third: the leader stays, and both sides can work.
///
/// # Errors
/// What was found instead.
pub async fn a_partial_partition_does_not_move_leadership(world: Arc<dyn World>) -> Verdict {
    let leader_at = founded(&*world, 3).await?;
    let (far, _between) = ((leader_at + 1) % 3, (leader_at + 2) % 3);
    propose(&*world, leader_at, "before").await?;
    let term = standing(&*world, leader_at).term;
    world.set_cut(leader_at, far, true);
    world.set_cut(far, leader_at, true);
    sleep(Duration::from_secs(30)).await;
    ensure!(standing(&*world, leader_at).leads, "leadership has moved");
    ensure!(standing(&*world, leader_at).term == term, "the term has grown");
    propose(&*world, leader_at, "there").await?;
    // Through the one between.
    propose(&*world, far, "here").await?;
    world.set_cut(leader_at, far, false);
    world.set_cut(far, leader_at, false);
    sleep(Duration::from_secs(5)).await;
    ensure!(standing(&*world, leader_at).term == term, "the repair has disturbed the leader");
    let all = agree(&*world, 0..3).await?;
    ensure!(all == ["before", "there", "here"], "{all:?} is left");
    Ok(())
}

/// A leader whose words go out, but to which nothing comes in, is replaced.
///
/// # Errors
/// What was found instead.
pub async fn a_leader_that_hears_nobody_is_replaced(world: Arc<dyn World>) -> Verdict {
    let old = founded(&*world, 3).await?;
    let others: Vec<usize> = (0..3).filter(|number| *number != old).collect();
    for other in &others {
        world.set_cut(*other, old, true);
    }
    let new = leader(&*world, others.clone()).await?;
    propose(&*world, new, "after").await?;
    for other in &others {
        world.set_cut(*other, old, false);
    }
    let all = agree(&*world, 0..3).await?;
    ensure!(all == ["after"], "{all:?} is left");
    Ok(())
}

/// Votes survive restarts: a voter that begins in an earlier term than the one it voted in could vote twice in one.
///
/// # Errors
/// What was found instead.
pub async fn votes_survive_restarts(world: Arc<dyn World>) -> Verdict {
    let first = founded(&*world, 3).await?;
    let term = standing(&*world, first).term;
    for number in 0..3 {
        world.kill(number);
    }
    for number in 0..3 {
        world.start(number).await;
        // The first of them hears of the term from nobody: it has it from its vote.
        until("the log is known", LEADERLESS_MAX, || standing(&*world, number).last.index > 0).await?;
        let now = standing(&*world, number).term;
        ensure!(now >= term, "replica {number} voted in term {term} and begins in {now}");
    }
    Ok(())
}
