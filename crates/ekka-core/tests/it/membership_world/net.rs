//! Connections between the processes of the world.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use ekka_core::id::Incarnation;
use ekka_core::limits::DIAL_TIMEOUT;
use ekka_core::membership::{Input, Lost, Message};
use ekka_core::time::Instant;

use super::{Event, World, ms};

const RETRY: Duration = Duration::from_millis(200);

/// One TCP connection.
pub(crate) struct Conn {
    ends: [(usize, Incarnation); 2],
    /// Per end: when the last message to it arrives, and what a cut holds back.
    to: [(Instant, VecDeque<Message>); 2],
    heard: [Instant; 2],
}

/// All connections, and what is wrong with the network.
#[derive(Default)]
pub(crate) struct Net {
    conns: BTreeMap<u64, Conn>,
    pairs: BTreeMap<(usize, usize), Vec<u64>>,
    dialling: BTreeSet<(usize, usize)>,
    last: u64,
    /// Directions in which nothing passes.
    pub(crate) cut: BTreeSet<(usize, usize)>,
    /// Pairs between which a firewall answers with a reset.
    pub(crate) reject: BTreeSet<(usize, usize)>,
    /// Packets lost, in percent.
    pub(crate) loss: u64,
    /// One way, at most.
    pub(crate) delay: Duration,
}

