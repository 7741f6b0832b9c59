//! Two to five machines on a network that loses, doubles and reorders, with an adversary on it who hears everything,
//! changes it, cuts it off, and sends it again at any time to anybody. Of one machine it has many pings of the time
//! before, which it sends in rotation, one each second. Each run is its seed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use ekka_core::id::{NodeId, NodeName};
use ekka_core::rng::Rng;
use ekka_core::time::{Instant, Now, Wall};

use super::askers::{IDLE, PING_INTERVAL};
use super::counts::Ignored;
use super::message::tests::keys;
use super::message::{Announcement, Kind, Stamp};
use super::rules::{Datagram, Means, Rules};
use super::seal::Keys;
use crate::discovery::Me;

const END: Duration = Duration::from_secs(90);
/// From here on the network loses nothing; two rounds later everybody must know everybody.
const CALM: Duration = Duration::from_secs(60);
/// One machine dies here: it must be forgotten by the end, whatever is replayed.
const DEATH: Duration = Duration::from_secs(30);

/// The clock of the machine whose pings are sent in rotation goes back by an hour here.
const SET_BACK: Duration = Duration::from_secs(45);
/// Pings of the time before.
const ROTATION: usize = 40;

enum Event {
    Ask(usize),
    Rotate(usize),
    Arrive { to: usize, bytes: Vec<u8> },
}

struct World {
    rng: Rng,
    now: Instant,
    events: BTreeMap<(Instant, u64), Event>,
    serial: u64,
    machines: Vec<Rules>,
    keys: [Keys; 2],
    /// A node of another cookie on the same group.
    foreigner: usize,
    dead: Option<usize>,
    recorded: Vec<Vec<u8>>,
    /// Whose pings are sent in rotation, and these.
    victim: usize,
    rotation: Vec<Vec<u8>>,
    /// When each machine answered each address, and the stamp of what it answered.
    answers: BTreeMap<(usize, SocketAddr), (Instant, Stamp)>,
    next_ask: Vec<Instant>,
}

fn me(n: usize) -> Me {
    let name: NodeName = format!("n{n}@10.77.0.{n}").parse().unwrap();
    Me { endpoint: name.endpoint(4370).unwrap(), name, node_id: NodeId::from_u128(n as u128 + 100) }
}

