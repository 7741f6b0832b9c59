use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::id::Guid;
use crate::limits::TABLE_COPY_BYTES;
use crate::rng::Rng;

fn id(node: u128, guid: u128) -> Incarnation {
    Incarnation { node_id: NodeId::from_u128(node), guid: Guid::from_u128(guid) }
}

/// Nodes with links that deliver in order or end.
struct Nodes {
    tables: Vec<OwnedTable>,
    links: BTreeMap<(usize, usize), VecDeque<OwnedMessage>>,
    messages: usize,
}

impl Nodes {
    fn new(count: u128) -> Self {
        let mut nodes = Self { tables: Vec::new(), links: BTreeMap::new(), messages: 0 };
        nodes.tables.extend((1..=count).map(|node| OwnedTable::new(id(node, 1))));
        for table in &mut nodes.tables {
            table.add_index(&Extract::new(|key, value| vec![value.iter().take(2).copied().collect(), key.to_vec()]));
            table.roster_is((1..=count).map(|node| id(node, 1)));
        }
        for i in 0..nodes.tables.len() {
            for j in 0..i {
                nodes.link(i, j);
            }
        }
        nodes
    }

    fn link(&mut self, i: usize, j: usize) {
        for (a, b) in [(i, j), (j, i)] {
            let peer = self.tables[b].me;
            self.tables[a].connect(peer);
            self.links.insert((a, b), VecDeque::new());
        }
    }

    fn cut(&mut self, i: usize, j: usize) {
        for (a, b) in [(i, j), (j, i)] {
            let peer = self.tables[b].me;
            self.tables[a].disconnect(peer);
            self.links.remove(&(a, b));
        }
    }

    fn pump(&mut self, from: usize, to: usize) -> bool {
        let peer = self.tables[to].me;
        let Some(message) = self.tables[from].poll(peer, 64) else { return false };
        self.messages += 1;
        let bytes = postcard::to_allocvec(&message).unwrap();
        if let Some(queue) = self.links.get_mut(&(from, to)) {
            queue.push_back(postcard::from_bytes(&bytes).unwrap());
        }
        true
    }

    fn deliver(&mut self, from: usize, to: usize) -> bool {
        let Some(message) = self.links.get_mut(&(from, to)).and_then(VecDeque::pop_front) else { return false };
        let peer = self.tables[from].me;
        self.tables[to].receive(peer, message).unwrap();
        self.tables[to].check();
        true
    }

    fn flow(&mut self) {
        while (0..self.tables.len()).any(|i| (0..self.tables.len()).any(|j| self.pump(i, j) || self.deliver(i, j))) {}
    }

    fn owners(&self, at: usize, key: &[u8]) -> Vec<u128> {
        self.tables[at].get(key).map(|(node, _)| node.as_u128()).collect()
    }
}

#[test]
fn several_owners_hold_one_key_and_each_writes_its_own() {
    let mut nodes = Nodes::new(3);
    nodes.tables[0].put(b"topic", b"a").unwrap();
    nodes.tables[1].put(b"topic", b"b").unwrap();
    nodes.flow();
    assert_eq!(nodes.owners(2, b"topic"), [1, 2]);
    nodes.tables[0].delete_many([&b"topic"[..]]);
    nodes.flow();
    assert_eq!(nodes.owners(2, b"topic"), [2]);
    assert_eq!(nodes.tables[0].acked(id(3, 1)), 2);
}

#[test]
fn many_rows_in_one_operation_are_one_acknowledgement() {
    let mut nodes = Nodes::new(2);
    nodes.flow();
    let before = nodes.messages;
    let keys: Vec<[u8; 4]> = (0..10_000u32).map(u32::to_be_bytes).collect();
    let sequence = nodes.tables[0].put_many(keys.iter().map(|key| (&key[..], &b"v"[..]))).unwrap();
    nodes.flow();
    assert_eq!(nodes.messages - before, 2, "the operation, and that it is held");
    assert_eq!(nodes.tables[0].acked(id(2, 1)), sequence);
    assert_eq!(nodes.tables[1].prefix(b"\0\0").count(), 10_000);
}

