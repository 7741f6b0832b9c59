//! Who is a member, who is heard, and what each node's row of the link matrix says.
//!
//! **Owns** the roster (admitted members and removals, a record of the gossip until the durable group holds it),
//! each member's own record, heartbeats and what was heard from whom, foca (SWIM) as the suggestion who is alive,
//! and the link matrix.
//!
//! **Inputs** [`Input`]: connections that came and went, messages, refused dials, changes of this node's own record,
//! admissions and removals.
//!
//! **Outputs** [`Output`]: messages, dials that are wanted, connections to drop, what must be kept on disc, events.
//!
//! **Invariants** (checked by `check`): a record's (guid, version) never falls, nor does the start that is in contact,
//! unless the newer one turns out to be a copied directory; the roster holds no node twice; a removed node is no neighbour; this node's own record is its own.
//!
//! **How a member is found down.** Neighbours (everybody up to 32 members, beyond it 16 on the ring of node ids and the
//! voters) exchange heartbeats with rows of the link matrix. A link that is silent for `LINK_SILENCE` is dialled anew
//! and others are asked; a member is down once nobody whom this node hears has heard that start of it for
//! `MEMBER_SILENCE`. A refused dial after a reset is enough, once the others' rows are younger than the reset and none
//! has heard it since. It is up again when it is heard, or when somebody in contact hears it. Own lateness stretches
//! every window (Lifeguard). Beyond the full mesh neighbours tell foca what they found, and foca tells everybody else.
//!
//! **Sources**: SWIM (Das, Gupta, Motivala 2002), Lifeguard (Dadgar et al. 2017), foca 2.0; rules of section 9 of
//! the design.

mod advice;
mod arrival;
mod contact;
mod evidence;
mod exchange;
mod farewell;
mod gossip;
mod heartbeat;
mod matrix;
mod room;
mod roster;

pub use farewell::Farewell;
pub use room::{Membership, Options};

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::id::{ClusterId, Endpoint, Guid, Incarnation, NodeId, NodeName, StoreId};
use crate::time::{Instant, Wall};
use crate::view::{Role, Status};

/// What a member says of itself. The larger `(guid, version)` wins; only the member itself raises them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Which start of which node.
    pub id: Incarnation,
    /// Grows with each change within one incarnation.
    pub version: u64,
    /// Its name.
    pub name: NodeName,
    /// Where it is dialled.
    pub endpoint: Endpoint,
    /// Its role.
    pub role: Role,
    /// What it says of itself: never `down` or `gone`.
    pub status: Status,
    /// Version of its software.
    pub software: String,
    /// How often its data directory was started.
    pub start_counter: u64,
    /// When it started, by its own wall clock.
    pub started: Wall,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// The store that it votes with; unknown until its own record has come.
    #[serde(default)]
    pub store: StoreId,
    /// The first start of the process that runs this one; unknown until its own record has come. A start that took a new
    /// guid because the one before it was declared gone is the same process.
    #[serde(default = "unknown")]
    pub process: Guid,
}

fn unknown() -> Guid {
    Guid::MIN
}

/// Why a member was taken out for good.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RemovalCause {
    /// It left.
    Leave,
    /// An operator removed it.
    Force,
    /// It was cleaned.
    Autoclean,
}

impl RemovalCause {
    /// The label of the metric and the field of the event.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Leave => "leave",
            Self::Force => "force",
            Self::Autoclean => "autoclean",
        }
    }
}

/// Place of one node in the cluster: admitted or removed, by a number that only grows.
///
/// The larger `(number, by)` wins. Numbers are places in the log of the durable group; gossip only carries them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Seat {
    /// Grows with each admission or removal anywhere in the cluster.
    pub number: u64,
    /// The node that gave it.
    pub by: NodeId,
    /// `None`: a member since then, with seniority `number`. Otherwise why it is not any more.
    pub removed: Option<RemovalCause>,
}

