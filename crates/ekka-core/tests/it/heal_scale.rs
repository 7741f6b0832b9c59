//! A thousand nodes that parted, in two halves or in ten parts: how long they take to heal, and how much they say.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::time::Duration;

use ekka_core::autoheal::{
    Contact, HealId, HealNews, HealRequest, Healing, Input, Options, Output, Start, Told, Voters,
};
use ekka_core::id::{Guid, Incarnation, NodeId};
use ekka_core::machine::Machine as _;
use ekka_core::rng::Rng;
use ekka_core::time::{Instant, Now, Wall};

const NODES: usize = 1_000;
const SETTLE: Duration = Duration::from_secs(3);
/// From the repair to the last node that is healed.
const TIME_MAX: Duration = Duration::from_secs(30);
/// Each of two halves tells each of the other that it parted, and it can be told so twice.
const MESSAGES_MAX: u64 = 2_500;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

enum Event {
    Input(Input),
    Wake,
}

struct Node {
    id: Incarnation,
    room: Healing,
    wake: Option<Instant>,
    sent: u64,
    prepared: u64,
    rebooted: u64,
}

struct World {
    now: Instant,
    nodes: Vec<Node>,
    part_of: Vec<usize>,
    /// Whom a node sees that is of another part, by the remainder of its number by four: all below this.
    seen: Vec<usize>,
    queue: BTreeMap<(Instant, u64), (usize, Event)>,
    order: u64,
    rng: Rng,
    heals: Vec<HealId>,
    finished: Option<Instant>,
}

fn node_id(n: usize) -> NodeId {
    NodeId::from_u128((n as u128 + 1) << 64)
}

fn at(node_id: NodeId) -> usize {
    usize::try_from(node_id.as_u128() >> 64).unwrap() - 1
}

impl World {
    fn new(part_of: Vec<usize>) -> Self {
        let now = Instant::from_nanos(1_000_000_000);
        let node = |n: usize| {
            let guid = Guid::from_u128((n as u128 + 1) << 8);
            let id = Incarnation { node_id: node_id(n), guid };
            let options = Options::default();
            let start = Start { id, process: guid, seen: 0, autoheal: Some(SETTLE), carried: None, options };
            let clock = Now { mono: now, wall: Wall::default() };
            Node { id, room: Healing::new(start, clock), wake: None, sent: 0, prepared: 0, rebooted: 0 }
        };
        Self {
            now,
            nodes: (0..NODES).map(node).collect(),
            part_of,
            seen: vec![4; NODES],
            queue: BTreeMap::new(),
            order: 0,
            rng: Rng::new(7),
            heals: Vec::new(),
            finished: None,
        }
    }

    fn later(&mut self, n: usize, after: Duration, event: Event) {
        self.order += 1;
        self.queue.insert((self.now + after, self.order), (n, event));
    }

    /// A node sees so many quarters of those of other parts, and all of its own.
    fn sees(&mut self, n: usize, quarters: usize) {
        self.seen[n] = quarters;
        let contact = |m: usize| Contact {
            id: self.nodes[m].id,
            process: self.nodes[m].id.guid,
            core: m < 7,
            running: self.part_of[m] == self.part_of[n] || m % 4 < quarters,
            goodbye: false,
            lost: true,
            seniority: m as u64,
        };
        let contacts = (0..NODES).filter(|m| *m != n).map(contact).collect();
        let voters = Voters { place: (0, 1), sets: vec![(0..7).map(node_id).collect()] };
        self.step(n, Some(Input::Contacts { contacts, seniority: n as u64, core: n < 7, voters, active: true }));
    }

    fn step(&mut self, n: usize, input: Option<Input>) {
        let clock = Now { mono: self.now, wall: Wall::default() };
        let (node, mut out) = (&mut self.nodes[n], Vec::new());
        match input {
            Some(input) => node.room.handle(input, clock, &mut out),
            None => node.room.tick(clock, &mut out),
        }
        let deadline = node.room.deadline();
        for output in out {
            self.output(n, output);
        }
        let Some(deadline) = deadline else { return };
        if self.nodes[n].wake.is_none_or(|wake| wake > deadline) {
            self.nodes[n].wake = Some(deadline);
            let after = deadline.since(self.now) + Duration::from_nanos(1);
            self.later(n, after, Event::Wake);
        }
    }

