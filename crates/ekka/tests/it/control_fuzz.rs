//! A peer with the cookie may send anything on the control lane: seeded mutations of what two nodes say to each other,
//! fed to one of them, for a bounded time.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use ekka::config::{ConfigBuilder, formation_settings};
use ekka::core::autocluster::{Candidate, SourceList};
use ekka::core::control::{ConnId, Control, DialError, Faults, Identity, Input, Output, Saved, Setup};
use ekka::core::id::{Endpoint, Guid, NodeId};
use ekka::core::machine::Machine;
use ekka::core::rng::Rng;
use ekka::core::time::{Instant, Now, Wall};
use ekka::core::view::{Role, Status};
use ekka::core::wire::{Lane, Purpose};
use ekka::node::fuzz::{fuzz_linked, fuzz_message};

use crate::control_support::CalmGroup;

/// How long each of the two goes on.
const ROUNDS_FOR: Duration = Duration::from_secs(3);
const CONN: ConnId = ConnId(1);

/// A frame of the corpus, changed or not, or nothing but noise.
fn frame(rng: &mut Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    if rng.index(16) == 0 {
        return (0..rng.index(64)).map(|_| rng.next_u64().to_le_bytes()[0]).collect();
    }
    let mut bytes = corpus[rng.index(corpus.len())].clone();
    for _ in 0..rng.index(5) {
        let at = rng.index(bytes.len() + 1);
        match rng.index(6) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, rng.next_u64().to_le_bytes()[0]),
            2 => {
                // The largest numbers, where a count or a time may stand.
                let end = (at + 9).min(bytes.len());
                bytes.splice(at..end, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
            }
            3 => {
                let end = (at + rng.index(24)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                let to = rng.index(bytes.len() + 1);
                bytes.splice(to..to, piece);
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << rng.index(8);
                }
            }
        }
    }
    bytes
}

/// Two nodes that are each other's seeds, with one connection between them.
struct World {
    nodes: Vec<Control>,
    now: Now,
    /// Inputs under way, each with the node that it is for.
    inputs: VecDeque<(usize, Input)>,
    frames: Vec<Vec<u8>>,
    group: CalmGroup,
}

impl World {
    fn new() -> Self {
        let now = Now { mono: Instant::from_nanos(1_000_000_000), wall: Wall::from_millis(1_800_000_000_000) };
        let nodes = (0..2).map(|which| Control::new(setup(which), now)).collect();
        let inputs = VecDeque::from([(0, Input::Start), (1, Input::Start)]);
        Self { nodes, now, inputs, frames: Vec::new(), group: CalmGroup::default() }
    }

    /// Both are up in one cluster.
    fn formed() -> Self {
        let mut world = Self::new();
        for _ in 0..600 {
            world.step(Duration::from_millis(50));
            if world.nodes.iter().all(|node| node.view().status == Status::Up) {
                // Some more, so that the calm talk of a formed cluster is in the corpus too.
                (0..100).for_each(|_| world.step(Duration::from_millis(50)));
                return world;
            }
        }
        panic!("two nodes do not form: {:?}", world.nodes[0].view());
    }

    fn step(&mut self, by: Duration) {
        self.now = later(self.now, by);
        for which in 0..2 {
            let mut out = Vec::new();
            self.nodes[which].tick(self.now, &mut out);
            self.carry(which, out);
        }
        while let Some((which, input)) = self.inputs.pop_front() {
            let mut out = Vec::new();
            self.nodes[which].handle(input, self.now, &mut out);
            self.nodes[which].check();
            self.carry(which, out);
        }
    }

    fn carry(&mut self, which: usize, out: Vec<Output>) {
        let other = 1 - which;
        for output in out {
            let input = match output {
                // One of the two dials, so that there is one connection.
                Output::Dial { endpoint } if which == 0 && endpoint == at(other) => {
                    let dialler = self.hello(which);
                    self.inputs.push_back((other, greeting(dialler, None)));
                    let answer = self.hello(other);
                    (which, greeting(answer, Some(endpoint)))
                }
                Output::Dial { endpoint } => (which, Input::DialFailed { endpoint, error: DialError::Refused }),
                Output::Send { conn: CONN, bytes } => {
                    self.frames.push(bytes.clone());
                    (other, Input::Frame { conn: CONN, bytes })
                }
                Output::Discover => {
                    let candidates: Vec<_> = (0..2).map(|n| Candidate { name: name(n), endpoint: at(n) }).collect();
                    let (list, strategy) = (SourceList::default(), "static".to_owned());
                    (which, Input::Discovered { list, strategy, result: Ok(candidates.into()) })
                }
                Output::Group(request) => {
                    self.inputs.extend(self.group.request(which, request));
                    continue;
                }
                Output::Persist { token, .. } => (which, Input::Persisted { token }),
                _ => continue,
            };
            self.inputs.push_back(input);
        }
    }