/// Who belongs to the cluster.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Roster {
    /// The cluster, once there is one.
    pub cluster_id: Option<ClusterId>,
    /// Seat of each node that was ever admitted.
    pub seats: BTreeMap<NodeId, Seat>,
    /// Latest record of each node with a seat (removed ones keep it, for their start counter).
    pub records: BTreeMap<NodeId, Record>,
    /// The latest start of each node that turned out to be of a copied directory: a record of it counts for nothing.
    #[serde(default)]
    pub copies: BTreeMap<NodeId, Guid>,
}

/// A message of this room.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Message {
    /// A heartbeat; answered by `HeartbeatAck` with the same number.
    Heartbeat {
        /// Number of the heartbeat on this link.
        number: u64,
        /// The sender's wall clock as it was sent, in milliseconds.
        wall: Wall,
        /// The sender's row of the link matrix: whom it heard how many milliseconds ago (`None`: not in contact).
        /// Empty where this heartbeat carries no row: beyond the full mesh only every third does.
        heard: Vec<Heard>,
        /// Digest of the sender's roster; where it differs from the receiver's, they exchange rosters.
        digest: u64,
    },
    /// The answer to a heartbeat.
    HeartbeatAck {
        /// The number that it answers.
        number: u64,
        /// The answering node's wall clock.
        wall: Wall,
    },
    /// Asks the receiver whether it hears `target`, and to probe it if it does not.
    IndirectProbe {
        /// Who is silent.
        target: NodeId,
    },
    /// The answer to an indirect probe.
    IndirectAck {
        /// Who was asked for.
        target: NodeId,
        /// Which start of it, as in [`Heard::start`].
        start: u32,
        /// How many milliseconds ago the answering node heard it.
        ago_ms: Option<u32>,
    },
    /// A packet of foca. One for another node is passed on once, on a link to that node.
    Gossip(Vec<u8>),
    /// Roster entries that the receiver may lack.
    Roster {
        /// What the sender holds.
        roster: Roster,
        /// Whether the receiver should answer with its own.
        reply: bool,
    },
    /// This incarnation is over: it stops, and comes back.
    Goodbye,
    /// What the sender holds, in digests: the receiver sends the entries that differ. For rosters too large to send.
    Summary {
        /// The sender's cluster.
        cluster_id: Option<ClusterId>,
        /// Each node with a seat, and the digest of its entry.
        entries: Vec<(NodeId, u64)>,
        /// Whether the receiver should answer with its own summary where entries differ.
        reply: bool,
    },
    /// The sender has left that cluster for good.
    Farewell {
        /// Which cluster.
        cluster_id: ClusterId,
        /// Its seat there, removed.
        seat: Seat,
    },
    /// The answer: the removal is on disc here, or an admission that came after it.
    FarewellHeard {
        /// Which cluster.
        cluster_id: ClusterId,
    },
}

/// One cell of the link matrix, as the observing node sends it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Heard {
    /// Whom.
    pub node_id: NodeId,
    /// Which start of it: the last 32 bits of its guid.
    pub start: u32,
    /// How many milliseconds ago; `None` where there is no contact.
    pub ago_ms: Option<u32>,
    /// Smoothed round-trip time in microseconds; 0 where it is not known.
    pub rtt_us: u32,
}

/// Why the last connection to a peer went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lost {
    /// Reset, or closed without goodbye: often the end of the process.
    Reset,
    /// This node dropped it after silence.
    Silent,
    /// It was replaced, refused, or this node stops.
    Replaced,
}

