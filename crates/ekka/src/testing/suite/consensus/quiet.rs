//! Scenarios without faults.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

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

/// The same of one of two, whose vote the other needs, again and again under load: a command that is on its way just
/// then costs no second try.
///
/// # Errors
/// What was found instead.
pub async fn leadership_is_handed_over_under_load(world: Arc<dyn World>) -> Verdict {
    let mut old = founded(&*world, 2).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut callers = JoinSet::new();
    for caller in 0..8usize {
        let (world, stop) = (world.clone(), stop.clone());
        callers.spawn(async move {
            let mut count = 0usize;
            while !stop.load(Ordering::Relaxed) {
                // Of what was under way when the leader changed the outcome may be unknown.
                let _ = world.group(caller % 2).propose(format!("{caller}.{count}").into_bytes()).await;
                count += 1;
                sleep(Duration::from_millis(1 + caller as u64 % 3)).await;
            }
        });
    }
    for turn in 0..20 {
        sleep(Duration::from_millis(300)).await;
        let (term, began) = (standing(&*world, old).term, Instant::now());
        world.group(old).hand_over().await;
        let new = leader(&*world, [1 - old]).await?;
        let took = began.elapsed();
        ensure!(took.as_millis() < 500, "handing over took {took:?} the {turn}th time");
        let now = standing(&*world, new).term;
        ensure!(now == term + 1, "from term {term} to {now}: more than one election was needed the {turn}th time");
        old = new;
    }
    stop.store(true, Ordering::Relaxed);
    while callers.join_next().await.is_some() {}
    agree(&*world, 0..2).await.map(drop)
}
