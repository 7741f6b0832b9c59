//! Two nodes, and somebody without the cookie who recorded a hundred pings of one of them and sends one each second: the
//! two find each other all the same.

use std::time::Duration;

use ekka_core::id::{NodeId, NodeName};
use ekka_core::time::{Instant, Now, Wall};

use super::askers::IDLE;
use super::counts::Ignored;
use super::message::Nonce;
use super::message::tests::keys;
use super::rules::{Datagram, Means, Reaction, Rules};
use crate::discovery::Me;

/// Between two pings of a node.
const ROUND: Duration = Duration::from_secs(5);
/// What the clock shows at first.
const WALL: u64 = 1_700_000_000_000;
/// What it shows more, before it is set right.
const AHEAD: Duration = Duration::from_secs(3600);

fn node(n: u8) -> Rules {
    let name: NodeName = format!("n{n}@10.77.0.{n}").parse().unwrap();
    let me = Me { endpoint: name.endpoint(4370).unwrap(), name, node_id: NodeId::from_u128(n.into()) };
    let mut rules = Rules::new(me, keys("c"));
    rules.set_listed(true);
    rules
}

/// `asks` pings, `answers` hears it.
struct Pair {
    asks: Rules,
    answers: Rules,
    /// How far the clock of the one that asks is ahead.
    ahead: Duration,
    now: Instant,
    fresh: Nonce,
    recorded: Vec<Vec<u8>>,
    replayed: usize,
}

impl Pair {
    /// A hundred pings were answered and recorded.
    fn recorded() -> Self {
        let mut pair = Self {
            asks: node(1),
            answers: node(2),
            ahead: AHEAD,
            now: Instant::ZERO,
            fresh: 0,
            recorded: Vec::new(),
            replayed: 0,
        };
        for _ in 0..100 {
            pair.now = pair.now + ROUND;
            let ping = pair.ping();
            assert!(pair.hear(&ping).answer.is_some());
            pair.recorded.push(ping);
        }
        pair
    }

    fn means(&mut self, n: u8, ahead: Duration) -> Means {
        self.fresh += 1;
        let wall = Duration::from_millis(WALL) + self.now.since(Instant::ZERO) + ahead;
        let wall = Wall::from_millis(u64::try_from(wall.as_millis()).unwrap());
        Means { now: Now { mono: self.now, wall }, fresh: self.fresh, reply: ([10, 77, 0, n], 4369).into() }
    }

    fn ping(&mut self) -> Vec<u8> {
        let means = self.means(1, self.ahead);
        self.asks.ask(means)
    }

    fn hear(&mut self, ping: &[u8]) -> Reaction {
        let means = self.means(2, Duration::ZERO);
        self.answers.handle(&Datagram { bytes: ping, from: ([10, 77, 0, 9], 9).into() }, means)
    }

    /// A round in which a recorded ping comes each second, and the node's own half a second after one of them. Whether
    /// that was answered, and whether the one that asked knows the other then.
    fn round(&mut self) -> (bool, bool) {
        for _ in 0..ROUND.as_secs() {
            self.now = self.now + Duration::from_secs(1);
            let next = self.replayed.checked_rem(self.recorded.len());
            if let Some(ping) = next.map(|next| self.recorded[next].clone()) {
                self.replayed += 1;
                self.hear(&ping);
            }
        }
        self.now = self.now + Duration::from_millis(500);
        let ping = self.ping();
        let answer = self.hear(&ping).answer;
        self.now = self.now - Duration::from_millis(500);
        if let Some((_, pong)) = &answer {
            let means = self.means(1, self.ahead);
            self.asks.handle(&Datagram { bytes: pong, from: ([10, 77, 0, 9], 9).into() }, means);
        }
        (answer.is_some(), self.asks.known(self.now).count() == 1)
    }
}

#[test]
fn s2_13_recorded_pings_in_rotation_do_not_hide_a_node() {
    let mut pair = Pair::recorded();
    let before = pair.answers.counts().answered;
    for round in 0..50 {
        assert_eq!(pair.round(), (true, true), "round {round}");
    }
    assert_eq!(pair.answers.counts().answered - before, 50, "no recorded one was answered");
    assert_eq!(pair.answers.counts().of(Ignored::Replayed), 250);
}

#[test]
fn s2_13_a_node_that_started_anew_takes_recorded_pings_until_it_hears_a_real_one() {
    let mut pair = Pair::recorded();
    pair.answers = node(2);
    // The first real one comes within a second of a recorded one. It is heard, and the recordings are nothing any more.
    assert!(!pair.round().0);
    for round in 1..50 {
        assert_eq!(pair.round(), (true, true), "round {round}");
    }
}

#[test]
fn s2_13_a_node_whose_clock_was_set_back_while_it_was_down_is_found_a_minute_later() {
    let mut pair = Pair::recorded();
    (pair.asks, pair.ahead) = (node(1), Duration::ZERO);
    // Nobody replays here: recordings with the stamps of the clock before would be taken as newer.
    pair.recorded.clear();
    let start = pair.now;
    while !pair.round().0 {
        assert!(pair.now.since(start) < IDLE + ROUND, "it is shut out");
    }
    assert!(pair.now.since(start) + ROUND >= IDLE);
    for round in 0..50 {
        assert_eq!(pair.round(), (true, true), "round {round}");
    }
}
