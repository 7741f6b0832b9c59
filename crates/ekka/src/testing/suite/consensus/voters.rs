//! Scenarios in which the configuration changes, and replicas that come late.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::{LEADERLESS_MAX, Verdict, World, agree, ensure, founded, leader, propose, set, standing, until};
use crate::consensus::GroupError;

/// One, three, five, three, one voters, while commands come in: each acknowledged command is kept, and who is no voter
/// any more learns no more.
///
/// # Errors
/// What was found instead.
pub async fn voters_change_under_load(world: Arc<dyn World>) -> Verdict {
    founded(&*world, 1).await?;
    for number in 1..5 {
        world.start(number).await;
    }
    let (stop, stopped) = watch::channel(false);
    let load = tokio::spawn(load(world.clone(), stopped));
    for voters in [vec![0, 1, 2], vec![0, 1, 2, 3, 4], vec![2, 3, 4], vec![4]] {
        change(&*world, &voters).await?;
        let w = world.clone();
        let wanted = set(&*world, voters.clone());
        until("the change is known to its voters", LEADERLESS_MAX, move || {
            voters.iter().all(|voter| {
                let configuration = &standing(&*w, *voter).configuration;
                configuration.voters.len() == 1
                    && configuration.learners.is_empty()
                    && configuration.all_voters().into_iter().eq(wanted.iter().copied())
            })
        })
        .await?;
        sleep(Duration::from_secs(1)).await;
    }
    stop.send_replace(true);
    let acknowledged = load.await.map_err(|error| error.to_string())??;
    let all = agree(&*world, [4]).await?;
    ensure!(acknowledged.len() > 100, "only {} commands were acknowledged", acknowledged.len());
    for command in &acknowledged {
        ensure!(all.contains(command), "{command} was acknowledged and is lost");
    }
    ensure!(world.ledger(0).len() < all.len(), "who is no voter any more still learns");
    Ok(())
}

async fn load(world: Arc<dyn World>, stopped: watch::Receiver<bool>) -> Result<Vec<String>, String> {
    let mut acknowledged = Vec::new();
    for turn in 0usize.. {
        if *stopped.borrow() {
            break;
        }
        let command = format!("load {turn}");
        match world.group(4).propose(command.clone().into_bytes()).await {
            Ok(_) => acknowledged.push(command),
            // Before it is a learner it knows of no leader.
            Err(GroupError::NoQuorum(_) | GroupError::Unknown(_)) => {}
            Err(error) => return Err(error.to_string()),
        }
        sleep(Duration::from_millis(5)).await;
    }
    Ok(acknowledged)
}

