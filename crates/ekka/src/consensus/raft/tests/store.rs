//! What replicas write, in which order, and what they do where they cannot.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ekka_core::consensus::{LogPlace, VoterId};
use ekka_core::limits::GROUP_WATCHDOG;
use openraft::storage::RaftLogStorage;
use openraft::{EntryPayload, Vote};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::consensus::raft::log::LogStore;
use crate::consensus::raft::snapshots::Snapshots;
use crate::consensus::raft::types::{Entry, id};
use crate::consensus::raft::{Settings, tests};
use crate::storage::{LogName, MemoryStorage, Storage};
use crate::testing::FailingStorage;
use crate::testing::group_net::Weather;
use crate::testing::groups::RaftWorld;
use crate::testing::suite::consensus as suite;
use crate::testing::suite::consensus::World;

const LIMIT: Duration = Duration::from_secs(20);

fn log() -> LogName {
    "group/durable".into()
}

fn first(storage: &dyn Storage) -> u64 {
    storage.bounds(&log()).first
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waited = timeout(LIMIT, async {
        while !holds() {
            sleep(Duration::from_millis(20)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("waited for: {what}"));
}

async fn founded(world: &RaftWorld, count: usize) -> BTreeSet<VoterId> {
    for number in 0..count {
        world.start(number).await;
    }
    let voters: BTreeSet<VoterId> = (0..count).map(|number| world.voter(number)).collect();
    for number in 0..count {
        world.group(number).found(voters.clone()).await.unwrap();
    }
    voters
}

/// A crash between the cut of the log and the snapshot that covers it would leave neither.
#[tokio::test(start_paused = true)]
async fn a_log_is_cut_only_behind_a_snapshot_that_is_on_disc() {
    let world = tests::small_logs(1);
    let stores: Vec<Arc<FailingStorage>> =
        (0..3).map(|_| Arc::new(FailingStorage::new(Arc::new(MemoryStorage::new(1))))).collect();
    for (number, store) in stores.iter().enumerate() {
        world.set_storage(number, store.clone());
    }
    suite::a_sleeper_comes_back_by_snapshot(world, 5_000).await.unwrap();
    for store in stores {
        let order = store.checkpoints();
        let place = |what: &str| order.iter().position(|name| name.ends_with(what));
        let (snapshot, purged) = (place("/snapshot"), place("/purged"));
        assert!(purged.is_some() && snapshot < purged, "{snapshot:?} {purged:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cut_of_which_only_the_mark_is_on_disc_is_made_good() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new(1));
    let record = |n: u8| vec![n; 3];
    storage.append(&log(), 1, (0..5).map(record).collect()).unwrap();
    let mark = id(LogPlace { term: 1, index: 9 }).unwrap();
    storage.checkpoint("group/durable/purged", Some(postcard::to_allocvec(&mark).unwrap())).unwrap();
    let snapshots = Arc::new(Snapshots::new(storage.clone(), log(), CancellationToken::new()));
    let opened = LogStore::open(snapshots, VoterId::default(), false).unwrap();
    assert_eq!(opened.last(), LogPlace { term: 1, index: 9 });
    assert_eq!(storage.bounds(&log()).next, 10, "the next entry follows the snapshot");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_by_an_engine_whose_replica_is_to_end() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new(1));
    let stop = CancellationToken::new();
    let snapshots = Arc::new(Snapshots::new(storage.clone(), log(), stop.clone()));
    let mut opened = LogStore::open(snapshots, VoterId::default(), false).unwrap();
    let vote = |term| Vote::new(term, VoterId::default());
    opened.save_vote(&vote(1)).await.unwrap();
    stop.cancel();
    opened.fence();
    opened.save_vote(&vote(2)).await.expect_err("the next replica on this log may have voted in 2");
    let entry = Entry { log_id: id(LogPlace { term: 1, index: 1 }).unwrap(), payload: EntryPayload::Blank };
    opened.truncate(entry.log_id).await.expect_err("it may have acknowledged what would go");
    opened.purge(entry.log_id).await.expect_err("it may have acknowledged what would go");
    assert_eq!(opened.read_vote().await.unwrap().map(|vote| vote.leader_id().term), Some(1));
    assert_eq!(storage.bounds(&log()).next, 1);
}

#[tokio::test(start_paused = true)]
async fn a_replica_without_room_for_a_snapshot_goes_on_and_makes_it_once_there_is() {
    let world = tests::small_logs(2);
    let store = Arc::new(FailingStorage::new(Arc::new(MemoryStorage::new(1))));
    world.set_storage(0, store.clone());
    founded(&world, 1).await;
    store.no_room_for(Some("/snapshot"));
    let group = world.group(0);
    for number in 0..100u8 {
        group.propose(vec![number]).await.unwrap();
    }
    sleep(Duration::from_secs(10)).await;
    group.propose(b"it lives".to_vec()).await.unwrap();
    assert_eq!((first(&*store), &group.standing().borrow().failed), (1, &None));
    store.no_room_for(None);
    until("the log is cut", || first(&*store) > 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_log_of_few_long_entries_is_cut_too() {
    let settings = Settings { log_bytes: 100 * 1024, ..Settings::default() };
    let world = Arc::new(RaftWorld::new(3, settings));
    founded(&world, 3).await;
    for number in 0..40u8 {
        world.group(0).propose(vec![number; 10 * 1024]).await.unwrap();
    }
    for number in 0..3 {
        let storage = world.storage(number);
        until("its log is cut", || first(&*storage) > 1).await;
    }
    assert_eq!(world.ledger(2).len(), 40);
}

/// The watchdog of a voter that gets nothing but pieces would depose the leader that sends them, again and again.
#[tokio::test(start_paused = true)]
async fn a_snapshot_that_takes_long_arrives_also_where_nothing_can_be_committed_meanwhile() {
    let world = tests::small_logs(4);
    founded(&world, 3).await;
    let leads = |number: &usize| world.is_up(*number) && world.group(*number).standing().borrow().leads;
    until("one leads", || (0..3).any(|number| leads(&number))).await;
    let leader = (0..3).find(leads).unwrap();
    let (sleeper, other) = ((leader + 1) % 3, (leader + 2) % 3);
    world.kill(sleeper);
    for number in 0..40u8 {
        world.group(leader).propose(vec![number; 512 * 1024]).await.unwrap();
    }
    until("its log is cut", || first(&*world.storage(leader)) > 1).await;
    world.kill(other);
    world.net().set_weather(Weather { bulk: Duration::from_millis(500), ..Weather::default() });
    let began = tokio::time::Instant::now();
    world.start(sleeper).await;
    until("it has all of it", || world.ledger(sleeper).len() == 40).await;
    assert!(began.elapsed() > GROUP_WATCHDOG, "it took {:?}: too short to show anything", began.elapsed());
    until("the two go on", || (0..3).any(|number| leads(&number))).await;
}