fn addr(n: usize) -> SocketAddr {
    ([10, 77, 0, u8::try_from(n).unwrap()], 4369).into()
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let count = 2 + rng.index(4);
        let (ours, foreign) = (keys("ours"), keys("foreign"));
        let mut machines: Vec<Rules> = (0..count).map(|n| Rules::new(me(n), ours.clone())).collect();
        machines.push(Rules::new(me(count), foreign.clone()));
        for machine in &mut machines {
            machine.set_listed(true);
        }
        let dead = (count > 2 && rng.index(2) == 0).then(|| rng.index(count));
        let victim = rng.index(count);
        let mut world = Self {
            rng,
            now: Instant::ZERO,
            events: BTreeMap::new(),
            serial: 0,
            next_ask: vec![Instant::ZERO; machines.len()],
            machines,
            keys: [ours, foreign],
            foreigner: count,
            dead,
            recorded: Vec::new(),
            victim,
            rotation: Vec::new(),
            answers: BTreeMap::new(),
        };
        world.record_rotation();
        for n in 0..=count {
            let start = world.rng.up_to(Duration::from_secs(3));
            world.at(start, Event::Ask(n));
        }
        world
    }

    /// The pings of the time before, which all have heard.
    fn record_rotation(&mut self) {
        for n in 0..ROTATION {
            let means = self.means(self.victim);
            let ping = self.machines[self.victim].ask(means);
            for to in 0..self.machines.len() {
                self.arrive(to, &ping);
            }
            self.rotation.push(ping);
            self.at(Duration::from_secs(n as u64), Event::Rotate(n));
        }
    }

    fn rotate(&mut self, n: usize) {
        for to in 0..self.machines.len() {
            self.arrive(to, &self.rotation[n].clone());
        }
        self.at(Duration::from_secs(ROTATION as u64), Event::Rotate(n));
    }

    fn at(&mut self, wait: Duration, event: Event) {
        self.serial += 1;
        self.events.insert((self.now + wait, self.serial), event);
    }

    fn is_dead(&self, n: usize) -> bool {
        self.dead == Some(n) && self.now.since(Instant::ZERO) >= DEATH
    }

    fn is_calm(&self) -> bool {
        self.now.since(Instant::ZERO) >= CALM
    }

    fn means(&mut self, n: usize) -> Means {
        let since = self.now.since(Instant::ZERO);
        let back = n == self.victim && since >= SET_BACK;
        let start = 1_000_000 + 9_999 * n as u64 - if back { 3600 } else { 0 };
        let wall = Duration::from_secs(start) + since;
        let wall = Wall::from_millis(u64::try_from(wall.as_millis()).unwrap());
        Means { now: Now { mono: self.now, wall }, fresh: self.rng.next_u128(), reply: addr(n) }
    }

    fn send(&mut self, to: usize, bytes: &[u8]) {
        self.recorded.push(bytes.to_vec());
        let copies = if self.is_calm() { 1 } else { [0, 0, 1, 1, 1, 1, 1, 1, 1, 2][self.rng.index(10)] };
        for _ in 0..copies {
            let wait = self.rng.up_to(Duration::from_millis(300));
            self.at(wait, Event::Arrive { to, bytes: bytes.to_vec() });
        }
        self.attack();
    }

    /// The adversary sends something to somebody.
    fn attack(&mut self) {
        for _ in 0..self.rng.index(4) {
            let mut bytes = self.recorded[self.rng.index(self.recorded.len())].clone();
            match self.rng.index(4) {
                0 => {
                    let at = self.rng.index(bytes.len());
                    bytes[at] ^= 1 << self.rng.index(8);
                }
                1 => {
                    let len = self.rng.index(bytes.len());
                    bytes.truncate(len);
                }
                _ => {} // as it was
            }
            let (to, wait) = (self.rng.index(self.machines.len()), self.rng.up_to(Duration::from_secs(20)));
            self.at(wait, Event::Arrive { to, bytes });
        }
    }

    fn ask(&mut self, n: usize) {
        if self.is_dead(n) {
            return;
        }
        let means = self.means(n);
        let ping = self.machines[n].ask(means);
        for to in 0..self.machines.len() {
            self.send(to, &ping);
        }
        let wait = Duration::from_secs(4) + self.rng.up_to(Duration::from_secs(2));
        self.next_ask[n] = self.now + wait;
        self.at(wait, Event::Ask(n));
    }

    fn arrive(&mut self, to: usize, bytes: &[u8]) {
        if self.is_dead(to) {
            return;
        }
        let means = self.means(to);
        let reaction = self.machines[to].handle(&Datagram { bytes, from: addr(99) }, means);
        if let Some((asker, pong)) = reaction.answer {
            self.check_answer(to, asker, bytes);
            let asker = (0..self.machines.len()).find(|n| addr(*n) == asker).expect("an address of a machine");
            self.send(asker, &pong);
        }
        // As the node does: it asks at once, if it has not just asked.
        if reaction.news && self.next_ask[to].since(self.now) > Duration::from_secs(1) {
            self.ask(to);
        }
    }

    fn check_answer(&mut self, by: usize, asker: SocketAddr, ping: &[u8]) {
        let keys = &self.keys[usize::from(by == self.foreigner)];
        let ping = Announcement::decode(ping, keys).expect("only what is authentic is answered");
        assert_eq!((ping.kind, ping.body.reply), (Kind::Ping, asker), "answers go where the ping says");
        let Some((then, stamp)) = self.answers.insert((by, asker), (self.now, ping.body.stamp)) else { return };
        let passed = self.now.since(then);
        assert!(passed >= PING_INTERVAL, "{by} answers {asker} too often");
        assert!(ping.body.stamp > stamp || passed >= IDLE, "{by} answers a ping of {asker} that is not newer");
    }

    fn run(&mut self) {
        while let Some(((at, _), event)) = self.events.pop_first() {
            if at.since(Instant::ZERO) > END {
                break;
            }
            self.now = at;
            match event {
                Event::Ask(n) if self.next_ask[n] <= self.now => self.ask(n),
                Event::Ask(_) => {}
                Event::Rotate(n) => self.rotate(n),
                Event::Arrive { to, bytes } => self.arrive(to, &bytes),
            }
            self.check_known();
        }
    }

    /// Nobody is known but machines of the same cookie, as they are; and no dead one for long.
    fn check_known(&mut self) {
        let (now, count) = (self.now, self.foreigner);
        for (n, machine) in self.machines.iter_mut().enumerate() {
            for (node_id, known) in machine.known(now) {
                let other = (0..count).find(|other| me(*other).node_id == *node_id).expect("a machine of ours");
                assert!(other != n && n != count, "{n} knows {other}");
                assert_eq!((&known.name, &known.endpoint), (&me(other).name, &me(other).endpoint));
            }
        }
    }

    fn check_end(&mut self) {
        let (now, dead, count) = (self.now, self.dead, self.foreigner);
        let alive = |n: &usize| Some(*n) != dead;
        for n in (0..count).filter(alive) {
            let known: BTreeSet<NodeId> = self.machines[n].known(now).map(|(node_id, _)| *node_id).collect();
            let others = (0..count).filter(alive).filter(|other| *other != n).map(|other| me(other).node_id).collect();
            assert_eq!(known, others, "what {n} knows at the end");
        }
    }
}

#[test]
fn machines_find_each_other_and_nobody_else_whatever_the_network_and_an_adversary_do() {
    let rounds = if std::env::var_os("EKKA_SOAK").is_some_and(|value| !value.is_empty()) { 2000 } else { 60 };
    let mut ignored: BTreeMap<Ignored, u64> = BTreeMap::new();
    for seed in 0..rounds {
        let ran = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            world.run();
            world.check_end();
            world
        });
        let world = ran.unwrap_or_else(|_| panic!("seed {seed}"));
        for reason in Ignored::ALL {
            *ignored.entry(reason).or_default() += world.machines[0].counts().of(reason);
        }
    }
    for reason in
        [Ignored::Malformed, Ignored::Unauthentic, Ignored::Replayed, Ignored::Unasked, Ignored::Repeated, Ignored::Own]
    {
        assert!(ignored[&reason] > 0, "{reason:?} never came up: {ignored:?}");
    }
}