    fn output(&mut self, n: usize, output: Output) {
        let soon = ms(1) + self.rng.up_to(ms(19));
        match output {
            Output::Send { to, message } => {
                self.nodes[n].sent += 1;
                let from = self.nodes[n].id;
                self.later(at(to), soon, Event::Input(Input::Received { from, message }));
            }
            Output::Persist(number) => self.later(n, soon, Event::Input(Input::Persisted(number))),
            Output::Request(request) => {
                let (after, news) = match request {
                    HealRequest::Prepare { id } => {
                        self.nodes[n].prepared += 1;
                        (ms(500), HealNews::Prepared { id, failed: Vec::new() })
                    }
                    HealRequest::Exchange { id, .. } => (ms(2_000), HealNews::Exchanged { id, rows: 1, overridden: 0 }),
                    HealRequest::Reboot { id } => {
                        self.nodes[n].rebooted += 1;
                        (ms(500), HealNews::Rebooted { id, failed: Vec::new() })
                    }
                    HealRequest::Drop => return,
                };
                let after = self.rng.up_to(after);
                self.later(n, after, Event::Input(Input::News(news)));
            }
            Output::Told(Told::Planned { plan, .. }) => self.heals.push(plan.id),
            Output::Told(Told::Finished { .. }) => self.finished = Some(self.now),
            Output::Changed | Output::Peeked { .. } | Output::Told(_) => {}
        }
    }

    fn pass(&mut self, end: Instant) {
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= end) {
            let ((at, _), (n, event)) = entry.remove_entry();
            self.now = at;
            match event {
                Event::Input(input) => self.step(n, Some(input)),
                Event::Wake => {
                    if self.nodes[n].wake.is_some_and(|wake| wake <= at) {
                        self.nodes[n].wake = None;
                        self.step(n, None);
                    }
                }
            }
        }
        self.now = end;
    }

    fn rests(&self) -> bool {
        let rests = |node: &Node| {
            let stand = node.room.stand();
            !stand.pending && !stand.healing
        };
        self.nodes.iter().all(rests)
    }
}

fn heals(part_of: Vec<usize>) {
    let mut world = World::new(part_of);
    (0..NODES).for_each(|n| world.sees(n, 4));
    (0..NODES).for_each(|n| world.sees(n, 0));
    world.pass(world.now + ms(5_000));
    let sent: u64 = world.nodes.iter().map(|node| node.sent).sum();
    assert_eq!(sent, 0, "who only sees others down has nothing to say");

    // All find each other again within a second, a quarter at a time.
    let repaired = world.now;
    for quarters in 1..=4 {
        for n in 0..NODES {
            world.sees(n, quarters);
        }
        world.pass(world.now + ms(250));
    }
    let mut healed = None;
    while world.now < repaired + TIME_MAX + ms(10_000) {
        world.pass(world.now + ms(100));
        if world.rests() {
            healed.get_or_insert(world.now.since(repaired));
        } else {
            healed = None;
        }
    }
    let took = healed.expect("all are healed");
    let sent: u64 = world.nodes.iter().map(|node| node.sent).sum();
    let most = world.nodes.iter().map(|node| node.sent).max().unwrap();
    let each = sent / NODES as u64;
    println!("healed {took:?} after the repair; {each} messages a node, {most} at most");
    assert!(took <= TIME_MAX, "{took:?}");
    assert!(each <= MESSAGES_MAX, "{each} messages a node");
    assert_eq!(world.heals.len(), 1, "one heal: {:?}", world.heals);
    assert!(world.finished.is_some());
    let stays = world.part_of[0];
    for (n, node) in world.nodes.iter().enumerate() {
        node.room.check();
        let once = u64::from(world.part_of[n] != stays);
        assert_eq!((node.prepared, node.rebooted), (once, once), "node {n}");
    }
}

#[test]
fn a_thousand_nodes_in_two_halves_heal() {
    // The voters are in the first half.
    heals((0..NODES).map(|n| n / (NODES / 2)).collect());
}

#[test]
fn a_thousand_nodes_in_ten_parts_heal() {
    heals((0..NODES).map(|n| n / (NODES / 10)).collect());
}