#[test]
fn s2_5_rows_of_an_owner_that_is_down_are_shown_again_without_transfer_and_stay_its_own() {
    let mut nodes = Nodes::new(3);
    nodes.tables[1].put(b"client", b"on 2").unwrap();
    nodes.flow();
    let revision = nodes.tables[0].revision();
    nodes.cut(0, 1);
    nodes.tables[0].down(NodeId::from_u128(2));
    assert!(nodes.owners(0, b"client").is_empty());
    assert_eq!(nodes.tables[0].get_including_down(b"client").count(), 1);
    // The client moves on; who comes back puts nothing over it.
    nodes.tables[2].put(b"client", b"on 3").unwrap();
    nodes.flow();
    nodes.link(0, 1);
    let before = nodes.messages;
    nodes.tables[0].up(NodeId::from_u128(2));
    nodes.flow();
    assert_eq!(nodes.messages - before, 4, "only what each holds, and has written, is said");
    assert_eq!(nodes.owners(0, b"client"), [2, 3]);
    let changes: Vec<_> = nodes.tables[0].changes_after(revision).unwrap().collect();
    assert!(matches!(changes[..], [OwnedChange::Hidden(_), OwnedChange::Put(..), OwnedChange::Shown(_)]));
}

#[test]
fn m9_rows_of_an_incarnation_that_is_gone_never_come_back() {
    let mut nodes = Nodes::new(3);
    nodes.tables[2].put(b"duty", b"armed").unwrap();
    // Node 1 has applied `gone` when the rows arrive there.
    nodes.tables[0].gone(id(3, 1));
    nodes.flow();
    assert!(nodes.owners(0, b"duty").is_empty());
    assert_eq!(nodes.owners(1, b"duty"), [3]);
    let revision = nodes.tables[1].revision();
    nodes.tables[1].gone(id(3, 1));
    nodes.flow();
    assert!(nodes.owners(1, b"duty").is_empty());
    let changes: Vec<_> = nodes.tables[1].changes_after(revision).unwrap().collect();
    assert_eq!(changes, [&OwnedChange::OwnerGone(id(3, 1))]);
}

#[test]
fn rows_of_a_later_incarnation_wait_for_the_roster() {
    let mut nodes = Nodes::new(2);
    nodes.tables[1].put(b"k", b"old").unwrap();
    nodes.flow();
    nodes.cut(0, 1);
    nodes.tables[1] = OwnedTable::new(id(2, 2));
    nodes.tables[1].roster_is([id(1, 1), id(2, 2)]);
    nodes.link(0, 1);
    nodes.tables[1].put(b"k", b"new").unwrap();
    nodes.flow();
    assert_eq!(nodes.tables[0].get(b"k").next().unwrap().1.value(), b"old");
    nodes.tables[0].roster_is([id(1, 1), id(2, 2)]);
    nodes.flow();
    assert_eq!(nodes.tables[0].get(b"k").next().unwrap().1.value(), b"new");
}

#[test]
fn rows_that_were_on_their_way_when_the_roster_came_are_asked_for_by_that_one_roster() {
    // Wherever among the messages the roster comes: in front of all rows, between them, behind them.
    for before in 0..40 {
        for log_is_cut in [false, true] {
            let mut nodes = Nodes::new(2);
            nodes.cut(0, 1);
            nodes.tables[1] = OwnedTable::new(id(2, 2));
            nodes.tables[1].roster_is([id(1, 1), id(2, 2)]);
            for n in 0..20u32 {
                nodes.tables[1].put(&n.to_be_bytes(), &[7; 40]).unwrap();
            }
            if log_is_cut {
                nodes.tables[1].drop_log();
            }
            nodes.link(0, 1);
            for _ in 0..before {
                nodes.pump(1, 0);
                nodes.pump(0, 1);
                nodes.deliver(0, 1);
                nodes.deliver(1, 0);
            }
            nodes.tables[0].roster_is([id(1, 1), id(2, 2)]);
            nodes.flow();
            assert_eq!(nodes.tables[0].prefix(b"").count(), 20, "the roster after {before} messages");
            assert_eq!(nodes.tables[1].acked(id(1, 1)), 20);
            assert_eq!(nodes.tables[0].is_abreast_of(id(2, 2)), Some(true));
        }
    }
}