/// Has the leader of the moment change the voters, until it is done.
async fn change(world: &dyn World, voters: &[usize]) -> Verdict {
    let began = Instant::now();
    loop {
        let at = leader(world, 0..5).await?;
        match world.group(at).change_voters(set(world, voters.iter().copied())).await {
            Ok(()) => return Ok(()),
            Err(error) if began.elapsed() > Duration::from_secs(60) => {
                return Err(format!("the voters do not become {voters:?}: {error}"));
            }
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Leaders that are killed somewhere in a change of the voters: the next one ends it, or it has not begun.
///
/// # Errors
/// What was found instead.
pub async fn an_interrupted_change_is_ended_by_the_next_leader(world: Arc<dyn World>) -> Verdict {
    founded(&*world, 3).await?;
    for number in 3..5 {
        world.start(number).await;
    }
    let mut acknowledged = Vec::new();
    for after in [0, 1, 3, 5, 8, 12, 20] {
        let at = leader(&*world, 0..5).await?;
        let voters = if standing(&*world, at).configuration.all_voters().len() == 3 { 5 } else { 3 };
        let (group, wanted) = (world.group(at), set(&*world, 0..voters));
        let changing = tokio::spawn(async move { group.change_voters(wanted).await });
        sleep(Duration::from_millis(after)).await;
        world.kill(at);
        let next = leader(&*world, 0..5).await?;
        let w = world.clone();
        until("one set of voters", LEADERLESS_MAX, move || {
            let configuration = &standing(&*w, next).configuration;
            !standing(&*w, next).leads || configuration.voters.len() == 1
        })
        .await?;
        world.start(at).await;
        let done = changing.await.map_err(|error| error.to_string())?;
        let all = standing(&*world, leader(&*world, 0..5).await?).configuration.all_voters();
        ensure!(done.is_err() || all.len() == voters, "a change that was done is undone: {all:?}");
        // A leader that the change has removed may go while it has a command: what became of that is then unknown.
        let mut attempts = (0..5).map(|attempt| format!("after {after}.{attempt}"));
        loop {
            let command = attempts.next().ok_or("no command is taken after the change")?;
            if propose(&*world, at % 3, &command).await.is_ok() {
                acknowledged.push(command);
                break;
            }
        }
    }
    let all = agree(&*world, 0..3).await?;
    for command in &acknowledged {
        ensure!(all.contains(command), "{command} was acknowledged and is lost");
    }
    Ok(())
}

/// A leader that has taken itself out of the group changes it no more, in the time until it steps down; its successor
/// does.
///
/// # Errors
/// What was found instead.
pub async fn a_removed_leader_changes_nothing_more(world: Arc<dyn World>) -> Verdict {
    let at = founded(&*world, 3).await?;
    for number in 3..6 {
        world.start(number).await;
    }
    let stay: Vec<usize> = (0..4).filter(|number| *number != at).collect();
    let group = world.group(at);
    let removed = group.change_voters(set(&*world, stay.clone())).await;
    removed.map_err(|error| format!("the leader cannot be taken out: {error}"))?;
    // Itself above all: as a learner it would lead on, for as long as nobody takes that from it.
    for learners in [vec![at], vec![4]] {
        let learns = group.set_learners(set(&*world, learners)).await;
        ensure!(matches!(learns, Err(GroupError::Refused(_))), "a removed leader took a learner: {learns:?}");
    }
    let voters = group.change_voters(set(&*world, [at, 5])).await;
    ensure!(matches!(voters, Err(GroupError::Refused(_))), "a removed leader changed the voters: {voters:?}");
    let next = leader(&*world, stay.clone()).await?;
    let learners = world.group(next).set_learners(set(&*world, [4])).await;
    learners.map_err(|error| format!("the next leader takes no learner: {error}"))?;
    propose(&*world, next, "after").await?;
    agree(&*world, stay).await?;
    ensure!(standing(&*world, at).failed.is_none(), "the replica of the leader that was taken out has ended");
    Ok(())
}

/// A learner gets the log, can be read behind a barrier, and counts for no majority.
///
/// # Errors
/// What was found instead.
pub async fn a_learner_follows(world: Arc<dyn World>) -> Verdict {
    let at = founded(&*world, 1).await?;
    propose(&*world, at, "before").await?;
    world.start(1).await;
    let changed = world.group(at).set_learners(set(&*world, [1])).await;
    changed.map_err(|error| format!("no learner is taken: {error}"))?;
    propose(&*world, at, "after").await?;
    let all = agree(&*world, [0, 1]).await?;
    ensure!(all == ["before", "after"], "{all:?} was learned");
    propose(&*world, 1, "through the learner").await?;
    world.kill(1);
    propose(&*world, at, "alone").await?;
    let refused = world.group(at).set_learners(set(&*world, [0])).await;
    ensure!(matches!(refused, Err(GroupError::Refused(_))), "a voter was made a learner: {refused:?}");
    Ok(())
}

/// A replica that slept while the others cut their logs comes back by a snapshot; meanwhile nobody's leader changes.
///
/// # Errors
/// What was found instead.
pub async fn a_sleeper_comes_back_by_snapshot(world: Arc<dyn World>, commands: usize) -> Verdict {
    let at = founded(&*world, 3).await?;
    let sleeper = (at + 1) % 3;
    propose(&*world, at, "before").await?;
    world.kill(sleeper);
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..100 {
        let world = world.clone();
        callers.spawn(async move {
            for turn in 0..commands / 100 {
                propose(&*world, at, &format!("{caller}.{turn}")).await?;
            }
            Ok::<_, String>(())
        });
    }
    while let Some(done) = callers.join_next().await {
        done.map_err(|error| error.to_string())??;
    }
    let cut = world.group(at).snapshot().await;
    cut.map_err(|error| format!("no snapshot is made: {error}"))?;
    let term = standing(&*world, at).term;
    world.start(sleeper).await;
    let w = world.clone();
    let expected = 1 + commands / 100 * 100;
    until("the sleeper is up to date", Duration::from_secs(20), move || w.ledger(sleeper).len() == expected).await?;
    ensure!(standing(&*world, at).term == term, "the leader was disturbed");
    let all = agree(&*world, 0..3).await?;
    ensure!(all.len() == expected, "{} of {expected} commands are left", all.len());
    Ok(())
}
