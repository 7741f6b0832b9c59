//! When a table has what its peers held, whom it believes, and what it says that it waits for.

use ekka_core::id::Guid;
use ekka_core::schema::Kind;
use ekka_core::table::{Ack, Faults, PeerClocks, Storage};

use super::super::signals::ALONE;
use super::super::slot::Slot;
use super::*;
use crate::env::Clock;
use crate::testing::RuntimeClock;

fn id(node: u128) -> Incarnation {
    Incarnation { node_id: NodeId::from_u128(node), guid: Guid::from_u128(1) }
}

/// A table of node 1, and its peers, of which nothing is simulated but their tables.
struct Nodes {
    slot: Arc<AvailableSlot>,
    peers: Vec<Table>,
}

impl Nodes {
    fn new(peers: &[u128]) -> Self {
        let clock = Arc::new(RuntimeClock::default());
        let wall = clock.now().wall;
        let world = Arc::new(World::new(clock, Hlc::at(wall), Faults::default()));
        let bound = Hlc::at(Wall::from_millis(wall.as_millis() + 10_000_000));
        world.bound_is(bound);
        let table = |node: &u128| {
            let settings =
                Settings { me: id(*node), storage: Storage::Ram, bound: Hlc::ZERO, faults: Faults::default() };
            let mut table = Table::new(settings);
            table.bound_is(bound);
            table
        };
        let slot = AvailableSlot::new(7, Schema::new("users", Kind::Available), id(1), world);
        Self { slot: Arc::new(slot), peers: peers.iter().map(table).collect() }
    }

    fn now(&self) -> Now {
        self.slot.world.clock.now()
    }

    fn link(&mut self, at: usize) {
        let now = self.now();
        self.slot.connect(self.peers[at].me(), now);
        self.peers[at].connect(id(1), now);
    }

    /// All that this node and a peer have for each other gets there.
    fn exchange(&mut self, at: usize) {
        let (now, peer) = (self.now(), self.peers[at].me());
        loop {
            let there = self.slot.poll(peer, 4096);
            let here = self.peers[at].poll(id(1), 4096);
            if here.is_none() && there.is_none() {
                break;
            }
            if let Some(message) = there {
                self.peers[at].receive(id(1), message, now).unwrap();
            }
            if let Some(message) = here {
                self.slot.receive(peer, message, now, &mut Answers::default()).unwrap();
            }
        }
        self.slot.tick(PeerClocks::default(), now);
    }

    fn hears(&self, at: usize, body: Body) {
        Slot::Available(self.slot.clone())
            .receive(self.peers[at].me(), body, self.now(), &mut Answers::default())
            .unwrap();
    }