#[test]
fn an_answer_that_a_connection_took_with_it_is_asked_for_on_the_next_one() {
    for lost in 1..8 {
        let mut nodes = Nodes::new(2);
        for n in 0..20u32 {
            nodes.tables[1].put(&n.to_be_bytes(), &[7; 40]).unwrap();
        }
        for _ in 0..lost {
            nodes.pump(0, 1);
            nodes.deliver(0, 1);
            nodes.pump(1, 0);
        }
        nodes.cut(0, 1);
        nodes.link(0, 1);
        nodes.flow();
        assert_eq!(nodes.tables[0].prefix(b"").count(), 20, "{lost} messages were lost");
    }
}

#[test]
fn a_table_with_nothing_to_say_knows_that_it_has_not() {
    for seed in 0..50 {
        let (mut rng, mut nodes) = (Rng::new(seed), Nodes::new(3));
        for _ in 0..200 {
            let (i, j) = (rng.index(3), rng.index(3));
            match rng.below(8) {
                0 => drop(nodes.tables[i].put(b"k", &rng.next_u64().to_le_bytes()).unwrap()),
                1 if i != j && nodes.links.contains_key(&(i, j)) => nodes.cut(i, j),
                2 if i != j && !nodes.links.contains_key(&(i, j)) => nodes.link(i, j),
                3 => nodes.tables[i].roster_is([id(1, 1), id(2, 1), id(3, 1)].into_iter().take(2 + rng.index(2))),
                4 => drop(nodes.deliver(i, j)),
                _ => {
                    let peer = nodes.tables[j].me;
                    let says = nodes.tables[i].has_more_for(peer);
                    assert_eq!(nodes.pump(i, j), says, "seed {seed}: from {i} to {j}");
                }
            }
        }
    }
}

#[test]
fn who_is_behind_the_log_gets_all_rows_and_a_new_snapshot() {
    let mut nodes = Nodes::new(2);
    nodes.cut(0, 1);
    let value = alloc::vec![7; TABLE_COPY_BYTES / 4];
    for n in 0..1_100u32 {
        nodes.tables[0].put(&n.to_be_bytes(), &value).unwrap();
    }
    assert!(nodes.tables[0].log_start > 1, "the log is cut by its bound");
    let revision = nodes.tables[1].revision();
    nodes.link(0, 1);
    nodes.flow();
    assert_eq!(nodes.tables[1].get_including_down(&1_099u32.to_be_bytes()).count(), 1);
    assert_eq!(nodes.tables[1].prefix(b"").count(), 1_100);
    assert!(nodes.tables[1].changes_after(revision).is_err());
    assert_eq!(nodes.tables[0].acked(id(2, 1)), 1_100);
}

#[test]
fn all_nodes_end_with_the_rows_of_each_owner_by_seeds() {
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let mut nodes = Nodes::new(3);
        for _ in 0..300 {
            let (i, j) = (rng.index(3), rng.index(3));
            let key = [b'a' + u8::try_from(rng.below(5)).unwrap()];
            match rng.below(20) {
                0..=3 => drop(nodes.tables[i].put(&key, &rng.next_u64().to_le_bytes()).unwrap()),
                4 => drop(nodes.tables[i].delete_many([&key[..]])),
                5 if i != j && nodes.links.contains_key(&(i, j)) => nodes.cut(i, j),
                6 if i != j && !nodes.links.contains_key(&(i, j)) => nodes.link(i, j),
                7 => nodes.tables[i].down(NodeId::from_u128(j as u128 + 1)),
                8 => nodes.tables[i].up(NodeId::from_u128(j as u128 + 1)),
                9..=13 => drop(nodes.pump(i, j)),
                _ => drop(nodes.deliver(i, j)),
            }
        }
        for i in 0..3 {
            for j in 0..i {
                if !nodes.links.contains_key(&(i, j)) {
                    nodes.link(i, j);
                }
            }
            for node in 1..=3 {
                nodes.tables[i].up(NodeId::from_u128(node));
            }
        }
        nodes.flow();
        for owner in 0..3 {
            let rows = |at: usize| -> Vec<(Vec<u8>, Vec<u8>)> {
                let of_owner = nodes.tables[at].prefix(b"").filter(|(node, _)| node.as_u128() == owner + 1);
                of_owner.map(|(_, row)| (row.key().to_vec(), row.value().to_vec())).collect()
            };
            let own = usize::try_from(owner).unwrap();
            assert!((0..3).all(|at| rows(at) == rows(own)), "seed {seed}: rows of node {} differ", owner + 1);
        }
    }
}

