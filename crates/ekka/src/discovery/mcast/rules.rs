//! What an announcement means, as a state machine: datagrams and the time in, answers and candidates out.
//!
//! - Only an answer to one's own nonce of the last [`ANSWER_TIME`] is believed, once from each node.
//! - A ping is answered as [`Askers`] allows, to the address that it holds. It is not believed; from a node that is not
//!   known it is a hint to ask soon.
//! - What is not believed is counted and changes nothing else. All tables are bounded.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use ekka_core::id::{Endpoint, NodeId, NodeName};
use ekka_core::limits::{CANDIDATES_MAX, REDISCOVER_INTERVAL};
use ekka_core::time::{Instant, Now};

use super::askers::Askers;
use super::counts::{Counts, Ignored};
use super::message::{Announcement, Body, Kind, Nonce, Refusal, Stamp};
use super::seal::Keys;
use crate::discovery::Me;

/// How long an answer to a ping is believed.
pub(super) const ANSWER_TIME: Duration = Duration::from_secs(5);
/// How long who asks waits for answers.
pub(super) const COLLECT_TIME: Duration = Duration::from_secs(1);
/// Who missed this many pings in a row, over at least [`KNOWN_FOR`], is known no more: one lost packet is no absence.
const PINGS_MISSED: u64 = 3;
/// See [`PINGS_MISSED`].
const KNOWN_FOR: Duration = REDISCOVER_INTERVAL.saturating_mul(3);
/// Own pings that wait for answers at one time: more than are sent in [`ANSWER_TIME`].
const ASKED_MAX: usize = 16;

/// The state.
pub(super) struct Rules {
    me: Me,
    keys: Keys,
    /// Whether this node wants to be found.
    listed: bool,
    asked: VecDeque<Asked>,
    /// Number of the latest own ping.
    pings: u64,
    /// Its stamp.
    stamp: Stamp,
    known: BTreeMap<NodeId, Known>,
    askers: Askers,
    counts: Counts,
}

/// An own ping.
struct Asked {
    nonce: Nonce,
    at: Instant,
    number: u64,
    answered_by: BTreeSet<NodeId>,
    came_back: bool,
}

/// A node that answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Known {
    pub(super) name: NodeName,
    pub(super) endpoint: Endpoint,
    at: Instant,
    ping: u64,
}

/// What is to be done about a datagram.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Reaction {
    /// An answer to send, and where.
    pub(super) answer: Option<(SocketAddr, Vec<u8>)>,
    /// There is somebody whom this node's answers do not name yet: it should ask soon.
    pub(super) news: bool,
}

/// A datagram as it came.
pub(super) struct Datagram<'a> {
    pub(super) bytes: &'a [u8],
    /// From where, as it claims; only for words.
    pub(super) from: SocketAddr,
}

/// What the machine may use once.
#[derive(Clone, Copy)]
pub(super) struct Means {
    pub(super) now: Now,
    /// A new random number.
    pub(super) fresh: Nonce,
    /// This node's own address: where answers to it are to come.
    pub(super) reply: SocketAddr,
}

impl Rules {
    /// Knows nobody; answers nobody before it is listed.
    pub(super) fn new(me: Me, keys: Keys) -> Self {
        Self {
            me,
            keys,
            listed: false,
            asked: VecDeque::new(),
            pings: 0,
            stamp: 0,
            known: BTreeMap::new(),
            askers: Askers::default(),
            counts: Counts::default(),
        }
    }

    /// From now on these keys.
    pub(super) fn set_keys(&mut self, keys: Keys) {
        self.keys = keys;
    }

    /// Whether this node wants to be found from now on.
    pub(super) fn set_listed(&mut self, listed: bool) {
        self.listed = listed;
    }

    /// A ping to send.
    pub(super) fn ask(&mut self, means: Means) -> Vec<u8> {
        self.forget(means.now.mono);
        self.pings += 1;
        // The clock may be set back while this runs, and two pings may be of one millisecond.
        self.stamp = means.now.wall.as_millis().max(self.stamp.saturating_add(1));
        if self.asked.len() >= ASKED_MAX {
            self.asked.pop_front();
        }
        self.asked.push_back(Asked {
            nonce: means.fresh,
            at: means.now.mono,
            number: self.pings,
            answered_by: BTreeSet::new(),
            came_back: false,
        });
        self.announcement(Kind::Ping, means, 0, self.stamp)
    }

    /// Takes a datagram.
    pub(super) fn handle(&mut self, datagram: &Datagram<'_>, means: Means) -> Reaction {
        let announcement = Announcement::decode(datagram.bytes, &self.keys).map_err(|refusal| match refusal {
            Refusal::Malformed => Ignored::Malformed,
            Refusal::Version => Ignored::Version,
            Refusal::Unauthentic => Ignored::Unauthentic,
        });
        let reaction = announcement.and_then(|announcement| self.take(announcement, means));
        reaction.unwrap_or_else(|reason| {
            self.counts.ignore(reason, datagram.from);
            Reaction::default()
        })
    }