    fn is_loaded(&self) -> bool {
        self.slot.signals.is_loaded()
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_peer_that_fetches_itself_is_not_believed_while_there_is_another_one() {
    let mut nodes = Nodes::new(&[2, 3]);
    let wall = nodes.now().wall;
    nodes.peers[0].put(b"k", b"v", None, wall).unwrap();
    nodes.slot.world.sees(&[id(2), id(3)], &[id(3)]);
    nodes.link(1);
    nodes.exchange(1);
    tokio::time::advance(ALONE * 2).await;
    nodes.exchange(1);
    assert!(!nodes.is_loaded(), "node 3 has nothing, and fetches from node 2 itself");
    assert_eq!(nodes.slot.waits().unwrap(), "ekka@10.0.0.2");
    nodes.link(0);
    nodes.hears(0, Body::Loaded);
    nodes.hears(0, Body::Amount { bytes: 3 << 20 });
    assert_eq!(nodes.slot.waits().unwrap(), "ekka@10.0.0.2 (0.0 of 3.0 MiB)");
    nodes.exchange(0);
    assert!(nodes.is_loaded() && nodes.slot.waits().is_none());
    assert!(nodes.slot.get(b"k", |_| ()).is_some());
}

#[tokio::test(start_paused = true)]
async fn where_all_fetch_they_believe_each_other_and_nobody_waits_for_ever() {
    let mut nodes = Nodes::new(&[2, 3]);
    nodes.slot.world.sees(&[id(2), id(3)], &[id(2), id(3)]);
    nodes.link(0);
    nodes.exchange(0);
    assert!(!nodes.is_loaded(), "node 3 has not said what it has");
    nodes.link(1);
    nodes.exchange(1);
    assert!(nodes.is_loaded());
}

#[tokio::test(start_paused = true)]
async fn of_several_that_fetch_one_that_says_nothing_is_not_waited_for_for_long() {
    let mut nodes = Nodes::new(&[2, 3]);
    nodes.slot.world.sees(&[id(2), id(3)], &[id(2), id(3)]);
    nodes.link(0);
    nodes.exchange(0);
    tokio::time::advance(ALONE).await;
    nodes.exchange(0);
    assert!(nodes.is_loaded());
}

#[tokio::test(start_paused = true)]
async fn who_is_alone_begins_with_what_it_has() {
    let nodes = Nodes::new(&[]);
    nodes.slot.tick(PeerClocks::default(), nodes.now());
    assert!(!nodes.is_loaded());
    assert_eq!(nodes.slot.waits().unwrap(), "a node that holds it");
    tokio::time::advance(ALONE).await;
    nodes.slot.tick(PeerClocks::default(), nodes.now());
    assert!(nodes.is_loaded());
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_was_given_is_known_to_be_whole_and_what_lacks_is_counted() {
    let mut nodes = Nodes::new(&[2]);
    nodes.slot.world.sees(&[id(2)], &[]);
    nodes.link(0);
    nodes.exchange(0);
    assert!(nodes.is_loaded());
    let terms = Terms { ack: Ack::Local, strict: false };
    for key in [b"a", b"b"] {
        nodes.slot.write(Write::Put { key, value: b"1", expires_at: None }, terms).unwrap();
    }
    let goal = nodes.slot.read().held();
    assert_eq!(nodes.slot.lacks(id(2), &goal), Some(2));
    nodes.exchange(0);
    assert_eq!(nodes.slot.lacks(id(2), &goal), Some(0));
    assert!(!nodes.slot.is_whole_at(id(2), &goal), "it has not said that it has what its peers held");
    nodes.hears(0, Body::Loaded);
    assert!(nodes.slot.is_whole_at(id(2), &goal));
}

/// Half a second of an hour ahead, and with it several ticks: a row with a time-to-live is as it was.
#[tokio::test(start_paused = true)]
async fn a_row_does_not_expire_by_a_clock_that_jumps_ahead_and_back() {
    jumps_ahead_and_back(None).await;
    // Its peers jumped too, or what they say is of before.
    jumps_ahead_and_back(Some(0)).await;
}

async fn jumps_ahead_and_back(peers: Option<i64>) {
    let clock = Arc::new(RuntimeClock::default());
    let wall = clock.now().wall;
    let world = Arc::new(World::new(clock.clone(), Hlc::at(wall), Faults::default()));
    world.bound_is(Hlc::at(Wall::from_millis(wall.as_millis() + 8_000)));
    let slot = AvailableSlot::new(7, Schema::new("users", Kind::Available), id(1), world.clone());
    slot.tick(world.clock.look_beside(peers, peers), world.clock.now());
    let expires_at = Some(Wall::from_millis(wall.as_millis() + 60_000));
    assert!(
        slot.write(Write::Put { key: b"k", value: b"v", expires_at }, Terms { ack: Ack::Local, strict: false }).is_ok()
    );
    clock.set_off_ms(3_600_000);
    for _ in 0..5 {
        assert!(slot.get(b"k", |_| ()).is_some());
        slot.tick(world.clock.look_beside(peers, peers), world.clock.now());
        assert_eq!(slot.wanted_bound(world.clock.now().wall), None, "nor is the bound on disc brought there");
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    clock.set_off_ms(0);
    slot.tick(world.clock.look_beside(peers, peers), world.clock.now());
    assert_eq!(slot.read().size().tombstones, 0, "watchers and indexes have it still");
    tokio::time::advance(Duration::from_secs(60)).await;
    slot.tick(world.clock.look_beside(peers, peers), world.clock.now());
    assert!(slot.get(b"k", |_| ()).is_none());
}