    fn hello(&self, which: usize) -> ekka::core::wire::Hello {
        self.nodes[which].hello(Purpose::Peer(Lane::Control), self.now.wall)
    }
}

fn greeting(hello: ekka::core::wire::Hello, dialed: Option<Endpoint>) -> Input {
    Input::Hello { conn: CONN, hello: Box::new(hello), addr: "127.0.0.1:9".to_owned(), dialed }
}

fn later(now: Now, by: Duration) -> Now {
    let millis = u64::try_from(by.as_millis()).expect("short");
    Now { mono: now.mono + by, wall: Wall::from_millis(now.wall.as_millis() + millis) }
}

fn name(which: usize) -> ekka::core::id::NodeName {
    format!("ekka{}@127.0.0.1", which + 1).parse().expect("a name")
}

fn at(which: usize) -> Endpoint {
    name(which).endpoint(4370).expect("a port")
}

fn setup(which: usize) -> Setup {
    let number = u128::try_from(which).expect("small") + 1;
    let config = ConfigBuilder::new()
        .set("node.name", name(which).to_string())
        .set("node.cookie", "no-socket-is-opened-here-so-nothing-is-signed")
        .set("cluster.discovery", "static")
        .set("cluster.static.seeds", "ekka1@127.0.0.1,ekka2@127.0.0.1");
    let config = config.build().unwrap_or_else(|errors| panic!("{errors}"));
    Setup {
        damage: Vec::new(),
        session_max: config.lock_max_ttl,
        identity: Identity {
            node_id: NodeId::from_random(number),
            guid: Guid::from_u128(number + 1000),
            previous_guid: None,
            start_counter: 1,
            renamed_from: None,
        },
        name: name(which),
        endpoint: at(which),
        role: Role::Core,
        tags: BTreeMap::new(),
        store: ekka::core::id::StoreId::from_u128(1),
        cluster_name: "ekka".to_owned(),
        software: "0.1.0".to_owned(),
        formation: formation_settings(&config),
        saved: Saved::default(),
        seed: u64::try_from(number).expect("small"),
        faults: Faults::default(),
        gone_after: config.cluster.gone_after,
        autoheal: config.cluster.autoheal,
        carried: None,
        autoclean: config.cluster.autoclean,
    }
}

/// What two nodes say to each other, from the first word on.
fn corpus() -> Vec<Vec<u8>> {
    let mut frames = World::formed().frames;
    frames.sort();
    frames.dedup();
    assert!(frames.len() > 20, "only {} frames", frames.len());
    frames
}

#[test]
fn the_envelope_of_the_control_lane_survives_mutated_bytes() {
    let corpus = corpus();
    let until = std::time::Instant::now() + ROUNDS_FOR;
    let mut rounds = 0u64;
    while std::time::Instant::now() < until {
        rounds += 1;
        let data = frame(&mut Rng::new(rounds), &corpus);
        let survived = catch_unwind(|| fuzz_message(&data)).is_ok();
        assert!(survived, "round {rounds} panics on {data:02x?}");
    }
    assert!(rounds > 100, "only {rounds} rounds");
}

#[test]
fn a_linked_peer_that_sends_anything_never_makes_a_node_panic() {
    let corpus = corpus();
    let until = std::time::Instant::now() + ROUNDS_FOR;
    let (mut fed, mut answered, mut rounds) = (0u64, 0u64, 0u64);
    while std::time::Instant::now() < until {
        rounds += 1;
        let mut rng = Rng::new(rounds);
        // From its first word on, or in a formed cluster.
        let mut world = if rounds.is_multiple_of(2) { World::formed() } else { World::new() };
        world.step(Duration::from_millis(50));
        for _ in 0..200 {
            let data = frame(&mut rng, &corpus);
            world.now = later(world.now, Duration::from_millis(rng.below(400)));
            let (victim, now) = (&mut world.nodes[0], world.now);
            let out = catch_unwind(AssertUnwindSafe(|| fuzz_linked(victim, CONN, &data, now)));
            let Ok(out) = out else { panic!("round {rounds} panics on {data:02x?}") };
            fed += 1;
            answered += u64::from(out.iter().any(|output| matches!(output, Output::Send { .. })));
            let closed = out.iter().any(|output| matches!(output, Output::Close { .. }));
            if out.iter().any(|output| matches!(output, Output::Stop(_))) {
                break;
            }
            if closed {
                let mut given = Vec::new();
                let reset = Input::Closed { conn: CONN, cause: ekka::core::control::CloseCause::Reset };
                world.nodes[0].handle(reset, world.now, &mut given);
                let peer = world.hello(1);
                world.nodes[0].handle(greeting(peer, None), world.now, &mut given);
                world.nodes[0].check();
            }
        }
    }
    println!("{rounds} rounds, {fed} frames, {answered} answered");
    assert!(fed > 100 && answered > 10, "only {fed} frames, {answered} of them answered");
}
