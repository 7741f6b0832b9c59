//! Scenarios without faults.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{LEADERLESS_MAX, Verdict, World, agree, ensure, founded, leader, propose, standing, until};

/// Commands of many callers at every replica are applied once each, in one order, and each answer fits its place.
///
/// # Errors
/// What was found instead.
pub async fn commands_are_applied_once_and_in_one_order(world: Arc<dyn World>) -> Verdict {
    founded(&*world, 3).await?;
    let mut callers = JoinSet::new();
    for caller in 0..30usize {
        let world = world.clone();
        callers.spawn(async move {
            let mut answers = Vec::new();
            for turn in 0..5 {
                let command = format!("{caller}.{turn}");
                let place = propose(&*world, caller % 3, &command).await?;
                answers.push((place, command));
            }
            Ok::<_, String>(answers)
        });
    }
    let mut answers = Vec::new();
    while let Some(done) = callers.join_next().await {
        answers.extend(done.map_err(|error| error.to_string())??);
    }
    let all = agree(&*world, 0..3).await?;
    ensure!(all.len() == 150, "{} commands were applied, 150 were acknowledged", all.len());
    for (place, command) in answers {
        let found = usize::try_from(place).ok().and_then(|place| all.get(place));
        ensure!(found == Some(&command), "the answer to {command} names the place of {found:?}");
    }
    Ok(())
}

/// A reader behind a barrier sees every command that was acknowledged before it asked, at every replica.
///
/// # Errors
/// What was found instead.
pub async fn barriers_see_what_was_acknowledged(world: Arc<dyn World>) -> Verdict {
    founded(&*world, 3).await?;
    for turn in 0..60usize {
        let command = format!("c{turn}");
        propose(&*world, turn % 3, &command).await?;
        let reader = (turn / 3) % 3;
        let barrier = world.group(reader).barrier().await;
        barrier.map_err(|error| format!("replica {reader} cannot be read: {error}"))?;
        ensure!(world.ledger(reader).has(&command), "a reader at {reader} does not see {command}, acknowledged before");
    }
    Ok(())
}

/// A leader hands over to another voter, faster than silence would do it, and nothing is lost.
///
/// # Errors
/// What was found instead.
pub async fn leadership_is_handed_over(world: Arc<dyn World>) -> Verdict {
    let old = founded(&*world, 3).await?;
    propose(&*world, old, "before").await?;
    let term = standing(&*world, old).term;
    let began = Instant::now();
    world.group(old).hand_over().await;
    let others = (0..3).filter(|number| *number != old);
    let new = leader(&*world, others).await?;
    ensure!(began.elapsed().as_millis() < 900, "handing over took {:?}", began.elapsed());
    propose(&*world, old, "after").await?;
    let w = world.clone();
    until("the old leader follows", LEADERLESS_MAX, || !standing(&*w, old).leads).await?;
    ensure!(standing(&*world, new).term == term + 1, "more than one election was needed");
    let all = agree(&*world, 0..3).await?;
    ensure!(all == ["before", "after"], "{all:?} is left");
    Ok(())
}