/// What comes in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// The first verified control connection to this incarnation is there.
    Connected {
        /// Who.
        id: Incarnation,
        /// Its claimed name.
        name: NodeName,
        /// Where it can be dialled.
        endpoint: Endpoint,
        /// How often its data directory was started.
        start_counter: u64,
        /// When its Hello came; it may have been held back since.
        heard: Instant,
    },
    /// The last control connection to this incarnation went.
    Disconnected {
        /// Who.
        id: Incarnation,
        /// Why.
        lost: Lost,
    },
    /// A dial of the member's endpoint was refused by its host: no process listens there.
    Refused {
        /// Who.
        node_id: NodeId,
    },
    /// A dial of the member's endpoint failed in another way (no route, time-out, handshake).
    Unreachable {
        /// Who.
        node_id: NodeId,
    },
    /// A message came. Any message counts as heard.
    Received {
        /// From whom.
        from: Incarnation,
        /// What.
        message: Message,
    },
    /// Something else than a message of this room came from this peer: it was heard.
    HeardFrom {
        /// From whom.
        id: Incarnation,
        /// When.
        at: Instant,
    },
    /// This node formed or joined a cluster: the roster replaces what was there, this node's own record stays.
    Enter {
        /// Its roster.
        roster: Roster,
        /// Whether whoever is left behind is told: an operator took this node out of their cluster.
        farewell: bool,
    },
    /// This start of a node runs, and the newer one that was taken for its successor was a copy of its directory.
    Disproved {
        /// The start that runs.
        original: Incarnation,
        /// The later one.
        copy: Guid,
    },
    /// This node's own status changed.
    SetStatus(Status),
    /// This node's own tags changed.
    SetTags(BTreeMap<String, String>),
    /// The store that this node votes with is another from now on.
    SetStore(StoreId),
    /// Seats as the durable group has committed them: some that changed, or all.
    Seats(BTreeMap<NodeId, Seat>),
    /// Who votes, as committed; empty while that is not known here.
    Voters(Vec<NodeId>),
    /// What a node says of itself, by way of another room: it asked to be admitted.
    Record(Record),
    /// This node is in no cluster any more: forget everyone else.
    Reset {
        /// Whether the others of the old cluster are to be told.
        farewell: bool,
    },
    /// Say farewell to a cluster that counts this node although it left.
    Part(Roster),
    /// This process did not run for so long: silence in that time proves nothing.
    Paused {
        /// For how long, in milliseconds.
        for_ms: u64,
    },
}

/// What goes out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Send on the control link of this peer; dropped where there is none.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: Message,
    },
    /// A connection to this member is wanted now.
    Dial {
        /// Who.
        node_id: NodeId,
        /// Where.
        endpoint: Endpoint,
    },
    /// The connection to this member is silent: a second one is wanted beside it.
    Redial {
        /// Who.
        node_id: NodeId,
        /// Where.
        endpoint: Endpoint,
    },
    /// The connections to this peer are silent: drop them (a dial follows as an output of its own).
    Drop {
        /// Who.
        node_id: NodeId,
    },
    /// The roster changed and is to be kept on disc.
    Persist,
    /// Something that the view shows changed.
    Changed,
    /// A member's liveness changed: the decision record is made from this.
    Liveness {
        /// Who.
        id: Incarnation,
        /// Up or down.
        up: bool,
        /// `refused`, `silent`, `goodbye`, `gossip`, or how it was heard again.
        evidence: String,
        /// Who saw what, one line each.
        lines: Vec<String>,
    },
    /// A member appeared in, or went from, the roster.
    Seated {
        /// Who.
        node_id: NodeId,
        /// `None`: it is a member now.
        removed: Option<RemovalCause>,
    },
    /// This node itself was removed by somebody.
    SelfRemoved {
        /// Why.
        cause: RemovalCause,
        /// By whom.
        by: NodeId,
    },
    /// A node says that it has left: to be confirmed once that is committed.
    FarewellCame {
        /// Who.
        from: NodeId,
        /// Which cluster.
        cluster_id: ClusterId,
        /// It is a member still.
        member: bool,
    },
    /// A member of the old cluster holds this node's farewell.
    FarewellHeard {
        /// Who.
        by: NodeId,
    },
    /// Another cluster counts this node as a member.
    CountedIn(Roster),
    /// A round trip was measured, with the peer's wall clock: for the comparison of clocks.
    RoundTrip {
        /// With whom.
        node_id: NodeId,
        /// How long, in microseconds.
        rtt_us: u64,
        /// The peer's wall clock as it answered.
        peer_wall: Wall,
    },
}