#[test]
fn who_is_in_touch_knows_whether_it_has_what_there_was() {
    let mut nodes = Nodes::new(2);
    for key in [&b"a"[..], b"b"] {
        nodes.tables[0].put(key, b"value").unwrap();
    }
    let owner = nodes.tables[0].me;
    assert_eq!(nodes.tables[1].is_abreast_of(owner), None);
    nodes.flow();
    assert_eq!(nodes.tables[1].is_abreast_of(owner), Some(true));
}

#[test]
fn a_node_that_goes_on_under_a_new_guid_gives_its_rows_anew() {
    let mut nodes = Nodes::new(2);
    nodes.tables[0].put(b"a", b"value").unwrap();
    nodes.flow();
    nodes.cut(0, 1);
    let (old, new) = (nodes.tables[0].me, id(1, 2));
    nodes.tables[0].renew(new);
    for table in &mut nodes.tables {
        table.gone(old);
        table.roster_is([new, id(2, 1)]);
    }
    assert_eq!(nodes.tables[1].size().0, 0);
    nodes.link(0, 1);
    nodes.flow();
    assert_eq!(nodes.tables[1].get(b"a").count(), 1);
    for table in &nodes.tables {
        table.check();
    }
}

#[test]
fn a_node_that_follows_its_own_end_before_it_goes_on_keeps_its_rows() {
    let mut nodes = Nodes::new(2);
    nodes.tables[0].put(b"a", b"value").unwrap();
    nodes.tables[0].roster_is([id(2, 1)]);
    nodes.tables[0].gone(id(1, 1));
    nodes.tables[0].check();
    assert_eq!(nodes.owners(0, b"a"), [1]);
    nodes.tables[0].renew(id(1, 2));
    nodes.tables[0].check();
    assert_eq!(nodes.owners(0, b"a"), [1]);
}

#[test]
fn watchers_hear_that_a_node_which_left_while_it_was_hidden_is_hidden_no_more() {
    // Else one that comes back is hidden to them for good, and is shown by the table.
    let by_roster: fn(&mut OwnedTable) = |table| table.roster_is([id(1, 1)]);
    for end in [by_roster, |table| table.gone(id(2, 1))] {
        let mut nodes = Nodes::new(2);
        nodes.tables[1].put(b"a", b"value").unwrap();
        nodes.flow();
        nodes.tables[0].down(NodeId::from_u128(2));
        let revision = nodes.tables[0].revision();
        end(&mut nodes.tables[0]);
        let changes: Vec<_> = nodes.tables[0].changes_after(revision).unwrap().collect();
        assert_eq!(changes, [&OwnedChange::OwnerGone(id(2, 1)), &OwnedChange::Shown(NodeId::from_u128(2))]);
        // Who is no member has nothing to hide.
        nodes.tables[0].down(NodeId::from_u128(2));
        assert_eq!(nodes.tables[0].revision(), revision + 2);
        nodes.tables[0].check();
    }
}

#[test]
fn a_snapshot_says_who_is_down_also_where_its_rows_are_not_here_yet() {
    let mut nodes = Nodes::new(2);
    nodes.tables[1].put(b"a", b"value").unwrap();
    nodes.tables[0].down(NodeId::from_u128(2));
    let hidden = |nodes: &Nodes| -> Vec<(Incarnation, usize)> {
        let all = nodes.tables[0].snapshot();
        all.iter().filter(|(_, shown, _)| !shown).map(|(id, _, rows)| (*id, rows.len())).collect()
    };
    assert_eq!(hidden(&nodes), [(id(2, 1), 0)]);
    nodes.flow();
    assert_eq!(hidden(&nodes), [(id(2, 1), 1)]);
    assert!(nodes.owners(0, b"a").is_empty());
}
