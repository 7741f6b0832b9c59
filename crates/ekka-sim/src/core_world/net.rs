//! The network between machines: cuts by direction, delays, stalls, and connections that behave as TCP's.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ekka_core::control::{CloseCause, ConnId, DialError};
use ekka_core::id::Endpoint;
use ekka_core::rng::Rng;
use ekka_core::time::Instant;
use ekka_core::wire::{Hello, Refusal};

use super::discovery::Stranger;

/// What reaches a process.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// A dial arrived: the Hello of the other side.
    Greeting { conn: usize, hello: Box<Hello> },
    /// The dialled side answered.
    Answered { conn: usize, answer: Result<Box<Hello>, Refusal> },
    /// A frame.
    Frame { conn: usize, bytes: Vec<u8> },
    /// The connection ended.
    Closed { conn: usize, cause: CloseCause },
    /// A dial came to nothing.
    DialFailed { endpoint: Endpoint, error: DialError },
    /// Something of the machine itself.
    Persisted { token: u64, saved: Box<ekka_core::control::Saved> },
    /// Discovery answers.
    Discovered,
    /// A backend of discovery, or the volatile group, says something.
    Backend(Box<ekka_core::control::Input>),
    /// A replica of the durable group says something; nobody hears it once another one was opened in its place.
    Replica { opening: u64, input: Box<ekka_core::control::Input> },
}

/// One end of a connection.
#[derive(Clone, Debug)]
pub struct End {
    /// The machine.
    pub machine: usize,
    /// Its process at that time.
    pub life: u64,
    /// The number by which that process knows it; `None` until its Hello was given.
    pub local: Option<ConnId>,
    /// Nothing earlier than this may arrive: TCP keeps the order.
    pub not_before: Instant,
    /// What hangs because of a cut, in order.
    pub hanging: Vec<Delivery>,
}

/// A connection.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The dialling end, then the accepting one.
    pub ends: [End; 2],
    /// Where was dialled.
    pub endpoint: Endpoint,
    /// No end uses it any more.
    pub closed: [bool; 2],
    /// The Hello was read in time: from then on the verdict has its own.
    pub read: bool,
}

impl Connection {
    fn pair(&self) -> (usize, usize) {
        let [a, b] = [self.ends[0].machine, self.ends[1].machine];
        (a.min(b), a.max(b))
    }
}

/// The state of the network.
#[derive(Debug)]
pub struct Net {
    /// Directions that carry nothing: from, to.
    pub cut: BTreeSet<(usize, usize)>,
    /// Who answers at addresses of no machine.
    pub strangers: BTreeMap<Endpoint, Stranger>,
    /// Second addresses of machines.
    pub aliases: BTreeMap<Endpoint, usize>,
    /// All connections, by number.
    pub connections: BTreeMap<usize, Connection>,
    /// Their numbers, by the two machines.
    between: BTreeMap<(usize, usize), BTreeSet<usize>>,
    /// The number of the next connection.
    pub next: usize,
    /// Shortest and longest delay of a frame.
    pub delay: (Duration, Duration),
    /// Of a thousand frames, so many stall as after a lost segment.
    pub stall_per_mille: u64,
    /// Frames and bytes sent so far.
    pub frames: u64,
    /// Bytes sent so far.
    pub bytes: u64,
}

impl Net {
    /// A network in which everybody reaches everybody.
    #[must_use]
    pub fn new() -> Self {
        Self {
            cut: BTreeSet::new(),
            strangers: BTreeMap::new(),
            aliases: BTreeMap::new(),
            connections: BTreeMap::new(),
            between: BTreeMap::new(),
            next: 1,
            delay: (Duration::from_micros(200), Duration::from_millis(3)),
            stall_per_mille: 0,
            frames: 0,
            bytes: 0,
        }
    }

    /// How long the next frame takes.
    pub fn latency(&self, rng: &mut Rng) -> Duration {
        let spread = self.delay.1.saturating_sub(self.delay.0);
        let mut delay = self.delay.0 + rng.up_to(spread);
        // A lost segment comes again after the retransmission time-out, which doubles (RFC 6298).
        let mut timeout = Duration::from_millis(200);
        while rng.below(1000) < self.stall_per_mille && timeout < Duration::from_secs(4) {
            delay += timeout;
            timeout *= 2;
        }
        delay
    }

    /// A connection is made.
    pub(super) fn connect(&mut self, conn: usize, connection: Connection) {
        self.between.entry(connection.pair()).or_default().insert(conn);
        self.connections.insert(conn, connection);
    }

    /// A connection is over at both ends.
    pub(super) fn forget(&mut self, conn: usize) {
        let Some(connection) = self.connections.remove(&conn) else { return };
        if let Some(of) = self.between.get_mut(&connection.pair()) {
            of.remove(&conn);
        }
    }

    /// Whether two machines have let each other in over a connection that both use: frames of groups go by these alone.
    #[must_use]
    pub fn linked(&self, a: usize, b: usize) -> bool {
        let let_in = |conn: &usize| {
            let both = |connection: &Connection| connection.ends.iter().all(|end| end.local.is_some());
            self.connections.get(conn).is_some_and(|connection| connection.closed == [false, false] && both(connection))
        };
        self.between.get(&(a.min(b), a.max(b))).is_some_and(|of| of.iter().any(let_in))
    }

    /// Whether bytes pass in this direction.
    #[must_use]
    pub fn passes(&self, from: usize, to: usize) -> bool {
        !self.cut.contains(&(from, to))
    }

    /// Whether a connection can be made: bytes must pass both ways.
    #[must_use]
    pub fn connects(&self, a: usize, b: usize) -> bool {
        self.passes(a, b) && self.passes(b, a)
    }
}

impl Default for Net {
    fn default() -> Self {
        Self::new()
    }
}