    /// Who answered lately.
    pub(super) fn known(&mut self, now: Instant) -> impl Iterator<Item = (&NodeId, &Known)> {
        self.forget(now);
        self.known.iter()
    }

    /// Whether an own ping of the last [`ANSWER_TIME`] was heard back.
    pub(super) fn hears_itself(&self) -> bool {
        self.asked.iter().any(|asked| asked.came_back)
    }

    /// What became of all datagrams.
    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    fn take(&mut self, announcement: Announcement, means: Means) -> Result<Reaction, Ignored> {
        let Announcement { kind, nonce, body } = announcement;
        if body.node_id == self.me.node_id {
            for asked in self.asked.iter_mut().filter(|asked| asked.nonce == nonce) {
                asked.came_back = true;
            }
            return Err(Ignored::Own);
        }
        match kind {
            Kind::Ping => self.pinged(nonce, &body, means),
            Kind::Pong => self.answered(body, means.now.mono),
        }
    }

    fn pinged(&mut self, nonce: Nonce, body: &Body, means: Means) -> Result<Reaction, Ignored> {
        let now = means.now.mono;
        self.askers.pinged(body.node_id, body.stamp, now)?;
        let news = !self.known.contains_key(&body.node_id) && self.askers.hint(body.node_id, now);
        if !self.listed {
            return Ok(Reaction { answer: None, news });
        }
        self.counts.answered += 1;
        let pong = self.announcement(Kind::Pong, means, nonce, 0);
        Ok(Reaction { answer: Some((body.reply, pong)), news })
    }

    fn answered(&mut self, body: Body, now: Instant) -> Result<Reaction, Ignored> {
        let of_now = |asked: &&mut Asked| asked.nonce == body.answers && now.since(asked.at) <= ANSWER_TIME;
        let asked = self.asked.iter_mut().find(of_now).ok_or(Ignored::Unasked)?;
        if asked.answered_by.contains(&body.node_id) {
            return Err(Ignored::Repeated);
        }
        let is_new = !self.known.contains_key(&body.node_id);
        // No ping is answered by more: who answers is known.
        if is_new && self.known.len() >= CANDIDATES_MAX {
            return Err(Ignored::Full);
        }
        asked.answered_by.insert(body.node_id);
        self.counts.believed += 1;
        let is_late = now.since(asked.at) > COLLECT_TIME;
        let known = Known { name: body.name, endpoint: body.endpoint, at: now, ping: asked.number };
        self.known.insert(body.node_id, known);
        Ok(Reaction { answer: None, news: is_new && is_late })
    }

    /// Who has not answered for long, and pings to which no answer is believed any more.
    fn forget(&mut self, now: Instant) {
        self.asked.retain(|asked| now.since(asked.at) <= ANSWER_TIME);
        let pings = self.pings;
        self.known.retain(|_, known| pings - known.ping < PINGS_MISSED || now.since(known.at) < KNOWN_FOR);
    }

    fn announcement(&self, kind: Kind, means: Means, answers: Nonce, stamp: Stamp) -> Vec<u8> {
        let Me { name, endpoint, node_id } = self.me.clone();
        let body = Body { node_id, name, endpoint, reply: means.reply, answers, stamp };
        Announcement { kind, nonce: means.fresh, body }.encode(&self.keys)
    }
}

#[cfg(test)]
mod tests {
    use ekka_core::time::Wall;

    use super::*;
    use crate::discovery::mcast::message::tests::keys;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn addr(n: u8) -> SocketAddr {
        ([10, 77, 0, n], 4369).into()
    }

    fn node(n: u8, cookie: &str) -> Rules {
        let name: NodeName = format!("n{n}@10.77.0.{n}").parse().unwrap();
        let me = Me { endpoint: name.endpoint(4370).unwrap(), name, node_id: NodeId::from_u128(n.into()) };
        let mut rules = Rules::new(me, keys(cookie));
        rules.set_listed(true);
        rules
    }

    fn means(n: u8, ms: u64, fresh: Nonce) -> Means {
        Means { now: Now { mono: at(ms), wall: Wall::from_millis(ms) }, fresh, reply: addr(n) }
    }

    fn give(to: &mut Rules, n: u8, bytes: &[u8], ms: u64) -> Reaction {
        to.handle(&Datagram { bytes, from: addr(9) }, means(n, ms, u128::from(ms) << 64 | u128::from(n)))
    }

    fn known(rules: &mut Rules, ms: u64) -> Vec<String> {
        rules.known(at(ms)).map(|(_, known)| known.name.to_string()).collect()
    }

