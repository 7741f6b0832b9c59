//! Quorum tables as the state of a group: a large one is written, sent and put in place in pieces.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ekka_core::consensus::{GroupId, VoterId};
use ekka_core::id::ClusterId;
use ekka_core::table::quorum::{Answer, Command, Transaction, Write};
use ekka_core::time::Wall;
use ekka_core::volatile::state::State;
use tokio_util::sync::CancellationToken;

use crate::consensus::Group;
use crate::consensus::raft::snapshots::PIECE;
use crate::consensus::raft::{Gate, RaftGroup, Settings, Setup};
use crate::storage::{MemoryStorage, Storage};
use crate::table::{Beside, Rows, logged, no_room_for};
use crate::testing::RuntimeClock;
use crate::testing::group_net::GroupNet;
use crate::testing::groups::node;

const ROWS: u64 = 200_000;
/// Rows of one transaction.
const STEP: u64 = 2_000;
const TABLE: u64 = 1;

fn voter(number: usize) -> VoterId {
    VoterId { node_id: node(number), start: 1 }
}

struct Replica {
    group: RaftGroup,
    rows: Arc<Rows>,
    storage: Arc<dyn Storage>,
}

async fn replica(net: &GroupNet, number: usize, storage: Arc<dyn Storage>) -> Replica {
    let rows = Arc::<Rows>::default();
    let setup = Setup {
        group: GroupId::Durable { cluster_id: ClusterId::from_u128(1) },
        me: voter(number),
        storage: storage.clone(),
        log: "group/durable".into(),
        machine: Box::new(Beside::new(State::default(), rows.clone())),
        router: net.join(node(number)),
        clock: Arc::new(RuntimeClock::default()),
        seed: 7 + number as u64,
        witnesses: BTreeSet::new(),
        events: None,
        stop: CancellationToken::new(),
        commits: Arc::default(),
        settings: Settings { log_entries: 40, log_kept: 2, ..Settings::default() },
    };
    Replica { group: RaftGroup::open(setup).await.unwrap(), rows, storage }
}

fn some_rows(from: u64) -> Command {
    let put = |n: u64| Write::Put {
        table: TABLE,
        key: (&n.to_be_bytes()[..]).into(),
        value: (&[7; 100][..]).into(),
        expires_at: None,
    };
    let writes = (from..from + STEP).map(put).collect();
    Transaction { writes, now: Wall::from_millis(1), ..Transaction::default() }.into()
}

/// The sizes of the pieces of the snapshot in a store.
fn pieces(storage: &dyn Storage) -> Vec<usize> {
    let piece = |set: u8, number: u32| storage.read_checkpoint(&format!("group/durable/snapshot/{set}/{number}"));
    let of = |set| (0..).map_while(move |number| piece(set, number).unwrap().map(|bytes| bytes.len()));
    of(0).chain(of(1)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_gets_a_large_state_in_pieces_and_so_does_the_disc() {
    let net = GroupNet::new(1);
    let store = || -> Arc<dyn Storage> { Arc::new(MemoryStorage::new(1)) };
    let first = replica(&net, 0, store()).await;
    first.group.found(BTreeSet::from([voter(0)])).await.unwrap();
    first.group.propose(logged(&Command::Create { table: TABLE })).await.unwrap();
    for from in (0..ROWS).step_by(usize::try_from(STEP).unwrap()) {
        first.group.propose(logged(&some_rows(from))).await.unwrap();
    }
    first.group.snapshot().await.unwrap();
    let held = first.rows.view();
    assert_eq!(held.figures(TABLE).map(|figures| figures.rows), Some(ROWS));
    let newcomer = replica(&net, 1, store()).await;
    first.group.set_learners(BTreeSet::from([voter(1)])).await.unwrap();
    let mut marks = newcomer.rows.changes();
    marks.wait_for(|mark| mark.reaches(&held.mark())).await.unwrap();
    drop(marks);
    assert_eq!(newcomer.rows.view().figures(TABLE), held.figures(TABLE));
    for of in [&first, &newcomer] {
        let sizes = pieces(&*of.storage);
        assert!(sizes.len() > 10 && sizes.iter().all(|size| *size <= PIECE), "{sizes:?}");
        assert!(sizes.iter().sum::<usize>() as u64 > ROWS * 100);
    }
    // From its own disc it comes back the same.
    newcomer.group.close().await;
    let again = replica(&net, 1, newcomer.storage).await;
    assert_eq!(again.rows.view().figures(TABLE), held.figures(TABLE));
    again.group.close().await;
    first.group.close().await;
}

async fn proposed(replica: &Replica, command: &Command) -> Answer {
    let applied = replica.group.propose(logged(command)).await.unwrap();
    Answer::decode(&applied.answer).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_leader_without_room_refuses_what_others_put_and_takes_what_they_delete() {
    let net = GroupNet::new(1);
    let store = || -> Arc<dyn Storage> { Arc::new(MemoryStorage::new(1)) };
    let (leader, other) = (replica(&net, 0, store()).await, replica(&net, 1, store()).await);
    leader.group.found(BTreeSet::from([voter(0), voter(1)])).await.unwrap();
    let full = Arc::new(AtomicBool::new(false));
    let is_full = full.clone();
    leader.group.set_gate(Gate { is_shut: Arc::new(move || is_full.load(Ordering::Relaxed)), refusal: no_room_for });
    let now = Wall::from_millis(1);
    let put = |key: &[u8]| Command::from(Transaction::put(TABLE, key, b"value", None, now).unwrap());
    let delete = |key: &[u8]| Command::from(Transaction::delete(TABLE, key, now).unwrap());
    let committed = |answer: &Answer| matches!(answer, Answer::Committed { .. });
    for command in [Command::Create { table: TABLE }, put(b"a"), put(b"b")] {
        assert!(committed(&proposed(&other, &command).await));
    }
    assert!(leader.group.standing().borrow().leads);

    full.store(true, Ordering::Relaxed);
    let commands = [put(b"c"), delete(b"a"), put(b"d"), delete(b"b")];
    let [c, a, d, b] = &commands;
    // They come together: each gets its own answer.
    let (c, a, d, b) = tokio::join!(proposed(&other, c), proposed(&other, a), proposed(&other, d), proposed(&other, b));
    assert_eq!((c, d), (Answer::DiscFull, Answer::DiscFull));
    assert!(committed(&a) && committed(&b), "{a:?}, {b:?}");
    assert_eq!(proposed(&leader, &put(b"c")).await, Answer::DiscFull);
    assert_eq!(leader.rows.view().figures(TABLE).map(|figures| figures.rows), Some(0));

    full.store(false, Ordering::Relaxed);
    assert!(committed(&proposed(&other, &put(b"c")).await));
    other.group.close().await;
    leader.group.close().await;
}