fn pair(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

impl World {
    pub(crate) fn cut(&mut self, a: usize, b: usize) {
        self.net.cut.extend([(a, b), (b, a)]);
    }

    pub(crate) fn repair(&mut self) {
        self.net.cut.clear();
        self.net.reject.clear();
    }

    /// Cuts everything between these and the others.
    pub(crate) fn isolate(&mut self, group: &[usize]) {
        for a in 0..self.nodes.len() {
            for b in group {
                if !group.contains(&a) {
                    self.cut(a, *b);
                }
            }
        }
    }

    /// A firewall resets all connections between two nodes and refuses new ones.
    pub(crate) fn reject(&mut self, a: usize, b: usize) {
        self.net.reject.insert(pair(a, b));
        for conn in self.net.pairs.get(&pair(a, b)).cloned().unwrap_or_default() {
            self.close(conn, None);
        }
    }

    pub(crate) fn is_linked(&self, a: usize, b: usize) -> bool {
        self.net.pairs.get(&pair(a, b)).is_some_and(|list| !list.is_empty())
    }

    fn blocked(&self, from: usize, to: usize) -> bool {
        self.net.cut.contains(&(from, to))
    }

    /// How long a packet is under way: delay, and a stall that doubles with each loss.
    fn transit(&mut self) -> Duration {
        let max = self.net.delay.max(Duration::from_micros(500));
        let mut time = Duration::from_micros(100) + self.rng.up_to(max);
        let mut stall = RETRY;
        while self.rng.below(100) < self.net.loss {
            time += stall;
            stall = (stall * 2).min(Duration::from_secs(30));
        }
        time
    }

    pub(crate) fn send(&mut self, from: usize, to: usize, message: Message) {
        let list = self.net.pairs.get(&pair(from, to)).cloned().unwrap_or_default();
        let side = |conn: &Conn, node: usize| usize::from(conn.ends[1].0 == node);
        let best = list.into_iter().max_by_key(|id| self.net.conns[id].heard[side(&self.net.conns[id], from)]);
        let Some(id) = best else { return };
        let arrival = self.now + self.transit();
        let conn = self.net.conns.get_mut(&id).expect("listed");
        let side = side(conn, to);
        let at = arrival.max(conn.to[side].0 + Duration::from_nanos(1));
        conn.to[side].0 = at;
        self.later(at, Event::Arrive { conn: id, to, message });
    }

    pub(crate) fn arrive(&mut self, id: u64, to: usize, message: Message) {
        let now = self.now;
        let Some(conn) = self.net.conns.get_mut(&id) else { return };
        let side = usize::from(conn.ends[1].0 == to);
        let (from, from_id) = conn.ends[1 - side];
        let start = conn.ends[side].1.guid;
        if self.net.cut.contains(&(from, to)) || !conn.to[side].1.is_empty() {
            conn.to[side].1.push_back(message);
            if conn.to[side].1.len() == 1 {
                self.later(now + RETRY, Event::Retry { conn: id, to });
            }
            return;
        }
        conn.heard[side] = now;
        if self.nodes[to].id.guid == start {
            self.give(to, Input::Received { from: from_id, message });
        }
    }

    pub(crate) fn retry(&mut self, id: u64, to: usize) {
        let Some(conn) = self.net.conns.get_mut(&id) else { return };
        let side = usize::from(conn.ends[1].0 == to);
        let from = conn.ends[1 - side].0;
        if self.net.cut.contains(&(from, to)) {
            self.later(self.now + RETRY, Event::Retry { conn: id, to });
            return;
        }
        for message in std::mem::take(&mut conn.to[side].1) {
            self.arrive(id, to, message);
        }
    }

    pub(crate) fn dial(&mut self, from: usize, to: usize) {
        if self.net.dialling.insert((from, to)) {
            let at = self.now + self.transit() + self.transit();
            self.later(at, Event::Dialled { from, to, attempt: 0 });
        }
    }

    /// The end of a dial, or of one SYN of it: they are sent at 0, 1 and (too late) 3 seconds.
    pub(crate) fn dialled(&mut self, from: usize, to: usize, attempt: u32) {
        let failed = |world: &mut Self, input: Input| {
            world.net.dialling.remove(&(from, to));
            world.give(from, input);
        };
        let node_id = self.node_id(to);
        if self.nodes[from].room.is_none() {
            self.net.dialling.remove(&(from, to));
        } else if self.net.reject.contains(&pair(from, to)) {
            failed(self, Input::Refused { node_id });
        } else if attempt > 1 {
            failed(self, Input::Unreachable { node_id });
        } else if self.blocked(from, to) || self.blocked(to, from) || self.nodes[to].frozen.is_some() {
            let next = if attempt == 0 { ms(1_000) } else { DIAL_TIMEOUT.saturating_sub(ms(1_000)) };
            self.later(self.now + next, Event::Dialled { from, to, attempt: attempt + 1 });
        } else if self.nodes[to].room.is_none() {
            failed(self, Input::Refused { node_id });
        } else {
            self.net.dialling.remove(&(from, to));
            self.connect(from, to);
        }
    }

    fn connect(&mut self, a: usize, b: usize) {
        let known = self.net.pairs.get(&pair(a, b)).cloned().unwrap_or_default();
        // A peer that knows a newer start refuses an older one, and a new start's connections replace old ones.
        for id in known.iter().copied() {
            let ends = self.net.conns[&id].ends;
            if ends.iter().any(|(node, id)| self.nodes[*node].id != *id) {
                self.close(id, None);
            }
        }
        self.net.last += 1;
        let id = self.net.last;
        let ends = [(a, self.nodes[a].id), (b, self.nodes[b].id)];
        let now = self.now;
        let to = [(now, VecDeque::new()), (now, VecDeque::new())];
        let first = !self.is_linked(a, b);
        self.net.conns.insert(id, Conn { ends, to, heard: [now, now] });
        self.net.pairs.entry(pair(a, b)).or_default().push(id);
        if first {
            for (me, other) in [(a, b), (b, a)] {
                let input = Input::Connected {
                    id: self.nodes[other].id,
                    name: format!("n{other}@h{other}").parse().expect("a name"),
                    endpoint: self.nodes[other].endpoint.clone(),
                    start_counter: 1,
                    heard: now,
                };
                self.give(me, input);
            }
        }
    }

    /// Ends a connection. The side `by` knows it already (and is told nothing), the other is told of a reset.
    fn close(&mut self, id: u64, by: Option<usize>) {
        let Some(conn) = self.net.conns.remove(&id) else { return };
        let (a, b) = (conn.ends[0].0, conn.ends[1].0);
        let list = self.net.pairs.entry(pair(a, b)).or_default();
        list.retain(|other| *other != id);
        if !list.is_empty() {
            return;
        }
        for side in 0..2 {
            let (me, my_id) = conn.ends[side];
            let (other, other_id) = conn.ends[1 - side];
            if Some(me) == by || (by == Some(other) && self.blocked(other, me)) {
                continue;
            }
            let at = self.now + ms(1);
            let input = Input::Disconnected { id: other_id, lost: Lost::Reset };
            self.later(at, Event::Give { to: me, start: my_id.guid, input });
        }
    }

    pub(crate) fn close_all(&mut self, node: usize) {
        let ids: Vec<u64> =
            self.net.conns.iter().filter(|(_, c)| c.ends.iter().any(|(n, _)| *n == node)).map(|(id, _)| *id).collect();
        for id in ids {
            self.close(id, Some(node));
        }
    }

    pub(crate) fn drop_links(&mut self, by: usize, peer: usize) {
        let ids = self.net.pairs.get(&pair(by, peer)).cloned().unwrap_or_default();
        let Some(last) = ids.last() else { return };
        let ends = self.net.conns[last].ends;
        let id = ends[usize::from(ends[1].0 == peer)].1;
        for conn in ids {
            self.close(conn, Some(by));
        }
        let start = self.nodes[by].id.guid;
        let input = Input::Disconnected { id, lost: Lost::Silent };
        self.later(self.now, Event::Give { to: by, start, input });
    }
}