    #[test]
    fn a_ping_is_answered_to_its_sender_not_believed_and_a_hint_once() {
        let (mut a, mut b) = (node(1, "c"), node(2, "c"));
        let ping = a.ask(means(1, 0, 7));
        let reaction = give(&mut b, 2, &ping, 1);
        assert!(reaction.news);
        assert_eq!(reaction.answer.as_ref().map(|(to, _)| *to), Some(addr(1)));
        assert!(known(&mut b, 1).is_empty());
        let pong = reaction.answer.unwrap().1;
        assert_eq!(give(&mut a, 1, &pong, 2), Reaction::default());
        assert_eq!(known(&mut a, 2), ["n2@10.77.0.2"]);
        // The same pong again, and to who never asked.
        give(&mut a, 1, &pong, 3);
        assert_eq!(a.counts().of(Ignored::Repeated), 1);
        give(&mut node(3, "c"), 3, &pong, 3);
        // The ping again, at once and later.
        for ms in [4, 6000] {
            assert_eq!(give(&mut b, 2, &ping, ms), Reaction::default());
        }
        assert_eq!(b.counts().of(Ignored::Replayed), 2);
    }

    #[test]
    fn an_answer_is_believed_for_five_seconds_and_only_to_an_own_ping() {
        let (mut a, mut b) = (node(1, "c"), node(2, "c"));
        let ping = a.ask(means(1, 0, 7));
        let pong = give(&mut b, 2, &ping, 1).answer.unwrap().1;
        give(&mut a, 1, &pong, 5001);
        assert!(known(&mut a, 5001).is_empty());
        assert_eq!(a.counts().of(Ignored::Unasked), 1);
        let late = a.ask(means(1, 6000, 8));
        let pong = give(&mut b, 2, &late, 6001).answer.unwrap().1;
        assert!(give(&mut a, 1, &pong, 8000).news, "who answers after the answers were collected is news");
        assert_eq!(known(&mut a, 8000), ["n2@10.77.0.2"]);
    }

    #[test]
    fn another_cookie_is_not_answered_nor_believed_and_own_pings_come_back() {
        let (mut a, mut b) = (node(1, "c"), node(2, "d"));
        let ping = a.ask(means(1, 0, 7));
        assert_eq!(give(&mut b, 2, &ping, 1), Reaction::default());
        assert_eq!((b.counts().of(Ignored::Unauthentic), b.counts().strange()), (1, 1));
        assert!(!a.hears_itself());
        assert_eq!(give(&mut a, 1, &ping, 1), Reaction::default());
        assert!(a.hears_itself());
        assert_eq!((a.counts().of(Ignored::Own), a.counts().strange()), (1, 0));
    }

    #[test]
    fn who_is_not_listed_answers_nobody_and_still_finds_others() {
        let (mut a, mut b) = (node(1, "c"), node(2, "c"));
        a.set_listed(false);
        let ping = b.ask(means(2, 0, 7));
        let reaction = give(&mut a, 1, &ping, 1);
        assert_eq!(reaction, Reaction { answer: None, news: true });
        let ping = a.ask(means(1, 2, 8));
        let pong = give(&mut b, 2, &ping, 3).answer.unwrap().1;
        give(&mut a, 1, &pong, 4);
        assert_eq!(known(&mut a, 4), ["n2@10.77.0.2"]);
    }

    #[test]
    fn a_lost_packet_forgets_nobody_and_three_rounds_of_silence_do() {
        let (mut a, mut b) = (node(1, "c"), node(2, "c"));
        let ping = a.ask(means(1, 0, 7));
        let pong = give(&mut b, 2, &ping, 1).answer.unwrap().1;
        give(&mut a, 1, &pong, 2);
        for (ms, fresh) in [(5000, 8), (10_000, 9)] {
            a.ask(means(1, ms, fresh));
            assert_eq!(known(&mut a, ms).len(), 1, "after {ms} ms");
        }
        a.ask(means(1, 15_500, 10));
        assert!(known(&mut a, 15_500).is_empty());
    }

    #[test]
    fn everything_that_is_remembered_is_bounded() {
        let mut a = node(1, "c");
        for fresh in 0..100 {
            a.ask(means(1, 0, fresh));
        }
        assert_eq!(a.asked.len(), ASKED_MAX);
        let nonce = a.asked.back().unwrap().nonce;
        for n in 0..1100u128 {
            let name: NodeName = format!("x{n}@10.77.0.2").parse().unwrap();
            let endpoint = name.endpoint(4370).unwrap();
            let body =
                Body { node_id: NodeId::from_u128(n + 50), name, endpoint, reply: addr(2), answers: nonce, stamp: 0 };
            let pong = Announcement { kind: Kind::Pong, nonce: n, body }.encode(&keys("c"));
            give(&mut a, 1, &pong, 1);
        }
        assert_eq!(known(&mut a, 1).len(), CANDIDATES_MAX);
        assert_eq!(a.counts().of(Ignored::Full), 1100 - CANDIDATES_MAX as u64);
    }
}
