//! A group over real sockets: three transports in one process.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod transport_common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ekka::consensus::Group;
use ekka::consensus::raft::{BulkUse, Endpoints, RaftGroup, Router, Settings, Setup, TransportLanes, bulk_use};
use ekka::env::Env;
use ekka::storage::MemoryStorage;
use ekka::testing::suite::consensus::{Ledger, LedgerMachine};
use ekka_core::consensus::{GroupId, Standing, VoterId};
use ekka_core::id::{Endpoint, NodeId};
use tokio::task::JoinSet;
use tokio::time::timeout;
use transport_common::{Node, PATIENCE, link, setup};

/// What a node needs for its replica, whether that runs or not.
struct Place {
    env: Env,
    router: Router,
    storage: Arc<MemoryStorage>,
    ledger: Ledger,
    me: VoterId,
}

impl Place {
    async fn open(&self) -> RaftGroup {
        self.ledger.clear();
        let setup = Setup {
            group: GroupId::Durable,
            me: self.me,
            storage: self.storage.clone(),
            log: "group/durable".into(),
            machine: Box::new(LedgerMachine::new(self.ledger.clone())),
            router: self.router.clone(),
            clock: self.env.clock.clone(),
            seed: 7,
            witnesses: BTreeSet::new(),
            events: None,
            settings: Settings { log_entries: 50, log_kept: 10, ..Settings::default() },
        };
        RaftGroup::open(setup).await.unwrap()
    }
}

/// Gives the frames that come in to the router of the node.
fn place(mut node: Node, endpoints: &Endpoints, tasks: &mut JoinSet<()>) -> Place {
    let lanes = TransportLanes::new(node.transport.clone(), endpoints.clone());
    let router = Router::new(Arc::new(lanes), 1);
    let (to, env, me) = (router.clone(), node.env.clone(), node.own_hello().node_id);
    tasks.spawn(async move {
        loop {
            tokio::select! {
                biased;
                Some((from, frame)) = node.groups.recv() => to.deliver(from.node_id, &frame),
                Some((from, frame)) = node.bulk.recv() => {
                    assert_eq!(bulk_use(&frame), Some(BulkUse::GroupSnapshot));
                    to.deliver_bulk(from, &frame);
                }
                // A bulk connection says hello too.
                Some(input) = node.inputs.recv() => if let ekka_core::control::Input::Hello { conn, .. } = input {
                    node.transport.verdict(conn, Ok(node.own_hello()));
                },
                else => break,
            }
        }
    });
    let ledger = Ledger::default();
    Place { env, router, storage: Arc::new(MemoryStorage::new(1)), ledger, me: VoterId { node_id: me, start: 1 } }
}

async fn reaches(group: &RaftGroup, holds: impl FnMut(&Arc<Standing>) -> bool) {
    let mut standing = group.standing();
    timeout(PATIENCE, standing.wait_for(holds)).await.expect("in time").unwrap();
}

#[tokio::test]
async fn a_group_works_over_real_sockets_and_sends_its_snapshot_on_the_bulk_lane() {
    let mut nodes = [setup(1).start().await, setup(2).start().await, setup(3).start().await];
    let [a, b, c] = &mut nodes;
    link(a, b).await;
    link(a, c).await;
    link(b, c).await;
    let known: BTreeMap<NodeId, Endpoint> =
        nodes.iter().map(|node| (node.own_hello().node_id, node.endpoint.clone())).collect();
    let endpoints: Endpoints = Arc::new(move |node| known.get(&node).cloned());
    let mut tasks = JoinSet::new();
    let places: Vec<Place> = nodes.into_iter().map(|node| place(node, &endpoints, &mut tasks)).collect();
    let voters: BTreeSet<VoterId> = places.iter().map(|place| place.me).collect();
    let first = places[0].open().await;
    let second = places[1].open().await;
    // The third sleeps through more than the log keeps.
    first.found(voters.clone()).await.unwrap();
    reaches(&first, |standing| standing.leader.is_some()).await;
    for number in 0..200 {
        let group = if number % 2 == 0 { &first } else { &second };
        group.propose(format!("c{number}").into_bytes()).await.unwrap();
    }
    for group in [&first, &second] {
        group.snapshot().await.unwrap();
    }
    let third = places[2].open().await;
    timeout(PATIENCE, async { while third.barrier().await.is_err() {} }).await.expect("it catches up");
    assert_eq!(places[2].ledger.commands(), places[0].ledger.commands());
    assert_eq!(places[2].ledger.len(), 200);
    assert!(places[2].storage_has_cut_log(), "it came by snapshot, not by the log");
    // The leader ends in order: another leads, and nothing is lost.
    let leads = first.standing().borrow().leads;
    let (leader, other) = if leads { (&first, &second) } else { (&second, &first) };
    leader.hand_over().await;
    leader.close().await;
    other.propose(b"after".to_vec()).await.unwrap();
    third.barrier().await.unwrap();
    assert!(places[2].ledger.has("after"));
    for group in [&other, &&third] {
        group.close().await;
    }
    tasks.shutdown().await;
}

impl Place {
    fn storage_has_cut_log(&self) -> bool {
        use ekka::storage::Storage;
        self.storage.bounds(&"group/durable".into()).first > 100
    }
}
